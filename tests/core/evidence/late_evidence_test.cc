// An answer to a POST that comes after its prediction was bound, or given up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

using testing::Contains;
using testing::Key;
using testing::UnorderedElementsAre;

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

TEST_F(LateEvidenceTest, AnAcceptanceAfterGivingUpIsAnOrphan) {
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

TEST_F(LateEvidenceTest, AnAcceptanceOfAFinishedTaskAfterGivingUpKeepsTheVideo) {
  world_.account.inputs_shown = false;
  TimeOut();
  ASSERT_TRUE(world_.Ends(call_->id()));
  TaskObservation done = fakes::Task(upstream_id_, State::kCompleted);
  done.outputs = {VideoOf(upstream_id_)};
  world_.Answer(CreateAccepted{done});
  world_.time.Advance(absl::Hours(1));
  world_.ExpectNothingLost();
}

TEST_F(LateEvidenceTest, AnAcceptanceThatNamesTheOrphanHistoryHasFoundIsNoSecondOne) {
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

TEST_F(LateEvidenceTest, AnAcceptanceThatNamesAnotherTaskThanTheOrphanHistoryHasFoundIsASecondOne) {
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

TEST_F(LateEvidenceTest, AnAcceptanceThatNamesTheTaskHistoryHasBoundChangesNothing) {
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

TEST_F(LateEvidenceTest, AnAcceptanceThatNamesAnotherTaskThanHistoryHasBoundIsAnOrphanBesideIt) {
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

}  // namespace
}  // namespace dreamgate::core
