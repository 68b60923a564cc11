#include "server/core/submission/submitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

// ------------------------------------------------------------------------------------ the usual case

TEST(SubmitterTest, AnAcceptedSubmissionIsAnsweredOnceItIsDurable) {
  World world;
  const auto call = world.Submit("r1");
  ASSERT_EQ(world.upstream.creates.size(), 1u);
  EXPECT_FALSE(call->answered());
  world.ledger.Hold();
  world.Answer(Accepted("u1"));
  EXPECT_FALSE(call->answered()) << "answered before the ledger had committed";
  world.ledger.Release();
  world.time.RunDue();
  ASSERT_TRUE(call->result.ok()) << call->result.status();
  EXPECT_EQ(call->state(), State::kCreated);
  EXPECT_EQ(call->result->prediction->upstream_id, "u1");
  EXPECT_FALSE(call->result->replayed);
  EXPECT_EQ(*world.ledger.Find(kTenant, call->id()), *call->result->prediction);
  EXPECT_EQ(world.events.submissions["accepted"], 1);
}

TEST(SubmitterTest, NothingIsSentBeforeTheReservationIsDurable) {
  World world;
  world.time.RunDue();
  world.ledger.Hold();
  world.Submit("r1");
  EXPECT_EQ(world.upstream.posts_counted, 0);
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, TheDrawnSeedIsSentAndReturned) {
  World world;
  const auto call = world.Submit("r1");
  const int32_t sent = world.upstream.creates.front().request.seed;
  EXPECT_GE(sent, 0);
  world.Answer(Accepted("u1"));
  EXPECT_EQ(call->result->prediction->seed, sent);
  EXPECT_FALSE(call->result->prediction->input.seed.has_value()) << "the input stays as asked for";
}

TEST(SubmitterTest, ATaskMayBeFinishedWithTheAnswerToItsPost) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Accepted("u1", State::kCompleted));
  EXPECT_EQ(call->state(), State::kCompleted);
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
}

// ----------------------------------------------------------------------------------------- duplicates

TEST(SubmitterTest, AReplayAfterTheAnswerReturnsTheOriginal) {
  World world;
  const auto first = world.Submit("r1");
  world.Answer(Accepted("u1"));
  const auto again = world.Submit("r1");
  ASSERT_TRUE(again->result.ok());
  EXPECT_EQ(again->id(), first->id());
  EXPECT_TRUE(again->result->replayed);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, ConcurrentDuplicatesJoinOnePost) {
  World world;
  const auto reserving = world.SubmitLater("r1");
  std::vector<std::shared_ptr<Call>> duplicates = {world.SubmitLater("r1")};
  world.time.RunDue();
  duplicates.push_back(world.Submit("r1"));
  world.upstream.AnswerCreate(Accepted("u1"));
  for (int i = 0; i < 30 && world.time.Step(); ++i) duplicates.push_back(world.SubmitLater("r1"));
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 1);
  ASSERT_TRUE(reserving->result.ok());
  EXPECT_FALSE(reserving->result->replayed);
  for (const auto& duplicate : duplicates) {
    ASSERT_TRUE(duplicate->result.ok()) << duplicate->result.status();
    EXPECT_EQ(duplicate->answers, 1);
    EXPECT_EQ(duplicate->id(), reserving->id());
    EXPECT_TRUE(duplicate->result->replayed);
  }
}

