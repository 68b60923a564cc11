#include "server/core/retry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kPolicy = {absl::Milliseconds(100), absl::Seconds(10)};

TEST(RetryTest, FullJitterStaysBelowTheDoublingBoundAndFillsIt) {
  fakes::FakeRandom random;
  for (const int failures : {0, 1, 2, 5, 6, 7, 30, 31, 64, std::numeric_limits<int>::max()}) {
    const absl::Duration bound =
        failures > 6 ? kPolicy.maximum
                     : std::min(kPolicy.maximum, kPolicy.initial * (int64_t{1} << failures));
    absl::Duration lowest = absl::InfiniteDuration();
    absl::Duration highest = absl::ZeroDuration();
    for (int i = 0; i < 2000; ++i) {
      const absl::Duration delay = FullJitter(kPolicy, failures, random);
      lowest = std::min(lowest, delay);
      highest = std::max(highest, delay);
    }
    EXPECT_GE(lowest, absl::ZeroDuration()) << failures;
    EXPECT_LE(highest, bound) << failures;
    EXPECT_LT(lowest, bound * 0.05) << failures;
    EXPECT_GT(highest, bound * 0.95) << failures;
  }
}

TEST(RetryTest, AUniformDelayStaysWithinItsBounds) {
  fakes::FakeRandom random;
  for (int i = 0; i < 2000; ++i) {
    const absl::Duration delay = UniformDelay(absl::Seconds(2), absl::Seconds(3), random);
    EXPECT_GE(delay, absl::Seconds(2));
    EXPECT_LE(delay, absl::Seconds(3));
  }
  EXPECT_EQ(UniformDelay(absl::Seconds(2), absl::Seconds(2), random), absl::Seconds(2));
}

TEST(RetryTest, TheBudgetAllowsItsBurstAndThenItsShareOfFirstTries) {
  RetryBudget budget(/*ratio=*/0.5, /*burst=*/3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.TrySpend());
  EXPECT_FALSE(budget.TrySpend());
  int retries = 0;
  for (int i = 0; i < 100; ++i) {
    budget.OnFirstTry();
    if (budget.TrySpend()) ++retries;
  }
  EXPECT_EQ(retries, 50);
}

TEST(RetryTest, TheBudgetNeverSavesMoreThanItsBurst) {
  RetryBudget budget(/*ratio=*/0.5, /*burst=*/3);
  for (int i = 0; i < 1000; ++i) budget.OnFirstTry();
  int retries = 0;
  while (budget.TrySpend()) ++retries;
  EXPECT_EQ(retries, 3);
}

}  // namespace
}  // namespace dreamgate::core
