// What becomes of POSTs whose outcome is unknown, through the gateway's front door on virtual time.
#include "server/core/evidence/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/core/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::Contains;
using testing::Key;
using testing::SizeIs;
using testing::UnorderedElementsAre;

// Well within this, history has been asked once more after something has changed.
constexpr absl::Duration kSoon = absl::Minutes(2);
// Within this, also what has been given up has been asked for once more.
constexpr absl::Duration kWithinTheHour = absl::Minutes(70);

Options WithResend(int times = 1) {
  Options options;
  options.resend_after_absence = times;
  return options;
}

const Output VideoOf(const std::string& upstream_id) {
  return {Account::UrlOf(upstream_id), false};
}

// -------------------------------------------------------------------------------- found in history

TEST(ReconcilerTest, ALostAnswerIsFoundInHistoryAndFollowedToItsVideo) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  const auto watcher = world.Watch(lost.id);
  ASSERT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  world.time.RunDue();
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
  EXPECT_EQ(world.Durable(lost.id).history[2].source, TransitionSource::kReconciliation);
  EXPECT_EQ(world.ResultOf(lost.id), AttemptResult::kAccepted);
  EXPECT_THAT(world.account.polls[lost.upstream_id], ElementsAre(world.time.Now()))
      << "what has become of it meanwhile is asked at once";
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
  EXPECT_THAT(world.Durable(lost.id).outputs, ElementsAre(VideoOf(lost.upstream_id)));
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(watcher->states(), (std::vector<State>{State::kUnresolved, State::kCreated,
                                                   State::kProcessing, State::kCompleted}));
  EXPECT_EQ(world.events.reconciled["history"], 1);
  EXPECT_EQ(world.events.reconciled.size(), 1u);
  EXPECT_EQ(world.events.orphans, 0);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(ReconcilerTest, HistoryIsNotAskedWithoutNeed) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  world.MakeAndAccept();
  ASSERT_TRUE(world.Ends(call->id()));
  world.time.Advance(absl::Minutes(30));
  EXPECT_LE(world.account.asked.size(), 1u);
}

TEST(ReconcilerTest, HistoryIsNotAskedForWhatIsInFlight) {
  ReconcilerWorld world;
  world.Submit("r1");
  world.time.Advance(world.options.submit_soft_timeout - absl::Seconds(1));
  EXPECT_THAT(world.account.asked, IsEmpty());
}

TEST(ReconcilerTest, OneQuestionServesAllThatAreUnresolved) {
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

TEST(ReconcilerTest, TheNumberOfUnresolvedIsTold) {
  ReconcilerWorld world;
  world.account.failure = HistoryFailed{503, "no", std::nullopt};
  world.Lose("r1");
  world.Lose("r2");
  EXPECT_EQ(world.events.predictions_unresolved, 2);
  EXPECT_EQ(world.gateway->Status().predictions_unresolved, 2);
  world.account.failure.reset();
  world.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world.events.predictions_unresolved, 0);
  EXPECT_EQ(world.gateway->Status().predictions_unresolved, 0);
}

TEST(ReconcilerTest, HistoryThatFailsForAWhileIsAskedAgainWithoutAStorm) {
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

TEST(ReconcilerTest, HistoryIsGivenTheTimeItAsksFor) {
  ReconcilerWorld world;
  world.account.failure = HistoryFailed{429, "slow down", absl::Minutes(5)};
  world.Lose("r1");
  ASSERT_TRUE(world.time.AdvanceUntil([&] { return world.account.asked.size() == 1; }, kSoon));
  world.time.Advance(absl::Minutes(5) - absl::Seconds(1));
  EXPECT_THAT(world.account.asked, SizeIs(1));
  world.time.Advance(absl::Minutes(3));
  EXPECT_THAT(world.account.asked, SizeIs(2));
}

TEST(ReconcilerTest, HistoryThatNeverAnswersEndsInTheTimeoutWithoutAVerdict) {
  ReconcilerWorld world;
  world.account.failure = HistoryFailed{0, "no answer", std::nullopt};
  const auto lost = world.Lose("r1", /*created=*/false);
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.events.reconciled["none"], 1);
}

TEST(ReconcilerTest, ATaskThatHistoryShowsLateIsFoundAndNotThoughtAbsent) {
  ReconcilerWorld world;
  world.account.lag = absl::Seconds(100);
  const auto lost = world.Lose("r1");
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, absl::Minutes(4)));
}

TEST(ReconcilerTest, HistoryThatLagsBehindTheLedgerProvesNoAbsence) {
  // A task that the ledger knows, created a little before or after ours, is missing as well.
  for (const bool before : {false, true}) {
    SCOPED_TRACE(before ? "before" : "after");
    ReconcilerWorld world;
    world.account.lag = absl::Minutes(8);
    world.account.duration = absl::Hours(1);
    const auto accept_another = [&world] {
      world.Submit("r0", "a dog");
      world.MakeAndAccept();
    };
    if (before) {
      accept_another();
      world.time.Advance(absl::Minutes(1));
    }
    const auto lost = world.Lose("r1");
    if (!before) {
      world.time.Advance(absl::Seconds(1));
      accept_another();
    }
    world.time.Advance(absl::Minutes(7));
    EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
    EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, absl::Minutes(4)));
  }
}

TEST(ReconcilerTest, WhatHistorySaysOfATaskIsNoMoreThanThatItExists) {
  for (const char* status : {"created", "processing", "completed", "failed", "something new", ""}) {
    SCOPED_TRACE(status);
    ReconcilerWorld world;
    const auto lost = world.Lose("r1");
    world.account.Find(lost.upstream_id).listed_status = status;
    world.account.duration = absl::Minutes(10);
    world.time.Advance(absl::Minutes(2));
    EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
    EXPECT_EQ(world.Durable(lost.id).state, State::kProcessing) << "the GET's word";
    ASSERT_TRUE(world.Ends(lost.id));
    EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
  }
}

