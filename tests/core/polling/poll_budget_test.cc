#include "server/core/polling/poll_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

using testing::ElementsAre;
using Key = PollBudget::Key;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

Key Task(const std::string& id) { return {{"tenant", id}, "u"}; }
Key Named(int number) { return Task(absl::StrCat("p", number)); }

fakes::FakeRandom& Chance() {
  static fakes::FakeRandom* const random = new fakes::FakeRandom(1);
  return *random;
}

PollBudget BudgetOf(double gets_per_second) { return PollBudget(gets_per_second, 48, Chance()); }

// Sends all that may go now; every poll is answered at once.
std::vector<Key> Take(PollBudget& budget, absl::Time now) {
  std::vector<Key> taken;
  while (const std::optional<Key> key = budget.Take(now)) {
    budget.OnServed(budget.OnSent(now), now);
    taken.push_back(*key);
  }
  return taken;
}

void RateLimit(PollBudget& budget, absl::Time now, std::optional<absl::Duration> retry_after) {
  budget.OnRateLimited(budget.OnSent(now), now, retry_after);
  // The answer to another one keeps it from being a row of failures.
  budget.OnServed(budget.OnSent(now), now);
}

// Goes on until `end` as the one timer of the caller would; what is taken is polled again
// `interval` later. Answers when each poll went out.
std::vector<std::pair<absl::Time, Key>> Follow(PollBudget& budget, absl::Time now, absl::Time end,
                                               absl::Duration interval) {
  std::vector<std::pair<absl::Time, Key>> polls;
  while (const auto next = budget.NextTime(now)) {
    if (*next > end) break;
    now = *next;
    for (const Key& key : Take(budget, now)) {
      polls.emplace_back(now, key);
      budget.Schedule(key, now + interval, now);
    }
  }
  return polls;
}

TEST(PollBudgetTest, WithoutALimitEverythingGoesOutWhenItIsDue) {
  PollBudget budget = BudgetOf(0);
  budget.Schedule(Named(1), kStart + absl::Seconds(5), kStart);
  budget.Schedule(Named(2), kStart + absl::Seconds(3), kStart);
  EXPECT_EQ(budget.NextTime(kStart), kStart + absl::Seconds(3));
  EXPECT_TRUE(Take(budget, kStart + absl::Seconds(2)).empty());
  EXPECT_THAT(Take(budget, kStart + absl::Seconds(5)), ElementsAre(Named(2), Named(1)));
  EXPECT_EQ(budget.NextTime(kStart + absl::Seconds(5)), std::nullopt);
  EXPECT_TRUE(std::isinf(budget.rate(kStart + absl::Seconds(5))));
}

TEST(PollBudgetTest, EarliestDueGoesFirstHoweverLateItAsked) {
  PollBudget budget = BudgetOf(1);
  for (int i = 1; i <= 3; ++i) {
    budget.Schedule(Named(i), kStart + absl::Milliseconds(i), kStart);
  }
  budget.Schedule(Named(4), kStart, kStart);
  std::vector<Key> order;
  for (absl::Time now = kStart; budget.waiting() > 0;) {
    now = *budget.NextTime(now);
    for (const Key& key : Take(budget, now)) order.push_back(key);
  }
  EXPECT_THAT(order, ElementsAre(Named(4), Named(1), Named(2), Named(3)));
}

TEST(PollBudgetTest, EqualsGoInTheOrderOfAsking) {
  PollBudget budget = BudgetOf(0);
  budget.Schedule(Task("b"), kStart, kStart);
  budget.Schedule(Task("a"), kStart, kStart);
  EXPECT_THAT(Take(budget, kStart), ElementsAre(Task("b"), Task("a")));
}

TEST(PollBudgetTest, APredictionHasOnePlace) {
  PollBudget budget = BudgetOf(1);
  for (int i = 0; i < 1000; ++i) {
    budget.Schedule(Named(i % 10), kStart + absl::Seconds(i), kStart);
    EXPECT_LE(budget.waiting(), 10u);
  }
  EXPECT_EQ(budget.NextTime(kStart), kStart + absl::Seconds(990)) << "the latest wish counts";
  for (int i = 0; i < 10; ++i) budget.Withdraw(Named(i));
  budget.Withdraw(Named(0));
  EXPECT_EQ(budget.waiting(), 0u);
  budget.Schedule(Named(1), kStart, kStart);
  budget.WithdrawAll();
  EXPECT_EQ(budget.NextTime(kStart), std::nullopt);
}

TEST(PollBudgetTest, NoSecondSeesMoreThanTwiceTheRate) {
  for (const double rate : {0.3, 1.0, 7.0, 50.0}) {
    PollBudget budget = BudgetOf(rate);
    for (int i = 0; i < 300; ++i) budget.Schedule(Named(i), kStart, kStart);
    const absl::Duration long_run = absl::Seconds(120);
    const auto polls = Follow(budget, kStart, kStart + long_run, absl::Milliseconds(1));
    EXPECT_NEAR(static_cast<double>(polls.size()), rate * 120, rate + 2);
    for (size_t i = 0, first = 0; i < polls.size(); ++i) {
      while (polls[i].first - polls[first].first > absl::Seconds(1)) ++first;
      EXPECT_LE(static_cast<double>(i - first + 1), 2 * rate + 2) << rate;
    }
  }
}

