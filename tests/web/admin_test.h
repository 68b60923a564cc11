// The admin port over real sockets, with pages that are easily told apart and a copy of the ledger that
// is made when the test says so.
#ifndef DREAMGATE_TESTS_WEB_ADMIN_TEST_H_
#define DREAMGATE_TESTS_WEB_ADMIN_TEST_H_

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "server/web/admin_server.h"
#include "tests/web/raw_client.h"

namespace dreamgate::web {

class AdminTest : public ::testing::Test {
 protected:
  using Done = core::Completion<absl::StatusOr<BackupCopy>>;

  ~AdminTest() override {
    server_.reset();
    loop_.Stop();
  }

  uint16_t Start(HttpOptions options = {}) {
    AdminPages pages;
    pages.readiness = [this] {
      return ready_ ? Readiness{true, "serving"} : Readiness{false, "draining"};
    };
    pages.metrics = [] { return std::string("dreamgate_streams 3\n"); };
    pages.status = [] {
      StatusReport report;
      report.build = {{"version", "1.2.3"}};
      return report;
    };
    pages.backup = [this](Done done) {
      const std::lock_guard lock(mutex_);
      ++asked_;
      waiting_ = std::move(done);
      changed_.notify_all();
    };
    loop_.Start();
    auto server = StartAdminServer(loop_, std::move(options), std::move(pages));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return server_->port();
  }

  // Waits until a copy is asked for.
  Done TakeRequest() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !!waiting_; }));
    return std::exchange(waiting_, Done());
  }

  int asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  std::atomic<bool> ready_{true};
  net::Loop loop_;
  std::unique_ptr<HttpServer> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Done waiting_;
  int asked_ = 0;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_TESTS_WEB_ADMIN_TEST_H_
