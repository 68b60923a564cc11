// What the kernel says a process has used, and how several rounds of a figure are shown.
#ifndef DREAMGATE_TESTS_BENCH_MEASURE_H_
#define DREAMGATE_TESTS_BENCH_MEASURE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::bench {

// Resident memory in bytes; 0 if there is no such process.
int64_t ResidentBytes(pid_t pid);
// Processor time of all threads so far.
absl::Duration ProcessorTime(pid_t pid);

// One figure measured on our side and on the floor, round by round.
struct Figure {
  std::string name;
  std::string unit;
  double target = 0;  // largest acceptable median ratio
  std::vector<double> ours;
  std::vector<double> floor;
};

// An aligned table: median (minimum .. maximum) of ours, of the floor, and of the ratio by rounds.
std::string Table(const std::vector<Figure>& figures);
std::string Json(const std::vector<Figure>& figures);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_MEASURE_H_
