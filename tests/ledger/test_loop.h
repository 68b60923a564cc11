// The loop of a ledger's tests: runs what is posted when the test says so, on the test's thread.
#ifndef DREAMGATE_TESTS_LEDGER_TEST_LOOP_H_
#define DREAMGATE_TESTS_LEDGER_TEST_LOOP_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "server/core/ports.h"

namespace dreamgate::ledger {

class TestLoop final : public core::Executor {
 public:
  void Post(absl::AnyInvocable<void() &&> work) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    work_.push_back(std::move(work));
    has_work_.notify_one();
  }

  // Runs posted work, one at a time, until `count` items have run; false after a minute without any.
  bool Run(size_t count = 1) {
    for (; count > 0; --count) {
      absl::AnyInvocable<void() &&> next;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!has_work_.wait_for(lock, std::chrono::minutes(1), [this] { return !work_.empty(); })) {
          return false;
        }
        next = std::move(work_.front());
        work_.pop_front();
      }
      std::move(next)();
    }
    return true;
  }

  size_t waiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return work_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<absl::AnyInvocable<void() &&>> work_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_TEST_LOOP_H_