TEST(SubmitterTest, AnotherPayloadIsAConflictWhileInFlightAndLater) {
  World world;
  const auto first = world.Submit("r1", "a cat");
  const auto during = world.Submit("r1", "a dog");
  EXPECT_EQ(during->reason(), Reason::kRequestIdConflict);
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(first->result.ok());
  const auto later = world.Submit("r1", "a dog");
  EXPECT_EQ(later->reason(), Reason::kRequestIdConflict);
  EXPECT_EQ(later->result.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, AWrongPayloadUnderWayDoesNotTurnAwayTheOneThatHasTheRequestId) {
  World world;
  const auto first = world.Submit("r1", "a cat");
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(first->result.ok());
  const auto wrong = world.SubmitLater("r1", "a dog");
  const auto replay = world.SubmitLater("r1", "a cat");
  world.time.RunDue();
  EXPECT_EQ(wrong->reason(), Reason::kRequestIdConflict);
  ASSERT_TRUE(replay->result.ok()) << replay->result.status();
  EXPECT_EQ(replay->id(), first->id());
  EXPECT_TRUE(replay->result->replayed);
}

TEST(SubmitterTest, ARequestIdBelongsToItsTenant) {
  World world;
  const auto one = world.Submit("r1", "a cat", "tenant-a");
  const auto other = world.Submit("r1", "a dog", "tenant-b");
  world.Answer(Accepted("u1"));
  world.Answer(Accepted("u2"));
  ASSERT_TRUE(one->result.ok());
  ASSERT_TRUE(other->result.ok());
  EXPECT_NE(one->id(), other->id());
}

// Callers may come back from inside their completion, as anybody on the loop may.
TEST(SubmitterTest, ACallerThatSubmitsAgainFromItsCompletionIsAnswered) {
  for (const bool accepted : {true, false}) {
    World world;
    std::shared_ptr<Call> again;
    SubmitRequest request;
    request.tenant = kTenant;
    request.request_id = "r1";
    request.input.prompt = "a cat";
    world.gateway->Submit(std::move(request),
                          [&](absl::StatusOr<SubmitAnswer>) { again = world.SubmitLater("r1"); });
    world.time.RunDue();
    world.Answer(accepted ? Accepted("u1") : Rejected(Reason::kUpstreamRejected, 400));
    world.time.RunDue();
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(again->answers, 1);
    EXPECT_EQ(again->result.ok(), accepted);
    EXPECT_EQ(world.upstream.posts_counted, 1);
  }
}

// ----------------------------------------------------------------------------------------- rejections

TEST(SubmitterTest, ARejectionOf400Or422IsRememberedAndAnsweredAgainWithoutAPost) {
  for (const int http_status : {400, 422}) {
    World world;
    const auto first = world.Submit("r1");
    world.Answer(Rejected(Reason::kUpstreamRejected, http_status));
    EXPECT_EQ(first->reason(), Reason::kUpstreamRejected);
    const auto again = world.Submit("r1");
    EXPECT_EQ(again->result.status(), first->result.status());
    EXPECT_EQ(world.upstream.posts_counted, 1);
    EXPECT_EQ(world.Submit("r1", "a dog")->reason(), Reason::kRequestIdConflict);

    world.Crash();
    world.StartGateway();
    EXPECT_EQ(world.Submit("r1")->result.status(), first->result.status()) << "after a restart";
    EXPECT_EQ(world.upstream.posts_counted, 1);
  }
}

TEST(SubmitterTest, EveryOtherDefiniteRejectionFreesTheRequestId) {
  struct Case {
    Reason reason;
    int http_status;
    absl::StatusCode code;
  };
  for (const Case& each :
       {Case{Reason::kUpstreamCredentialsRejected, 401, absl::StatusCode::kFailedPrecondition},
        Case{Reason::kUpstreamCredentialsRejected, 403, absl::StatusCode::kFailedPrecondition},
        Case{Reason::kUpstreamBalanceExhausted, 402, absl::StatusCode::kFailedPrecondition},
        // Missing credits may be told with a 400; that is no verdict on the input.
        Case{Reason::kUpstreamBalanceExhausted, 400, absl::StatusCode::kFailedPrecondition},
        Case{Reason::kUpstreamModelUnavailable, 404, absl::StatusCode::kFailedPrecondition},
        Case{Reason::kUpstreamRejected, 413, absl::StatusCode::kInvalidArgument},
        Case{Reason::kUpstreamRateLimited, 429, absl::StatusCode::kResourceExhausted},
        Case{Reason::kUpstreamMisconfigured, 302, absl::StatusCode::kFailedPrecondition}}) {
    SCOPED_TRACE(each.http_status);
    World world;
    const auto first = world.Submit("r1");
    world.Answer(Rejected(each.reason, each.http_status));
    EXPECT_EQ(first->reason(), each.reason);
    EXPECT_EQ(first->result.status().code(), each.code);
    const auto again = world.Submit("r1", "a dog");  // free: for another payload, too
    world.Answer(Accepted("u1"));
    ASSERT_TRUE(again->result.ok()) << again->result.status();
    EXPECT_FALSE(again->result->replayed);
    EXPECT_EQ(world.upstream.posts_counted, 2);
  }
}

TEST(SubmitterTest, ARateLimitTellsWhenToComeBack) {
  World world;
  const auto told = world.Submit("r1");
  world.Answer(CreateRejected{Reason::kUpstreamRateLimited, 429, 0, "slow", absl::Seconds(17)});
  EXPECT_EQ(DetailsOf(told->result.status()).retry_after, absl::Seconds(17));
  const auto untold = world.Submit("r2");
  world.Answer(Rejected(Reason::kUpstreamRateLimited, 429));
  EXPECT_TRUE(DetailsOf(untold->result.status()).retry_after.has_value());
}

TEST(SubmitterTest, ARejectedSubmissionNeverBecomesAPrediction) {
  World world;
  world.Submit("r1");
  const std::string id = world.ledger.All().front()->id;
  world.Answer(Rejected(Reason::kUpstreamRateLimited, 429));
  EXPECT_EQ(world.Get(id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(world.Watch(id)->error.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
}

TEST(SubmitterTest, DuplicatesThatComeWhileARejectionIsBeingRecordedBeginAnew) {
  World world;
  const auto first = world.Submit("r1");
  world.ledger.Hold();
  world.Answer(Rejected(Reason::kUpstreamRateLimited, 429));
  const auto during = world.Submit("r1");
  const auto too = world.Submit("r1");
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_EQ(first->reason(), Reason::kUpstreamRateLimited);
  EXPECT_EQ(world.upstream.posts_counted, 2);
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(during->result.ok()) << during->result.status();
  ASSERT_TRUE(too->result.ok()) << too->result.status();
  EXPECT_EQ(during->id(), too->id());
}

// ------------------------------------------------------------------------------------------- not sent

TEST(SubmitterTest, WhatWasNotSentIsTriedAgainWithBackoff) {
  World world;
  const auto call = world.Submit("r1");
  for (int i = 0; i < 3; ++i) {
    world.Answer(NotSent());
    EXPECT_FALSE(call->answered());
    ASSERT_TRUE(
        world.time.AdvanceUntil([&] { return !world.upstream.creates.empty(); }, absl::Seconds(5)));
  }
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(call->result.ok());
  EXPECT_EQ(world.upstream.posts_counted, 4);
}

TEST(SubmitterTest, WhatCannotBeSentInTimeIsUnreachableAndFreesTheRequestId) {
  World world;
  world.upstream.answer_creates = [](const CreateTaskRequest&) { return NotSent(); };
  const absl::Time start = world.time.Now();
  const auto call = world.Submit("r1");
  ASSERT_TRUE(world.time.AdvanceUntil([&] { return call->answered(); }, absl::Minutes(1)));
  EXPECT_EQ(call->reason(), Reason::kUpstreamUnreachable);
  EXPECT_TRUE(DetailsOf(call->result.status()).retry_after.has_value());
  EXPECT_LE(world.time.Now() - start, world.options.submit_soft_timeout);
  EXPECT_GE(world.upstream.posts_counted, 4);
  EXPECT_LE(world.upstream.posts_counted, 200) << "that is no backoff";

  world.upstream.answer_creates = [](const CreateTaskRequest&) { return Accepted("u1"); };
  world.time.Advance(*DetailsOf(call->result.status()).retry_after);
  EXPECT_TRUE(world.Submit("r1")->result.ok());
}

TEST(SubmitterTest, ADuplicateJoinsWhileTheFirstWaitsToTryAgain) {
  World world;
  const auto first = world.Submit("r1");
  world.Answer(NotSent());
  const auto joined = world.Submit("r1");
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !world.upstream.creates.empty(); }, absl::Seconds(5)));
  world.Answer(Accepted("u1"));
  EXPECT_TRUE(first->result.ok());
  EXPECT_TRUE(joined->result.ok());
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

// ----------------------------------------------------------------------------------------- unresolved

TEST(SubmitterTest, AnUnknownOutcomeIsAnsweredOkAsUnresolved) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Unknown());
  ASSERT_TRUE(call->result.ok());
  EXPECT_EQ(call->state(), State::kUnresolved);
  const auto again = world.Submit("r1");
  EXPECT_TRUE(again->result->replayed);
  EXPECT_EQ(world.upstream.posts_counted, 1) << "never sent again blindly";
}