TEST(PollBudgetTest, ATooSmallBudgetIsSharedAlikeAndStarvesNobody) {
  PollBudget budget = BudgetOf(10);
  for (int i = 0; i < 200; ++i) budget.Schedule(Named(i), kStart, kStart);
  std::map<Key, int> polls;
  for (const auto& [time, key] :
       Follow(budget, kStart, kStart + absl::Minutes(10), absl::Seconds(2))) {
    ++polls[key];
  }
  ASSERT_EQ(polls.size(), 200u);
  for (const auto& [key, count] : polls) EXPECT_NEAR(count, 30, 2) << key.prediction.second;
}

TEST(PollBudgetTest, ALatePollIsNotOvertakenByYoungerOnes) {
  PollBudget budget = BudgetOf(1);
  budget.Schedule(Task("old"), kStart + absl::Seconds(1), kStart);
  absl::Time now = kStart;
  for (int i = 0; i < 1000; ++i) budget.Schedule(Named(i), kStart + absl::Seconds(2), kStart);
  now = *budget.NextTime(now);
  EXPECT_THAT(Take(budget, now), ElementsAre(Task("old")));
}

TEST(PollBudgetTest, A429HalvesTheRateOnceAnInterval) {
  PollBudget budget = BudgetOf(40);
  RateLimit(budget, kStart, std::nullopt);
  for (int i = 0; i < 50; ++i) {
    RateLimit(budget, kStart + absl::Milliseconds(i), std::nullopt);
  }
  EXPECT_NEAR(budget.rate(kStart + absl::Milliseconds(50)), 20, 0.1);
  RateLimit(budget, kStart + PollBudget::kDecreaseInterval, std::nullopt);
  EXPECT_LT(budget.rate(kStart + PollBudget::kDecreaseInterval), 12);
}

TEST(PollBudgetTest, TheRateComesBackSlowlyAtFirstAndWholeWithin15Seconds) {
  PollBudget budget = BudgetOf(40);
  absl::Time now = kStart;
  for (int i = 0; i < 100; ++i) {
    RateLimit(budget, now, std::nullopt);
    now += PollBudget::kDecreaseInterval;
  }
  const double low = budget.rate(now);
  EXPECT_GT(low, 0);
  EXPECT_LT(low, 4);
  const double after_5s = budget.rate(now + absl::Seconds(5));
  const double after_10s = budget.rate(now + absl::Seconds(10));
  EXPECT_GT(after_10s - after_5s, 1.5 * (after_5s - low));
  EXPECT_EQ(budget.rate(now + PollBudget::kRecovery), 40) << "and never above";
  EXPECT_EQ(budget.rate(now + absl::Hours(1)), 40);
}

TEST(PollBudgetTest, NothingGoesOutBeforeRetryAfterAndNoBurstFollows) {
  PollBudget budget = BudgetOf(10);
  for (int i = 0; i < 100; ++i) budget.Schedule(Named(i), kStart, kStart);
  RateLimit(budget, kStart, absl::Seconds(20));
  RateLimit(budget, kStart, absl::Seconds(4));
  EXPECT_TRUE(Take(budget, kStart + absl::Seconds(19)).empty());
  EXPECT_GE(*budget.NextTime(kStart + absl::Seconds(19)), kStart + absl::Seconds(20));
  const auto polls =
      Follow(budget, kStart + absl::Seconds(19), kStart + absl::Seconds(22), absl::Minutes(1));
  ASSERT_FALSE(polls.empty());
  EXPECT_GE(polls.front().first, kStart + absl::Seconds(20));
  EXPECT_LE(polls.size(), 12u) << "half the rate, for two seconds";
}

TEST(PollBudgetTest, AnAbsurdRetryAfterIsCutShort) {
  PollBudget budget = BudgetOf(0);
  budget.Schedule(Named(1), kStart, kStart);
  RateLimit(budget, kStart, absl::InfiniteDuration());
  EXPECT_GE(*budget.NextTime(kStart), kStart + PollBudget::kLongestPause);
  EXPECT_LE(*budget.NextTime(kStart), kStart + PollBudget::kLongestPause + absl::Seconds(3));
}

TEST(PollBudgetTest, WithoutALimitA429LimitsToHalfOfWhatWasSentAndPasses) {
  PollBudget budget = BudgetOf(0);
  for (int i = 0; i < 100; ++i) budget.Schedule(Named(i), kStart, kStart);
  Follow(budget, kStart, kStart + absl::Minutes(1), absl::Seconds(5));  // 20 a second
  const absl::Time now = kStart + absl::Minutes(1);
  RateLimit(budget, now, std::nullopt);
  EXPECT_NEAR(budget.rate(now), 10, 5);
  EXPECT_FALSE(std::isinf(budget.rate(now + absl::Seconds(15))));
  EXPECT_TRUE(std::isinf(budget.rate(now + absl::Minutes(2))));
}