TEST(ReconcilerTest, OtherClientsTasksAreLeftAlone) {
  ReconcilerWorld world;
  std::set<std::string> foreign;
  for (int i = 0; i < 5; ++i) {
    foreign.insert(world.account.Add({"somebody's " + std::to_string(i), "16:9", 100 + i}));
  }
  const auto lost = world.Lose("r1");
  for (int i = 5; i < 10; ++i) {
    foreign.insert(world.account.Add({"somebody's " + std::to_string(i), "16:9", 100 + i}));
  }
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
  for (const std::string& id : foreign) EXPECT_EQ(world.account.polls.count(id), 0u) << id;
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(ReconcilerTest, HistoryIsReadPageByPageBackToTheAttempt) {
  ReconcilerWorld world;
  world.account.page_size = 3;
  const auto lost = world.Lose("r1");
  for (int i = 0; i < 10; ++i) world.account.Add({"somebody's", "16:9", 100 + i});
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  std::vector<int> pages;
  for (const HistoryQuery& query : world.account.queries) pages.push_back(query.page);
  EXPECT_THAT(pages, testing::IsSupersetOf({1, 2, 3, 4}));
}

TEST(ReconcilerTest, AReadingThatBreaksOffProvesNoAbsence) {
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

TEST(ReconcilerTest, ATaskInAReadingThatBreaksOffIsBoundOnceNoEqualOneCanBeInTheRest) {
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

TEST(ReconcilerTest, AHistoryWithoutEndIsNotReadForever) {
  ReconcilerWorld world;
  world.account.endless = true;
  world.account.page_size = 1;
  const auto lost = world.Lose("r1", /*created=*/false);
  // Every page costs no time here: a reading without end would never return.
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_LT(world.account.queries.size(), 20'000u);
}

TEST(ReconcilerTest, AnEqualTaskOfLongAgoIsNotOurs) {
  ReconcilerWorld world;
  world.account.Add({"a cat", "16:9", 7});
  world.time.Advance(absl::Hours(2));
  const auto lost = world.Lose("r1", /*created=*/false, "a cat", 7);
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
  world.time.Advance(absl::Hours(24));
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(ReconcilerTest, ATaskOfAnotherModelIsNotOurs) {
  ReconcilerWorld world;
  world.account.Find(world.account.Add({"a cat", "16:9", 7})).model = "another/model";
  const auto lost = world.Lose("r1", /*created=*/false, "a cat", 7);
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
}

// ------------------------------------------------------------------------------------------ clocks

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

TEST(ReconcilerTest, AnOffsetKnownOnlyFromTheAnswerMakesItAskAgainWider) {
  ReconcilerWorld world;
  world.account.clock_offset = -absl::Minutes(40);
  const auto lost = world.Lose("r1");
  const absl::Time sent = world.time.Now();
  ASSERT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  ASSERT_GE(world.account.queries.size(), 2u);
  EXPECT_LE(world.account.queries.back().created_after, sent - absl::Minutes(40));
}

TEST(ReconcilerTest, WithoutAnyDateHistoryIsBelievedByItsItems) {
  ReconcilerWorld world;
  world.account.dated = false;
  const auto lost = world.Lose("r1");
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
}

// ----------------------------------------------------------------------------- nothing to be found

TEST(ReconcilerTest, WhatWasNotCreatedFailsOnlyAfterTheSettleTimeAndThreeQuestions) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1", /*created=*/false);
  const absl::Time unresolved = world.time.Now();
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
  EXPECT_GE(world.time.Now() - unresolved, world.options.absence_settle_time);
  EXPECT_LE(world.time.Now() - unresolved, 2 * world.options.absence_settle_time);
  ASSERT_GE(world.account.asked.size(), 3u);
  EXPECT_LE(world.account.asked.size(), 8u);
  EXPECT_GE(world.account.asked.back() - world.account.asked.front(),
            world.options.absence_settle_time);
  EXPECT_TRUE(world.Durable(lost.id).failure->resubmission_may_help);
  EXPECT_EQ(world.ResultOf(lost.id), AttemptResult::kAbsent);
  EXPECT_EQ(world.events.reconciled["absence"], 1);
  EXPECT_EQ(world.upstream.posts_counted, 1) << "nothing is sent again without the opt-in";
  const auto again = world.Submit("r1");
  EXPECT_TRUE(again->result->replayed);
  EXPECT_EQ(again->id(), lost.id);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(ReconcilerTest, AbsenceIsNeverConcludedWhileThePostIsStillOnTheWire) {
  for (const int resend : {0, 1}) {
    ReconcilerWorld world(WithResend(resend));
    const auto call = world.Submit("r1");
    world.time.Advance(absl::Minutes(14));
    ASSERT_EQ(call->state(), State::kUnresolved);
    EXPECT_EQ(world.Durable(call->id()).state, State::kUnresolved);
    EXPECT_EQ(world.upstream.posts_counted, 1);
    world.MakeAndAccept();
    EXPECT_EQ(world.Durable(call->id()).state, State::kCreated);
    EXPECT_EQ(world.events.reconciled["answer"], 1);
    EXPECT_EQ(world.events.reconciled.size(), 1u);
  }
}

TEST(ReconcilerTest, TimeOnTheWireIsNoTimeOfAbsence) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  world.time.Advance(absl::Minutes(5));
  world.Answer(Unknown());
  world.time.Advance(world.options.absence_settle_time - absl::Seconds(1));
  EXPECT_EQ(world.Durable(call->id()).state, State::kUnresolved);
  ASSERT_TRUE(world.Ends(call->id(), absl::Minutes(5)));
  EXPECT_EQ(world.FailureOf(call->id()), FailureCode::kSubmitNotCreated);
}

TEST(ReconcilerTest, TheHistoryOfAnotherKeyProvesNothing) {
  ReconcilerWorld world(WithResend());
  const auto lost = world.Lose("r1", /*created=*/false);
  world.upstream.key_fingerprint = "another-key";
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(ReconcilerTest, AKeyThatChangesDuringTheReadingProvesNothing) {
  ReconcilerWorld world(WithResend());
  world.account.page_size = 1;
  for (int i = 0; i < 3; ++i) world.account.Add({"somebody's", "16:9", 100 + i});
  const auto lost = world.Lose("r1", /*created=*/false);
  // Each first page is answered for one account, the others for another.
  auto list = std::move(world.upstream.answer_lists);
  world.upstream.answer_lists = [&](const HistoryQuery& query) {
    HistoryOutcome outcome = list(query);
    world.upstream.key_fingerprint = query.page >= 2 ? "another-key" : "0123456789abcdef";
    return outcome;
  };
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(ReconcilerTest, BackWithTheRightKeyItGoesOn) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1", /*created=*/false);
  world.upstream.key_fingerprint = "another-key";
  world.time.Advance(absl::Minutes(5));
  ASSERT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.upstream.key_fingerprint = "0123456789abcdef";
  ASSERT_TRUE(world.Ends(lost.id, absl::Minutes(5)));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
}

// --------------------------------------------------------------------------------------- giving up

TEST(ReconcilerTest, WithHiddenInputsItIsGivenUpAtTheTimeoutAndNotBefore) {
  ReconcilerWorld world(WithResend());
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.time.Advance(world.options.unresolved_timeout - absl::Seconds(1));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.time.Advance(absl::Seconds(2));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_FALSE(world.Durable(lost.id).failure->message.empty()) << "it says what to check";
  EXPECT_FALSE(world.Durable(lost.id).failure->resubmission_may_help);
  EXPECT_EQ(world.ResultOf(lost.id), AttemptResult::kUnknown);
  EXPECT_EQ(world.events.reconciled["none"], 1);
  world.time.Advance(absl::Hours(24));
  EXPECT_EQ(world.upstream.posts_counted, 1) << "given up is not absent";
}

TEST(ReconcilerTest, WhatWasGivenUpIsAskedForHourlyForSevenDaysAndNotLonger) {
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

TEST(ReconcilerTest, ATaskThatAppearsAfterGivingUpIsAnOrphanWhoseVideoIsKept) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  world.account.duration = absl::Hours(3);
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  const Prediction given_up = world.Durable(lost.id);
  world.account.inputs_shown = true;
  world.time.Advance(kWithinTheHour);
  ASSERT_THAT(world.ledger.orphans(), Contains(Key(lost.upstream_id)));
  EXPECT_EQ(world.ResultOf(lost.id), AttemptResult::kOrphaned);
  EXPECT_EQ(world.events.orphans, 1);
  EXPECT_THAT(world.events.errors, testing::Not(IsEmpty())) << "somebody must be told";
  EXPECT_EQ(world.gateway->Status().orphans, 1);
  EXPECT_THAT(world.Durable(lost.id).recovered_outputs, IsEmpty());

  world.time.Advance(absl::Hours(4));
  EXPECT_TRUE(world.ledger.orphans().at(lost.upstream_id).ended);
  EXPECT_EQ(world.gateway->Status().orphans, 0);
  const size_t polls = world.account.polls[lost.upstream_id].size();
  EXPECT_GE(polls, 2u);
  world.time.Advance(absl::Hours(48));
  EXPECT_EQ(world.account.polls[lost.upstream_id].size(), polls) << "it has ended";
  EXPECT_EQ(world.events.orphans, 1) << "counted once";

  const auto got = world.Get(lost.id);
  ASSERT_TRUE(got.ok());
  EXPECT_THAT((*got)->recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  EXPECT_EQ((*got)->state, State::kFailed);
  EXPECT_EQ((*got)->sequence, given_up.sequence);
  EXPECT_EQ((*got)->failure, given_up.failure);
  EXPECT_EQ((*got)->upstream_id, given_up.upstream_id);
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, ReplayWatchAndListShowTheRecoveredVideoAndSendNothing) {
  ReconcilerWorld world(WithResend());
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  world.account.inputs_shown = true;
  world.time.Advance(absl::Hours(2));
  const auto again = world.Submit("r1");
  ASSERT_TRUE(again->result.ok());
  EXPECT_TRUE(again->result->replayed);
  EXPECT_EQ(again->id(), lost.id);
  EXPECT_THAT(again->result->prediction->recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  const auto watcher = world.Watch(lost.id);
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_THAT(watcher->updates.back().recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  EXPECT_EQ(watcher->updates.back().sequence, world.Durable(lost.id).sequence);
  EXPECT_EQ(world.upstream.posts_counted, 1) << "found is not paid for a second time";
}

TEST(ReconcilerTest, ATaskThatAppearsAfterAbsenceWasConcludedIsAnOrphan) {
  ReconcilerWorld world;
  world.account.lag = absl::Minutes(20);
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  ASSERT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
  world.time.Advance(absl::Hours(2));
  EXPECT_EQ(world.ResultOf(lost.id), AttemptResult::kOrphaned);
  EXPECT_EQ(world.events.orphans, 1);
  EXPECT_THAT(world.Durable(lost.id).recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, AnOrphanThatFailsOrIsGoneIsPolledNoMore) {
  for (const bool gone : {false, true}) {
    ReconcilerWorld world;
    world.account.inputs_shown = false;
    const auto lost = world.Lose("r1");
    ASSERT_TRUE(world.Ends(lost.id));
    int polls = 0;
    world.upstream.answer_gets = [&](const std::string& id) {
      ++polls;
      return gone ? Fails(PollProblem::kNotFound, 404) : Shows(id, State::kFailed);
    };
    world.account.inputs_shown = true;
    world.time.Advance(absl::Hours(9 * 24));
    EXPECT_GE(polls, 1);
    polls = 0;
    world.time.Advance(absl::Hours(48));
    EXPECT_EQ(polls, 0);
    EXPECT_EQ(world.gateway->Status().orphans, 0);
    EXPECT_TRUE(world.ledger.orphans().at(lost.upstream_id).ended);
    EXPECT_THAT(world.Durable(lost.id).recovered_outputs, IsEmpty());
  }
}

TEST(ReconcilerTest, AnOrphanIsPolledUntilUpstreamAnswersWithoutAStorm) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  auto poll = std::move(world.upstream.answer_gets);
  bool failing = true;
  int failed = 0;
  world.upstream.answer_gets = [&](const std::string& id) {
    if (!failing) return poll(id);
    ++failed;
    return Fails(failed % 2 == 0 ? PollProblem::kCredentialsRejected : PollProblem::kTransient,
                 503);
  };
  world.account.inputs_shown = true;
  world.time.Advance(absl::Hours(10));
  EXPECT_GE(failed, 5);
  EXPECT_LE(failed, 10 * 240);
  failing = false;
  world.time.Advance(absl::Hours(2));
  world.ExpectNothingLost();
}

// --------------------------------------------------------------------------------- the late answer

class LateEvidenceTest : public testing::Test {
 protected:
  // UNRESOLVED because nobody has answered yet, with the task created meanwhile.
  void TimeOut() {
    call_ = world_.Submit("r1");
    upstream_id_ = world_.MakeTask();
    world_.time.Advance(world_.options.submit_soft_timeout);
    ASSERT_EQ(call_->state(), State::kUnresolved);
  }
  ReconcilerWorld world_;
  std::shared_ptr<Call> call_;
  std::string upstream_id_;
};

TEST_F(LateEvidenceTest, AfterGivingUpItIsAnOrphan) {
  world_.account.inputs_shown = false;
  TimeOut();
  ASSERT_TRUE(world_.Ends(call_->id()));
  const int64_t sequence = world_.Durable(call_->id()).sequence;
  world_.Answer(Accepted(upstream_id_));
  EXPECT_THAT(world_.ledger.orphans(), Contains(Key(upstream_id_)));
  EXPECT_EQ(world_.events.orphans, 1);
  world_.time.Advance(absl::Hours(2));
  EXPECT_THAT(world_.Durable(call_->id()).recovered_outputs, ElementsAre(VideoOf(upstream_id_)));
  EXPECT_EQ(world_.Durable(call_->id()).sequence, sequence);
  EXPECT_EQ(world_.Durable(call_->id()).state, State::kFailed);
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, AfterGivingUpWithAFinishedTaskItKeepsTheVideo) {
  world_.account.inputs_shown = false;
  TimeOut();
  ASSERT_TRUE(world_.Ends(call_->id()));
  TaskObservation done = fakes::Task(upstream_id_, State::kCompleted);
  done.outputs = {VideoOf(upstream_id_)};
  world_.Answer(CreateAccepted{done});
  world_.time.Advance(absl::Hours(1));
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, ThatNamesTheOrphanHistoryHasFoundIsNoSecondOne) {
  world_.account.inputs_shown = false;
  TimeOut();
  ASSERT_TRUE(world_.Ends(call_->id()));
  world_.account.inputs_shown = true;
  world_.time.Advance(kWithinTheHour);
  ASSERT_EQ(world_.events.orphans, 1);
  world_.Answer(Accepted(upstream_id_));
  world_.time.Advance(absl::Hours(2));
  EXPECT_EQ(world_.events.orphans, 1);
  EXPECT_THAT((*world_.Get(call_->id()))->recovered_outputs, ElementsAre(VideoOf(upstream_id_)));
}

TEST_F(LateEvidenceTest, ThatNamesAnotherTaskThanTheOrphanHistoryHasFoundIsASecondOne) {
  world_.account.inputs_shown = false;
  TimeOut();
  ASSERT_TRUE(world_.Ends(call_->id()));
  world_.account.inputs_shown = true;
  world_.time.Advance(kWithinTheHour);
  ASSERT_EQ(world_.events.orphans, 1);
  const std::string other = world_.account.Add({"a cat", "16:9", 99});
  world_.Answer(Accepted(other));
  world_.time.Advance(absl::Hours(2));
  EXPECT_EQ(world_.events.orphans, 2);
  EXPECT_THAT((*world_.Get(call_->id()))->recovered_outputs,
              UnorderedElementsAre(VideoOf(upstream_id_), VideoOf(other)));
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, ThatNamesTheTaskHistoryHasBoundChangesNothing) {
  world_.account.duration = absl::Hours(1);
  TimeOut();
  ASSERT_TRUE(world_.Reaches(call_->id(), State::kCreated, absl::Minutes(4)));
  world_.Answer(Accepted(upstream_id_));
  world_.time.Advance(absl::Hours(2));
  EXPECT_EQ(world_.Durable(call_->id()).state, State::kCompleted);
  EXPECT_EQ(world_.Durable(call_->id()).upstream_id, upstream_id_);
  EXPECT_THAT(world_.ledger.orphans(), IsEmpty());
  EXPECT_EQ(world_.events.orphans, 0);
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, ThatNamesAnotherTaskThanHistoryHasBoundIsAnOrphanBesideIt) {
  world_.account.duration = absl::Minutes(20);
  TimeOut();
  ASSERT_TRUE(world_.Webhook(world_.upstream.creates[0].request.attempt_token, upstream_id_).ok());
  ASSERT_EQ(world_.Durable(call_->id()).upstream_id, upstream_id_);
  const std::string other = world_.account.Add({"a cat", "16:9", 99});
  world_.Answer(Accepted(other));
  world_.time.Advance(absl::Hours(2));
  EXPECT_EQ(world_.Durable(call_->id()).upstream_id, upstream_id_);
  EXPECT_EQ(world_.Durable(call_->id()).state, State::kCompleted);
  EXPECT_THAT(world_.ledger.orphans(), ElementsAre(Key(other)));
  EXPECT_EQ(world_.events.orphans, 1);
  EXPECT_THAT((*world_.Get(call_->id()))->recovered_outputs, ElementsAre(VideoOf(other)));
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, ARefusalAfterATaskWasBoundChangesNothing) {
  for (const int status : {400, 402, 429}) {
    ReconcilerWorld world;
    world.account.duration = absl::Minutes(20);
    const auto call = world.Submit("r1");
    const std::string upstream_id = world.MakeTask();
    world.time.Advance(world.options.submit_soft_timeout);
    ASSERT_TRUE(world.Reaches(call->id(), State::kCreated, absl::Minutes(4)));
    world.Answer(Rejected(Reason::kUpstreamRejected, status));
    world.time.Advance(absl::Hours(1));
    EXPECT_EQ(world.Durable(call->id()).state, State::kCompleted) << status;
    EXPECT_EQ(world.ResultOf(call->id()), AttemptResult::kAccepted);
    EXPECT_THAT(world.ledger.orphans(), IsEmpty());
    EXPECT_EQ(world.upstream.posts_counted, 1);
  }
}

TEST_F(LateEvidenceTest, AnAnswerThatNothingWasSentAfterATaskWasBoundSendsNothing) {
  TimeOut();
  ASSERT_TRUE(world_.Webhook(world_.upstream.creates[0].request.attempt_token, upstream_id_).ok());
  world_.Answer(NotSent());
  world_.time.Advance(absl::Hours(1));
  EXPECT_EQ(world_.Durable(call_->id()).state, State::kCompleted);
  EXPECT_EQ(world_.upstream.posts_counted, 1);
}

TEST_F(LateEvidenceTest, ARefusalDuringTheSearchEndsIt) {
  TimeOut();
  // No evidence of a task but the account's own: a foreign one, equal by chance, is not shown.
  world_.account.Find(upstream_id_).listed_from = absl::InfiniteFuture();
  world_.Answer(Rejected(Reason::kUpstreamRejected, 400));
  EXPECT_EQ(world_.Durable(call_->id()).state, State::kFailed);
  EXPECT_EQ(world_.ResultOf(call_->id()), AttemptResult::kRejected);
}

TEST_F(LateEvidenceTest, AnAcceptanceThatMeetsTheBindingHalfWayIsOneTransition) {
  // The webhook's binding and the late answer at every distance of steps.
  for (int steps = 0; steps < 12; ++steps) {
    ReconcilerWorld world;
    const auto call = world.Submit("r1");
    const std::string upstream_id = world.MakeTask();
    const std::string token = world.upstream.creates[0].request.attempt_token;
    world.time.Advance(world.options.submit_soft_timeout);
    const auto webhook = world.WebhookLater(token, upstream_id);
    for (int i = 0; i < steps; ++i) world.time.Step();
    world.upstream.AnswerCreate(Accepted(upstream_id));
    world.time.RunDue();
    EXPECT_EQ(webhook->answers, 1);
    EXPECT_TRUE(webhook->status.ok()) << webhook->status;
    EXPECT_EQ(world.Durable(call->id()).upstream_id, upstream_id);
    EXPECT_THAT(world.ledger.orphans(), IsEmpty()) << steps;
    EXPECT_EQ(world.events.orphans, 0) << steps;
    ASSERT_TRUE(world.Ends(call->id()));
    world.ExpectNothingLost();
  }
}

// ------------------------------------------------------------------------------------------ resend

// A first attempt that was proven absent, and the second one's POST waiting for its fate.
class ResendTest : public testing::Test {
 protected:
  void SendAgain() {
    lost_ = world_.Lose("r1", /*created=*/false);
    first_ = lost_.token;
    ASSERT_TRUE(world_.time.AdvanceUntil([this] { return world_.upstream.posts_counted == 2; },
                                         absl::Minutes(6)));
    ASSERT_THAT(world_.upstream.creates, SizeIs(1));
    second_ = world_.upstream.creates[0].request;
  }
  ReconcilerWorld world_{WithResend()};
  ReconcilerWorld::LostSubmission lost_;
  std::string first_;
  CreateTaskRequest second_;
};

TEST_F(ResendTest, TheSecondAttemptAsksForTheSameWithAnotherToken) {
  SendAgain();
  EXPECT_NE(second_.attempt_token, first_);
  EXPECT_EQ(second_.prompt, "a cat");
  EXPECT_EQ(second_.seed, world_.Durable(lost_.id).seed);
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kSubmitting);
  EXPECT_EQ(world_.ResultOf(lost_.id, 1), AttemptResult::kAbsent);
  EXPECT_EQ(world_.ResultOf(lost_.id, 2), std::nullopt);
  const auto watcher = world_.Watch(lost_.id);
  EXPECT_EQ(watcher->updates.back().state, State::kSubmitting) << "shown once, shown always";
}

TEST_F(ResendTest, AcceptedItGoesItsWay) {
  SendAgain();
  const std::string upstream_id = world_.MakeAndAccept();
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCreated);
  EXPECT_EQ(world_.ResultOf(lost_.id, 2), AttemptResult::kAccepted);
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  world_.time.Advance(absl::Hours(24));
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, RejectedItFailsAndIsNotTakenBack) {
  for (const int status : {400, 401, 402, 404, 429}) {
    ReconcilerWorld world(WithResend());
    const auto lost = world.Lose("r1", /*created=*/false);
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return world.upstream.posts_counted == 2; },
                                        absl::Minutes(6)));
    world.Answer(
        Rejected(status == 429 ? Reason::kUpstreamRateLimited : Reason::kUpstreamRejected, status));
    ASSERT_TRUE(world.Ends(lost.id)) << status;
    EXPECT_EQ(world.Durable(lost.id).state, State::kFailed) << status;
    EXPECT_EQ(world.ResultOf(lost.id, 2), AttemptResult::kRejected) << status;
    EXPECT_EQ(world.StateOf(lost.id), State::kFailed) << "it was shown";
    world.time.Advance(absl::Hours(24));
    EXPECT_EQ(world.upstream.posts_counted, 2) << status;
    const auto again = world.Submit("r1");
    ASSERT_TRUE(again->result.ok()) << again->result.status();
    EXPECT_EQ(again->id(), lost.id);
  }
}

TEST_F(ResendTest, NotSentItEndsWithoutATask) {
  SendAgain();
  world_.upstream.answer_creates = [](const CreateTaskRequest&) { return NotSent(); };
  world_.Answer(NotSent());
  ASSERT_TRUE(world_.Ends(lost_.id, absl::Hours(1)));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kFailed);
  world_.time.Advance(absl::Hours(24));
  EXPECT_THAT(world_.ledger.orphans(), IsEmpty());
}

TEST_F(ResendTest, WaitingForItsNextTryItEndsWithItsProcess) {
  SendAgain();
  world_.Answer(NotSent());
  world_.gateway.reset();
  world_.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world_.upstream.posts_counted, 2) << "nobody is left to send it";
}

TEST_F(ResendTest, WaitingForItsNextTryWhileTheClockIsSetBackItEndsWithoutATask) {
  SendAgain();
  world_.time.Advance(world_.options.submit_soft_timeout - absl::Microseconds(1));
  world_.clock.error = -absl::Minutes(1);
  world_.Answer(NotSent());
  ASSERT_TRUE(world_.Ends(lost_.id, absl::Minutes(1)));
  EXPECT_EQ(world_.FailureOf(lost_.id), FailureCode::kSubmitNotCreated);
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, LostAgainAndAbsentAgainItFails) {
  SendAgain();
  world_.Answer(Unknown());
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kUnresolved);
  const absl::Time unresolved = world_.time.Now();
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.FailureOf(lost_.id), FailureCode::kSubmitNotCreated);
  EXPECT_GE(world_.time.Now() - unresolved, world_.options.absence_settle_time);
  EXPECT_EQ(world_.ResultOf(lost_.id, 2), AttemptResult::kAbsent);
  world_.time.Advance(absl::Hours(24));
  EXPECT_EQ(world_.upstream.posts_counted, 2);
}

