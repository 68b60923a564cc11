#include "dreamgate/client/environment.h"

#include <random>

namespace dreamgate::client {
namespace {

class SystemEnvironment final : public Environment {
 public:
  TimePoint Now() override { return std::chrono::steady_clock::now(); }

  double Uniform() override {
    const std::lock_guard lock(mutex_);
    return std::uniform_real_distribution<double>(0.0, 1.0)(generator_);
  }

  void WaitUntil(Wait, TimePoint deadline, std::unique_lock<std::mutex>& lock,
                 std::condition_variable& changed) override {
    if (deadline == TimePoint::max()) {
      changed.wait(lock);
    } else {
      changed.wait_until(lock, deadline);
    }
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 generator_{std::random_device{}()};
};

}  // namespace

std::shared_ptr<Environment> RealEnvironment() {
  static const std::shared_ptr<Environment> environment = std::make_shared<SystemEnvironment>();
  return environment;
}

}  // namespace dreamgate::client