// An answer that comes after the caller was told UNRESOLVED.
class LateAnswerTest : public testing::Test {
 protected:
  void SetUp() override {
    call_ = world_.Submit("r1");
    world_.time.Advance(world_.options.submit_soft_timeout - absl::Seconds(1));
    EXPECT_FALSE(call_->answered());
    world_.time.Advance(absl::Seconds(1));
    ASSERT_TRUE(call_->answered());
    ASSERT_TRUE(call_->result.ok());
    ASSERT_EQ(call_->state(), State::kUnresolved);
    EXPECT_EQ(world_.gateway->submissions_in_flight(), 1) << "the socket is still read";
    watcher_ = world_.Watch(call_->id());
    world_.time.Advance(absl::Minutes(4));
  }

  std::shared_ptr<const Prediction> Current() { return *world_.Get(call_->id()); }

  World world_;
  std::shared_ptr<Call> call_;
  std::shared_ptr<FakeWatcher> watcher_;
};

TEST_F(LateAnswerTest, AnAcceptanceMakesItCreated) {
  world_.Answer(Accepted("u1"));
  EXPECT_EQ(Current()->state, State::kCreated);
  EXPECT_EQ(Current()->upstream_id, "u1");
  EXPECT_THAT(watcher_->states(), ElementsAre(State::kUnresolved, State::kCreated));
  EXPECT_EQ(world_.gateway->submissions_in_flight(), 0);
  EXPECT_EQ(call_->answers, 1);
}

TEST_F(LateAnswerTest, ARejectionOfTheInputMakesItFailAsInvalidInput) {
  world_.Answer(Rejected(Reason::kUpstreamRejected, 400));
  EXPECT_EQ(Current()->state, State::kFailed);
  EXPECT_EQ(Current()->failure->code, FailureCode::kInvalidInput);
  EXPECT_TRUE(watcher_->ended_ok);
}

TEST_F(LateAnswerTest, MissingCreditsMakeItFailAsThat) {
  world_.Answer(Rejected(Reason::kUpstreamBalanceExhausted, 402));
  EXPECT_EQ(Current()->failure->code, FailureCode::kInsufficientCredits);
}

TEST_F(LateAnswerTest, ARateLimitIsEvidenceOfAbsence) {
  world_.Answer(Rejected(Reason::kUpstreamRateLimited, 429));
  EXPECT_EQ(Current()->failure->code, FailureCode::kSubmitNotCreated);
  EXPECT_TRUE(Current()->failure->resubmission_may_help);
}

TEST_F(LateAnswerTest, NotSentIsEvidenceOfAbsence) {
  world_.Answer(NotSent());
  EXPECT_EQ(Current()->state, State::kFailed);
  EXPECT_EQ(Current()->failure->code, FailureCode::kSubmitNotCreated);
  world_.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world_.upstream.posts_counted, 1);
}

TEST_F(LateAnswerTest, AnUnknownOutcomeChangesNothing) {
  world_.Answer(Unknown());
  EXPECT_EQ(Current()->state, State::kUnresolved);
  EXPECT_EQ(Current()->sequence, 2);
}

