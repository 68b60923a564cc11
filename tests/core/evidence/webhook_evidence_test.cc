// A webhook names the task of an attempt: at any moment of the attempt's life.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::Contains;
using testing::Key;
using testing::SizeIs;

TEST(WebhookEvidenceTest, AWebhookBeforeTheAnswerCreatesThePredictionAndTheAnswerAddsNothing) {
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

TEST(WebhookEvidenceTest, AWebhookBeforeAnAnswerThatIsLostMakesTheAnswerNeedless) {
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

TEST(WebhookEvidenceTest, AnUnresolvedPredictionIsBoundByItsToken) {
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

TEST(WebhookEvidenceTest, AWebhookIsAnsweredOnlyOnceItIsDurable) {
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

TEST(WebhookEvidenceTest, ARepeatedWebhookChangesNothingButPollsAgain) {
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

TEST(WebhookEvidenceTest, TwoWebhooksAtOnceAreOneBinding) {
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

TEST(WebhookEvidenceTest, ATokenNobodyHasIsNotFound) {
  ReconcilerWorld world;
  world.Lose("r1");
  EXPECT_EQ(world.Webhook("nobody's", "u").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(world.Webhook("", "u").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(world.ledger.orphans(), IsEmpty());
}

TEST(WebhookEvidenceTest, AWebhookForARejectedAttemptIsAnOrphanAndTheRejectionStands) {
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

TEST(WebhookEvidenceTest, AWebhookWinsWhileARejectionWaitsForTheLedger) {
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

TEST(WebhookEvidenceTest, AWebhookAfterGivingUpIsAnOrphan) {
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

TEST(WebhookEvidenceTest, AWebhookForAnOrphanMakesUsPollAtOnce) {
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

TEST(WebhookEvidenceTest, AWebhookThatNamesAnotherTaskThanTheBoundOneIsAnOrphan) {
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

TEST(WebhookEvidenceTest, UpstreamMustCallAgainInLedgerTrouble) {
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

TEST(WebhookEvidenceTest, ATokenIsStillKnownAfterARestart) {
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

TEST(WebhookEvidenceTest, AWebhookInTheMomentOfTheRestartIsEitherTakenOrToBeRepeated) {
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

TEST(WebhookEvidenceTest, AWebhookBeforeTheTakeOverIsToBeRepeated) {
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

TEST(WebhookEvidenceTest, AWebhookIsStillTakenWhileTheGatewayDrains) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.gateway->Drain();
  EXPECT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  EXPECT_EQ(world.Durable(lost.id).upstream_id, lost.upstream_id);
}

}  // namespace
}  // namespace dreamgate::core