TEST_F(ResendTest, LostAgainAndFoundItIsBound) {
  SendAgain();
  const std::string upstream_id = world_.MakeTask();
  world_.Answer(Unknown());
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  EXPECT_EQ(world_.Durable(lost_.id).upstream_id, upstream_id);
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, LostAgainAndHiddenItIsGivenUpInTime) {
  SendAgain();
  world_.account.inputs_shown = false;
  const std::string upstream_id = world_.MakeTask();
  world_.Answer(Unknown());
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.FailureOf(lost_.id), FailureCode::kSubmitOutcomeUnknown);
  world_.account.inputs_shown = true;
  world_.time.Advance(absl::Hours(3));
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, SlowItIsUnresolvedAgainAndItsAnswerStillCounts) {
  SendAgain();
  world_.time.Advance(world_.options.submit_soft_timeout + absl::Seconds(1));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kUnresolved);
  world_.time.Advance(absl::Minutes(5));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kUnresolved)
      << "its POST is on the wire: no absence";
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.MakeAndAccept();
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
}

TEST_F(ResendTest, ALateFirstAttemptBesideTheSecondIsAnOrphan) {
  world_.account.lag = absl::Minutes(30);
  lost_ = world_.Lose("r1");
  ASSERT_TRUE(world_.time.AdvanceUntil([this] { return world_.upstream.posts_counted == 2; },
                                       absl::Minutes(6)));
  world_.account.lag = absl::ZeroDuration();
  const std::string second = world_.MakeAndAccept();
  world_.time.Advance(absl::Hours(3));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  EXPECT_EQ(world_.Durable(lost_.id).upstream_id, second);
  EXPECT_THAT(world_.ledger.orphans(), ElementsAre(Key(lost_.upstream_id)));
  EXPECT_EQ(world_.ledger.orphans().at(lost_.upstream_id).orphan.attempt_number, 1);
  EXPECT_EQ(world_.ResultOf(lost_.id, 1), AttemptResult::kOrphaned);
  EXPECT_EQ(world_.events.orphans, 1);
  EXPECT_THAT((*world_.Get(lost_.id))->recovered_outputs, ElementsAre(VideoOf(lost_.upstream_id)));
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, ALateFirstAttemptWhileTheSecondIsInFlightIsNotLost) {
  world_.account.lag = absl::Minutes(4);
  lost_ = world_.Lose("r1");
  ASSERT_TRUE(world_.time.AdvanceUntil([this] { return world_.upstream.posts_counted == 2; },
                                       absl::Minutes(6)));
  const std::string second = world_.MakeTask();
  world_.time.Advance(absl::Minutes(12));
  if (!world_.upstream.creates.empty()) world_.Answer(Accepted(second));
  world_.time.Advance(absl::Hours(3));
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, ALateFirstAttemptBesideARejectedSecondIsAnOrphan) {
  world_.account.lag = absl::Minutes(30);
  lost_ = world_.Lose("r1");
  ASSERT_TRUE(world_.time.AdvanceUntil([this] { return world_.upstream.posts_counted == 2; },
                                       absl::Minutes(6)));
  world_.Answer(Rejected(Reason::kUpstreamRejected, 400));
  world_.time.Advance(absl::Hours(3));
  EXPECT_THAT(world_.Durable(lost_.id).recovered_outputs, ElementsAre(VideoOf(lost_.upstream_id)));
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, AWebhookForTheFirstAttemptWhileTheSecondIsUnderWayIsNotLost) {
  SendAgain();
  const std::string first = world_.account.Add({"a cat", "16:9", second_.seed});
  EXPECT_TRUE(world_.Webhook(first_, first).ok());
  const std::string second = world_.MakeAndAccept();
  world_.time.Advance(absl::Hours(3));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  EXPECT_EQ(world_.events.orphans, 1);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, AWebhookForTheFirstThatMeetsTheVerdictHalfWayLeavesTheSecondToItsAnswer) {
  SendAgain();
  const size_t verdict = world_.account.asked.size();  // the reading that proves absence
  int sent_again = 0;
  for (int steps = 0; steps < 20; ++steps) {
    SCOPED_TRACE(testing::Message() << steps << " steps");
    ReconcilerWorld world(WithResend());
    const auto lost = world.Lose("r1", /*created=*/false);
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return world.account.asked.size() == verdict; },
                                        absl::Minutes(6)));
    for (int i = 0; i < steps; ++i) world.time.Step();
    const std::string late = world.account.Add({"a cat", "16:9", world.Durable(lost.id).seed});
    const auto webhook = world.WebhookLater(lost.token, late);
    while (world.upstream.posts_counted < 2 && world.time.Step()) {}
    if (world.upstream.posts_counted == 2) {
      world.Answer(Unknown());
      ++sent_again;
    }
    world.time.RunDue();
    EXPECT_EQ(webhook->answers, 1);
    ASSERT_TRUE(world.Ends(lost.id, absl::Hours(1)));
    EXPECT_LE(world.upstream.posts_counted, 2);
    world.ExpectNothingLost();
  }
  EXPECT_GT(sent_again, 0);
  EXPECT_LT(sent_again, 20);
}

