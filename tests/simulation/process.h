// Work on the world's virtual time, and one process of the gateway made of it: loop, timers and wall
// clock. When the process ends, whatever waited in it is gone; the world goes on. Owned by the parts of
// the simulation; a Process outlives the gateway that borrows it.
#ifndef DREAMGATE_TESTS_SIMULATION_PROCESS_H_
#define DREAMGATE_TESTS_SIMULATION_PROCESS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::simulation {

// What somebody still has to do.
class Agenda {
 public:
  explicit Agenda(fakes::VirtualTime& world) : world_(world) {}
  ~Agenda() { Clear(); }
  Agenda(const Agenda&) = delete;
  Agenda& operator=(const Agenda&) = delete;

  // Runs `work` `delay` from now; in the order given if due at the same instant.
  void Later(absl::Duration delay, absl::AnyInvocable<void() &&> work);
  // Destroys what waits without running it.
  void Clear();

 private:
  struct Work {
    absl::AnyInvocable<void() &&> run;
    std::unique_ptr<core::Timers::Timer> due;
  };

  fakes::VirtualTime& world_;
  uint64_t count_ = 0;
  std::map<uint64_t, Work> waiting_;
};

class Process final : public core::Clock, public core::Timers, public core::Executor {
 public:
  // `clock_error`: how far this machine's wall clock is off. Timers do not care.
  Process(fakes::VirtualTime& world, absl::Duration clock_error)
      : world_(world), clock_error_(clock_error), agenda_(world) {}

  // Whole nanoseconds, as real clocks give.
  absl::Time Now() const override {
    return absl::FromUnixNanos(absl::ToUnixNanos(world_.Now() + clock_error_));
  }
  [[nodiscard]] std::unique_ptr<Timer> After(absl::Duration delay,
                                             absl::AnyInvocable<void() &&> callback) override {
    return world_.After(delay, std::move(callback));
  }
  void Post(absl::AnyInvocable<void() &&> work) override {
    agenda_.Later(absl::ZeroDuration(), std::move(work));
  }

  Agenda& agenda() { return agenda_; }

 private:
  fakes::VirtualTime& world_;
  const absl::Duration clock_error_;
  Agenda agenda_;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_PROCESS_H_
