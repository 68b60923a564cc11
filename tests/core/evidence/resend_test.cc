// The second attempt, once the first one is proven absent (--resend-after-absence).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::Key;
using testing::SizeIs;

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

TEST_F(ResendTest, AnAcceptedSecondAttemptGoesItsWay) {
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

TEST_F(ResendTest, ARejectedSecondAttemptFailsAndIsNotWithdrawn) {
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

TEST_F(ResendTest, AnUnsentSecondAttemptEndsWithoutATask) {
  SendAgain();
  world_.upstream.answer_creates = [](const CreateTaskRequest&) { return NotSent(); };
  world_.Answer(NotSent());
  ASSERT_TRUE(world_.Ends(lost_.id, absl::Hours(1)));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kFailed);
  world_.time.Advance(absl::Hours(24));
  EXPECT_THAT(world_.ledger.orphans(), IsEmpty());
}

TEST_F(ResendTest, ASecondAttemptWaitingForItsNextTryEndsWithItsProcess) {
  SendAgain();
  world_.Answer(NotSent());
  world_.gateway.reset();
  world_.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world_.upstream.posts_counted, 2) << "nobody is left to send it";
}

TEST_F(ResendTest, ASecondAttemptWaitingForItsNextTryWhileTheClockIsSetBackEndsWithoutATask) {
  SendAgain();
  world_.time.Advance(world_.options.submit_soft_timeout - absl::Microseconds(1));
  world_.clock.error = -absl::Minutes(1);
  world_.Answer(NotSent());
  ASSERT_TRUE(world_.Ends(lost_.id, absl::Minutes(1)));
  EXPECT_EQ(world_.FailureOf(lost_.id), FailureCode::kSubmitNotCreated);
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, ASecondAttemptLostAndAbsentFails) {
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

TEST_F(ResendTest, ASecondAttemptLostAndFoundIsBound) {
  SendAgain();
  const std::string upstream_id = world_.MakeTask();
  world_.Answer(Unknown());
  ASSERT_TRUE(world_.Ends(lost_.id));
  EXPECT_EQ(world_.Durable(lost_.id).state, State::kCompleted);
  EXPECT_EQ(world_.Durable(lost_.id).upstream_id, upstream_id);
  EXPECT_EQ(world_.upstream.posts_counted, 2);
  world_.ExpectNothingLost();
}

TEST_F(ResendTest, ASecondAttemptLostAndHiddenIsGivenUpInTime) {
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

TEST_F(ResendTest, ASlowSecondAttemptIsUnresolvedAgainAndItsAnswerStillCounts) {
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

TEST_F(ResendTest, ASubmissionIsSentThreeTimesAtMostIfTwoRepeatsAreAllowed) {
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

TEST_F(ResendTest, ACandidateWithoutInputForbidsASecondAttempt) {
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

TEST_F(ResendTest, ACrashAtAnyStepOfSendingAgainNeverSendsAThird) {
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

}  // namespace
}  // namespace dreamgate::core
