// A one-time signal between threads. Built on std::mutex, because the packaged Abseil is not
// compiled for ThreadSanitizer, which therefore cannot see what absl::Notification orders. Any
// thread.
#ifndef DREAMGATE_TESTS_NET_SIGNAL_H_
#define DREAMGATE_TESTS_NET_SIGNAL_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace dreamgate::net_test {

class Signal {
 public:
  void Set() {
    const std::lock_guard<std::mutex> lock(mutex_);
    set_ = true;
    changed_.notify_all();  // under the lock: the waiter may destroy us as soon as it is released
  }

  bool IsSet() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return set_;
  }

  // False if it does not come within a deadline far beyond what any test needs.
  bool Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

}  // namespace dreamgate::net_test

#endif  // DREAMGATE_TESTS_NET_SIGNAL_H_
