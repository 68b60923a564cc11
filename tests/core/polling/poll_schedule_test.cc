#include "server/core/polling/poll_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

// Eight jobs of which only the range, 83 to 253 s, and the median, 105 s, are known, filled in.
constexpr double kSample[] = {83, 92, 98, 102, 108, 120, 158, 253};
constexpr double kBandwidth = 8;  // seconds
// GETs times mean delay cannot go below half the square of the integral of sqrt(density x survival);
// for the smoothed sample and for the log-normal below.
constexpr double kSampleOptimum = 23.5;
constexpr double kLogNormalOptimum = 35.9;

double NormalTail(double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); }

double SampleSurvival(absl::Duration age) {
  double sum = 0;
  for (const double job : kSample) {
    sum += NormalTail((absl::ToDoubleSeconds(age) - job) / kBandwidth);
  }
  return sum / static_cast<double>(std::size(kSample));
}

double SampleDraw(std::mt19937_64& engine) {
  return kSample[engine() % std::size(kSample)] +
         std::normal_distribution<double>(0, kBandwidth)(engine);
}

double LogNormalSurvival(absl::Duration age) {
  return age <= absl::ZeroDuration() ? 1
                                     : NormalTail(std::log(absl::ToDoubleSeconds(age) / 105) / 0.4);
}

struct Polls {
  int gets = 0;
  absl::Duration last;   // still running
  absl::Duration found;  // ended
};

// Follows a video that ends at this age, and starts at once.
Polls Follow(const PollSchedule& schedule, absl::Duration end, Random& random) {
  Polls polls;
  for (;;) {
    const absl::Duration next = schedule.NextPoll(polls.last, polls.last, true, random);
    ++polls.gets;
    if (next >= end) {
      polls.found = next;
      return polls;
    }
    polls.last = next;
  }
}

struct Figures {
  double gets = 0;
  double delay = 0;  // seconds, mean
};

Figures OnTheSample(const PollSchedule& schedule, int videos, uint64_t seed) {
  std::mt19937_64 engine(seed);
  fakes::FakeRandom random(seed);
  Figures figures;
  for (int i = 0; i < videos; ++i) {
    const absl::Duration end = absl::Seconds(SampleDraw(engine));
    const Polls polls = Follow(schedule, end, random);
    figures.gets += polls.gets;
    figures.delay += absl::ToDoubleSeconds(polls.found - end);
  }
  figures.gets /= videos;
  figures.delay /= videos;
  return figures;
}

// From the prior and the intervals that its own polls leave, nothing else.
CompletionTimes LearnedFromTheSample(const PollLimits& limits, int videos, uint64_t seed) {
  std::mt19937_64 engine(seed);
  fakes::FakeRandom random(seed);
  CompletionTimes times;
  PollSchedule schedule(times, limits);
  for (int i = 1; i <= videos; ++i) {
    const Polls polls = Follow(schedule, absl::Seconds(SampleDraw(engine)), random);
    times.Observe({polls.last, polls.found});
    if (i % 8 == 0) schedule = PollSchedule(times, limits);
  }
  return times;
}

std::vector<CompletionTimes> SomeDistributions() {
  std::vector<CompletionTimes> all(5);
  for (int i = 0; i < 200; ++i) {
    all[1].Observe(absl::Seconds(90));
    all[2].Observe(absl::Seconds(i % 3 == 0 ? 4 : 900));
    all[3].Observe(absl::ZeroDuration());
    all[4].Observe({absl::Hours(i), absl::InfiniteDuration()});
  }
  return all;
}

