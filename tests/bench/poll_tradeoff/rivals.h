// Ways to place polls, ours and others', and what each costs on a shape.
#ifndef DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_RIVALS_H_
#define DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_RIVALS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "server/core/polling/completion_times.h"
#include "server/core/polling/poll_schedule.h"
#include "server/core/ports.h"
#include "tests/bench/poll_tradeoff/shapes.h"

namespace dreamgate::bench {

class SeededRandom final : public core::Random {
 public:
  explicit SeededRandom(uint64_t seed) : engine_(seed) {}
  uint64_t Draw() override { return engine_(); }
  std::string UnguessableToken() override { return "none"; }

 private:
  std::mt19937_64 engine_;
};

// The age of the next poll after `polls` polls, the latest at `last`; seconds.
using Rival = std::function<double(double last, int polls, core::Random& random)>;

// The first poll falls anywhere in the first interval.
Rival FixedInterval(double interval);
// Doubling from 1 s to `longest`, each delay spread by a tenth.
Rival Backoff(double longest);
// `started_after`: upstream shows the task as processing from this age on; until then ours looks for
// that too.
Rival Ours(std::shared_ptr<const core::PollSchedule> schedule, double started_after = 0);
// Ours, if the distribution were known exactly: the best within the bounds.
Rival BestFor(const Shape& shape, const core::PollLimits& limits);

// Follows so many videos one after another with our own schedule and learns from what its polls show:
// only the intervals, or also upstream's own figures.
core::CompletionTimes Learn(const Shape& shape, const core::PollLimits& limits, int videos,
                            bool upstream_tells, uint64_t seed);

struct Outcome {
  double gets = 0;        // per video, mean
  double mean_delay = 0;  // seconds from the end to the poll that finds it
  double p99_delay = 0;
};
Outcome Measure(const Rival& rival, const Shape& shape, int videos, uint64_t seed);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_RIVALS_H_
