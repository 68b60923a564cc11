// One simulated history of dreamgate: the real core and the real ledger store on virtual time, between
// callers and watchers that behave as clients do, an upstream that takes money, and a disk that loses
// what was not synced. A seed decides everything, crashes included, and replays exactly.
//
// First comes a stormy period in which everything may fail; then all faults heal, and the history runs
// until everybody has what he wants. What must hold is in invariants.h.
#ifndef DREAMGATE_TESTS_SIMULATION_SIMULATION_H_
#define DREAMGATE_TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::simulation {

enum class Size {
  kSmall,  // about 100 transactions, up to 6 ends of the process
  kLarge,  // ten times that
};

struct HistoryOptions {
  uint64_t seed = 1;
  Size size = Size::kSmall;
  bool trace = false;
};

struct History {
  uint64_t seed = 0;
  std::vector<std::string> violations;  // empty: every promise was kept
  std::string trace;                    // empty unless asked for

  int64_t events = 0;
  int64_t crashes = 0;   // of the process or of the power
  int64_t restarts = 0;  // orderly
  int64_t calls = 0;     // of Submit
  int64_t streams = 0;
  int64_t posts = 0;
  int64_t gets = 0;               // upstream's
  int64_t lists = 0;              // pages of upstream's history asked for
  int64_t webhooks = 0;           // delivered
  int64_t tasks = 0;              // videos paid for
  int64_t ambiguous_answers = 0;  // POSTs of which the answer told nothing
  int64_t faults = 0;             // of upstream, calls; of weather and disk, spells
  int64_t orphans = 0;            // videos paid for that no prediction follows, kept all the same
  int64_t resends = 0;            // further attempts
  int64_t absences = 0;           // POSTs that history showed to have created nothing
  int64_t forgotten = 0;          // predictions pruned
  int64_t videos_lost_sight_of = 0;  // paid for, and there was no evidence of them
  int64_t transactions = 0;          // tried
  int64_t transactions_failed = 0;
  int64_t transitions = 0;  // that somebody saw
  absl::Duration length;    // on the virtual clock
};

History Simulate(const HistoryOptions& options);

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_SIMULATION_H_
