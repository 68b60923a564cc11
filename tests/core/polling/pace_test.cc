// When tasks are polled: learned, shared under a budget, and seldom while webhooks do the work or
// nobody watches.
#include "server/core/polling/poll_planner.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

// Upstream makes each video in `takes`, and the world asks for one after the other.
class LearnedPaceTest : public testing::Test {
 protected:
  explicit LearnedPaceTest(Options options = {}) : world_(std::move(options)) {
    world_.upstream.answer_creates = [this](const CreateTaskRequest& request) {
      begun_[request.prompt] = world_.time.Now();
      return Accepted(request.prompt);
    };
    world_.upstream.answer_gets = [this](const std::string& id) {
      ++polls_[id];
      return Shows(
          id, world_.time.Now() - begun_[id] >= takes_ ? State::kCompleted : State::kProcessing);
    };
  }

  // Polls that one video cost, from its submission to its end; `webhook`: it is announced.
  int MakeOne(bool webhook) {
    const std::string name = "video" + std::to_string(made_++);
    const auto call = world_.Submit(name, name);
    const std::string id = call->id();
    const auto watcher = world_.Watch(id);
    world_.time.Advance(takes_);
    if (webhook && !IsTerminal(world_.StateOf(id))) {
      const std::vector<StoredAttempt> attempts = world_.ledger.Attempts();
      for (const StoredAttempt& attempt : attempts) {
        if (attempt.upstream_id == name) {
          world_.gateway->OnWebhook(attempt.attempt.token, name, [](const absl::Status&) {});
        }
      }
    }
    EXPECT_TRUE(
        world_.time.AdvanceUntil([&] { return IsTerminal(world_.StateOf(id)); }, absl::Hours(2)));
    delay_ = world_.time.Now() - begun_[name] - takes_;
    return polls_[name];
  }

  World world_;
  absl::Duration takes_ = absl::Seconds(100);
  absl::Duration delay_;  // of the detection of the latest video's end
  int made_ = 0;
  std::map<std::string, absl::Time> begun_;
  std::map<std::string, int> polls_;
};

TEST_F(LearnedPaceTest, LearnedTimesMakeTheEndBeSeenSoonerForTheSamePolls) {
  const auto mean_delay_of_five = [this] {
    absl::Duration sum;
    for (int i = 0; i < 5; ++i) {
      EXPECT_LE(MakeOne(/*webhook=*/false), 30);
      sum += delay_;
    }
    return sum / 5;
  };
  const absl::Duration before = mean_delay_of_five();
  for (int i = 0; i < 60; ++i) MakeOne(/*webhook=*/false);
  EXPECT_LT(mean_delay_of_five(), before);
}

TEST_F(LearnedPaceTest, LearnedTimesOutliveTheProcess) {
  for (int i = 0; i < 30; ++i) MakeOne(/*webhook=*/false);
  const auto call = world_.Submit("one more", "one more");
  world_.time.Advance(absl::Minutes(2));
  ASSERT_EQ(world_.ledger.learned().size(), 1u);
  const int polls = MakeOne(/*webhook=*/false);
  world_.Crash();
  world_.StartGateway();
  world_.time.Advance(absl::Seconds(1));
  EXPECT_NEAR(MakeOne(/*webhook=*/false), polls, 4);
}

TEST_F(LearnedPaceTest, SpoiltBytesAreNothingLearned) {
  world_.ledger.Call(SaveLearnedRequest{world_.options.model, "garbage"},
                     [](const absl::StatusOr<Done>&) {});
  world_.time.RunDue();
  world_.Crash();
  world_.StartGateway();
  EXPECT_GT(MakeOne(/*webhook=*/false), 1);
}

class WebhookPaceTest : public LearnedPaceTest {
 protected:
  WebhookPaceTest() : LearnedPaceTest(WithWebhooks()) {}

 private:
  static Options WithWebhooks() {
    Options options;
    options.webhooks_expected = true;
    return options;
  }
};

TEST_F(WebhookPaceTest, WhileWebhooksAnnounceEveryEndAVideoCostsTwoPollsAtMost) {
  for (int i = 0; i < 40; ++i) MakeOne(/*webhook=*/true);
  int polls = 0;
  for (int i = 0; i < 20; ++i) polls += MakeOne(/*webhook=*/true);
  EXPECT_LE(polls, 2 * 20);
  EXPECT_LE(delay_, absl::Seconds(1));
}

TEST_F(WebhookPaceTest, TheFirstEndWithoutAWebhookBringsFullSpeedBack) {
  for (int i = 0; i < 40; ++i) MakeOne(/*webhook=*/true);
  EXPECT_GE(MakeOne(/*webhook=*/false), 1) << "the safety net finds it";
  EXPECT_GT(MakeOne(/*webhook=*/false), 3);
  EXPECT_LT(delay_, absl::Seconds(10));
}

TEST_F(WebhookPaceTest, AGetJustAfterAWebhookDoesNotPutThePollOff) {
  Options slow = world_.options;
  slow.poll_min_interval = slow.poll_max_interval = absl::Hours(1);
  World world(slow);
  const std::string id = world.Create("r1", "u1");
  world.upstream.answer_gets = [](const std::string& task) {
    return Shows(task, State::kCompleted);
  };
  world.gateway->OnWebhook(
      world.ledger.Attempts().front().attempt.token, "u1",
      [&](const absl::Status&) { world.gateway->Get(kTenant, id, [](auto) {}); });
  world.time.Advance(absl::Seconds(1));
  EXPECT_EQ(world.StateOf(id), State::kCompleted);
}

