// How a task is polled, and what the answers to its polls mean.
#include "server/core/polling/poller.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

// ---------------------------------------------------------------------------------------- observing

TEST(PollerTest, OnePollerHoweverManyWatch) {
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
  // The task is followed whether anybody watches or not, at half the pace if nobody does.
  EXPECT_NEAR(gets_with(0), gets_with_one / 2.0, 2);
}

TEST(PollerTest, APollOfATaskWaitsForTheOneBefore) {
  World world;
  world.Create("r1", "u1");
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return !world.upstream.gets.empty(); }, absl::Minutes(1)));
  world.time.Advance(absl::Seconds(9));
  EXPECT_EQ(world.upstream.gets_counted, 1);
}

TEST(PollerTest, APollThatHangsGetsCompanyAndBothAnswersCount) {
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

// A poll that hangs since before upstream was back must not make us poll once more when it fails at
// last.
TEST(PollerTest, AFailureThatALaterPollHasOvertakenChangesNothing) {
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

TEST(PollerTest, AnAnswerAboutAnotherTaskIsAFailedPoll) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u2", State::kCompleted));
  EXPECT_EQ(world.StateOf(id), State::kCreated);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

// ------------------------------------------------------------------------------------- failed polls

TEST(PollerTest, FailedPollsBackOffAndNeverFailThePrediction) {
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

TEST(PollerTest, RetryAfterIsHonoured) {
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

TEST(PollerTest, AHeartbeatTellsWhenUpstreamWasLastSeenAndWillBePolledNext) {
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

TEST(PollerTest, AHeartbeatEstimatesFromEarlierVideos) {
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

// ------------------------------------------------------------------------------ refused credentials

TEST(PollerTest, RefusedCredentialsPauseAllPollingAndAProbeResumesIt) {
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

TEST(PollerTest, ATaskAcceptedDuringThePauseIsPolledAfterIt) {
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

TEST(PollerTest, AProbeWhosePredictionHasEndedMeanwhileDoesNotEndTheProbing) {
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

TEST(PollerTest, ATaskThatAloneStaysRefusedDoesNotKeepTheOthersFromBeingPolled) {
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

// ------------------------------------------------------------------------------------ lost upstream

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

TEST_F(NotFoundTest, APredictionFailsAfterAnHourOfAtLeastFivePollsWhileOthersSucceed) {
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

TEST_F(NotFoundTest, APredictionDoesNotFailWhileNothingElseSucceeds) {
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

// --------------------------------------------------------------------------------------- other keys

TEST(KeySwitchTest, NotFoundWithAnotherKeyNeverFailsAPrediction) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(6);
  const auto old_call = world.Submit("r1");
  const std::string old_task = world.MakeAndAccept();
  world.upstream.key_fingerprint = "another-key";
  world.account.not_found.insert(old_task);  // another account does not know it
  const auto new_call = world.Submit("r2");
  world.MakeAndAccept();
  world.time.Advance(absl::Hours(5));
  EXPECT_FALSE(IsTerminal(world.Durable(old_call->id()).state));
  world.upstream.key_fingerprint = "0123456789abcdef";
  world.account.not_found.clear();
  ASSERT_TRUE(world.Ends(old_call->id(), absl::Hours(6)));
  ASSERT_TRUE(world.Ends(new_call->id(), absl::Hours(6)));
  EXPECT_EQ(world.Durable(old_call->id()).state, State::kCompleted);
  EXPECT_EQ(world.Durable(new_call->id()).state, State::kCompleted);
}

TEST(KeySwitchTest, NotFoundWithTheSameKeyStillFailsIt) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(6);
  const auto gone = world.Submit("r1");
  const std::string task = world.MakeAndAccept();
  world.account.not_found.insert(task);
  world.Submit("r2");
  world.MakeAndAccept();
  ASSERT_TRUE(world.Ends(gone->id(), absl::Hours(3)));
  EXPECT_EQ(world.FailureOf(gone->id()), FailureCode::kUpstreamNotFound);
}

TEST(KeySwitchTest, NotFoundsSeenWithAnotherKeyDoNotCountAfterTheSwitchBack) {
  ReconcilerWorld world;
  world.account.duration = absl::Hours(12);
  const auto call = world.Submit("r1");
  const std::string task = world.MakeAndAccept();
  world.Submit("r2");
  world.MakeAndAccept();
  world.account.not_found.insert(task);
  world.upstream.key_fingerprint = "another-key";
  world.time.Advance(absl::Hours(3));
  world.upstream.key_fingerprint = "0123456789abcdef";
  world.time.Advance(absl::Minutes(30));
  EXPECT_FALSE(IsTerminal(world.Durable(call->id()).state));
}

}  // namespace
}  // namespace dreamgate::core