TEST_F(LateAnswerTest, ADuplicateAnswersFromTheLedgerAndTheLateAnswerLeavesItAlone) {
  const auto duplicate = world_.Submit("r1");
  EXPECT_EQ(duplicate->id(), call_->id());
  world_.Answer(Accepted("u1"));
  const auto later = world_.Submit("r1");
  EXPECT_EQ(later->state(), State::kCreated);
  EXPECT_EQ(world_.upstream.posts_counted, 1);
}

TEST(SubmitterTest, AnAnswerThatArrivesWhileUnresolvedIsBeingWrittenFollowsIt) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.Hold();
  world.time.Advance(world.options.submit_soft_timeout);
  world.Answer(Accepted("u1"));
  world.ledger.Release();
  world.time.RunDue();
  ASSERT_TRUE(call->result.ok());
  EXPECT_EQ(call->answers, 1);
  EXPECT_EQ(world.StateOf(call->id()), State::kCreated);
}

TEST(SubmitterTest, ALateAnswerOfAnOlderFlightDoesNotDisturbANewerOne) {
  Options options;
  options.unresolved_timeout = absl::Seconds(40);
  World world(options);
  const auto old_call = world.Submit("r1");
  world.time.Advance(options.submit_soft_timeout);  // UNRESOLVED, its POST still open
  ASSERT_EQ(old_call->state(), State::kUnresolved);
  world.time.Advance(absl::Seconds(40));  // given up
  EXPECT_EQ(world.StateOf(old_call->id()), State::kFailed);

  // A flight of the same request_id which waits for the ledger while the old answer arrives.
  world.ledger.Hold();
  const auto new_call = world.Submit("r1");
  world.Answer(Accepted("u1"));
  const auto joined = world.Submit("r1");
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_EQ(new_call->answers, 1);
  EXPECT_EQ(joined->answers, 1);
  EXPECT_EQ(new_call->state(), State::kFailed);
  EXPECT_EQ(world.upstream.posts_counted, 1);
  EXPECT_EQ(world.events.orphans, 1) << "a paid video without a prediction must raise an alarm";
}

// ----------------------------------------------------------------------------------------- cancelling

TEST(SubmitterTest, ACallerGoneBeforeThePostFreesTheRequestId) {
  World world;
  const auto call = world.SubmitLater("r1");
  call->cancelled = true;
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 0);
  EXPECT_EQ(call->result.status().code(), absl::StatusCode::kCancelled);
  const auto again = world.Submit("r1");
  world.Answer(Accepted("u1"));
  EXPECT_TRUE(again->result.ok());
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, AfterThePostTheWorkGoesOnAndARetryJoinsIt) {
  World world;
  const auto call = world.Submit("r1");
  call->cancelled = true;
  const auto retry = world.Submit("r1");
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(retry->result.ok());
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, OneCallerGoneDoesNotCancelForTheOthers) {
  World world;
  const auto gone = world.SubmitLater("r1");
  gone->cancelled = true;
  const auto stays = world.SubmitLater("r1");
  world.time.RunDue();
  world.Answer(Accepted("u1"));
  EXPECT_TRUE(stays->result.ok());
}

TEST(SubmitterTest, AllCallersGoneCancel) {
  World world;
  world.SubmitLater("r1")->cancelled = true;
  world.SubmitLater("r1")->cancelled = true;
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 0);
}

TEST(SubmitterTest, ADuplicateDoesNotInheritTheCancellationOfAnother) {
  World world;
  const auto gone = world.SubmitLater("r1");
  gone->cancelled = true;
  while (world.upstream.posts_counted == 0 && !gone->answered() && world.time.Step()) {}
  EXPECT_EQ(gone->result.status().code(), absl::StatusCode::kCancelled);

  World other;
  const auto gone_too = other.SubmitLater("r1");
  gone_too->cancelled = true;
  std::vector<std::shared_ptr<Call>> want_it;
  while (other.time.Step()) {
    if (!gone_too->answered() && other.time.waiting() > 0 && want_it.empty() &&
        other.ledger.writes_tried() == 1 && other.ledger.reservations() == 1) {
      other.ledger.Hold();  // the withdrawal hangs
      other.time.RunDue();
      want_it.push_back(other.SubmitLater("r1"));
      other.ledger.Release();
    }
  }
  ASSERT_EQ(want_it.size(), 1u);
  other.Answer(Accepted("u1"));
  EXPECT_TRUE(want_it.front()->result.ok()) << want_it.front()->result.status();
}

