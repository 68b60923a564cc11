#include "server/core/tracking/tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

// ----------------------------------------------------------------------------------------- observing

TEST(TrackerTest, OnePollerHoweverManyWatch) {
  const auto gets_with = [](int watchers) {
    Options options;
    options.poll_min_interval = options.poll_max_interval = absl::Seconds(5);
    World world(options);
    world.upstream.answer_gets = [](const std::string& id) {
      return Shows(id, State::kProcessing);
    };
    const std::string id = world.Create("r1", "u1");
    for (int i = 0; i < watchers; ++i) world.Watch(id);
    world.time.Advance(absl::Minutes(5));
    return world.upstream.gets_counted;
  };
  const int gets_with_one = gets_with(1);
  EXPECT_GT(gets_with_one, 10);
  EXPECT_EQ(gets_with(1000), gets_with_one);
  // It is followed whether anybody watches or not, at half the pace if nobody does.
  EXPECT_NEAR(gets_with(0), gets_with_one / 2.0, 2);
}

TEST(TrackerTest, APollOfATaskWaitsForTheOneBefore) {
  World world;
  world.Create("r1", "u1");
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !world.upstream.gets.empty(); }, absl::Minutes(1)));
  world.time.Advance(absl::Seconds(9));
  EXPECT_EQ(world.upstream.gets_counted, 1);
}

TEST(TrackerTest, APollThatHangsGetsCompanyAndBothAnswersCount) {
  World world;
  const std::string id = world.Create("r1", "u1");
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return world.upstream.gets.size() == 2; }, absl::Minutes(1)));
  world.upstream.AnswerGet(Shows("u1", State::kProcessing), 1);
  world.time.RunDue();
  EXPECT_EQ(world.StateOf(id), State::kProcessing);
  world.upstream.AnswerGet(Shows("u1", State::kCompleted));
  world.time.RunDue();
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

// What hangs since before upstream was back must not make us poll once more when it fails at last.
TEST(TrackerTest, AFailureThatALaterPollHasOvertakenChangesNothing) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id, std::nullopt, absl::Seconds(5));
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return world.upstream.gets.size() == 2; }, absl::Minutes(1)));
  world.upstream.AnswerGet(Shows("u1", State::kProcessing), 1);
  world.time.RunDue();
  watcher->heartbeats.clear();
  world.upstream.AnswerGet(Fails(PollProblem::kTransient, 0));
  const int before = world.upstream.gets_counted;
  world.time.Advance(absl::Seconds(2));
  EXPECT_EQ(world.upstream.gets_counted, before);
}

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

TEST(TrackerTest, AnAnswerAboutAnotherTaskIsAFailedPoll) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u2", State::kCompleted));
  EXPECT_EQ(world.StateOf(id), State::kCreated);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

// ------------------------------------------------------------------------------------------- writing

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

// -------------------------------------------------------------------------------------- failed polls

TEST(TrackerTest, FailedPollsBackOffAndNeverFailThePrediction) {
  for (const auto& [problem, http_status] :
       std::vector<std::pair<PollProblem, int>>{{PollProblem::kTransient, 503},
                                                {PollProblem::kTransient, 0},
                                                {PollProblem::kRateLimited, 429},
                                                {PollProblem::kRefused, 418}}) {
    SCOPED_TRACE(http_status);
    World world;
    world.upstream.answer_gets = [problem = problem, status = http_status](const std::string&) {
      return Fails(problem, status);
    };
    const std::string id = world.Create("r1", "u1");
    world.time.Advance(absl::Hours(1));
    EXPECT_GE(world.upstream.gets_counted, 50);
    EXPECT_LE(world.upstream.gets_counted, 250) << "that is no backoff";
    EXPECT_EQ(world.StateOf(id), State::kCreated);
    world.upstream.answer_gets = [](const std::string& task) {
      return Shows(task, State::kCompleted);
    };
    world.time.Advance(absl::Minutes(2));
    EXPECT_EQ(world.StateOf(id), State::kCompleted);
  }
}

TEST(TrackerTest, RetryAfterIsHonoured) {
  for (const PollProblem problem : {PollProblem::kRateLimited, PollProblem::kTransient}) {
    World world;
    world.Create("r1", "u1");
    world.AnswerGet(Fails(problem, 429, absl::Minutes(7)));
    world.time.Advance(absl::Minutes(7) - absl::Milliseconds(1));
    EXPECT_EQ(world.upstream.gets_counted, 1);
    world.time.Advance(absl::Milliseconds(1));
    EXPECT_EQ(world.upstream.gets_counted, 2);
  }
}