TEST(PollScheduleTest, EveryPollIsAheadAndWithinTheBounds) {
  fakes::FakeRandom random;
  for (const CompletionTimes& times : SomeDistributions()) {
    for (const double gets : {1.2, 6.0, 20.0, 1000.0}) {
      for (const auto& [shortest, longest] : {std::pair(absl::Seconds(2), absl::Minutes(10)),
                                              std::pair(absl::Seconds(5), absl::Seconds(5)),
                                              std::pair(absl::Milliseconds(100), absl::Hours(1))}) {
        const PollSchedule schedule(times, {gets, shortest, longest});
        for (double seconds = 0; seconds < 10 * 86'400; seconds = seconds * 1.3 + 0.7) {
          const absl::Duration last = absl::Seconds(seconds);
          for (const bool started : {false, true}) {
            const absl::Duration next = schedule.NextPoll(last, last, started, random);
            EXPECT_GT(next, last);
            EXPECT_GE(next - last, shortest - absl::Nanoseconds(1)) << last << " " << gets;
            EXPECT_LE(next - last, longest + absl::Nanoseconds(1)) << last << " " << gets;
            const absl::Duration answered = last + absl::Milliseconds(300);
            EXPECT_GT(schedule.NextPoll(answered, last, started, random), answered);
          }
        }
      }
    }
  }
}

TEST(PollScheduleTest, AnOverduePollIsSpreadOverTheShortestInterval) {
  fakes::FakeRandom random;
  const PollSchedule schedule(CompletionTimes{}, {});
  const absl::Duration age = absl::Minutes(30);
  absl::Duration lowest = absl::InfiniteDuration();
  absl::Duration highest;
  for (int i = 0; i < 300; ++i) {
    const absl::Duration wait = schedule.NextPoll(age, absl::Seconds(60), true, random) - age;
    EXPECT_GT(wait, absl::ZeroDuration());
    EXPECT_LE(wait, absl::Seconds(2));
    lowest = std::min(lowest, wait);
    highest = std::max(highest, wait);
  }
  EXPECT_LT(lowest, absl::Seconds(0.2));
  EXPECT_GT(highest, absl::Seconds(1.8));
}

TEST(PollScheduleTest, PollingGoesOnToTheEndOfRetentionEverMoreSeldom) {
  fakes::FakeRandom random;
  for (const CompletionTimes& times : SomeDistributions()) {
    const PollSchedule schedule(times, {});
    const Polls polls = Follow(schedule, absl::Hours(7 * 24), random);
    EXPECT_LT(polls.gets, 2500);
    const absl::Duration minutes20 = absl::Minutes(20);
    const absl::Duration hours3 = absl::Hours(3);
    EXPECT_LT(schedule.NextPoll(minutes20, minutes20, true, random) - minutes20, absl::Minutes(10));
    EXPECT_GT(schedule.NextPoll(hours3, hours3, true, random) - hours3, absl::Minutes(1));
  }
}

TEST(PollScheduleTest, TheScheduleMeetsItsBudget) {
  std::vector<CompletionTimes> some = SomeDistributions();
  some.pop_back();  // videos that take days: the longest interval alone costs more
  for (const CompletionTimes& times : some) {
    double delay = 1e9;
    for (const double gets : {3.0, 5.0, 10.0, 20.0, 60.0}) {
      const PollSchedule schedule(times, {.gets_per_video = gets});
      EXPECT_LT(schedule.gets_per_video(), gets * 1.1);
      EXPECT_LE(absl::ToDoubleSeconds(schedule.mean_delay()), delay * 1.05)
          << "more polls, less delay";
      delay = absl::ToDoubleSeconds(schedule.mean_delay());
    }
  }
  const PollSchedule schedule(CompletionTimes{}, {.gets_per_video = 10});
  EXPECT_NEAR(schedule.gets_per_video(), 10, 0.3);
}

