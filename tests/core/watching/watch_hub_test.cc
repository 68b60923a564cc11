#include "server/core/watching/watch_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

// ------------------------------------------------------------------------------------------ positions

TEST(WatchHubTest, WithoutAPositionTheStreamBeginsWithTheCurrentState) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated));
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kCreated, State::kCompleted));
  EXPECT_TRUE(watcher->ended_ok);
}

TEST(WatchHubTest, PositionZeroReplaysEverything) {
  World world;
  const std::string id = world.Create("r1", "u1");
  EXPECT_THAT(world.Watch(id, 0)->states(), ElementsAre(State::kSubmitting, State::kCreated));
}

TEST(WatchHubTest, EveryUpdateOfAReplayShowsThePredictionAsOfThen) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kCompleted));
  const auto watcher = world.Watch(id, 0);
  ASSERT_EQ(watcher->updates.size(), 3u);
  EXPECT_EQ(watcher->updates[0].upstream_id, "");
  EXPECT_EQ(watcher->updates[0].history.size(), 1u);
  EXPECT_EQ(watcher->updates[1].upstream_id, "u1");
  EXPECT_TRUE(watcher->updates[1].outputs.empty());
  EXPECT_EQ(watcher->updates[2].outputs.size(), 1u);
}

TEST(WatchHubTest, AtTheCurrentPositionOnlyWhatFollowsIsShown) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id, 2);
  EXPECT_TRUE(watcher->begun);
  EXPECT_THAT(watcher->updates, IsEmpty());
  world.AnswerGet(Shows("u1", State::kProcessing));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kProcessing));
}

TEST(WatchHubTest, AFuturePositionIsOutOfRangeAndNamesTheValidOnes) {
  World world;
  const std::string id = world.Create("r1", "u1");
  for (const bool feed_is_there : {false, true}) {
    std::shared_ptr<FakeWatcher> other;
    if (feed_is_there) other = world.Watch(id);
    const auto watcher = world.Watch(id, 3);
    EXPECT_EQ(watcher->error.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(ReasonOf(watcher->error), Reason::kSequenceOutOfRange);
    const std::map<std::string, std::string> range = {{"first_sequence", "0"},
                                                      {"last_sequence", "2"}};
    EXPECT_EQ(DetailsOf(watcher->error).metadata, range);
    EXPECT_FALSE(watcher->begun);
  }
}

TEST(WatchHubTest, AtTheTerminalPositionTheStreamEndsOkAtOnceWithoutAnUpdate) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kCompleted));
  const auto watcher = world.Watch(id, 3);
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_THAT(watcher->updates, IsEmpty());
  EXPECT_EQ(world.gateway->Status().watchers, 0);
}

TEST(WatchHubTest, AWatchOfATerminalPredictionShowsTheLastStateAndEnds) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kFailed));
  const auto watcher = world.Watch(id);
  EXPECT_THAT(watcher->states(), ElementsAre(State::kFailed));
  EXPECT_TRUE(watcher->ended_ok);
}

TEST(WatchHubTest, AStreamResumesWhereItWasAfterARestart) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto before = world.Watch(id, 0);
  world.AnswerGet(Shows("u1", State::kProcessing));
  world.Crash();
  world.StartGateway();
  world.time.RunDue();
  const auto after = world.Watch(id, before->validator.last_sequence());
  EXPECT_THAT(after->updates, IsEmpty());
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_THAT(after->states(), ElementsAre(State::kCompleted));
}

TEST(WatchHubTest, OfAForgottenPredictionNoPositionIsLeft) {
  Options options;
  options.request_id_retention = absl::Hours(1);
  World world(options);
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kCompleted));
  world.time.Advance(absl::Hours(2));
  for (const std::optional<int64_t> after :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(2),
        std::optional<int64_t>(3), std::optional<int64_t>(4),
        std::optional<int64_t>(std::numeric_limits<int64_t>::max())}) {
    EXPECT_EQ(world.Watch(id, after)->error.code(), absl::StatusCode::kNotFound);
  }
}

// ------------------------------------------------------------------------------------------ visibility

