// Time and chance for tests of the client library. Pauses between attempts take no time: the clock
// jumps over them and they are recorded. Waiting for a message takes no virtual time unless a test
// advances the clock. Safe from any thread.
#ifndef DREAMGATE_TESTS_CLIENT_FAKE_ENVIRONMENT_H_
#define DREAMGATE_TESTS_CLIENT_FAKE_ENVIRONMENT_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "dreamgate/client/environment.h"

namespace dreamgate::client {

class FakeEnvironment final : public Environment {
 public:
  TimePoint Now() override {
    const std::lock_guard lock(mutex_);
    return now_;
  }

  double Uniform() override { return chance; }

  void WaitUntil(Wait purpose, TimePoint deadline, std::unique_lock<std::mutex>& lock,
                 std::condition_variable& changed) override {
    if (purpose == Wait::kBeforeRetry) {
      const std::lock_guard own_lock(mutex_);
      if (!hold_pauses) {
        pauses_.push_back(deadline - now_);
        now_ = deadline;
        return;
      }
      pausing = true;
    }
    changed.wait_for(lock, std::chrono::milliseconds(2));  // allowed to wake early
  }

  void Advance(std::chrono::nanoseconds by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
  }

  // The pauses between attempts so far.
  std::vector<std::chrono::nanoseconds> pauses() {
    const std::lock_guard lock(mutex_);
    return pauses_;
  }

  std::atomic<double> chance = 0.5;
  std::atomic<bool> hold_pauses = false;  // a pause lasts until it is cancelled
  std::atomic<bool> pausing = false;      // a held pause has begun

 private:
  std::mutex mutex_;
  TimePoint now_{std::chrono::hours(1)};
  std::vector<std::chrono::nanoseconds> pauses_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_FAKE_ENVIRONMENT_H_
