// Some hundred histories from a fixed range of seeds. The program `simulation` runs more of them.
#include "tests/simulation/simulation.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/simulation/report.h"

namespace dreamgate::simulation {
namespace {

void ExpectPromisesKept(uint64_t first, uint64_t count, Size size, Summary& summary) {
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const History history = Simulate({.seed = seed, .size = size});
    summary.Add(history);
    ASSERT_TRUE(history.violations.empty())
        << DescribeFailure(Simulate({.seed = seed, .size = size, .trace = true}), size);
  }
}

TEST(SimulationTest, EveryPromiseIsKeptInManySmallHistories) {
  Summary summary;
  ExpectPromisesKept(1, 100, Size::kSmall, summary);
  // Without storms a history proves nothing.
  EXPECT_GT(summary.crashes, 100);
  EXPECT_GT(summary.restarts, 5);
  EXPECT_GT(summary.ambiguous_answers, 50);
  EXPECT_GT(summary.tasks, 300);
  EXPECT_GT(summary.transactions_failed, 50);
  EXPECT_GT(summary.faults, 500);
  EXPECT_GT(summary.lists, 1000);
  EXPECT_GT(summary.webhooks, 50);
  EXPECT_GT(summary.absences, 20);
  EXPECT_GT(summary.resends, 5);
  EXPECT_GT(summary.orphans, 0);
}

TEST(SimulationTest, EveryPromiseIsKeptInLargeHistories) {
  Summary summary;
  ExpectPromisesKept(1, 2, Size::kLarge, summary);
  EXPECT_GT(summary.crashes, 5);
  EXPECT_GT(summary.transactions, 1000);
  EXPECT_GT(summary.forgotten, 0) << "some callers come back with a request_id of long ago";
}

TEST(SimulationTest, ASeedReplaysItsHistoryExactly) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const History once = Simulate({.seed = seed, .trace = true});
    const History again = Simulate({.seed = seed, .trace = true});
    EXPECT_GT(once.trace.size(), 1000U);
    ASSERT_EQ(once.trace, again.trace);
    EXPECT_EQ(once.events, again.events);
  }
  EXPECT_NE(Simulate({.seed = 1, .trace = true}).trace, Simulate({.seed = 2, .trace = true}).trace);
}

TEST(SimulationTest, TheTraceDoesNotChangeTheHistory) {
  EXPECT_EQ(Simulate({.seed = 3}).events, Simulate({.seed = 3, .trace = true}).events);
}

}  // namespace
}  // namespace dreamgate::simulation
