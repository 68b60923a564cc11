// What many histories came to, and what to show of one that went wrong. Pure values.
#ifndef DREAMGATE_TESTS_SIMULATION_REPORT_H_
#define DREAMGATE_TESTS_SIMULATION_REPORT_H_

#include <cstdint>
#include <string>

#include "tests/simulation/simulation.h"

namespace dreamgate::simulation {

// Sums over histories.
struct Summary {
  int64_t histories = 0;
  int64_t failures = 0;
  int64_t events = 0;
  int64_t crashes = 0;
  int64_t restarts = 0;
  int64_t calls = 0;
  int64_t streams = 0;
  int64_t posts = 0;
  int64_t gets = 0;
  int64_t lists = 0;
  int64_t webhooks = 0;
  int64_t tasks = 0;
  int64_t faults = 0;
  int64_t orphans = 0;
  int64_t resends = 0;
  int64_t absences = 0;
  int64_t forgotten = 0;
  int64_t ambiguous_answers = 0;
  int64_t videos_lost_sight_of = 0;
  int64_t transactions = 0;
  int64_t transactions_failed = 0;
  int64_t transitions = 0;
  absl::Duration length;

  void Add(const History& history);
  // Several lines.
  std::string Text() const;
};

// The violations, the command that replays them and the trace, if `history` has one.
std::string DescribeFailure(const History& history, Size size);

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_REPORT_H_
