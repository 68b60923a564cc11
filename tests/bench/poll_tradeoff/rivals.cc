#include "tests/bench/poll_tradeoff/rivals.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "server/core/retry.h"

namespace dreamgate::bench {
namespace {

double Uniform(double low, double high, core::Random& random) {
  return absl::ToDoubleSeconds(core::UniformDelay(absl::Seconds(low), absl::Seconds(high), random));
}

}  // namespace

Rival FixedInterval(double interval) {
  return [interval](double last, int polls, core::Random& random) {
    return polls == 0 ? Uniform(0, interval, random) : last + interval;
  };
}

Rival Backoff(double longest) {
  return [longest](double last, int polls, core::Random& random) {
    const double delay = std::min(longest, std::ldexp(1.0, std::min(polls, 30)));
    return last + Uniform(0.9 * delay, 1.1 * delay, random);
  };
}

Rival Ours(std::shared_ptr<const core::PollSchedule> schedule, double started_after) {
  return [schedule = std::move(schedule), started_after](double last, int /*polls*/,
                                                         core::Random& random) {
    const absl::Duration age = absl::Seconds(last);
    return absl::ToDoubleSeconds(schedule->NextPoll(age, age, last >= started_after, random));
  };
}

Rival BestFor(const Shape& shape, const core::PollLimits& limits) {
  return Ours(std::make_shared<const core::PollSchedule>(
      [&shape](absl::Duration age) { return shape.survival(absl::ToDoubleSeconds(age)); }, limits));
}

core::CompletionTimes Learn(const Shape& shape, const core::PollLimits& limits, int videos,
                            bool upstream_tells, uint64_t seed) {
  std::mt19937_64 engine(seed);
  SeededRandom random(seed);
  core::CompletionTimes times;
  for (int i = 0; i < videos; ++i) {
    const core::PollSchedule schedule(times, limits);
    const absl::Duration end = absl::Seconds(shape.draw(engine));
    absl::Duration last;
    for (;;) {
      const absl::Duration poll = schedule.NextPoll(last, last, true, random);
      if (poll >= end) {
        const std::optional<absl::Duration> told =
            upstream_tells ? std::optional<absl::Duration>(end) : std::nullopt;
        times.Observe(core::ObservedCompletion(last, poll, absl::ZeroDuration(), told));
        break;
      }
      last = poll;
    }
  }
  return times;
}

Outcome Measure(const Rival& rival, const Shape& shape, int videos, uint64_t seed) {
  std::mt19937_64 engine(seed);
  SeededRandom random(seed);
  Outcome outcome;
  std::vector<double> delays;
  delays.reserve(static_cast<size_t>(videos));
  for (int i = 0; i < videos; ++i) {
    const double end = shape.draw(engine);
    double last = 0;
    int polls = 0;
    do {
      last = rival(last, polls, random);
      ++polls;
    } while (last < end);
    outcome.gets += static_cast<double>(polls) / videos;
    outcome.mean_delay += (last - end) / videos;
    delays.push_back(last - end);
  }
  const auto p99 = delays.begin() + static_cast<std::ptrdiff_t>(delays.size() * 99 / 100);
  std::nth_element(delays.begin(), p99, delays.end());
  outcome.p99_delay = *p99;
  return outcome;
}

}  // namespace dreamgate::bench