TEST(TrackerTest, AHeartbeatTellsWhenUpstreamWasLastSeenAndWillBePolledNext) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id, std::nullopt, absl::Seconds(5));
  world.AnswerGet(Shows("u1", State::kProcessing));
  const absl::Time seen = world.time.Now();
  for (int i = 0; i < 3; ++i) world.AnswerGet(Fails(PollProblem::kTransient, 503));
  watcher->heartbeats.clear();
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !watcher->heartbeats.empty(); }, absl::Seconds(5)));
  EXPECT_EQ(watcher->heartbeats.back().prediction_id, id);
  EXPECT_EQ(watcher->heartbeats.back().last_observed, seen) << "failed polls see nothing";
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !world.upstream.gets.empty(); }, absl::Minutes(2)));
  world.time.Advance(absl::Seconds(30));  // the GET hangs
  EXPECT_FALSE(watcher->heartbeats.back().next_poll.has_value() &&
               *watcher->heartbeats.back().next_poll < world.time.Now() - absl::Seconds(5))
      << "the next poll is not in the past";
}

TEST(TrackerTest, AHeartbeatEstimatesFromEarlierVideos) {
  World world;
  const std::string first = world.Create("r1", "u1");
  world.time.Advance(absl::Seconds(100));
  world.AnswerGet(Shows("u1", State::kCompleted));
  const std::string id = world.Create("r2", "u2");
  const auto watcher = world.Watch(id, std::nullopt, absl::Seconds(5));
  world.time.Advance(absl::Seconds(50));
  const Heartbeat& beat = watcher->heartbeats.back();
  ASSERT_TRUE(beat.estimated_progress.has_value());
  EXPECT_NEAR(*beat.estimated_progress, 0.48, 0.05);
  EXPECT_GT(*beat.estimated_time_left, absl::Seconds(49));
  EXPECT_LT(*beat.estimated_time_left, absl::Seconds(56));
}

// ----------------------------------------------------------------------------------- refused credentials

TEST(TrackerTest, RefusedCredentialsPauseAllPollingAndAProbeResumesIt) {
  World world;
  std::vector<std::string> ids;
  for (const std::string name : {"1", "2", "3"})
    ids.push_back(world.Create("r" + name, "u" + name));
  world.upstream.answer_gets = [](const std::string&) {
    return Fails(PollProblem::kCredentialsRejected, 401);
  };
  world.time.Advance(absl::Seconds(29));
  EXPECT_TRUE(world.gateway->Status().polling_paused);
  EXPECT_LE(world.upstream.gets_counted, 3);
  const int before = world.upstream.gets_counted;
  world.time.Advance(absl::Hours(2));
  EXPECT_EQ(world.upstream.gets_counted - before, 240) << "one probe each 30 s, for all";
  for (const std::string& id : ids) EXPECT_EQ(world.StateOf(id), State::kCreated);

  world.upstream.answer_gets = [](const std::string& id) { return Shows(id, State::kCompleted); };
  world.time.Advance(absl::Seconds(30) + world.options.poll_min_interval);
  EXPECT_FALSE(world.gateway->Status().polling_paused);
  for (const std::string& id : ids) EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

TEST(TrackerTest, WhatIsAcceptedDuringThePauseIsPolledAfterIt) {
  World world;
  world.Create("r1", "u1");
  world.AnswerGet(Fails(PollProblem::kCredentialsRejected, 403));
  const std::string id = world.Create("r2", "u2");
  world.time.Advance(absl::Seconds(29));
  EXPECT_EQ(world.upstream.gets_counted, 1);
  world.upstream.answer_gets = [](const std::string& task) {
    return Shows(task, State::kCompleted);
  };
  world.time.Advance(absl::Seconds(10));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

TEST(TrackerTest, AProbeWhosePredictionHasEndedMeanwhileDoesNotEndTheProbing) {
  Options options;
  options.upstream_retention = absl::Seconds(40);
  World world(options);
  world.Create("r1", "u1");
  world.AnswerGet(Fails(PollProblem::kCredentialsRejected, 401));
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !world.upstream.gets.empty(); }, absl::Seconds(31)));
  world.time.Advance(absl::Seconds(15));  // r1 expires while it is being probed
  ASSERT_EQ(world.gateway->Status().predictions_in_flight, 0);
  world.Create("r2", "u2");
  world.upstream.AnswerGet(Fails(PollProblem::kCredentialsRejected, 401));
  world.upstream.answer_gets = [](const std::string& id) { return Shows(id, State::kProcessing); };
  world.time.Advance(absl::Seconds(35));
  EXPECT_FALSE(world.gateway->Status().polling_paused);
  EXPECT_GT(world.upstream.gets_counted, 2);
}