TEST(WatchHubTest, UnknownInvisibleAndOtherTenantsPredictionsCannotBeToldApart) {
  World world;
  const std::string others = world.Create("r1", "u1");
  world.Submit("r2");
  const std::string invisible = world.ledger.All().back()->id;
  const auto error_of = [&world](const std::string& id, const std::string& tenant) {
    const auto watcher = world.Watch(id, std::nullopt, std::nullopt, tenant);
    const auto got = world.Get(id, tenant);
    EXPECT_EQ(watcher->error, got.status()) << "Get and Watch say the same";
    EXPECT_EQ(DetailsOf(watcher->error).resource_name, id);
    ErrorDetails details = DetailsOf(watcher->error);
    details.resource_name.clear();
    return MakeError(*ReasonOf(watcher->error), watcher->error.message(), details);
  };
  const absl::Status unknown = error_of("00000000000000000000000000", kTenant);
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(error_of(invisible, kTenant), unknown);
  EXPECT_EQ(error_of(others, "tenant-b"), unknown);
  EXPECT_EQ(world.gateway->Status().watchers, 0);
}

TEST(WatchHubTest, SeveralWhoAskForWhatIsNotThereAreAllToldSo) {
  World world;
  for (int i = 0; i < 3; ++i) world.WatchLater("nothing");
  world.time.RunDue();
  for (const auto& watcher : world.watchers) {
    EXPECT_EQ(watcher->error.code(), absl::StatusCode::kNotFound);
  }
}

TEST(WatchHubTest, SeveralWhoWaitForTheSameReadAreAllAnswered) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.AnswerGet(Shows("u1", State::kCompleted));
  std::vector<std::shared_ptr<FakeWatcher>> future;
  std::vector<std::shared_ptr<FakeWatcher>> ended;
  for (int i = 0; i < 3; ++i) {
    future.push_back(world.WatchLater(id, 9));
    ended.push_back(world.WatchLater(id));
    ended.push_back(world.WatchLater(id, 3));
  }
  world.time.RunDue();
  for (const auto& watcher : future) {
    EXPECT_EQ(watcher->error.code(), absl::StatusCode::kOutOfRange);
  }
  for (const auto& watcher : ended) EXPECT_TRUE(watcher->ended_ok);
}

TEST(WatchHubTest, AReadThatFailsIsUnavailableAndCanBeTriedAgain) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.set_reads_work(false);
  const auto watcher = world.Watch(id);
  EXPECT_EQ(watcher->error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(watcher->error), Reason::kLedgerUnavailable);
  world.ledger.set_reads_work(true);
  EXPECT_THAT(world.Watch(id)->states(), ElementsAre(State::kCreated));
}

// ---------------------------------------------------------------------------------------------- races

TEST(WatchHubTest, ASubscriptionMissesNothingWhereverItFallsBetweenTheSteps) {
  for (const std::optional<int64_t> after :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(2)}) {
    for (const auto writes :
         {FakeLedger::Writes::kWork, FakeLedger::Writes::kWorkButReportFailure}) {
      bool over = false;
      for (int steps = 0; !over; ++steps) {
        SCOPED_TRACE(testing::Message() << "after " << steps << " steps");
        ASSERT_LT(steps, 100);
        World world;
        const std::string id = world.Create("r1", "u1");
        ASSERT_TRUE(world.time.AdvanceUntil([&] { return !world.upstream.gets.empty(); },
                                            absl::Seconds(10)));
        world.ledger.set_writes(writes);
        world.upstream.AnswerGet(Shows("u1", State::kProcessing));
        for (int i = 0; i < steps; ++i) over = !world.time.Step();
        const auto watcher = world.WatchLater(id, after);
        world.time.RunDue();
        world.ledger.set_writes(FakeLedger::Writes::kWork);
        world.AnswerGet(Shows("u1", State::kCompleted));
        world.time.Advance(absl::Seconds(5));
        ASSERT_TRUE(watcher->ended_ok);
        EXPECT_EQ(watcher->validator.seen().back().sequence, 4);
        if (after) {
          EXPECT_EQ(watcher->updates.front().sequence, *after + 1);
        }
        if (!after) {
          EXPECT_GE(watcher->updates.size(), 2u);
        }
      }
    }
  }
}

