#include "server/core/submission/posting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

TEST(PostingTest, ATaskMayBeFinishedWithTheAnswerToItsPost) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Accepted("u1", State::kCompleted));
  EXPECT_EQ(call->state(), State::kCompleted);
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
}

// ----------------------------------------------------------------------------------------- not sent

TEST(PostingTest, APostThatWasNotSentIsTriedAgainWithBackoff) {
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

TEST(PostingTest, APostThatCannotBeSentInTimeIsUnreachableAndFreesTheRequestId) {
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

TEST(PostingTest, ADuplicateJoinsWhileTheFirstWaitsToTryAgain) {
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

// --------------------------------------------------------------------------------------- key change

TEST(PostingTest, AKeyThatChangesBeforeThePostEndsItUnsentAndFreesTheRequestId) {
  for (const bool tried : {false, true}) {
    SCOPED_TRACE(tried ? "before the next try" : "while the reservation is written");
    World world;
    world.time.RunDue();
    if (!tried) world.ledger.Hold();
    const auto call = world.Submit("r1");
    if (tried) world.Answer(NotSent());
    world.upstream.key_fingerprint = "another-key";
    world.ledger.Release();
    world.time.Advance(absl::Seconds(5));
    EXPECT_EQ(call->reason(), Reason::kUpstreamUnreachable);
    EXPECT_TRUE(DetailsOf(call->result.status()).retry_after.has_value());
    EXPECT_EQ(world.upstream.posts_counted, tried ? 1 : 0) << "its account is on record";
    const auto again = world.Submit("r1");
    world.Answer(Accepted("u1"));
    ASSERT_TRUE(again->result.ok()) << again->result.status();
    EXPECT_FALSE(again->result->replayed);
    EXPECT_EQ(again->result->prediction->key_fingerprint, "another-key");
  }
}

// --------------------------------------------------------------------------------------- unresolved

TEST(PostingTest, AnUnknownOutcomeIsAnsweredOkAsUnresolved) {
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

TEST(PostingTest, AnAnswerThatArrivesWhileUnresolvedIsBeingWrittenFollowsIt) {
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

TEST(PostingTest, ALateAnswerOfAnOlderFlightDoesNotDisturbANewerOne) {
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

// --------------------------------------------------------------------------------------- cancelling

TEST(PostingTest, ACallerGoneBetweenTwoTriesCancels) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(NotSent());
  call->cancelled = true;
  world.time.Advance(absl::Seconds(10));
  EXPECT_EQ(call->result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(world.upstream.posts_counted, 1);
}

// ----------------------------------------------------------------------------------- ledger trouble

TEST(PostingTest, AnAcceptanceThatCannotBeWrittenIsAnsweredShownAndWrittenLater) {
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

TEST(PostingTest, ARetryWhileTheAcceptanceIsUnwrittenIsAnsweredWithoutAPost) {
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

TEST(PostingTest, AnAcceptanceAcknowledgedInLedgerTroubleIsFoundAfterACrashInTheMiddleOfIt) {
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

TEST_F(CircuitTest, ACircuitOpenedByRateLimitsSaysSoAndKeepsToRetryAfter) {
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

TEST_F(CircuitTest, APostThatCouldNotBeSentIsAFailure) {
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

TEST_F(CircuitTest, ASubmissionQueuedWhenTheCircuitOpensIsWithdrawnAtItsTurn) {
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
