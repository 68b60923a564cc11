#include "server/core/tracking/tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

// ---------------------------------------------------------------------------------------- observing

TEST(TrackerTest, EveryStepOfUpstreamBecomesATransition) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id, 0);
  world.AnswerGet(Shows("u1", State::kProcessing));
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kSubmitting, State::kCreated,
                                             State::kProcessing, State::kCompleted));
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(watcher->updates.back().outputs.front().url, "https://cdn.test/video.mp4");
  world.time.Advance(absl::Hours(1));
  EXPECT_EQ(world.upstream.gets_counted, 2) << "what is over is not polled";
}

TEST(TrackerTest, ARepeatedStateIsNoTransition) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kCreated));
  world.AnswerGet(PollObserved{Task("u1", State::kCreated, "pending")});
  EXPECT_EQ((*world.Get(id))->sequence, 2);
}

TEST(TrackerTest, AnUnknownStatusIsProcessingAndIsPolledOn) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(PollObserved{Task("u1", State::kProcessing, "polishing")});
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
  EXPECT_EQ((*world.Get(id))->upstream_status, "polishing");
  world.AnswerGet(PollObserved{Task("u1", State::kProcessing, "dreaming")});
  EXPECT_EQ((*world.Get(id))->sequence, 3);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

TEST(TrackerTest, ALateObservationNeverMovesItBackwards) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.AnswerGet(Shows("u1", State::kProcessing));
  world.AnswerGet(Shows("u1", State::kCreated));
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
  EXPECT_EQ(world.events.dropped["illegal"], 1);
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated, State::kProcessing));
}

TEST(TrackerTest, AFailedVideoIsData) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.AnswerGet(Shows("u1", State::kFailed));
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(watcher->updates.back().failure->code, FailureCode::kModerated);
}

TEST(TrackerTest, EveryTerminalStateOfUpstreamEndsIt) {
  for (const State state : {State::kCancelled, State::kTimedOut, State::kDeleted}) {
    World world;
    const std::string id = world.Create("r1", "u1");
    world.AnswerGet(Shows("u1", state));
    EXPECT_EQ(world.StateOf(id), state);
  }
}

// ------------------------------------------------------------------------------------------ writing

TEST(TrackerTest, LaterObservationsMergeWhileOneIsBeingWritten) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.ledger.Hold();
  world.AnswerGet(Shows("u1", State::kProcessing));
  for (int i = 0; i < 10; ++i) world.AnswerGet(Shows("u1", State::kProcessing));
  world.AnswerGet(Shows("u1", State::kCompleted));
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_THAT(watcher->states(),
              ElementsAre(State::kCreated, State::kProcessing, State::kCompleted));
  EXPECT_EQ(world.ledger.most_proposals_outstanding(), 1);
}

TEST(TrackerTest, AFailedWriteIsTriedAgainUntilItIsDurable) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.AnswerGet(Shows("u1", State::kCompleted));
  world.time.Advance(absl::Hours(1));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated));
  const size_t tries = world.ledger.writes_tried();
  EXPECT_GT(tries, 100u) << "it must not give up";
  EXPECT_LT(tries, 3000u) << "that is no backoff";
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(10));
  EXPECT_TRUE(watcher->ended_ok);
}

TEST(TrackerTest, ACommitWhoseOutcomeWasLostLeadsToExactlyOneTransitionThatWatchersSee) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world.AnswerGet(Shows("u1", State::kProcessing));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated));
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(1));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated, State::kProcessing));
  EXPECT_EQ(world.ledger.Find(kTenant, id)->sequence, 3);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(world.ledger.Find(kTenant, id)->sequence, 4);
  EXPECT_TRUE(watcher->ended_ok);
}

TEST(TrackerTest, ALostCommitOfATerminalStateStillEndsTheStreams) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world.AnswerGet(Shows("u1", State::kCompleted));
  world.time.Advance(absl::Minutes(1));  // the second try is refused: it is there already
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
}