TEST(WatchHubTest, CommitsThatArriveWhileItReadsAreNotLostOrRepeated) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.Hold();
  const auto early = world.WatchLater(id, 0);  // its read waits before the writes
  world.AnswerGet(Shows("u1", State::kProcessing));
  const auto late = world.WatchLater(id, 2);
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_THAT(early->states(),
              ElementsAre(State::kSubmitting, State::kCreated, State::kProcessing));
  EXPECT_THAT(late->states(), ElementsAre(State::kProcessing));
}

void Propose(World& world, const std::string& id, int64_t sequence, State state) {
  Proposal proposal;
  proposal.tenant = kTenant;
  proposal.prediction_id = id;
  proposal.expected_sequence = sequence - 1;
  proposal.transition.sequence = sequence;
  proposal.transition.state = state;
  proposal.transition.time = world.time.Now();
  proposal.transition.upstream_id = "u1";
  world.ledger.Call(std::move(proposal), [](const absl::StatusOr<ProposeResult>&) {});
}

// Commits straight into the ledger, past the gateway's own observations, and tells nobody.
void CommitUnseen(World& world, const std::string& id, State state) {
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  Propose(world, id, world.ledger.Find(kTenant, id)->sequence + 1, state);
  world.time.RunDue();
  world.ledger.set_writes(FakeLedger::Writes::kWork);
}

TEST(WatchHubTest, AGapIsReadAgainAndShownInOrder) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Unknown());
  const std::string id = call->id();
  const auto watcher = world.Watch(id);
  CommitUnseen(world, id, State::kCreated);
  CommitUnseen(world, id, State::kProcessing);
  world.time.Advance(world.options.unresolved_timeout + absl::Seconds(1));  // refused: it learns
  EXPECT_THAT(watcher->states(),
              ElementsAre(State::kUnresolved, State::kCreated, State::kProcessing));
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_TRUE(watcher->ended_ok);
}

struct Indifferent final : TrackingObserver {
  void OnCommitted(const std::shared_ptr<const Prediction>&) override {}
  void OnUnresolved(const std::shared_ptr<const Prediction>&) override {}
  void OnUnboundTask(const PredictionKey&, const AttemptOutcome&) override {}
};

// A ledger with a change feed may tell of a commit before it answers an older read.
TEST(WatchHubTest, AReadThatIsOlderThanWhatIsCommittedIsRepeated) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const Ports ports{world.time,     world.time,   world.time, world.random,
                    world.upstream, world.ledger, world.sink, world.events};
  Poller poller(ports, world.options);
  Indifferent observer;
  Tracker tracker(ports, world.options, poller, observer);
  WatchHub hub(ports, world.options, tracker);
  world.ledger.set_writes(FakeLedger::Writes::kWorkButReportFailure);
  const auto watcher = std::make_shared<FakeWatcher>(0);
  hub.Watch({kTenant, id, 0, std::nullopt}, watcher);
  Propose(world, id, 3, State::kProcessing);
  Propose(world, id, 4, State::kCompleted);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(world.time.Step());  // read and commits, no answers yet
  ASSERT_EQ(world.ledger.Find(kTenant, id)->sequence, 4);
  hub.OnCommitted(world.ledger.Find(kTenant, id));
  world.time.RunDue();
  EXPECT_THAT(watcher->states(), ElementsAre(State::kSubmitting, State::kCreated,
                                             State::kProcessing, State::kCompleted));
  EXPECT_THAT(watcher->violations(), IsEmpty());
}

TEST(WatchHubTest, AGapThatEndsWithTheTerminalStateEndsTheStream) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Unknown());
  const auto watcher = world.Watch(call->id());
  CommitUnseen(world, call->id(), State::kCreated);
  CommitUnseen(world, call->id(), State::kFailed);
  world.time.Advance(world.options.unresolved_timeout + absl::Seconds(1));
  EXPECT_THAT(watcher->states(), ElementsAre(State::kUnresolved, State::kCreated, State::kFailed));
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(world.gateway->Status().watchers, 0);
  EXPECT_EQ(watcher.use_count(), 2) << "the hub keeps nobody whose stream has ended";
}

// ----------------------------------------------------------------------------------------- many watch