TEST(SubmitterTest, ACallerGoneBetweenTwoTriesCancels) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(NotSent());
  call->cancelled = true;
  world.time.Advance(absl::Seconds(10));
  EXPECT_EQ(call->result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

// -------------------------------------------------------------------------------------------- queued

Options OneSlot() {
  Options options;
  options.max_submits_in_flight = 1;
  return options;
}

TEST(SubmitterTest, WithoutAFreeSlotASubmissionWaitsAsQueuedInOrder) {
  World world(OneSlot());
  const auto first = world.Submit("r1", "one");
  const auto second = world.Submit("r2", "two");
  const auto third = world.Submit("r3", "three");
  EXPECT_EQ(world.upstream.posts_counted, 1);
  ASSERT_EQ(world.ledger.All().size(), 3u);
  EXPECT_EQ(world.ledger.All()[1]->state, State::kQueued);
  world.Answer(Accepted("u1"));
  ASSERT_EQ(world.upstream.creates.size(), 1u);
  EXPECT_EQ(world.upstream.creates.front().request.prompt, "two");
  world.Answer(Accepted("u2"));
  world.Answer(Accepted("u3"));
  EXPECT_TRUE(first->result.ok() && second->result.ok() && third->result.ok());
  std::vector<State> states;
  for (const HistoryEntry& entry : third->result->prediction->history)
    states.push_back(entry.state);
  EXPECT_THAT(states, ElementsAre(State::kQueued, State::kSubmitting, State::kCreated));
}

TEST(SubmitterTest, LeavingTheQueueIsDurableBeforeThePost) {
  World world(OneSlot());
  world.Submit("r1");
  world.Submit("r2");
  world.upstream.AnswerCreate(Accepted("u1"));
  while (world.upstream.posts_counted == 1) {
    ASSERT_TRUE(world.time.Step());
  }
  EXPECT_EQ(world.ledger.All()[1]->state, State::kSubmitting);
}

TEST(SubmitterTest, TheQueueGivesUpInTimeAndNothingWasSent) {
  World world(OneSlot());
  world.Submit("r1");
  const auto waiting = world.Submit("r2");
  const auto joined = world.Submit("r2");
  world.time.Advance(world.options.submit_soft_timeout);
  EXPECT_EQ(waiting->reason(), Reason::kTooManyRequests);
  EXPECT_EQ(joined->reason(), Reason::kTooManyRequests);
  EXPECT_TRUE(DetailsOf(waiting->result.status()).retry_after.has_value());
  EXPECT_EQ(world.upstream.posts_counted, 1);
  world.Answer(Accepted("u1"));
  const auto again = world.Submit("r2");
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(again->result.ok());
}

TEST(SubmitterTest, ASlotIsTakenAsLongAsItsPostIsOnTheWire) {
  World world(OneSlot());
  world.Submit("r1");
  world.time.Advance(world.options.submit_soft_timeout);  // r1 is UNRESOLVED, its POST still open
  const auto second = world.Submit("r2");
  EXPECT_EQ(world.upstream.posts_counted, 1);
  world.Answer(Unknown());
  EXPECT_EQ(world.upstream.posts_counted, 2);
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(second->result.ok());
}

TEST(SubmitterTest, EverySortOfEndFreesTheSlot) {
  for (const auto& outcome : {Accepted("u1"), Rejected(Reason::kUpstreamRejected, 400),
                              Rejected(Reason::kUpstreamRateLimited, 429), Unknown()}) {
    World world(OneSlot());
    world.Submit("r1");
    world.Answer(CreateOutcome(outcome));
    const auto next = world.Submit("r2");
    world.Answer(Accepted("u2"));
    EXPECT_TRUE(next->result.ok());
  }
}

TEST(SubmitterTest, WhoLeavesTheQueueTooLateIsNotSent) {
  World world(OneSlot());
  world.Submit("r1");
  const auto queued = world.Submit("r2");
  world.ledger.Hold();
  world.Answer(Accepted("u1"));
  world.ledger.Release();
  // Hold the commit of SUBMITTING beyond the soft timeout.
  while (world.ledger.Find(kTenant, world.ledger.All()[0]->id)->state != State::kCreated) {
    ASSERT_TRUE(world.time.Step());
  }
  world.ledger.Hold();
  world.time.Advance(world.options.submit_soft_timeout + absl::Seconds(1));
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 1);
  ASSERT_TRUE(queued->answered()) << "the caller would wait for minutes";
  EXPECT_EQ(queued->reason(), Reason::kTooManyRequests);
}

TEST(SubmitterTest, IfLeavingTheQueueCannotBeWrittenNothingIsSentOrShown) {
  World world(OneSlot());
  world.Submit("r1");
  const auto queued = world.Submit("r2");
  const std::string id = world.ledger.All()[1]->id;
  world.upstream.AnswerCreate(Accepted("u1"));
  while (world.ledger.All()[0]->state != State::kCreated) ASSERT_TRUE(world.time.Step());
  for (const auto trouble :
       {FakeLedger::Writes::kFail, FakeLedger::Writes::kWorkButReportFailure}) {
    world.ledger.set_writes(trouble);
    world.time.Advance(absl::Seconds(1));
    ASSERT_TRUE(queued->answered());
    EXPECT_EQ(queued->reason(), Reason::kLedgerUnavailable);
    EXPECT_EQ(world.Get(id).status().code(), absl::StatusCode::kNotFound);
  }
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.upstream.posts_counted, 1);
  const auto again = world.Submit("r2");
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(again->result.ok()) << again->result.status();
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

TEST(SubmitterTest, ATenantsLimitRefusesButStillReplays) {
  Options options;
  options.max_in_flight_per_tenant = 1;
  World world(options);
  const std::string id = world.Create("r1", "u1");
  const auto refused = world.Submit("r2");
  EXPECT_EQ(refused->reason(), Reason::kTenantLimitReached);
  EXPECT_FALSE(DetailsOf(refused->result.status()).quota_subject.empty());
  EXPECT_TRUE(world.Submit("r1")->result->replayed);
  const auto other_tenant = world.Submit("r2", "a cat", "tenant-b");
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(other_tenant->result.ok());

  world.upstream.answer_gets = [](const std::string& upstream_id) {
    return Shows(upstream_id, State::kCompleted);
  };
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
  const auto again = world.Submit("r2");
  world.Answer(Accepted("u3"));
  EXPECT_TRUE(again->result.ok()) << "the refused request_id was not taken";
}