TEST(TrackerTest, ARefusalWithoutNewsIsNotAskedAgainAtOnce) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.set_writes(FakeLedger::Writes::kRefuse);
  world.AnswerGet(PollObserved{Task("u1", State::kCompleted)});
  const size_t tries = world.ledger.writes_tried();
  world.time.Advance(absl::Minutes(1));
  EXPECT_LT(world.ledger.writes_tried(), tries + 100);
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(10));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

// ---------------------------------------------------------------------------------------- deadlines

TEST(TrackerTest, APredictionNotTerminalAfterSevenDaysExpires) {
  World world;
  world.upstream.answer_gets = [](const std::string& id) { return Shows(id, State::kProcessing); };
  const std::string id = world.Create("r1", "u1");
  world.time.Advance(absl::Hours(7 * 24 - 1));
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
  world.time.Advance(absl::Hours(1));
  EXPECT_EQ(world.StateOf(id), State::kFailed);
  EXPECT_EQ((*world.Get(id))->failure->code, FailureCode::kUpstreamExpired);
}

TEST(TrackerTest, TheSevenDaysGoOnOverARestart) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.Crash();
  world.time.Advance(absl::Hours(8 * 24));
  world.StartGateway();
  world.time.Advance(absl::Seconds(1));
  EXPECT_EQ((*world.Get(id))->failure->code, FailureCode::kUpstreamExpired);
}

TEST(TrackerTest, APredictionThatStaysUnresolvedIsGivenUpInTime) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Unknown());
  const auto watcher = world.Watch(call->id());
  world.time.Advance(world.options.unresolved_timeout - absl::Seconds(1));
  EXPECT_EQ(world.StateOf(call->id()), State::kUnresolved);
  world.time.Advance(absl::Seconds(1));
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(watcher->updates.back().failure->code, FailureCode::kSubmitOutcomeUnknown);
  EXPECT_EQ(world.upstream.gets_counted, 0);
}

TEST(TrackerTest, AStateThatAReaderOfTheLedgerHasSeenIsNotTakenBackByAGet) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world.AnswerGet(Shows("u1", State::kProcessing));
  ASSERT_EQ(world.StateOf(id), State::kCreated) << "it is not known to be durable";
  const auto watcher = world.Watch(id);
  EXPECT_THAT(watcher->states(), ElementsAre(State::kProcessing));
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(15));
  EXPECT_EQ((*world.Get(id))->sequence, 3);
  EXPECT_THAT(world.events.errors, IsEmpty());
}

TEST(TrackerTest, AStateThatAListHasShownIsNotTakenBackByAGet) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  world.AnswerGet(Shows("u1", State::kProcessing));
  ASSERT_EQ(world.StateOf(id), State::kCreated) << "it is not known to be durable";
  ListQuery query;
  query.tenant = kTenant;
  absl::StatusOr<ListPage> page = absl::UnknownError("not answered");
  world.gateway->List(query,
                      [&page](absl::StatusOr<ListPage> answer) { page = std::move(answer); });
  world.time.RunDue();
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->predictions.at(0)->state, State::kProcessing);
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
}

TEST(TrackerTest, AnAcceptanceThatWaitsForTheLedgerIsNotGivenUp) {
  World world;
  const auto call = world.Submit("r1");
  world.time.Advance(world.options.submit_soft_timeout);
  ASSERT_EQ(call->state(), State::kUnresolved);
  world.ledger.set_writes(FakeLedger::Writes::kFail);
  world.Answer(Accepted("u1"));
  world.time.Advance(world.options.unresolved_timeout + absl::Minutes(1));
  world.ledger.set_writes(FakeLedger::Writes::kWork);
  world.time.Advance(absl::Seconds(15));
  EXPECT_EQ(world.StateOf(call->id()), State::kCreated);
  EXPECT_GT(world.upstream.gets_counted, 0);
}

}  // namespace
}  // namespace dreamgate::core