TEST(WatchHubTest, TenThousandWatchersGetOneDeliveryATransition) {
  World world;
  const std::string id = world.Create("r1", "u1");
  for (int i = 0; i < 10000; ++i) world.WatchLater(id);
  world.time.RunDue();
  EXPECT_EQ(world.gateway->Status().watchers, 10000);
  EXPECT_EQ(world.ledger.loads(), 1u);
  const int encoded = world.sink.updates_encoded;
  world.AnswerGet(Shows("u1", State::kProcessing));
  EXPECT_EQ(world.sink.deliveries, 1);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(world.sink.deliveries, 2);
  EXPECT_EQ(world.sink.updates_encoded, encoded + 2);
  for (const auto& watcher : world.watchers) ASSERT_TRUE(watcher->ended_ok);
}

TEST(WatchHubTest, TheTerminalStateReleasesTheWatchers) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto watcher = world.Watch(id);
  EXPECT_GT(watcher.use_count(), 2);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(watcher.use_count(), 2);
  EXPECT_EQ(world.gateway->Status().watchers, 0);
  const size_t heartbeats = watcher->heartbeats.size();
  world.gateway->Unwatch(watcher);  // harmless afterwards
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(watcher->heartbeats.size(), heartbeats);
}

TEST(WatchHubTest, PredictionsDoNotDisturbOneAnother) {
  World world;
  const std::string one = world.Create("r1", "u1");
  const std::string other = world.Create("r2", "u2");
  const auto watcher_of_one = world.Watch(one);
  const auto watcher_of_other = world.Watch(other);
  ASSERT_TRUE(
      world.time.AdvanceUntil([&] { return world.upstream.gets.size() == 2; }, absl::Seconds(10)));
  for (size_t i = 0; i < 2; ++i) {
    const std::string task = world.upstream.gets.front().upstream_id;
    world.upstream.AnswerGet(Shows(task, task == "u1" ? State::kCompleted : State::kProcessing));
  }
  world.time.RunDue();
  EXPECT_TRUE(watcher_of_one->ended_ok);
  EXPECT_THAT(watcher_of_other->states(), ElementsAre(State::kCreated, State::kProcessing));
}

// ------------------------------------------------------------------------------------------- unwatch

TEST(WatchHubTest, AWatcherThatUnwatchesReceivesNothingMoreAndIsForgotten) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto gone = world.Watch(id);
  const auto stays = world.Watch(id);
  world.gateway->Unwatch(gone);
  EXPECT_EQ(gone.use_count(), 2);
  world.gateway->Unwatch(gone);
  world.AnswerGet(Shows("u1", State::kProcessing));
  world.time.Advance(absl::Minutes(1));
  EXPECT_THAT(gone->states(), ElementsAre(State::kCreated));
  EXPECT_THAT(gone->heartbeats, IsEmpty());
  EXPECT_THAT(stays->states(), ElementsAre(State::kCreated, State::kProcessing));
  EXPECT_EQ(world.gateway->Status().watchers, 1);
}

TEST(WatchHubTest, AWatcherThatUnwatchesWhileTheLedgerIsReadIsForgottenAtOnce) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.ledger.Hold();
  const auto gone = world.WatchLater(id);
  world.gateway->Unwatch(gone);
  EXPECT_EQ(gone.use_count(), 2);
  const auto next = world.WatchLater(id);  // a new feed beside the read that is still under way
  const auto gone_too = world.WatchLater(id);
  world.gateway->Unwatch(gone_too);
  world.ledger.Release();
  world.time.RunDue();
  EXPECT_FALSE(gone->begun || gone_too->begun);
  EXPECT_THAT(next->states(), ElementsAre(State::kCreated));
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_TRUE(next->ended_ok);
}

TEST(WatchHubTest, UnwatchingInAnyOrderKeepsTheOthers) {
  World world;
  const std::string id = world.Create("r1", "u1");
  std::vector<std::shared_ptr<FakeWatcher>> all;
  for (int i = 0; i < 7; ++i) all.push_back(world.Watch(id, std::nullopt, absl::Seconds(5)));
  for (const size_t index : {3u, 0u, 6u, 2u}) world.gateway->Unwatch(all[index]);
  world.time.Advance(absl::Seconds(5));
  for (const size_t index : {1u, 4u, 5u}) EXPECT_EQ(all[index]->heartbeats.size(), 1u) << index;
  for (const size_t index : {3u, 0u, 6u, 2u}) EXPECT_EQ(all[index]->heartbeats.size(), 0u) << index;
  world.gateway->Unwatch(all[5]);
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_TRUE(all[1]->ended_ok && all[4]->ended_ok);
  EXPECT_FALSE(all[5]->ended_ok);
}

