// A fixture for tests that start one deployment, each with its own arguments. One thread.
#ifndef DREAMGATE_TESTS_E2E_DEPLOYMENT_FIXTURE_H_
#define DREAMGATE_TESTS_E2E_DEPLOYMENT_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {

class DeploymentTest : public ::testing::Test {
 protected:
  void Deploy(const std::vector<std::string>& arguments) {
    deployment_ = std::make_unique<Deployment>(arguments);
  }

  Deployment& deployment() { return *deployment_; }
  simulator::Simulator& upstream() { return deployment_->simulator(); }
  v1::VideoService::Stub& stub() { return deployment_->stub(); }

  v1::Prediction Get(const std::string& id) { return GetPrediction(stub(), id); }
  std::unique_ptr<Stream> WatchAll(const v1::Prediction& prediction) {
    return std::make_unique<Stream>(stub(), prediction.id(), 0);
  }
  std::string Metric(const std::string& series) { return deployment().server().Metric(series); }

  std::string Task(size_t index) { return upstream().TaskIds().at(index); }
  void SetStatus(size_t task, const std::string& status) {
    ASSERT_TRUE(upstream().SetTaskState(Task(task), {.status = status}));
  }

  const TemporaryFolder folder_;  // outlives the server, which reads files in it

 private:
  std::unique_ptr<Deployment> deployment_;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_DEPLOYMENT_FIXTURE_H_