TEST_F(ResendTest, TwiceAllowedItIsSentThreeTimesAtMost) {
  ReconcilerWorld world(WithResend(2));
  std::set<std::string> tokens;
  world.upstream.answer_creates = [&](const CreateTaskRequest& request) {
    EXPECT_TRUE(tokens.insert(request.attempt_token).second) << "a token was used twice";
    return Unknown();
  };
  const auto call = world.Submit("r1");
  ASSERT_EQ(call->state(), State::kUnresolved);
  ASSERT_TRUE(world.Ends(call->id(), absl::Hours(1)));
  world.time.Advance(absl::Hours(24));
  EXPECT_EQ(world.upstream.posts_counted, 3);
  EXPECT_EQ(world.FailureOf(call->id()), FailureCode::kSubmitNotCreated);
}

TEST_F(ResendTest, ACandidateWithoutInputForbidsIt) {
  world_.account.inputs_shown = false;
  lost_ = world_.Lose("r1");
  world_.time.Advance(absl::Hours(24));
  EXPECT_EQ(world_.upstream.posts_counted, 1);
}

TEST_F(ResendTest, ADrainingGatewaySendsNothingAgain) {
  lost_ = world_.Lose("r1", /*created=*/false);
  world_.gateway->Drain();
  world_.time.Advance(absl::Minutes(10));
  EXPECT_LE(world_.upstream.posts_counted, 2);  // whether once is not promised; twice it does not
}

TEST_F(ResendTest, NothingIsSentBeforeTheNewAttemptIsDurable) {
  lost_ = world_.Lose("r1", /*created=*/false);
  world_.ledger.set_writes(FakeLedger::Writes::kFail);
  world_.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world_.upstream.posts_counted, 1);
  world_.ledger.set_writes(FakeLedger::Writes::kWork);
  world_.time.Advance(absl::Minutes(3));
  EXPECT_LE(world_.upstream.posts_counted, 2);
}

