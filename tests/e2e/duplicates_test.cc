// Many callers with one request_id at the same moment, over real gRPC: one POST, one prediction.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

constexpr size_t kCallers = 64;
constexpr size_t kConnections = 8;
constexpr size_t kParts = 4;  // that can run beside one another
constexpr size_t kRounds = 1000 / kParts;

// One round: every caller at once, each with a call of its own.
class Round {
 public:
  Round(std::vector<std::unique_ptr<v1::VideoService::Stub>>& stubs, const std::string& request_id)
      : request_(Request(request_id, absl::StrCat("a kite for ", request_id))), calls_(kCallers) {
    for (size_t i = 0; i < kCallers; ++i) {
      Call& call = calls_[i];
      call.context.set_deadline(std::chrono::system_clock::now() +
                                absl::ToChronoSeconds(kPatience));
      stubs[i % stubs.size()]->async()->SubmitVideo(
          &call.context, &request_, &call.response, [this, &call](grpc::Status status) {
            const std::lock_guard<std::mutex> lock(mutex_);
            call.status = std::move(status);
            ++answered_;
            changed_.notify_all();
          });
    }
  }

  void ExpectOnePrediction() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return answered_ == kCallers; });  // each has a deadline
    size_t originals = 0;
    std::set<std::string> ids;
    for (const Call& call : calls_) {
      ASSERT_TRUE(call.status.ok()) << call.status.error_message();
      if (!call.response.replayed()) ++originals;
      ids.insert(call.response.prediction().id());
    }
    ASSERT_EQ(originals, 1u);
    ASSERT_EQ(ids.size(), 1u);
  }

 private:
  struct Call {
    grpc::ClientContext context;
    v1::SubmitVideoResponse response;
    grpc::Status status;
  };

  const v1::SubmitVideoRequest request_;
  std::vector<Call> calls_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t answered_ = 0;
};

class DuplicatesTest : public testing::TestWithParam<size_t> {};

TEST_P(DuplicatesTest, SixtyFourConcurrentCallsWithOneRequestIdAreOnePost) {
  Deployment deployment({"--poll-min-interval=10s", "--poll-max-interval=60s"});
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs;
  for (size_t i = 0; i < kConnections; ++i) stubs.push_back(deployment.server().Stub());
  for (size_t round = 0; round < kRounds; ++round) {
    const std::string request_id = absl::StrCat("id-", GetParam(), "-", round);
    Round(stubs, request_id).ExpectOnePrediction();
    if (HasFatalFailure()) return;
    ASSERT_EQ(deployment.Posts(), round + 1);
  }
  EXPECT_EQ(deployment.simulator().TasksCreated(), kRounds);
}

INSTANTIATE_TEST_SUITE_P(AThousandRounds, DuplicatesTest, testing::Range(size_t{0}, kParts));

}  // namespace
}  // namespace dreamgate::e2e