TEST_F(WebhookPaceTest, WhenWebhooksComeAgainTheyAreReliedOnAgain) {
  for (int i = 0; i < 40; ++i) MakeOne(/*webhook=*/true);
  for (int i = 0; i < 3; ++i) MakeOne(/*webhook=*/false);
  for (int i = 0; i < 5; ++i) MakeOne(/*webhook=*/true);
  EXPECT_LE(MakeOne(/*webhook=*/true), 2);
}

TEST(PollerBudgetTest, PollsOfAllTogetherKeepToTheLimit) {
  Options options;
  options.max_gets_per_second = 2;
  World world(options);
  world.upstream.answer_creates = [](const CreateTaskRequest& request) {
    return Accepted(request.prompt);
  };
  world.upstream.answer_gets = [](const std::string& id) { return Shows(id, State::kProcessing); };
  for (int i = 0; i < 100; ++i) world.Submit("r" + std::to_string(i), "v" + std::to_string(i));
  world.time.Advance(absl::Minutes(1));
  const int before = world.upstream.gets_counted;
  world.time.Advance(absl::Minutes(5));
  const int polls = world.upstream.gets_counted - before;
  EXPECT_LE(polls, 2 * 300 + 2);
  EXPECT_GE(polls, 300) << "the budget is used";
}

TEST(PollerBudgetTest, A429SlowsAllPollsAndNothingIsLostByIt) {
  World world;
  world.upstream.answer_creates = [](const CreateTaskRequest& request) {
    return Accepted(request.prompt);
  };
  bool storm = true;
  world.upstream.answer_gets = [&storm](const std::string& id) -> PollOutcome {
    if (storm) return Fails(PollProblem::kRateLimited, 429, absl::Seconds(20));
    return Shows(id, State::kCompleted);
  };
  for (int i = 0; i < 50; ++i) world.Submit("r" + std::to_string(i), "v" + std::to_string(i));
  world.time.Advance(absl::Minutes(10));
  EXPECT_LE(world.upstream.gets_counted, 50 * 31) << "Retry-After is kept";
  storm = false;
  world.time.Advance(absl::Minutes(10));
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
}

class PaceTest : public testing::Test {
 protected:
  void SetUp() override {
    world_.account.duration = absl::Hours(2);
    id_ = world_.Submit("r1")->request_id;
    task_ = world_.MakeAndAccept();
    id_ = world_.ledger.All()[0]->id;
  }
  size_t PollsWithin(absl::Duration span) {
    const size_t before = world_.account.polls[task_].size();
    world_.time.Advance(span);
    return world_.account.polls[task_].size() - before;
  }
  ReconcilerWorld world_;
  std::string id_;
  std::string task_;
};

TEST_F(PaceTest, WhatNobodyWatchesIsPolledLessOftenButToTheEnd) {
  auto watcher = world_.Watch(id_);
  world_.time.Advance(absl::Minutes(10));
  const size_t watched = PollsWithin(absl::Minutes(10));
  world_.gateway->Unwatch(watcher);
  world_.time.Advance(absl::Minutes(10));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  EXPECT_GE(watched, 30u);
  EXPECT_LT(unwatched * 3, watched * 2);
  EXPECT_GE(unwatched, 1u);
  ASSERT_TRUE(world_.Ends(id_, absl::Hours(3)));
  EXPECT_EQ(world_.Durable(id_).state, State::kCompleted);
  EXPECT_LE(world_.time.Now() - world_.account.Find(task_).created,
            absl::Hours(2) + absl::Minutes(10));
}

TEST_F(PaceTest, AWatcherBringsThePaceBack) {
  world_.time.Advance(absl::Minutes(30));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  world_.Watch(id_);
  EXPECT_GE(PollsWithin(world_.options.poll_max_interval * 2), 1u) << "not at the next slow poll";
  EXPECT_GT(PollsWithin(absl::Minutes(10)), unwatched) << "although age makes polls rarer";
}

TEST_F(PaceTest, AGetBringsThePaceBackForAWhile) {
  world_.time.Advance(absl::Minutes(30));
  const size_t unwatched = PollsWithin(absl::Minutes(10));
  ASSERT_TRUE(world_.Get(id_).ok());
  EXPECT_GE(PollsWithin(world_.options.poll_max_interval * 2), 1u);
  world_.time.Advance(absl::Minutes(60));
  EXPECT_LE(PollsWithin(absl::Minutes(10)), unwatched + 1) << "interest wears off";
}

TEST_F(PaceTest, OneOfTwoWatchersLeavingChangesNothing) {
  const auto one = world_.Watch(id_);
  const auto two = world_.Watch(id_);
  world_.time.Advance(absl::Minutes(10));
  world_.gateway->Unwatch(one);
  EXPECT_GE(PollsWithin(absl::Minutes(10)), 30u);
}

}  // namespace
}  // namespace dreamgate::core