TEST_F(ResendTest, ALostCommitOfTheNewAttemptSendsItAtMostOnce) {
  lost_ = world_.Lose("r1", /*created=*/false);
  world_.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world_.time.Advance(absl::Minutes(4));
  world_.ledger.set_writes(FakeLedger::Writes::kWork);
  world_.upstream.answer_creates = [](const CreateTaskRequest&) { return Unknown(); };
  while (!world_.upstream.creates.empty()) world_.Answer(Unknown());
  ASSERT_TRUE(world_.Ends(lost_.id, absl::Hours(1)));
  EXPECT_LE(world_.upstream.posts_counted, 2);
}

TEST_F(ResendTest, ACrashAtAnyStepOfItNeverSendsAThird) {
  for (const bool ledger_goes_on : {false, true}) {
    for (int steps = 0; steps < 40; ++steps) {
      SCOPED_TRACE(testing::Message() << steps << " steps, " << ledger_goes_on);
      ReconcilerWorld world(WithResend());
      const auto lost = world.Lose("r1", /*created=*/false);
      // Up to the reading that may prove it, then step by step.
      ASSERT_TRUE(
          world.time.AdvanceUntil([&] { return world.account.asked.size() == 3; }, kSoon * 2));
      bool created = false;
      for (int i = 0; i < steps; ++i) {
        if (world.upstream.posts_counted == 2 && !created) {
          world.MakeTask();  // upstream has it, whatever we are told
          created = true;
        }
        if (!world.time.Step()) {
          if (!world.time.AdvanceUntil([&] { return world.account.asked.size() > 3; },
                                       absl::Minutes(1))) {
            break;
          }
        }
      }
      if (world.upstream.posts_counted == 2 && !created) world.MakeTask();
      world.Crash(ledger_goes_on);
      world.StartGateway();
      world.upstream.answer_creates = [&](const CreateTaskRequest& request) {
        return Accepted(world.account.Add({request.prompt, "16:9", request.seed}));
      };
      world.time.Advance(absl::Hours(2));
      EXPECT_LE(world.upstream.posts_counted, 2);
      EXPECT_TRUE(IsTerminal(world.Durable(lost.id).state))
          << StateName(world.Durable(lost.id).state);
      world.ExpectNothingLost();
    }
  }
}

// ------------------------------------------------------------------------------------ equal inputs

TEST(ReconcilerTest, TwoEqualPredictionsAndTwoTasksAreBoundOldestFirst) {
  ReconcilerWorld world;
  const auto first = world.Lose("r1", true, "a cat", 7);
  world.time.Advance(absl::Seconds(1));
  const auto second = world.Lose("r2", true, "a cat", 7);
  ASSERT_TRUE(world.Ends(first.id));
  ASSERT_TRUE(world.Ends(second.id));
  EXPECT_EQ(world.Durable(first.id).upstream_id, first.upstream_id);
  EXPECT_EQ(world.Durable(second.id).upstream_id, second.upstream_id);
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, TwoEqualPredictionsAndOneTaskBindNothing) {
  ReconcilerWorld world(WithResend());
  const auto first = world.Lose("r1", true, "a cat", 7);
  const auto second = world.Lose("r2", false, "a cat", 7);
  ASSERT_TRUE(world.Ends(first.id));
  ASSERT_TRUE(world.Ends(second.id));
  EXPECT_EQ(world.FailureOf(first.id), FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.FailureOf(second.id), FailureCode::kSubmitOutcomeUnknown);
  world.time.Advance(absl::Hours(24));
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

TEST(ReconcilerTest, WhileOneOfTwoEqualPredictionsIsInFlightItsAnswerDecides) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1", true, "a cat", 7);
  const auto open = world.SubmitSeeded("r2", "a cat", 7);
  const std::string theirs = world.MakeTask();
  world.time.Advance(absl::Seconds(25));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.Answer(Accepted(theirs));
  EXPECT_EQ(world.Durable(open->id()).upstream_id, theirs);
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
  ASSERT_TRUE(world.Ends(open->id()));
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, AnEqualPredictionAcceptedDuringTheQuestionKeepsItsTask) {
  // The answer to r2's POST arrives at every possible step of the question for r1.
  for (int steps = 0; steps < 25; ++steps) {
    SCOPED_TRACE(testing::Message() << steps << " steps");
    ReconcilerWorld world;
    const auto lost = world.Lose("r1", false, "a cat", 7);
    const auto open = world.SubmitSeeded("r2", "a cat", 7);
    const std::string theirs = world.MakeTask();
    const size_t asked = world.account.asked.size();
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return world.account.asked.size() > asked; }, kSoon));
    for (int i = 0; i < steps; ++i) world.time.Step();
    world.upstream.AnswerCreate(Accepted(theirs));
    world.time.RunDue();
    EXPECT_EQ(world.Durable(open->id()).upstream_id, theirs);
    ASSERT_TRUE(world.Ends(lost.id));
    EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
    EXPECT_THAT(world.ledger.orphans(), IsEmpty());
    world.ExpectNothingLost();
  }
}

TEST(ReconcilerTest, AnEqualPredictionSubmittedDuringTheQuestionKeepsItsTask) {
  for (int steps = 0; steps < 25; ++steps) {
    SCOPED_TRACE(testing::Message() << steps << " steps");
    ReconcilerWorld world;
    const auto lost = world.Lose("r1", false, "a cat", 7);
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return !world.account.asked.empty(); }, kSoon));
    for (int i = 0; i < steps; ++i) world.time.Step();
    std::string theirs;
    world.upstream.answer_creates = [&](const CreateTaskRequest& request) {
      theirs = world.account.Add({request.prompt, "16:9", request.seed});
      return Accepted(theirs);
    };
    const auto open = world.SubmitSeeded("r2", "a cat", 7);
    ASSERT_TRUE(open->result.ok());
    EXPECT_EQ(world.Durable(open->id()).upstream_id, theirs);
    ASSERT_TRUE(world.Ends(lost.id));
    EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
    world.ExpectNothingLost();
  }
}

// --------------------------------------------------------------------------------------- webhooks

TEST(WebhookTest, BeforeTheAnswerItCreatesThePredictionAndTheAnswerAddsNothing) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  const std::string token = world.upstream.creates[0].request.attempt_token;
  const std::string upstream_id = world.MakeTask();
  ASSERT_TRUE(world.Webhook(token, upstream_id).ok());
  const std::string id = world.ledger.All()[0]->id;
  EXPECT_EQ(world.Durable(id).upstream_id, upstream_id);
  EXPECT_EQ(world.Durable(id).history[1].source, TransitionSource::kWebhook);
  EXPECT_THAT(world.account.polls[upstream_id], SizeIs(1)) << "polled at once";
  world.Answer(Accepted(upstream_id));
  ASSERT_TRUE(call->answered());
  ASSERT_TRUE(call->result.ok()) << call->result.status();
  EXPECT_EQ(call->id(), id);
  ASSERT_TRUE(world.Ends(id));
  EXPECT_EQ(world.Durable(id).state, State::kCompleted);
  EXPECT_EQ(world.events.orphans, 0);
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(WebhookTest, BeforeAnAnswerThatIsLostItMakesTheAnswerNeedless) {
  for (const bool rejected : {false, true}) {
    ReconcilerWorld world;
    const auto call = world.Submit("r1");
    const std::string token = world.upstream.creates[0].request.attempt_token;
    const std::string upstream_id = world.MakeTask();
    ASSERT_TRUE(world.Webhook(token, upstream_id).ok());
    world.Answer(rejected ? Rejected(Reason::kUpstreamRejected, 400) : Unknown());
    ASSERT_TRUE(call->answered());
    ASSERT_TRUE(call->result.ok()) << "evidence of a task wins: " << call->result.status();
    EXPECT_EQ(call->result->prediction->upstream_id, upstream_id);
    ASSERT_TRUE(world.Ends(call->id()));
    EXPECT_EQ(world.Durable(call->id()).state, State::kCompleted);
    world.ExpectNothingLost();
  }
}

TEST(WebhookTest, AnUnresolvedPredictionIsBoundByItsToken) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
  EXPECT_EQ(world.Durable(lost.id).history[2].source, TransitionSource::kWebhook);
  EXPECT_EQ(world.events.reconciled["webhook"], 1);
  EXPECT_THAT(world.account.polls[lost.upstream_id], SizeIs(1));
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
}

TEST(WebhookTest, ItIsAnsweredOnlyOnceItIsDurable) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.ledger.Hold();
  const auto webhook = world.WebhookLater(lost.token, lost.upstream_id);
  world.time.RunDue();
  EXPECT_EQ(webhook->answers, 0);
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_EQ(webhook->answers, 1);
  EXPECT_TRUE(webhook->status.ok());
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
}