// Upstream bears 5 GETs a second; 200 predictions would like 100.
TEST(PollBudgetTest, AStormOf429sCostsUpstreamAFewTimesWhatItBearsAtMost) {
  PollBudget budget = BudgetOf(100);
  for (int i = 0; i < 200; ++i) budget.Schedule(Named(i), kStart, kStart);
  double tokens = 5;
  absl::Time now = kStart;
  absl::Time refilled = kStart;
  int sent = 0;
  int refused = 0;
  while (now < kStart + absl::Minutes(10)) {
    now = std::max(*budget.NextTime(now), now);
    tokens = std::min(5.0, tokens + 5 * absl::ToDoubleSeconds(now - refilled));
    refilled = now;
    while (const std::optional<Key> key = budget.Take(now)) {
      ++sent;
      const CircuitBreaker::Call call = budget.OnSent(now);
      if (tokens >= 1) {
        tokens -= 1;
        budget.OnServed(call, now);
      } else {
        ++refused;
        budget.OnRateLimited(call, now, std::nullopt);
      }
      budget.Schedule(*key, now + absl::Seconds(2), now);
    }
  }
  EXPECT_GT(sent - refused, 5 * 600 / 2) << "what it bears is used";
  EXPECT_LT(sent, 5 * 600 * 5 / 2) << "of 60,000 that were wished for";
}

TEST(PollBudgetTest, PollsUnderWayHaveALimit) {
  PollBudget budget = BudgetOf(0);
  for (int i = 0; i < 1000; ++i) budget.Schedule(Named(i), kStart, kStart);
  std::vector<CircuitBreaker::Call> calls;
  while (budget.Take(kStart)) calls.push_back(budget.OnSent(kStart));
  EXPECT_EQ(budget.under_way(), 40);
  EXPECT_EQ(budget.waiting(), 960u);
  EXPECT_EQ(budget.NextTime(kStart), std::nullopt) << "an answer makes room";
  budget.OnServed(calls.front(), kStart);
  EXPECT_EQ(budget.NextTime(kStart), kStart);
  EXPECT_TRUE(budget.Take(kStart).has_value());
}

TEST(PollBudgetTest, WhileTheCircuitIsOpenPollsWaitAndOneGoesNowAndThenTheEarliestDue) {
  PollBudget budget = BudgetOf(0);
  absl::Time now = kStart;
  for (int i = 0; i <= CircuitBreaker::kFailuresToOpen; ++i) {
    budget.OnFailed(budget.OnSent(now), now, std::nullopt);
    now += absl::Milliseconds(100);
  }
  ASSERT_EQ(budget.circuit(), CircuitBreaker::State::kOpen);
  for (int i = 0; i < 100; ++i) budget.Schedule(Named(i), kStart + absl::Milliseconds(i), now);
  for (int probe = 0; probe < 3; ++probe) {
    EXPECT_EQ(budget.Take(now), std::nullopt);
    now = *budget.NextTime(now);
    EXPECT_EQ(budget.Take(now), Named(probe));
    budget.OnSent(now);  // without an answer
  }
  EXPECT_EQ(budget.waiting(), 97u);
}

// Or what little was sent then would be taken for what upstream bears.
TEST(PollBudgetTest, A429OfAProbeLeavesTheRateAlone) {
  PollBudget budget = BudgetOf(0);
  absl::Time now = kStart;
  for (int i = 0; i <= CircuitBreaker::kFailuresToOpen; ++i) {
    budget.OnRateLimited(budget.OnSent(now), now, std::nullopt);
    now += absl::Milliseconds(100);
  }
  ASSERT_EQ(budget.circuit(), CircuitBreaker::State::kOpen);
  now += absl::Minutes(10);
  budget.OnRateLimited(budget.OnSent(now), now, std::nullopt);
  EXPECT_TRUE(std::isinf(budget.rate(now)));
}

TEST(PollBudgetTest, AClockThatIsSetBackDelaysNothing) {
  PollBudget budget = BudgetOf(10);
  budget.Schedule(Named(1), kStart + absl::Seconds(3), kStart);
  budget.Schedule(Named(2), kStart + absl::Seconds(4), kStart);
  const absl::Time earlier = kStart - absl::Hours(5);
  EXPECT_EQ(budget.NextTime(earlier), earlier + absl::Seconds(3));
  budget.Withdraw(Named(2));
  EXPECT_THAT(Take(budget, earlier + absl::Seconds(4)), ElementsAre(Named(1)));
  EXPECT_EQ(budget.waiting(), 0u);
}

TEST(PollBudgetTest, TheSustainableGetsFollowFromRateDurationAndNumber) {
  PollBudget budget = BudgetOf(10);
  EXPECT_NEAR(budget.SustainableGets(100, absl::Seconds(120), kStart), 12, 1e-9);
  EXPECT_TRUE(std::isinf(budget.SustainableGets(0, absl::Seconds(120), kStart)));
  EXPECT_TRUE(std::isinf(BudgetOf(0).SustainableGets(100, absl::Seconds(120), kStart)));
}

}  // namespace
}  // namespace dreamgate::core
