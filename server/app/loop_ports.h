// The core's time, timers, executor and randomness in production: the system's clock, the loop and
// the system's CSPRNG. Owned by app, outlive the core. Threads as in server/core/ports.h.
#ifndef DREAMGATE_SERVER_APP_LOOP_PORTS_H_
#define DREAMGATE_SERVER_APP_LOOP_PORTS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/loop.h"

namespace dreamgate::app {

class SystemClock final : public core::Clock {
 public:
  absl::Time Now() const override;
};

class LoopTimers final : public core::Timers {
 public:
  explicit LoopTimers(net::Loop& loop) : loop_(loop) {}
  std::unique_ptr<Timer> After(absl::Duration delay,
                               absl::AnyInvocable<void() &&> callback) override;

 private:
  net::Loop& loop_;
};

class LoopExecutor final : public core::Executor {
 public:
  explicit LoopExecutor(net::Loop& loop) : loop_(loop) {}
  void Post(absl::AnyInvocable<void() &&> work) override;

 private:
  net::Loop& loop_;
};

class SystemRandom final : public core::Random {
 public:
  uint64_t Draw() override;
  std::string UnguessableToken() override;
};

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_LOOP_PORTS_H_