TEST(WebhookTest, RepeatedItChangesNothingButPollsAgain) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(1);
  const auto call = world.Submit("r1");
  const std::string token = world.upstream.creates[0].request.attempt_token;
  const std::string upstream_id = world.MakeAndAccept();
  world.time.Advance(absl::Minutes(1));
  const int64_t sequence = world.Durable(call->id()).sequence;
  const size_t polls = world.account.polls[upstream_id].size();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(world.Webhook(token, upstream_id).ok());
  EXPECT_GT(world.account.polls[upstream_id].size(), polls);
  EXPECT_EQ(world.Durable(call->id()).sequence, sequence);
  EXPECT_EQ(world.events.orphans, 0);
  ASSERT_TRUE(world.Ends(call->id(), absl::Hours(2)));
  EXPECT_TRUE(world.Webhook(token, upstream_id).ok()) << "also after its end";
  EXPECT_EQ(world.events.orphans, 0);
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(WebhookTest, TwoAtOnceAreOneBinding) {
  for (int steps = 0; steps < 8; ++steps) {
    ReconcilerWorld world;
    world.account.inputs_shown = false;
    const auto lost = world.Lose("r1");
    const auto one = world.WebhookLater(lost.token, lost.upstream_id);
    for (int i = 0; i < steps; ++i) world.time.Step();
    const auto two = world.WebhookLater(lost.token, lost.upstream_id);
    world.time.RunDue();
    EXPECT_TRUE(one->status.ok());
    EXPECT_TRUE(two->status.ok());
    EXPECT_EQ(one->answers + two->answers, 2);
    EXPECT_EQ(world.events.orphans, 0);
    EXPECT_EQ(world.events.reconciled["webhook"], 1);
  }
}

TEST(WebhookTest, ATokenNobodyHasIsNotFound) {
  ReconcilerWorld world;
  world.Lose("r1");
  EXPECT_EQ(world.Webhook("nobody's", "u").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(world.Webhook("", "u").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(WebhookTest, ForARejectedAttemptItIsAnOrphanAndTheRejectionStands) {
  for (const int status : {400, 402, 429}) {
    ReconcilerWorld world;
    const auto call = world.Submit("r1");
    const std::string token = world.upstream.creates[0].request.attempt_token;
    const std::string upstream_id = world.MakeTask();
    world.Answer(
        Rejected(status == 400 ? Reason::kUpstreamRejected : Reason::kUpstreamRateLimited, status));
    ASSERT_FALSE(call->result.ok());
    EXPECT_TRUE(world.Webhook(token, upstream_id).ok());
    EXPECT_THAT(world.ledger.orphans(), Contains(Key(upstream_id))) << status;
    EXPECT_EQ(world.events.orphans, 1);
    world.time.Advance(absl::Hours(1));
    EXPECT_TRUE(world.ledger.orphans().at(upstream_id).ended);
    EXPECT_THAT(world.ledger.orphans().at(upstream_id).outputs, ElementsAre(VideoOf(upstream_id)));
    EXPECT_THAT(world.ledger.All(), IsEmpty());
    if (status == 400) {
      EXPECT_EQ(world.Submit("r1")->reason(), Reason::kUpstreamRejected);
      EXPECT_EQ(world.upstream.posts_counted, 1);
    }
  }
}

TEST(WebhookTest, WhileARejectionWaitsForTheLedgerItWins) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  const std::string token = world.upstream.creates[0].request.attempt_token;
  const std::string upstream_id = world.MakeTask();
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Rejected(Reason::kUpstreamRejected, 400));
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  EXPECT_TRUE(world.Webhook(token, upstream_id).ok());
  world.time.Advance(absl::Hours(2));
  EXPECT_TRUE(call->answered());
  for (const auto& prediction : world.ledger.All()) {
    EXPECT_EQ(prediction->state, State::kCompleted) << StateName(prediction->state);
  }
  world.ExpectNothingLost();
}

TEST(WebhookTest, AfterGivingUpItIsAnOrphan) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  world.time.Advance(absl::Hours(1));
  EXPECT_EQ(world.events.orphans, 1);
  EXPECT_EQ(world.Durable(lost.id).state, State::kFailed);
  EXPECT_THAT((*world.Get(lost.id))->recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  world.ExpectNothingLost();
}

TEST(WebhookTest, ForAnOrphanItMakesUsPollAtOnce) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  world.account.duration = absl::Hours(3);
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  ASSERT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  world.time.Advance(absl::Hours(3) - absl::Minutes(15));
  world.account.Find(lost.upstream_id).created -= absl::Minutes(30);  // it is ready now
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  EXPECT_THAT(world.Durable(lost.id).recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
  world.ExpectNothingLost();
}

TEST(WebhookTest, ThatNamesAnotherTaskThanTheBoundOneIsAnOrphan) {
  ReconcilerWorld world;
  const auto call = world.Submit("r1");
  const std::string token = world.upstream.creates[0].request.attempt_token;
  const std::string upstream_id = world.MakeAndAccept();
  const std::string other = world.account.Add({"a cat", "16:9", 99});
  EXPECT_TRUE(world.Webhook(token, other).ok());
  world.time.Advance(absl::Hours(1));
  EXPECT_EQ(world.Durable(call->id()).upstream_id, upstream_id);
  EXPECT_EQ(world.ResultOf(call->id()), AttemptResult::kAccepted);
  EXPECT_THAT(world.ledger.orphans(), ElementsAre(Key(other)));
  EXPECT_THAT((*world.Get(call->id()))->recovered_outputs, ElementsAre(VideoOf(other)));
  world.ExpectNothingLost();
}

TEST(WebhookTest, InLedgerTroubleUpstreamMustCallAgain) {
  using Writes = FakeLedger::Writes;
  for (const Writes writes : {Writes::kFail, Writes::kWorkButReportFailure, Writes::kWork}) {
    for (const bool given_up : {false, true}) {
      ReconcilerWorld world;
      world.account.inputs_shown = false;
      const auto lost = world.Lose("r1");
      if (given_up) {
        ASSERT_TRUE(world.Ends(lost.id));
      }
      world.ledger.set_writes(writes);
      world.ledger.set_reads_work(writes != Writes::kWork);
      const absl::Status refused = world.Webhook(lost.token, lost.upstream_id);
      EXPECT_EQ(ReasonOf(refused), Reason::kLedgerUnavailable) << refused;
      world.time.Advance(absl::Minutes(1));
      world.ledger.set_writes(Writes::kWork);
      world.ledger.set_reads_work(true);
      world.time.Advance(absl::Minutes(1));
      EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
      world.time.Advance(absl::Hours(2));
      EXPECT_EQ(world.Durable(lost.id).state, given_up ? State::kFailed : State::kCompleted);
      EXPECT_EQ(world.events.orphans, given_up ? 1 : 0);
      world.ExpectNothingLost();
    }
  }
}

TEST(WebhookTest, AfterARestartTheTokenIsStillKnown) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.StartGateway();
  world.time.RunDue();
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
}

TEST(WebhookTest, InTheMomentOfTheRestartItIsEitherTakenOrToBeRepeated) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.StartGateway();
  const auto early = world.WebhookLater(lost.token, lost.upstream_id);
  world.time.RunDue();
  ASSERT_EQ(early->answers, 1);
  if (!early->status.ok()) {
    EXPECT_EQ(ReasonOf(early->status), Reason::kLedgerUnavailable) << early->status;
    EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  }
  world.time.Advance(absl::Hours(2));
  EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
  world.ExpectNothingLost();
}

TEST(WebhookTest, BeforeWhatWasLeftBehindIsTakenOverItIsToBeRepeated) {
  ReconcilerWorld world;
  world.Submit("r1");
  const std::string token = world.upstream.creates[0].request.attempt_token;
  const std::string id = world.ledger.All()[0]->id;
  const std::string upstream_id = world.MakeTask();
  world.Crash();
  world.ledger.Hold();
  world.StartGateway();
  world.time.RunDue();
  const auto early = world.WebhookLater(token, upstream_id);
  world.time.RunDue();
  ASSERT_EQ(early->answers, 1);
  EXPECT_EQ(ReasonOf(early->status), Reason::kLedgerUnavailable) << early->status;
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_TRUE(world.Webhook(token, upstream_id).ok());
  ASSERT_TRUE(world.Ends(id));
  EXPECT_EQ(world.Durable(id).state, State::kCompleted);
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(WebhookTest, WhileTheGatewayDrainsItIsStillTaken) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.gateway->Drain();
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
}

// ---------------------------------------------------------------------------------------- restarts

TEST(ReconcilerTest, WhatWasLeftUnresolvedIsReconciledAfterARestart) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.StartGateway();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.upstream.posts_counted, 1);
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, WhatWasLeftInFlightIsReconciledAfterARestart) {
  for (const bool created : {true, false}) {
    ReconcilerWorld world;
    world.Submit("r1");
    std::string upstream_id;
    if (created) upstream_id = world.MakeTask();
    const std::string id = world.ledger.All()[0]->id;
    world.Crash();
    world.StartGateway();
    ASSERT_TRUE(world.Ends(id));
    if (created) {
      EXPECT_EQ(world.Durable(id).upstream_id, upstream_id);
    } else {
      EXPECT_EQ(world.FailureOf(id), FailureCode::kSubmitNotCreated);
    }
    EXPECT_EQ(world.upstream.posts_counted, 1);
    world.ExpectNothingLost();
  }
}

TEST(ReconcilerTest, EvidenceOfAbsenceIsCollectedAnewAfterARestart) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1", /*created=*/false);
  world.time.Advance(world.options.absence_settle_time - absl::Seconds(5));
  ASSERT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.Crash();
  const absl::Time restarted = world.time.Now();
  world.StartGateway();
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
  EXPECT_GE(world.time.Now() - restarted, world.options.absence_settle_time);
}

TEST(ReconcilerTest, OrphansArePolledOnAfterARestart) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  world.account.duration = absl::Hours(10);
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  ASSERT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  world.Crash();
  world.StartGateway();
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.gateway->Status().orphans, 1);
  world.time.Advance(absl::Hours(12));
  world.ExpectNothingLost();
  EXPECT_EQ(world.events.orphans, 1) << "counted when it was found, not when it was met again";
}