TEST(WatchHubTest, AFeedThatNobodyUsesIsDroppedAndReadAgainLater) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.gateway->Unwatch(world.Watch(id));
  EXPECT_EQ(world.ledger.loads(), 1u);
  world.AnswerGet(Shows("u1", State::kProcessing));
  EXPECT_EQ(world.sink.deliveries, 0);
  EXPECT_EQ(world.sink.updates_encoded, 2) << "nothing is encoded for nobody";
  EXPECT_THAT(world.Watch(id)->states(), ElementsAre(State::kProcessing));
  EXPECT_EQ(world.ledger.loads(), 2u);
}

// ----------------------------------------------------------------------------------------- heartbeats

TEST(WatchHubTest, HeartbeatsComeAtTheAskedIntervalWithinBounds) {
  const std::vector<std::pair<std::optional<absl::Duration>, int>> cases = {
      {std::nullopt, 15},
      {absl::Seconds(5), 5},
      {absl::Seconds(20), 20},
      {absl::ZeroDuration(), 5},
      {absl::Seconds(-1), 5},
      {absl::Milliseconds(1), 5},
      {absl::Seconds(25), 25},
      {absl::Hours(1), 25},
      {absl::InfiniteDuration(), 25},
      {-absl::InfiniteDuration(), 5}};
  for (const auto& [asked, seconds] : cases) {
    SCOPED_TRACE(seconds);
    World world;
    const auto watcher = world.Watch(world.Create("r1", "u1"), std::nullopt, asked);
    const absl::Time start = world.time.Now();
    std::vector<absl::Time> times = {start};
    while (times.size() < 6) {
      const size_t seen = watcher->heartbeats.size();
      ASSERT_TRUE(world.time.AdvanceUntil([&] { return watcher->heartbeats.size() > seen; },
                                          absl::Seconds(30)));
      times.push_back(world.time.Now());
    }
    EXPECT_LE(times[1] - times[0], absl::Seconds(seconds)) << "no silence longer than asked for";
    for (size_t i = 2; i < times.size(); ++i) {
      EXPECT_EQ(times[i] - times[i - 1], absl::Seconds(seconds));
    }
  }
}

TEST(WatchHubTest, StreamsOpenedTogetherDoNotBeatTogether) {
  World world;
  const std::string id = world.Create("r1", "u1");
  for (int i = 0; i < 100; ++i) world.Watch(id);
  world.time.Advance(absl::Seconds(7));
  int beaten = 0;
  for (const auto& watcher : world.watchers) beaten += watcher->heartbeats.empty() ? 0 : 1;
  EXPECT_GT(beaten, 10);
  EXPECT_LT(beaten, 90);
}

TEST(WatchHubTest, HeartbeatsStopWithTheLastWatcherAndStartWithTheNext) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.gateway->Unwatch(world.Watch(id));
  world.time.Advance(absl::Minutes(1));
  const auto watcher = world.Watch(id, std::nullopt, absl::Seconds(5));
  world.time.Advance(absl::Minutes(1));
  EXPECT_GE(watcher->heartbeats.size(), 11u);
}

TEST(WatchHubTest, NoStreamHasATimerOfItsOwn) {
  World world;
  const std::string id = world.Create("r1", "u1");
  world.Watch(id);
  const size_t waiting = world.time.waiting();
  for (int i = 0; i < 1000; ++i) world.WatchLater(id);
  world.time.RunDue();
  EXPECT_EQ(world.time.waiting(), waiting);
}

