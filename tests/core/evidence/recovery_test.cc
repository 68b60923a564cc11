// The search for lost answers goes on in the next process, and ends with its own at any step.
#include <gtest/gtest.h>

#include <string>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

TEST(RecoveryTest, APredictionLeftUnresolvedIsReconciledAfterARestart) {
  ReconcilerWorld world;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.StartGateway();
  EXPECT_TRUE(world.Reaches(lost.id, State::kCreated, kSoon));
  ASSERT_TRUE(world.Ends(lost.id));
  EXPECT_EQ(world.upstream.posts_counted, 1);
  world.ExpectNothingLost();
}

TEST(RecoveryTest, ASubmissionLeftInFlightIsReconciledAfterARestart) {
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

TEST(RecoveryTest, EvidenceOfAbsenceIsCollectedAnewAfterARestart) {
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

TEST(RecoveryTest, APredictionGivenUpIsStillAskedForAfterARestart) {
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

TEST(RecoveryTest, AfterALongStandstillThereIsTimeToAskBeforeGivingUp) {
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

TEST(RecoveryTest, APredictionIsStillGivenUpInTheEndAfterALongStandstill) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  world.Crash();
  world.time.Advance(absl::Hours(5));
  world.StartGateway();
  ASSERT_TRUE(world.Ends(lost.id, world.options.unresolved_timeout + absl::Minutes(1)));
  EXPECT_EQ(world.FailureOf(lost.id), FailureCode::kSubmitOutcomeUnknown);
}

TEST(RecoveryTest, ACrashAtAnyStepOfTheBindingLosesNothing) {
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

TEST(RecoveryTest, AGatewayMayEndAtAnyStepOfAQuestion) {
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

TEST(RecoveryTest, AGatewayMayEndWhileTheLedgerHoldsItsReview) {
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

}  // namespace
}  // namespace dreamgate::core
