#include "server/core/evidence/orphans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::Contains;
using testing::Key;

TEST(OrphansTest, ATaskThatAppearsAfterGivingUpIsAnOrphanWhoseVideoIsKept) {
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

TEST(OrphansTest, ReplayWatchAndListShowTheRecoveredVideoAndSendNothing) {
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

TEST(OrphansTest, ATaskThatAppearsAfterAbsenceWasConcludedIsAnOrphan) {
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

TEST(OrphansTest, AnOrphanThatFailsOrIsGoneIsPolledNoMore) {
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

TEST(OrphansTest, AnOrphanThatAnotherAccountDoesNotKnowIsNotTakenForLost) {
  ReconcilerWorld world;
  world.account.inputs_shown = false;
  world.account.duration = absl::Hours(7);
  const auto lost = world.Lose("r1");
  ASSERT_TRUE(world.Ends(lost.id));
  world.upstream.key_fingerprint = "another-key";
  world.account.not_found.insert(lost.upstream_id);
  ASSERT_TRUE(world.Webhook(lost.token, lost.upstream_id).ok());
  world.Submit("r2");
  world.MakeAndAccept();
  world.time.Advance(absl::Hours(5));
  EXPECT_EQ(world.gateway->Status().orphans, 1);
  world.upstream.key_fingerprint = "0123456789abcdef";
  world.account.not_found.clear();
  world.time.Advance(absl::Hours(5));
  EXPECT_THAT(world.Durable(lost.id).recovered_outputs, ElementsAre(VideoOf(lost.upstream_id)));
}

TEST(OrphansTest, AnOrphanIsPolledUntilUpstreamAnswersWithoutAStorm) {
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

TEST(OrphansTest, OrphansArePolledOnAfterARestart) {
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

TEST(OrphansTest, AGatewayMayEndWhileItFollowsAnOrphan) {
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

}  // namespace
}  // namespace dreamgate::core
