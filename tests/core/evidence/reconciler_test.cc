// The verdicts on POSTs whose outcome is unknown, through the gateway's front door on virtual time.
#include "server/core/evidence/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

// --------------------------------------------------------------------------------- found in history

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

TEST(ReconcilerTest, AStatusInHistorySaysNoMoreThanThatTheTaskExists) {
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

// ------------------------------------------------------------------------------ nothing to be found

TEST(ReconcilerTest, APredictionWithoutATaskFailsOnlyAfterTheSettleTimeAndThreeQuestions) {
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

TEST(ReconcilerTest, TheSearchGoesOnOnceTheRightKeyIsBack) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1", /*created=*/false);
  world.upstream.key_fingerprint = "another-key";
  world.time.Advance(absl::Minutes(5));
  ASSERT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  world.upstream.key_fingerprint = "0123456789abcdef";
  ASSERT_TRUE(world.Ends(lost.id, absl::Minutes(5)));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitNotCreated);
}

// ---------------------------------------------------------------------------------------- giving up

TEST(ReconcilerTest, APredictionWithHiddenInputsIsGivenUpAtTheTimeoutAndNotBefore) {
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

// ------------------------------------------------------------------------------------- equal inputs

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

// -------------------------------------------------------------------- drained, and without a ledger

TEST(ReconcilerTest, ADrainingGatewayGoesOnReconciling) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  world.gateway->Drain();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
}

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
