// Memory and processor time of a process as the kernel counts them, and the figures of several rounds.
// Every bench prints its table and writes the same figures as JSON, which report.py puts together.
#ifndef DREAMGATE_TESTS_BENCH_MEASURE_H_
#define DREAMGATE_TESTS_BENCH_MEASURE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::bench {

// Says why on stderr and ends the bench with 1.
[[noreturn]] void Die(const std::string& why);

// Resident memory in bytes; 0 if there is no such process.
int64_t ResidentBytes(pid_t pid);
// Processor time of all threads that still run.
absl::Duration ProcessorTime(pid_t pid);

// The limit that a figure is held against. Of several rounds the median counts.
struct Target {
  enum class Kind {
    kNone,          // shown for comparison only
    kRatioAtMost,   // ours divided by the peer's, round by round
    kRatioAtLeast,  // likewise
    kAtMost,        // ours alone, in the figure's unit
  };
  Kind kind = Kind::kNone;
  double value = 0;
};

// One thing measured on our side and, in the same run, on a floor or peer: a value a round.
struct Figure {
  std::string name;
  std::string unit;
  std::string peer;  // who stands beside us; empty: nobody
  Target target;
  std::vector<double> ours;
  std::vector<double> peers;  // as many as ours, or none
};

// An aligned table: median (minimum .. maximum) of ours, of the peer's and of the ratio by rounds.
std::string Table(const std::vector<Figure>& figures);

// Writes `file` for report.py, unless its name is empty. `about`: a sentence on how it was measured.
void WriteJson(const std::string& file, const std::string& about,
               const std::vector<Figure>& figures);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_MEASURE_H_