TEST(SubmitterTest, SimultaneousSubmissionsCannotPassTheTenantsLimitTogether) {
  Options options;
  options.max_in_flight_per_tenant = 2;
  World world(options);
  for (int i = 0; i < 5; ++i) world.SubmitLater("r" + std::to_string(i));
  world.time.RunDue();
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

// ------------------------------------------------------------------------------------ ledger trouble

TEST(SubmitterTest, IfTheReservationFailsNothingIsSentAndALaterRetrySendsOnce) {
  for (const auto trouble :
       {FakeLedger::Writes::kFail, FakeLedger::Writes::kWorkButReportFailure}) {
    World world;
    world.ledger.set_writes(trouble);
    const auto failed = world.Submit("r1");
    EXPECT_EQ(failed->reason(), Reason::kLedgerUnavailable);
    EXPECT_TRUE(DetailsOf(failed->result.status()).retry_after.has_value());
    EXPECT_EQ(world.upstream.posts_counted, 0);
    const auto during = world.Submit("r1");
    world.time.Advance(absl::Seconds(15));
    EXPECT_EQ(during->reason(), Reason::kLedgerUnavailable);

    world.ledger.set_writes(FakeLedger::Writes::kWork);
    world.time.Advance(absl::Seconds(15));
    const auto again = world.Submit("r1");
    world.Answer(Accepted("u1"));
    ASSERT_TRUE(again->result.ok()) << again->result.status();
    world.time.Advance(absl::Minutes(1));
    EXPECT_EQ(world.upstream.posts_counted, 1);
    EXPECT_EQ(world.StateOf(again->id()), State::kCreated);
  }
}

TEST(SubmitterTest, AReservationThatNeverWasDoesNotKeepTheRequestIdTaken) {
  World world;
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  const auto failed = world.Submit("r1");
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(11));  // one round of withdrawing: there is nothing to reject
  const size_t writes = world.ledger.writes_tried();
  world.time.Advance(absl::Minutes(5));
  EXPECT_EQ(world.ledger.writes_tried(), writes) << "it is withdrawn for ever";
  const auto again = world.Submit("r1");
  world.Answer(Accepted("u1"));
  EXPECT_TRUE(again->result.ok()) << again->result.status();
}

TEST(SubmitterTest, AnAcceptanceThatCannotBeWrittenIsAnsweredShownAndWrittenLater) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(call->result.ok()) << call->result.status();
  EXPECT_EQ(call->state(), State::kSubmitting) << "the committed state";
  EXPECT_TRUE(world.Get(call->id()).ok());
  const auto watcher = world.Watch(call->id());
  EXPECT_THAT(watcher->states(), ElementsAre(State::kSubmitting));
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.Get(call->id()).value()->state, State::kSubmitting);
  EXPECT_EQ(world.upstream.gets_counted, 0);

  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(10));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kSubmitting, State::kCreated));
  EXPECT_EQ(world.Get(call->id()).value()->upstream_id, "u1");
  EXPECT_GT(world.upstream.gets_counted, 0);
  EXPECT_EQ(world.upstream.posts_counted, 1);
  EXPECT_EQ(call->answers, 1);
}

TEST(SubmitterTest, ARetryWhileTheAcceptanceIsUnwrittenIsAnsweredWithoutAPost) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.choose_writes = [&world] {  // only reservations work
    return world.upstream.creates.empty() && world.ledger.writes_tried() < 3
               ? FakeLedger::Writes::kFail
               : FakeLedger::Writes::kWork;
  };
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(call->result.ok());
  const auto again = world.Submit("r1");
  ASSERT_TRUE(again->result.ok()) << again->result.status();
  EXPECT_EQ(again->id(), call->id());
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, ARejectionToBeRememberedIsNotToldBeforeItIsAndTheIdStaysTaken) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Rejected(Reason::kUpstreamRejected, 400));
  EXPECT_EQ(call->reason(), Reason::kLedgerUnavailable);
  const auto during = world.Submit("r1");
  world.time.Advance(absl::Seconds(15));
  EXPECT_EQ(during->reason(), Reason::kLedgerUnavailable);
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(15));
  EXPECT_EQ(world.Submit("r1")->reason(), Reason::kUpstreamRejected);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, AnyOtherRejectionIsAnsweredEvenIfItCannotBeWritten) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Rejected(Reason::kUpstreamRateLimited, 429));
  EXPECT_EQ(call->reason(), Reason::kUpstreamRateLimited);
}

// -------------------------------------------------------------------------------------------- crashes