TEST(TrackerTest, ATaskThatAloneStaysRefusedDoesNotKeepTheOthersFromBeingPolled) {
  World world;
  world.Create("r1", "refused");
  const std::string id = world.Create("r2", "fine");
  world.upstream.answer_gets = [](const std::string& task) {
    return task == "refused" ? Fails(PollProblem::kCredentialsRejected, 403)
                             : Shows(task, State::kCompleted);
  };
  world.time.Advance(absl::Minutes(2));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

// --------------------------------------------------------------------------------------- lost upstream

// One prediction that upstream says it does not know, beside one that it does.
class NotFoundTest : public testing::Test {
 protected:
  void SetUp() override {
    lost_ = world_.Create("r1", "lost");
    world_.Create("r2", "known");
    world_.upstream.answer_gets = [this](const std::string& task) {
      if (task == "lost") {
        ++polls_;
        return lost_answer_();
      }
      return others_succeed_ ? Shows(task, State::kProcessing)
                             : Fails(PollProblem::kTransient, 503);
    };
  }

  World world_;
  std::string lost_;
  absl::AnyInvocable<PollOutcome()> lost_answer_ = [] {
    return Fails(PollProblem::kNotFound, 404);
  };
  int polls_ = 0;
  bool others_succeed_ = true;
};

TEST_F(NotFoundTest, ItFailsAfterAnHourOfAtLeastFivePollsWhileOthersSucceed) {
  world_.time.Advance(absl::Minutes(59));
  EXPECT_EQ(world_.StateOf(lost_), State::kCreated);
  EXPECT_GE(polls_, 5);
  world_.time.Advance(absl::Minutes(12));
  EXPECT_EQ(world_.StateOf(lost_), State::kFailed);
  EXPECT_EQ((*world_.Get(lost_))->failure->code, FailureCode::kUpstreamNotFound);
}

TEST_F(NotFoundTest, FewPollsAreNotEnoughHoweverLongItTakes) {
  lost_answer_ = [] { return Fails(PollProblem::kNotFound, 404, absl::Minutes(59)); };
  world_.time.Advance(absl::Hours(3));
  EXPECT_LE(polls_, 4);
  EXPECT_EQ(world_.StateOf(lost_), State::kCreated);
}

TEST_F(NotFoundTest, ItDoesNotFailWhileNothingElseSucceeds) {
  others_succeed_ = false;
  world_.time.Advance(absl::Hours(24));
  EXPECT_EQ(world_.StateOf(lost_), State::kCreated);
}

TEST_F(NotFoundTest, ASuccessLongAgoDoesNotCount) {
  world_.time.Advance(
      absl::Minutes(2));  // others succeed once the first 404 is there, then no more
  ASSERT_GE(polls_, 1);
  others_succeed_ = false;
  world_.time.Advance(absl::Hours(24));
  EXPECT_EQ(world_.StateOf(lost_), State::kCreated);
}

TEST_F(NotFoundTest, OneGoodPollStartsTheCountAgain) {
  world_.time.Advance(absl::Minutes(50));
  lost_answer_ = [] { return Shows("lost", State::kCreated); };
  world_.time.Advance(absl::Minutes(9));
  lost_answer_ = [] { return Fails(PollProblem::kNotFound, 404); };
  world_.time.Advance(absl::Minutes(50));
  EXPECT_EQ(world_.StateOf(lost_), State::kCreated);
  world_.time.Advance(absl::Minutes(30));
  EXPECT_EQ(world_.StateOf(lost_), State::kFailed);
}

// ------------------------------------------------------------------------------------------ deadlines

TEST(TrackerTest, WhatIsNotTerminalAfterSevenDaysExpires) {
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

TEST(TrackerTest, WhatStaysUnresolvedIsGivenUpInTime) {
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

TEST(TrackerTest, WhatAReaderOfTheLedgerHasSeenIsNotTakenBackByAGet) {
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