TEST(ReconcilerTest, WhatWasGivenUpIsStillAskedForAfterARestart) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  world.Crash();
  world.StartGateway();
  world.account.inputs_shown = true;
  world.time.Advance(absl::Hours(2));
  EXPECT_EQ(world.events.orphans, 1);
  world.ExpectNothingLost();
}

TEST(ReconcilerTest, AfterALongStandstillThereIsTimeToAskBeforeGivingUp) {
  for (const bool sent_only : {false, true}) {
    ReconcilerWorld world;
    std::string id;
    std::string upstream_id;
    if (sent_only) {
      world.Submit("r1");
      upstream_id = world.MakeTask();
      id = world.ledger.All()[0]->id;
    } else {
      const auto lost = world.Lose("r1");
      id = lost.id;
      upstream_id = lost.upstream_id;
    }
    world.Crash();
    world.time.Advance(absl::Hours(5));
    world.StartGateway();
    ASSERT_TRUE(world.Ends(id));
    EXPECT_EQ(world.Durable(id).state, State::kCompleted);
    EXPECT_EQ(world.Durable(id).upstream_id, upstream_id);
    EXPECT_EQ(world.events.orphans, 0);
  }
}

TEST(ReconcilerTest, AfterALongStandstillItIsStillGivenUpInTheEnd) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.time.Advance(absl::Hours(5));
  world.StartGateway();
  ASSERT_TRUE(world.Ends(lost.id, world.options.unresolved_timeout + absl::Minutes(1)));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
}

TEST(ReconcilerTest, ACrashAtAnyStepOfTheBindingLosesNothing) {
  for (const bool ledger_goes_on : {false, true}) {
    for (int steps = 0; steps < 25; ++steps) {
      SCOPED_TRACE(testing::Message() << steps << " steps, " << ledger_goes_on);
      ReconcilerWorld world;
      const auto lost = world.Lose("r1");
      ASSERT_TRUE(world.time.AdvanceUntil([&] { return !world.account.asked.empty(); }, kSoon));
      for (int i = 0; i < steps; ++i) world.time.Step();
      world.Crash(ledger_goes_on);
      world.StartGateway();
      ASSERT_TRUE(world.Ends(lost.id));
      EXPECT_EQ(world.Durable(lost.id).state, State::kCompleted);
      EXPECT_EQ(world.upstream.posts_counted, 1);
      world.ExpectNothingLost();
    }
  }
}

TEST(ReconcilerTest, AGatewayMayEndAtAnyStepOfAQuestion) {
  for (int steps = 0; steps < 20; ++steps) {
    ReconcilerWorld world;
    world.account.page_size = 1;
    world.Lose("r1");
    world.Lose("r2");
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return !world.account.asked.empty(); }, kSoon));
    for (int i = 0; i < steps; ++i) world.time.Step();
    world.gateway->Drain();
    world.gateway.reset();  // its ports live on and answer
    world.time.RunDue();
    world.time.Advance(absl::Minutes(5));
    EXPECT_EQ(world.upstream.posts_counted, 2);
  }
}

TEST(ReconcilerTest, AGatewayMayEndWhileTheLedgerHoldsItsReview) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  world.ledger.Hold();
  world.time.Advance(kSoon);
  const auto webhook = world.WebhookLater(lost.token, lost.upstream_id);
  world.gateway.reset();
  world.ledger.Release();
  world.time.Advance(absl::Minutes(5));
  EXPECT_LE(webhook->answers, 1);
}

TEST(ReconcilerTest, AGatewayMayEndWhileItFollowsAnOrphan) {
  for (int steps = 0; steps < 8; ++steps) {
    ReconcilerWorld world;
    world.account.inputs_shown = false;
    const auto lost = world.Lose("r1");
    ASSERT_TRUE(world.Ends(lost.id));
    world.WebhookLater(lost.token, lost.upstream_id);
    for (int i = 0; i < steps; ++i) world.time.Step();
    world.gateway.reset();
    world.time.Advance(absl::Minutes(5));
  }
}

TEST(ReconcilerTest, DrainedItGoesOnReconciling) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  world.gateway->Drain();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
}

// -------------------------------------------------------------------------------------- other keys

TEST(KeySwitchTest, NotFoundWithAnotherKeyNeverFailsAPrediction) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(6);
  const auto old_call = world.Submit("r1");
  const std::string old_task = world.MakeAndAccept();
  world.upstream.key_fingerprint = "another-key";
  world.account.not_found.insert(old_task);  // another account does not know it
  const auto new_call = world.Submit("r2");
  world.MakeAndAccept();
  world.time.Advance(absl::Hours(5));
  EXPECT_FALSE(IsTerminal(world.Durable(old_call->id()).state));
  world.upstream.key_fingerprint = "0123456789abcdef";
  world.account.not_found.clear();
  ASSERT_TRUE(world.Ends(old_call->id(), absl::Hours(6)));
  ASSERT_TRUE(world.Ends(new_call->id(), absl::Hours(6)));
  EXPECT_EQ(world.Durable(old_call->id()).state, State::kCompleted);
  EXPECT_EQ(world.Durable(new_call->id()).state, State::kCompleted);
}

TEST(KeySwitchTest, NotFoundWithTheSameKeyStillFailsIt) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(6);
  const auto gone = world.Submit("r1");
  const std::string task = world.MakeAndAccept();
  world.account.not_found.insert(task);
  world.Submit("r2");
  world.MakeAndAccept();
  ASSERT_TRUE(world.Ends(gone->id(), absl::Hours(3)));
  EXPECT_EQ(world.FailureOf(gone->id()), FailureCode::kUpstreamNotFound);
}

TEST(KeySwitchTest, NotFoundsSeenWithAnotherKeyDoNotCountAfterTheSwitchBack) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(12);
  const auto call = world.Submit("r1");
  const std::string task = world.MakeAndAccept();
  world.Submit("r2");
  world.MakeAndAccept();
  world.account.not_found.insert(task);
  world.upstream.key_fingerprint = "another-key";
  world.time.Advance(absl::Hours(3));
  world.upstream.key_fingerprint = "0123456789abcdef";
  world.time.Advance(absl::Minutes(30));
  EXPECT_FALSE(IsTerminal(world.Durable(call->id()).state));
}

// ----------------------------------------------------------------------------- watching to the end

class PaceTest : public testing::Test {
 protected:
  void SetUp() override {
    world_.account.duration = absl::Hours(2);
    id_ = world_.Submit("r1")->request_id;
    task_ = world_.MakeAndAccept();
    id_ = world_.ledger.All()[0]->id;
  }
  size_t PollsWithin(absl::Duration span) {
    const size_t before = world_.account.polls[task_].size();
    world_.time.Advance(span);
    return world_.account.polls[task_].size() - before;
  }
  ReconcilerWorld world_;
  std::string id_;
  std::string task_;
};

TEST_F(PaceTest, WhatNobodyWatchesIsPolledLessOftenButToTheEnd) {
  auto watcher = world_.Watch(id_);
  world_.time.Advance(absl::Minutes(10));
  const size_t watched = PollsWithin(absl::Minutes(10));
  world_.gateway->Unwatch(watcher);
  world_.time.Advance(absl::Minutes(10));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  EXPECT_GE(watched, 30u);
  EXPECT_LT(unwatched * 3, watched * 2);
  EXPECT_GE(unwatched, 1u);
  ASSERT_TRUE(world_.Ends(id_, absl::Hours(3)));
  EXPECT_EQ(world_.Durable(id_).state, State::kCompleted);
  EXPECT_LE(world_.time.Now() - world_.account.Find(task_).created,
            absl::Hours(2) + absl::Minutes(10));
}

TEST_F(PaceTest, AWatcherBringsThePaceBack) {
  world_.time.Advance(absl::Minutes(30));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  world_.Watch(id_);
  EXPECT_GE(PollsWithin(world_.options.poll_max_interval * 2), 1u) << "not at the next slow poll";
  EXPECT_GT(PollsWithin(absl::Minutes(10)), unwatched) << "although age makes polls rarer";
}

TEST_F(PaceTest, AGetBringsThePaceBackForAWhile) {
  world_.time.Advance(absl::Minutes(30));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  ASSERT_TRUE(world_.Get(id_).ok());
  EXPECT_GE(PollsWithin(world_.options.poll_max_interval * 2), 1u);
  world_.time.Advance(absl::Minutes(60));
  EXPECT_LE(PollsWithin(absl::Minutes(10)), unwatched + 1) << "interest wears off";
}

TEST_F(PaceTest, OneOfTwoWatchersLeavingChangesNothing) {
  const auto one = world_.Watch(id_);
  const auto two = world_.Watch(id_);
  world_.time.Advance(absl::Minutes(10));
  world_.gateway->Unwatch(one);
  EXPECT_GE(PollsWithin(absl::Minutes(10)), 30u);
}

// ---------------------------------------------------------------------------------- ledger trouble

// A life of submissions in which some writes of the ledger go wrong, or the process ends at them.
// Whatever happens: never more POSTs than allowed, nothing stuck, no task lost.
enum class Trouble { kFail, kWorkButReportFailure, kCrash, kCrashAfter };

// The `burst` writes from the `at`-th on go wrong.
struct Fault {
  Trouble trouble;
  int at = 1;
  int burst = 1;
};

std::ostream& operator<<(std::ostream& out, const Fault& fault) {
  constexpr const char* kNames[] = {"failure", "lost commit", "crash before", "crash after"};
  return out << kNames[static_cast<int>(fault.trouble)] << " at write " << fault.at << ", "
             << fault.burst << " times; ";
}

