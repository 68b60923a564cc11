// When upstream's history is asked, how far it is read, and which readings prove nothing.
#include "server/core/evidence/history_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::SizeIs;

// ------------------------------------------------------------------------------- asking and reading

TEST(HistoryReaderTest, HistoryIsNotAskedWithoutNeed) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  world.MakeAndAccept();
  ASSERT_TRUE(world.Ends(call->id()));
  world.time.Advance(absl::Minutes(30));
  EXPECT_LE(world.account.asked.size(), 1u);
}

TEST(HistoryReaderTest, HistoryIsNotAskedForWhatIsInFlight) {
  ReconcilerWorld world;
  world.Submit("r1");
  world.time.Advance(world.options.submit_soft_timeout - absl::Seconds(1));
  EXPECT_THAT(world.account.asked, IsEmpty());
}

TEST(HistoryReaderTest, OneQuestionServesAllThatAreUnresolved) {
  ReconcilerWorld world;
  std::vector<ReconcilerWorld::LostSubmission> lost;
  for (int i = 0; i < 20; ++i) lost.push_back(world.Lose("r" + std::to_string(i)));
  world.time.Advance(absl::Minutes(4));
  for (const auto& each : lost) {
    EXPECT_EQ(world.Durable(each.id).upstream_id, each.upstream_id);
    EXPECT_EQ(world.Durable(each.id).state, State::kCompleted);
  }
  EXPECT_LE(world.account.asked.size(), 4u);
  EXPECT_EQ(world.events.reconciled["history"], 20);
  EXPECT_EQ(world.events.predictions_unresolved, 0);
}

TEST(HistoryReaderTest, HistoryThatFailsForAWhileIsAskedAgainWithoutAStorm) {
  ReconcilerWorld world;
  world.account.failure = HistoryFailed{503, "no", std::nullopt};
  const auto lost = world.Lose("r1");
  world.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  EXPECT_GE(world.account.queries.size(), 3u);
  EXPECT_LE(world.account.queries.size(), 30u);
  for (size_t i = 1; i < world.account.asked.size(); ++i) {
    EXPECT_GE(world.account.asked[i] - world.account.asked[i - 1], absl::Seconds(1));
  }
  world.account.failure.reset();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, absl::Minutes(4)));
}

TEST(HistoryReaderTest, HistoryIsGivenTheTimeItAsksFor) {
  ReconcilerWorld world;
  world.account.failure = HistoryFailed{429, "slow down", absl::Minutes(5)};
  world.Lose("r1");
  ASSERT_TRUE(world.time.AdvanceUntil([&] { return world.account.asked.size() == 1; }, kSoon));
  world.time.Advance(absl::Minutes(5) - absl::Seconds(1));
  EXPECT_THAT(world.account.asked, SizeIs(1));
  world.time.Advance(absl::Minutes(3));
  EXPECT_THAT(world.account.asked, SizeIs(2));
}

TEST(HistoryReaderTest, HistoryIsReadPageByPageBackToTheAttempt) {
  ReconcilerWorld world;
  world.account.page_size = 3;
  const auto lost = world.Lose("r1");
  for (int i = 0; i < 10; ++i) world.account.Add({"somebody's", "16:9", 100 + i});
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  std::vector<int> pages;
  for (const HistoryQuery& query : world.account.queries) pages.push_back(query.page);
  EXPECT_THAT(pages, testing::IsSupersetOf({1, 2, 3, 4}));
}

TEST(HistoryReaderTest, AReadingThatBreaksOffProvesNoAbsence) {
  ReconcilerWorld world;
  world.account.page_size = 2;
  world.account.failing_page = 2;
  for (int i = 0; i < 5; ++i) world.account.Add({"somebody's", "16:9", 100 + i});
  const auto lost = world.Lose("r1", /*created=*/false);
  world.time.Advance(world.options.unresolved_timeout - absl::Seconds(1));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.account.failing_page.reset();
  ASSERT_TRUE(world.Ends(lost.id));
}

