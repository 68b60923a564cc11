// What all parts of one simulated history share. Owned by Simulation.
#ifndef DREAMGATE_TESTS_SIMULATION_WORLD_H_
#define DREAMGATE_TESTS_SIMULATION_WORLD_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/core/gateway.h"
#include "tests/fakes/chance.h"
#include "tests/fakes/virtual_time.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/process.h"
#include "tests/simulation/trace.h"

namespace dreamgate::simulation {

using fakes::Chance;

struct World {
  World(uint64_t seed, bool trace_on) : chance(seed), trace(time, trace_on), invariants(trace) {}

  fakes::VirtualTime time;
  Chance chance;
  Trace trace;
  Invariants invariants;
  Agenda agenda{time};  // of everybody who survives the gateway's crashes
  std::unique_ptr<Process> process;
  std::unique_ptr<core::Gateway> gateway;  // null: nobody answers
  // Who knocks while nobody answers: called right after the next process has started.
  std::vector<absl::AnyInvocable<void() &&>> doorstep;
  // Faults are over: from here on everything must come to its end.
  bool healed = false;

  // Calls `knock` at the next start, or a while later.
  void KnockLater(absl::AnyInvocable<void() &&> knock) {
    if (chance.Percent(50)) {
      doorstep.push_back(std::move(knock));
    } else {
      agenda.Later(chance.Spread(absl::Milliseconds(50), absl::Seconds(5)), std::move(knock));
    }
  }
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_WORLD_H_