class Life {
 public:
  Life(int resend, std::vector<Fault> faults) : world(WithResend(resend)) {
    world.ledger.choose_writes = [this, faults = std::move(faults)] {
      ++writes_;
      for (const Fault& fault : faults) {
        if (healed_ || writes_ < fault.at || writes_ >= fault.at + fault.burst) continue;
        switch (fault.trouble) {
          case Trouble::kFail: return FakeLedger::Writes::kFail;
          case Trouble::kWorkButReportFailure: return FakeLedger::Writes::kWorkButReportFailure;
          case Trouble::kCrash: crash_ = true; return FakeLedger::Writes::kFail;
          case Trouble::kCrashAfter: crash_ = true; return FakeLedger::Writes::kWork;
        }
      }
      return FakeLedger::Writes::kWork;
    };
  }

  int writes() const { return writes_; }

  void Pass(absl::Duration span) {
    const absl::Time until = world.time.Now() + span;
    while (world.time.AdvanceUntil([this] { return crash_; }, until - world.time.Now())) {
      crash_ = false;
      world.Crash();
      world.StartGateway();
    }
  }

  void PassUntilSentAgain() {
    for (int i = 0; i < 300 && world.upstream.posts_counted < 2; ++i) Pass(absl::Seconds(1));
  }

  // A caller that tries until it has an answer that is OK or the POST is on its way. The POST's
  // index, if there is one.
  std::optional<size_t> Post(const std::string& request_id, std::optional<int32_t> seed = {}) {
    for (int tries = 0; tries < 5; ++tries) {
      const int posts = world.upstream.posts_counted;
      // The prompt tells whose POST it is.
      const auto call =
          world.SubmitSeeded(request_id, seed ? "equal" : request_id, seed.value_or(5));
      Pass(absl::Seconds(1));
      if (world.upstream.posts_counted > posts && !world.upstream.creates.empty()) {
        return world.upstream.creates.size() - 1;
      }
      if (call->answered() && call->result.ok()) return std::nullopt;
      Pass(absl::Seconds(5));
    }
    return std::nullopt;
  }
  std::string Make(size_t index) { return world.MakeTask(index); }
  void Answer(CreateOutcome outcome, size_t index = 0) {
    if (index >= world.upstream.creates.size()) return;  // the process that waited for it is gone
    world.upstream.AnswerCreate(std::move(outcome), index);
    Pass(absl::Milliseconds(1));
  }
  // Upstream calls until it is told that it need not.
  void Webhook(const std::string& token, const std::string& upstream_id) {
    for (int tries = 0; tries < 4; ++tries) {
      const auto answer = world.WebhookLater(token, upstream_id);
      Pass(absl::Milliseconds(1));
      if (answer->answers == 1 && answer->status.ok()) return;
      Pass(absl::Seconds(30));
    }
  }

  void ExpectAllWell(int posts_allowed) {
    healed_ = true;
    world.account.inputs_shown = true;
    world.account.failure.reset();
    while (!world.upstream.creates.empty()) Answer(Unknown());
    Pass(absl::Hours(4));
    EXPECT_LE(world.upstream.posts_counted, posts_allowed);
    for (const auto& prediction : world.ledger.All()) {
      EXPECT_TRUE(IsTerminal(prediction->state))
          << prediction->request_id << " is " << StateName(prediction->state);
    }
    EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
    EXPECT_EQ(world.gateway->Status().predictions_unresolved, 0);
    EXPECT_EQ(world.gateway->Status().orphans, 0);
    EXPECT_EQ(world.gateway->submissions_in_flight(), 0);
    EXPECT_LE(world.ledger.most_proposals_outstanding(), 1);
    world.ExpectNothingLost(Indistinguishable());
  }

  ReconcilerWorld world;

 private:
  // Tasks of which nobody can tell whose they are: fewer than the predictions that asked for them.
  std::set<std::string> Indistinguishable() const {
    std::set<std::string> tasks;
    for (const Account::AccountTask& task : world.account.tasks()) {
      std::set<std::string> may_own;
      size_t equal_tasks = 0;
      for (const StoredAttempt& attempt : world.ledger.Attempts()) {
        if (attempt.input == task.input) may_own.insert(attempt.prediction_id);
      }
      for (const Account::AccountTask& other : world.account.tasks()) {
        if (other.input == task.input) ++equal_tasks;
      }
      if (may_own.size() > equal_tasks) tasks.insert(task.upstream_id);
    }
    return tasks;
  }

  bool crash_ = false;
  bool healed_ = false;
  int writes_ = 0;
};

struct Story {
  const char* name;
  int resend;
  int posts_allowed;
  void (*tell)(Life&);
};

void PrintTo(const Story& story, std::ostream* out) { *out << story.name; }

const Story kStories[] = {
    {"FoundInHistory", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"AcceptedAfterTheSoftTimeout", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       std::string task;
       if (post) task = life.Make(*post);
       life.Pass(absl::Minutes(1));
       if (post) life.Answer(Accepted(task), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"NothingCreated", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndAccepted", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndLostAgain", 1, 2,
     [](Life& life) {
       life.world.upstream.answer_creates = [](const CreateTaskRequest&) { return Unknown(); };
       life.Post("r1");
       life.Pass(absl::Minutes(30));
     }},
    {"SentAgainAndRejected", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       life.Answer(Rejected(Reason::kUpstreamRejected, 400));
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndTheFirstTurnsUpLate", 1, 2,
     [](Life& life) {
       life.world.account.lag = absl::Minutes(30);
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       life.world.account.lag = absl::ZeroDuration();
       if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       life.Pass(absl::Hours(2));
     }},
    {"GivenUpAndFound", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(30));
       life.world.account.inputs_shown = true;
       life.Pass(absl::Hours(3));
     }},
    {"GivenUpAndAnsweredLate", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       std::string task;
       if (post) task = life.Make(*post);
       life.Pass(absl::Minutes(30));
       if (post) life.Answer(Accepted(task), *post);
       life.Pass(absl::Hours(1));
     }},
    {"WebhookBeforeTheAnswer", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Webhook(token, task);
         life.Answer(Accepted(task), *post);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"WebhookAfterTheAnswerWasLost", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Unknown(), *post);
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"WebhookAfterGivingUp", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Unknown(), *post);
         life.Pass(absl::Minutes(20));
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"RejectedButCreated", 0, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Rejected(Reason::kUpstreamRejected, 400), *post);
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndTheFirstCallsBack", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       std::string token;
       if (post) {
         token = life.world.upstream.creates[*post].request.attempt_token;
         life.Answer(Unknown(), *post);
       }
       life.PassUntilSentAgain();
       if (life.world.upstream.posts_counted == 2) {
         life.Webhook(token, life.world.account.Add({"r1", "16:9", 5}));
         if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       }
       life.Pass(absl::Hours(2));
     }},
    {"TwoEqualOnesBothFound", 0, 2,
     [](Life& life) {
       for (const char* request_id : {"r1", "r2"}) {
         const auto post = life.Post(request_id, 7);
         if (post) life.Make(*post), life.Answer(Unknown(), *post);
       }
       life.Pass(absl::Minutes(30));
     }},
};

class LedgerTroubleTest : public testing::TestWithParam<Story> {};

TEST_P(LedgerTroubleTest, AtAnyWriteItCostsNeitherMoneyNorVideos) {
  const Story& story = GetParam();
  int longest = 0;
  for (const Trouble trouble :
       {Trouble::kFail, Trouble::kWorkButReportFailure, Trouble::kCrash, Trouble::kCrashAfter}) {
    for (const int burst : {1, 3, 12}) {
      if (burst > 3 && trouble >= Trouble::kCrash) continue;
      for (int at = 1; at <= 24; ++at) {
        const Fault fault{trouble, at, burst};
        SCOPED_TRACE(testing::Message() << fault);
        Life life(story.resend, {fault});
        story.tell(life);
        longest = std::max(longest, life.writes());
        const bool reached = life.writes() >= at;
        life.ExpectAllWell(story.posts_allowed);
        if (testing::Test::HasFailure()) return;
        if (!reached) break;
      }
    }
  }
  EXPECT_GE(longest, 4) << "a story without writes proves little";
}

TEST_P(LedgerTroubleTest, TwiceAtAnyTwoWritesItCostsNeitherMoneyNorVideos) {
  const Story& story = GetParam();
  std::mt19937_64 chance(1);
  const auto some_fault = [&chance] {
    return Fault{static_cast<Trouble>(chance() % 4), 1 + static_cast<int>(chance() % 20),
                 1 + static_cast<int>(chance() % 2)};
  };
  for (int round = 0; round < 100; ++round) {
    const std::vector<Fault> faults = {some_fault(), some_fault()};
    SCOPED_TRACE(testing::Message() << faults[0] << faults[1]);
    Life life(story.resend, faults);
    story.tell(life);
    life.ExpectAllWell(story.posts_allowed);
    if (testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Stories, LedgerTroubleTest, testing::ValuesIn(kStories),
                         [](const auto& story) { return std::string(story.param.name); });

TEST(ReconcilerTest, WhileTheLedgerCannotBeReadNothingIsConcluded) {
  ReconcilerWorld world(WithResend());
  const auto lost = world.Lose("r1");
  world.ledger.set_reads_work(false);
  world.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  EXPECT_EQ(world.upstream.posts_counted, 1);
  EXPECT_LE(world.account.queries.size(), 40u) << "no storm of questions either";
  world.ledger.set_reads_work(true);
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, absl::Minutes(4)));
}

}  // namespace
}  // namespace dreamgate::core
