// A loop for tests of servers: a real thread, so that gRPC's threads can post to it, over virtual
// time, which only the test moves. Fakes and gateway live on `time()`; touch them inside Run only.
#ifndef DREAMGATE_TESTS_API_LOOP_THREAD_H_
#define DREAMGATE_TESTS_API_LOOP_THREAD_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "server/core/ports.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::api {

class LoopThread final : public core::Executor {
 public:
  LoopThread() : thread_([this] { Work(); }) {}
  ~LoopThread() override { Stop(); }

  void Post(absl::AnyInvocable<void() &&> work) override {
    ++posts_;
    Enqueue(std::move(work));
  }
  // Calls of Post so far, that is, by others than the test.
  int posts() const { return posts_.load(); }

  // Runs `work` on the loop and waits for it and all that is due after it.
  template <typename Function>
  auto Run(Function work) {
    // Shared: set_value may still be at work when its result has been taken.
    auto promise = std::make_shared<std::promise<decltype(work())>>();
    auto result = promise->get_future();
    Enqueue([this, promise, &work] {
      if constexpr (std::is_void_v<decltype(work())>) {
        work();
        time_.RunDue();
        promise->set_value();
      } else {
        auto value = work();
        time_.RunDue();
        promise->set_value(std::move(value));
      }
    });
    return result.get();
  }

  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  fakes::VirtualTime& time() { return time_; }

 private:
  void Enqueue(absl::AnyInvocable<void() &&> work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      queue_.push_back(std::move(work));
    }
    wake_.notify_one();
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      {
        auto work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        std::move(work)();
        time_.RunDue();
      }
      lock.lock();
    }
  }

  fakes::VirtualTime time_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<absl::AnyInvocable<void() &&>> queue_;
  bool stopping_ = false;
  std::atomic<int> posts_ = 0;
  std::thread thread_;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_TESTS_API_LOOP_THREAD_H_