TEST(WatchHubTest, HeartbeatsNameTheLastPollAnsweredAndTheNextOneToCome) {
  World world;
  const std::string id = world.Create("r1", "u1");
  std::vector<absl::Time> polls = {world.time.Now()};  // upstream's answer to the POST is the first
  world.upstream.answer_gets = [&](const std::string&) {
    polls.push_back(world.time.Now());
    return Shows("u1", State::kProcessing);
  };
  struct Beat {
    absl::Time time;
    Heartbeat said;
  };
  std::vector<Beat> beats;
  const auto watcher = world.Watch(id, std::nullopt, absl::Seconds(5));
  while (beats.size() < 200) {
    const size_t seen = watcher->heartbeats.size();
    ASSERT_TRUE(world.time.AdvanceUntil([&] { return watcher->heartbeats.size() > seen; },
                                        absl::Seconds(5)));
    beats.push_back({world.time.Now(), watcher->heartbeats.back()});
  }
  world.time.Advance(absl::Minutes(10));
  double progress = 0;
  for (const Beat& beat : beats) {
    const auto next = std::upper_bound(polls.begin(), polls.end(), beat.time);
    ASSERT_NE(next, polls.begin());
    ASSERT_NE(next, polls.end());
    EXPECT_EQ(beat.said.last_observed, *(next - 1));
    EXPECT_EQ(beat.said.next_poll, *next);
    ASSERT_TRUE(beat.said.estimated_time_left && beat.said.estimated_progress);
    EXPECT_GT(*beat.said.estimated_time_left, absl::ZeroDuration());
    EXPECT_GE(*beat.said.estimated_progress, progress);
    EXPECT_LT(*beat.said.estimated_progress, 1);
    progress = *beat.said.estimated_progress;
  }
  EXPECT_GT(progress, 0.5);
}

TEST(WatchHubTest, AHeartbeatOfAnUnresolvedPredictionKnowsOfNoPoll) {
  World world;
  const auto call = world.Submit("r1");
  world.Answer(Unknown());
  const auto watcher = world.Watch(call->id(), std::nullopt, absl::Seconds(5));
  world.time.Advance(absl::Minutes(1));
  ASSERT_GE(watcher->heartbeats.size(), 11u);
  for (const Heartbeat& heartbeat : watcher->heartbeats) {
    EXPECT_EQ(heartbeat.prediction_id, call->id());
    EXPECT_FALSE(heartbeat.last_observed || heartbeat.next_poll || heartbeat.estimated_time_left ||
                 heartbeat.estimated_progress);
  }
}

TEST(WatchHubTest, AHeartbeatDoesNotPromiseAPollThatUpstreamHasForbidden) {
  World world;
  std::vector<std::shared_ptr<FakeWatcher>> watchers;
  for (const char* name : {"u1", "u2"}) {
    watchers.push_back(world.Watch(world.Create(name, name), std::nullopt, absl::Seconds(5)));
  }
  // One of the two is told, for both.
  absl::Time forbidden_until = absl::InfinitePast();
  int polls = 0;
  world.upstream.answer_gets = [&](const std::string& task) {
    EXPECT_GE(world.time.Now(), forbidden_until);
    if (++polls > 1) return Shows(task, State::kProcessing);
    forbidden_until = world.time.Now() + absl::Minutes(2);
    return Fails(PollProblem::kRateLimited, 429, absl::Minutes(2));
  };
  ASSERT_TRUE(world.time.AdvanceUntil([&] { return polls == 1; }, absl::Minutes(5)));
  for (const auto& watcher : watchers) watcher->heartbeats.clear();
  world.time.Advance(absl::Minutes(1));
  ASSERT_EQ(polls, 1);
  for (const auto& watcher : watchers) {
    ASSERT_FALSE(watcher->heartbeats.empty());
    for (const Heartbeat& heartbeat : watcher->heartbeats) {
      EXPECT_GE(heartbeat.next_poll.value_or(absl::InfiniteFuture()), forbidden_until);
    }
  }
}

// ---------------------------------------------------------------------------------------------- drain

TEST(WatchHubTest, ADrainTellsEverybodyToLeaveAndLetsGo) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const std::string other = world.Create("r2", "u2");
  const auto open = world.Watch(id);
  world.ledger.Hold();
  const auto waiting = world.WatchLater(other);
  world.gateway->Drain();
  EXPECT_EQ(open->reconnect_delay, world.options.reconnect_delay);
  EXPECT_EQ(waiting->reconnect_delay, world.options.reconnect_delay);
  EXPECT_EQ(open.use_count(), 2);
  EXPECT_EQ(waiting.use_count(), 2);
  EXPECT_EQ(world.gateway->Status().watchers, 0);
  world.ledger.Release();
  world.time.Advance(absl::Minutes(1));
  EXPECT_THAT(open->heartbeats, IsEmpty());
  world.gateway->Unwatch(open);
  world.gateway->Unwatch(waiting);
}

}  // namespace
}  // namespace dreamgate::core
