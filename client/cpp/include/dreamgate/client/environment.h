// Time and chance as this library takes them, so that tests need no real time. Users of the library
// leave it alone: RealEnvironment() is the default everywhere. Called from the threads that call the
// library and from gRPC's threads.
#ifndef DREAMGATE_CLIENT_ENVIRONMENT_H_
#define DREAMGATE_CLIENT_ENVIRONMENT_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace dreamgate::client {

class Environment {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // The reason to wait. A simulated clock may jump over a wait before a retry.
  enum class Wait { kForMessage, kBeforeRetry };

  virtual ~Environment() = default;

  virtual TimePoint Now() = 0;

  // Uniform in [0, 1).
  virtual double Uniform() = 0;

  // Waits on `changed` until it is notified or `deadline` has come; may wake early. TimePoint::max()
  // means no deadline. `lock` is held before and after.
  virtual void WaitUntil(Wait purpose, TimePoint deadline, std::unique_lock<std::mutex>& lock,
                         std::condition_variable& changed) = 0;
};

// The steady clock and a generator seeded by the system. One object for the whole process.
std::shared_ptr<Environment> RealEnvironment();

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_ENVIRONMENT_H_