TEST(SubmitterTest, ACrashAtAnyPointNeverLeadsToASecondPost) {
  for (const bool queued : {false, true}) {
    for (const bool ledger_goes_on : {false, true}) {
      bool crashed_at_the_end = false;
      for (int steps = 0; !crashed_at_the_end; ++steps) {
        SCOPED_TRACE(testing::Message() << "queued " << queued << ", ledger goes on "
                                        << ledger_goes_on << ", after " << steps << " steps");
        ASSERT_LT(steps, 200);
        World world(OneSlot());
        int posts = 0;
        world.upstream.answer_creates = [&posts](const CreateTaskRequest& request) {
          if (request.prompt == "the one") ++posts;
          return Accepted(request.prompt);
        };
        world.upstream.answer_gets = [](const std::string& id) {
          return Shows(id, State::kCompleted);
        };
        world.time.RunDue();
        if (queued) world.SubmitLater("other", "another");
        const auto lost = world.SubmitLater("r1", "the one");
        crashed_at_the_end = true;
        for (int i = 0; i < steps; ++i) crashed_at_the_end = world.time.Step();
        crashed_at_the_end = !crashed_at_the_end && steps > 0;
        const bool was_answered = lost->answered();
        world.Crash(ledger_goes_on);

        world.StartGateway();
        std::shared_ptr<Call> retry;
        ASSERT_TRUE(world.time.AdvanceUntil(
            [&] {
              if (retry == nullptr || (retry->answered() && !retry->result.ok())) {
                retry = world.SubmitLater("r1", "the one");
              }
              return retry->answered() && retry->result.ok();
            },
            absl::Minutes(1)));
        if (was_answered) {
          EXPECT_EQ(retry->id(), lost->id());
        }
        world.time.Advance(absl::Minutes(20));
        EXPECT_LE(posts, 1);
        EXPECT_TRUE(IsTerminal(world.StateOf(retry->id())));
        const auto last = world.Submit("r1", "the one");
        EXPECT_EQ(last->id(), retry->id());
        EXPECT_LE(posts, 1);
      }
    }
  }
}

TEST(SubmitterTest, AfterARestartWhatWasQueuedIsFree) {
  World world(OneSlot());
  world.Submit("r1");
  world.Submit("r2");
  world.Crash();
  world.StartGateway();
  world.time.RunDue();
  const auto again = world.Submit("r2", "another payload");
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(again->result.ok());
}

TEST(SubmitterTest, AfterARestartWhatWasBeingSentIsUnresolvedAndThenGivenUp) {
  World world;
  world.Submit("r1");
  const std::string id = world.ledger.All().front()->id;
  world.Crash();
  world.StartGateway();
  world.time.RunDue();
  EXPECT_EQ(world.StateOf(id), State::kUnresolved);
  EXPECT_EQ(world.Submit("r1")->id(), id);
  world.time.Advance(world.options.unresolved_timeout);
  EXPECT_EQ(world.StateOf(id), State::kFailed);
  EXPECT_EQ((*world.Get(id))->failure->code, FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

TEST(SubmitterTest, AfterARestartAnAcceptedTaskIsPolledOn) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.Crash();
  world.time.Advance(absl::Hours(1));
  world.StartGateway();
  world.AnswerGet(Shows("u1", State::kCompleted), world.options.poll_min_interval);
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

TEST(SubmitterTest, RecoveryInLedgerTroubleSucceedsLater) {
  World world(OneSlot());
  world.Submit("r1");
  world.Submit("r2");
  const std::string id = world.ledger.All().front()->id;
  world.Crash();
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world.StartGateway();
  world.time.Advance(absl::Minutes(1));
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.StateOf(id), State::kUnresolved);
  EXPECT_EQ((*world.Get(id))->sequence, 2);
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 1);
}

TEST(SubmitterTest, WhatWasAcknowledgedInLedgerTroubleIsFoundAfterACrashInTheMiddleOfIt) {
  World world;
  const auto call = world.Submit("r1");
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Accepted("u1"));
  ASSERT_TRUE(call->result.ok()) << call->result.status();
  world.Crash();
  world.StartGateway();
  const auto watcher = world.Watch(call->id());
  EXPECT_EQ(world.StateOf(call->id()), State::kSubmitting);
  EXPECT_THAT(watcher->states(), ElementsAre(State::kSubmitting));
}

// ------------------------------------------------------------------------------- upstream's circuit

class CircuitTest : public testing::Test {
 protected:
  // So many submissions a tenth of a second apart, each answered at once with `outcome`.
  void SubmitMany(int number, const CreateOutcome& outcome) {
    for (int i = 0; i < number; ++i) {
      const auto call = world_.Submit("many-" + std::to_string(made_++));
      if (!world_.upstream.creates.empty()) world_.Answer(CreateOutcome(outcome));
      world_.time.Advance(absl::Milliseconds(100));
    }
  }
  void Open(const CreateOutcome& outcome = Unknown()) {
    SubmitMany(CircuitBreaker::kFailuresToOpen, outcome);
    ASSERT_TRUE(world_.events.circuit_open["post"]);
    posts_ = world_.upstream.posts_counted;
  }
  // As long as a refused caller is asked to wait.
  void WaitAsTold(const Call& refused) {
    world_.time.Advance(*DetailsOf(refused.result.status()).retry_after);
  }

  World world_;
  int made_ = 0;
  int posts_ = 0;  // when the circuit opened
};

TEST_F(CircuitTest, WhileUpstreamFailsEverySubmissionANewOneIsWithdrawnUnsent) {
  Open();
  const auto refused = world_.Submit("r1");
  EXPECT_EQ(refused->reason(), Reason::kUpstreamUnreachable);
  EXPECT_EQ(refused->result.status().code(), absl::StatusCode::kUnavailable);
  const auto retry_after = DetailsOf(refused->result.status()).retry_after;
  ASSERT_TRUE(retry_after.has_value());
  EXPECT_GE(*retry_after, absl::Seconds(1));
  EXPECT_LE(*retry_after, CircuitBreaker::kLongestProbe);
  EXPECT_EQ(world_.upstream.posts_counted, posts_);
  EXPECT_EQ(world_.events.submissions["refused"], 1);
  for (const auto& prediction : world_.ledger.All()) EXPECT_NE(prediction->request_id, "r1");
}

