#include "server/core/poll_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

TEST(PollScheduleTest, EveryDelayLiesWithinTheOperatorsBounds) {
  fakes::FakeRandom random;
  const Options options;
  for (const int seconds : {-3600, 0, 1, 30, 60, 120, 300, 301, 3600, 7 * 86400}) {
    for (int i = 0; i < 200; ++i) {
      const absl::Duration delay = NextPollDelay(absl::Seconds(seconds), options, random);
      EXPECT_GE(delay, options.poll_min_interval) << seconds;
      EXPECT_LE(delay, options.poll_max_interval) << seconds;
    }
  }
}

TEST(PollScheduleTest, OlderTasksAreLookedAtLessOften) {
  fakes::FakeRandom random;
  const Options options;
  const auto mean = [&](absl::Duration age) {
    absl::Duration sum;
    for (int i = 0; i < 500; ++i) sum += NextPollDelay(age, options, random);
    return sum / 500;
  };
  EXPECT_LT(mean(absl::Seconds(30)), mean(absl::Seconds(100)));
  EXPECT_LT(mean(absl::Seconds(100)), mean(absl::Seconds(250)));
}

TEST(PollScheduleTest, TasksOfTheSameAgeDoNotMarchInStep) {
  fakes::FakeRandom random;
  const Options options;
  for (const int seconds : {0, 100, 86400}) {
    absl::Duration lowest = absl::InfiniteDuration();
    absl::Duration highest;
    for (int i = 0; i < 200; ++i) {
      const absl::Duration delay = NextPollDelay(absl::Seconds(seconds), options, random);
      lowest = std::min(lowest, delay);
      highest = std::max(highest, delay);
    }
    EXPECT_GT(highest - lowest, lowest * 0.05) << seconds;
  }
}

TEST(PollScheduleTest, EqualBoundsMakeAFixedInterval) {
  fakes::FakeRandom random;
  Options options;
  options.poll_min_interval = options.poll_max_interval = absl::Seconds(5);
  EXPECT_EQ(NextPollDelay(absl::Seconds(1), options, random), absl::Seconds(5));
  EXPECT_EQ(NextPollDelay(absl::Hours(1), options, random), absl::Seconds(5));
}

TEST(PollScheduleTest, TheEstimateIsTheMedianOfTheLatest64) {
  DurationEstimate estimate;
  EXPECT_FALSE(estimate.Median().has_value());
  estimate.Add(absl::Seconds(10));
  EXPECT_EQ(estimate.Median(), absl::Seconds(10));
  estimate.Add(absl::Seconds(30));
  estimate.Add(absl::Seconds(20));
  EXPECT_EQ(estimate.Median(), absl::Seconds(20));
  for (int i = 0; i < 63; ++i) estimate.Add(absl::Seconds(100));
  EXPECT_EQ(estimate.Median(), absl::Seconds(100));
  for (int i = 0; i < 64; ++i) estimate.Add(absl::Seconds(1));
  EXPECT_EQ(estimate.Median(), absl::Seconds(1)) << "older ones are forgotten";
}

}  // namespace
}  // namespace dreamgate::core