TEST(HistoryReaderTest, ATaskInAReadingThatBreaksOffIsBoundOnceNoEqualOneCanBeInTheRest) {
  ReconcilerWorld world;
  world.account.page_size = 1;
  world.account.failing_page = 2;
  world.account.Add({"somebody's", "16:9", 100});
  const auto lost = world.Lose("r1");
  world.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.account.failing_page.reset();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
}

TEST(HistoryReaderTest, AHistoryWithoutEndIsNotReadForever) {
  ReconcilerWorld world;
  world.account.endless = true;
  world.account.page_size = 1;
  const auto lost = world.Lose("r1", /*created=*/false);
  // Every page costs no time here: a reading without end would never return.
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_LT(world.account.queries.size(), 20'000u);
}

// ------------------------------------------------------------------------------------------- clocks

class ClockSkewTest : public testing::TestWithParam<absl::Duration> {};

TEST_P(ClockSkewTest, ATaskIsFoundWhateverUpstreamsClockSays) {
  ReconcilerWorld world;
  world.account.clock_offset = GetParam();
  const auto lost = world.Lose("r1");
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
}

TEST_P(ClockSkewTest, AbsenceIsStillProvenWhenThereIsNothing) {
  ReconcilerWorld world;
  world.account.clock_offset = GetParam();
  const auto lost = world.Lose("r1", /*created=*/false);
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
}

TEST_P(ClockSkewTest, ATaskWithoutInputIsACandidateBySkewedTimesToo) {
  ReconcilerWorld world;
  world.account.clock_offset = GetParam();
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
}

INSTANTIATE_TEST_SUITE_P(Offsets, ClockSkewTest,
                         testing::Values(absl::Minutes(10), -absl::Minutes(10), absl::Hours(3),
                                         -absl::Hours(3), absl::Seconds(1)));

TEST(HistoryReaderTest, AnOffsetKnownOnlyFromTheAnswerMakesItAskAgainWider) {
  ReconcilerWorld world;
  world.account.clock_offset = -absl::Minutes(40);
  const auto lost = world.Lose("r1");
  const absl::Time sent = world.time.Now();
  ASSERT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  ASSERT_GE(world.account.queries.size(), 2u);
  EXPECT_LE(world.account.queries.back().created_after, sent - absl::Minutes(40));
}

TEST(HistoryReaderTest, WithoutAnyDateHistoryIsBelievedByItsItems) {
  ReconcilerWorld world;
  world.account.dated = false;
  const auto lost = world.Lose("r1");
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
}

TEST(HistoryReaderTest, AKeyThatChangesDuringTheReadingProvesNothing) {
  ReconcilerWorld world(WithResend());
  world.account.page_size = 1;
  for (int i = 0; i < 3; ++i) world.account.Add({"somebody's", "16:9", 100 + i});
  const auto lost = world.Lose("r1", /*created=*/false);
  // Each first page is answered for one account, the others for another; the first one's key is back
  // before the next reading.
  auto list = std::move(world.upstream.answer_lists);
  std::unique_ptr<Timers::Timer> back;
  world.upstream.answer_lists = [&](const HistoryQuery& query) {
    HistoryOutcome outcome = list(query);
    if (query.page >= 2) {
      world.upstream.key_fingerprint = "another-key";
      back = world.time.After(absl::Seconds(1),
                              [&] { world.upstream.key_fingerprint = "0123456789abcdef"; });
    }
    return outcome;
  };
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

// -------------------------------------------------------------------------------- the whole history

TEST(HistoryReaderTest, WhatWasGivenUpIsAskedForHourlyForSevenDaysAndNotLonger) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  world.account.queries.clear();
  world.account.asked.clear();
  world.time.Advance(absl::Hours(24));
  EXPECT_GE(world.account.asked.size(), 20u);
  EXPECT_LE(world.account.asked.size(), 30u);
  world.time.Advance(absl::Hours(6 * 24 - 3));
  EXPECT_GE(world.account.asked.size(), 140u);
  EXPECT_GE(world.account.asked.back(), world.time.Now() - absl::Hours(2));
  world.time.Advance(absl::Hours(6));
  world.account.asked.clear();
  world.time.Advance(absl::Hours(48));
  EXPECT_THAT(world.account.asked, IsEmpty()) << "upstream has forgotten it by then";
}

}  // namespace
}  // namespace dreamgate::core
