#include "server/core/submission/submitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

// ----------------------------------------------------------------------------------- the usual case

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

// --------------------------------------------------------------------------------------- duplicates

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

// --------------------------------------------------------------------------------------- rejections

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

// --------------------------------------------------------------------------------------- cancelling

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

// ------------------------------------------------------------------------------------------- queued

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

TEST(SubmitterTest, ASubmissionThatLeavesTheQueueTooLateIsNotSent) {
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

// ----------------------------------------------------------------------------------- ledger trouble

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

// ------------------------------------------------------------------------------------------ crashes

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

TEST(SubmitterTest, AQueuedRequestIdIsFreeAfterARestart) {
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

TEST(SubmitterTest, ASubmissionBeingSentIsUnresolvedAfterARestartAndThenGivenUp) {
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

TEST(SubmitterTest, AnAcceptedTaskIsPolledOnAfterARestart) {
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

}  // namespace
}  // namespace dreamgate::core