TEST(PollScheduleTest, ThePromisedFiguresOfADistributionComeTrue) {
  const PollSchedule schedule(SampleSurvival, {.gets_per_video = 12});
  const Figures figures = OnTheSample(schedule, 20'000, 1);
  EXPECT_NEAR(figures.gets, schedule.gets_per_video(), 0.4);
  EXPECT_NEAR(figures.delay, absl::ToDoubleSeconds(schedule.mean_delay()), 0.1);
}

TEST(PollScheduleTest, TheScheduleIsTheOptimumForAKnownDistribution) {
  for (const double gets : {8.0, 12.0, 16.0}) {
    const PollSchedule sample(SampleSurvival, {.gets_per_video = gets});
    EXPECT_LT(sample.gets_per_video() * absl::ToDoubleSeconds(sample.mean_delay()),
              1.04 * kSampleOptimum)
        << gets;
    const PollSchedule log_normal(LogNormalSurvival, {.gets_per_video = gets});
    EXPECT_LT(log_normal.gets_per_video() * absl::ToDoubleSeconds(log_normal.mean_delay()),
              1.04 * kLogNormalOptimum)
        << gets;
  }
}

TEST(PollScheduleTest, TheScheduleIsWithin15PercentOfTheOptimumAfter200Videos) {
  for (const double gets : {6.0, 12.0, 18.0}) {
    const PollLimits limits = {.gets_per_video = gets};
    double product = 0;
    constexpr uint64_t kSeeds = 6;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const PollSchedule schedule(LearnedFromTheSample(limits, 200, seed), limits);
      const Figures figures = OnTheSample(schedule, 2000, 100 + seed);
      product += figures.gets * figures.delay / kSeeds;
    }
    EXPECT_LT(product, 1.15 * kSampleOptimum) << gets;
  }
}

TEST(PollScheduleTest, TheDefaultCosts25GetsAtMostAndASecondAndAHalf) {
  const PollSchedule schedule(LearnedFromTheSample({}, 200, 1), {});
  const Figures figures = OnTheSample(schedule, 4000, 2);
  EXPECT_LT(figures.gets + 2, 25) << "polls for the start included";
  EXPECT_LT(figures.delay, 1.5);
}

TEST(PollScheduleTest, AGapThatNothingEndsInIsLeapt) {
  CompletionTimes times;
  for (int i = 0; i < 300; ++i) times.Observe(absl::Seconds(i % 2 == 0 ? 5 + i % 3 : 200 + i % 20));
  const PollSchedule schedule(times, {.gets_per_video = 5});
  fakes::FakeRandom random;
  absl::Duration last = absl::Seconds(12);
  int polls = 0;
  while (last < absl::Seconds(180)) {
    last = schedule.NextPoll(last, last, true, random);
    if (last < absl::Seconds(180)) ++polls;
  }
  EXPECT_LE(polls, 2);
  EXPECT_LT(last, absl::Seconds(215)) << "but not what comes after it";
}

TEST(PollScheduleTest, TheStartIsLookedForTwiceUnlessItIsKnown) {
  fakes::FakeRandom random;
  CompletionTimes times;
  for (int i = 0; i < 200; ++i) times.Observe(absl::Seconds(100 + i % 20));
  const PollSchedule schedule(times, {.gets_per_video = 10});
  const absl::Duration accepted = absl::Seconds(1);
  const absl::Duration first = schedule.NextPoll(accepted, accepted, false, random);
  EXPECT_NEAR(absl::ToDoubleSeconds(first), 5, 1);
  const absl::Duration second = schedule.NextPoll(first, first, false, random);
  EXPECT_NEAR(absl::ToDoubleSeconds(second), 20, 1.6);
  EXPECT_GT(schedule.NextPoll(second, second, false, random), absl::Seconds(40));
  EXPECT_GT(schedule.NextPoll(accepted, accepted, true, random), absl::Seconds(40));
}

TEST(PollScheduleTest, TasksOfOneMomentDoNotMarchInStep) {
  const PollSchedule schedule(CompletionTimes{}, {});
  fakes::FakeRandom random;
  for (const absl::Duration last : {absl::ZeroDuration(), absl::Seconds(100), absl::Hours(24)}) {
    absl::Duration lowest = absl::InfiniteDuration();
    absl::Duration highest;
    for (int i = 0; i < 200; ++i) {
      const absl::Duration next = schedule.NextPoll(last, last, true, random);
      lowest = std::min(lowest, next);
      highest = std::max(highest, next);
    }
    EXPECT_GT(highest - lowest, absl::Milliseconds(50)) << last;
  }
}

}  // namespace
}  // namespace dreamgate::core