TEST_F(CircuitTest, TheRequestIdOfOneThatWasWithdrawnIsFree) {
  Open();
  const auto refused = world_.Submit("r1", "one");
  WaitAsTold(*refused);
  const auto again = world_.Submit("r1", "another");
  world_.Answer(Accepted("u1"));
  EXPECT_TRUE(again->result.ok()) << again->result.status();
  EXPECT_FALSE(again->result->replayed);
}

TEST_F(CircuitTest, AKnownRequestIdStillGetsItsPrediction) {
  const std::string id = world_.Create("known", "u1");
  Open();
  const auto replayed = world_.Submit("known");
  ASSERT_TRUE(replayed->result.ok()) << replayed->result.status();
  EXPECT_EQ(replayed->id(), id);
  EXPECT_EQ(world_.Submit("known", "another prompt")->reason(), Reason::kRequestIdConflict);
  EXPECT_EQ(world_.upstream.posts_counted, posts_);
}

TEST_F(CircuitTest, AfterRateLimitsItSaysSoAndKeepsToRetryAfter) {
  Open(CreateRejected{Reason::kUpstreamRateLimited, 429, 0, "slow down", absl::Seconds(90)});
  const auto refused = world_.Submit("r1");
  EXPECT_EQ(refused->reason(), Reason::kUpstreamRateLimited);
  EXPECT_EQ(refused->result.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(*DetailsOf(refused->result.status()).retry_after, absl::Seconds(89));
  world_.time.Advance(absl::Seconds(89));
  world_.Submit("r2");
  EXPECT_EQ(world_.upstream.posts_counted, posts_);
  EXPECT_EQ(world_.events.submissions["refused"], 2);
}

TEST_F(CircuitTest, OneSubmissionNowAndThenIsAProbeAndOneThatIsAcceptedEndsIt) {
  Open();
  SubmitMany(600, Unknown());  // a minute of it
  const int probes = world_.upstream.posts_counted - posts_;
  EXPECT_GE(probes, 3);
  EXPECT_LE(probes, 12);
  WaitAsTold(*world_.Submit("refused"));
  SubmitMany(20, Accepted("u"));
  EXPECT_FALSE(world_.events.circuit_open["post"]);
  EXPECT_EQ(world_.upstream.posts_counted, posts_ + probes + 20);
}

TEST_F(CircuitTest, RefusalsOfTheInputAreNoFailuresOfUpstream) {
  SubmitMany(100, Rejected(Reason::kUpstreamRejected, 400));
  SubmitMany(100, Rejected(Reason::kUpstreamBalanceExhausted, 402));
  EXPECT_EQ(world_.events.circuit_openings["post"], 0);
}

TEST_F(CircuitTest, WhatCouldNotBeSentIsAFailure) {
  for (int i = 0; i < 100; ++i) {
    world_.Submit("r" + std::to_string(i));
    while (!world_.upstream.creates.empty()) world_.Answer(NotSent());
    world_.time.Advance(absl::Milliseconds(100));
  }
  EXPECT_TRUE(world_.events.circuit_open["post"]);
  EXPECT_LE(world_.upstream.posts_counted, 60);
  EXPECT_GE(world_.events.submissions["refused"], 40);
}

TEST_F(CircuitTest, AnAnswerThatIsLateBeyondTheSoftTimeoutIsOneFailure) {
  const int slow = CircuitBreaker::kFailuresToOpen - 1;
  for (int i = 0; i < slow; ++i) {
    world_.Submit("r" + std::to_string(i));
    world_.time.Advance(absl::Milliseconds(100));
  }
  world_.time.Advance(world_.options.submit_soft_timeout);
  for (int i = 0; i < slow; ++i) world_.Answer(Unknown());
  EXPECT_EQ(world_.events.circuit_openings["post"], 0);
  SubmitMany(1, Unknown());
  EXPECT_EQ(world_.events.circuit_openings["post"], 1);
}

TEST_F(CircuitTest, WhatIsQueuedWhenItOpensIsWithdrawnAtItsTurn) {
  world_.options.max_submits_in_flight = CircuitBreaker::kFailuresToOpen;
  World world(world_.options);
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 2 * CircuitBreaker::kFailuresToOpen; ++i) {
    calls.push_back(world.SubmitLater("r" + std::to_string(i)));
  }
  world.time.RunDue();
  // The last failure opens it, and with every answer one had left the queue.
  for (int i = 0; i < CircuitBreaker::kFailuresToOpen; ++i) {
    world.time.Advance(absl::Milliseconds(100));
    world.Answer(Unknown());
  }
  ASSERT_TRUE(world.events.circuit_open["post"]);
  world.time.Advance(absl::Milliseconds(100));
  EXPECT_EQ(world.upstream.posts_counted, 2 * CircuitBreaker::kFailuresToOpen - 1);
  EXPECT_EQ(calls.back()->reason(), Reason::kUpstreamUnreachable);
  EXPECT_EQ(world.events.submissions["refused"], 1);
}

}  // namespace
}  // namespace dreamgate::core
