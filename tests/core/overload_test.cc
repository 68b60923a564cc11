// Upstream in a storm, on virtual time: what the gateway costs an upstream that is down, and how soon
// everything goes on once it is back.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/gateway.h"
#include "server/core/polling/poll_budget.h"
#include "tests/fakes/fake_events.h"
#include "tests/fakes/fake_ledger.h"
#include "tests/fakes/fake_random.h"
#include "tests/fakes/fake_upstream.h"
#include "tests/fakes/fake_watcher.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::core {
namespace {

constexpr absl::Duration kLatency = absl::Milliseconds(100);
constexpr absl::Duration kTimeout = absl::Seconds(30);
constexpr absl::Duration kRetryAfter = absl::Minutes(1);
constexpr absl::Duration kRecovery = absl::Seconds(30);

enum class Trouble {
  kNone,
  k429,
  k429WithRetryAfter,
  k500,
  k503,
  kNoAnswer,
  kRefused,
  kEverySecond
};

std::string Name(Trouble trouble) {
  switch (trouble) {
    case Trouble::kNone: return "None";
    case Trouble::k429: return "429";
    case Trouble::k429WithRetryAfter: return "429WithRetryAfter";
    case Trouble::k500: return "500";
    case Trouble::k503: return "503";
    case Trouble::kNoAnswer: return "NoAnswer";
    case Trouble::kRefused: return "ConnectionRefused";
    case Trouble::kEverySecond: return "EverySecondCall";
  }
  return "";
}

// Answers after kLatency, as the weather was when it was asked.
class StormyUpstream final : public Upstream {
 public:
  StormyUpstream(fakes::VirtualTime& time, Random& random) : time_(time), random_(random) {}

  Trouble trouble = Trouble::kNone;
  absl::Duration takes = absl::InfiniteDuration();  // until a task has ended
  int gets = 0;
  int posts = 0;
  int gets_under_way = 0;
  int most_gets_under_way = 0;
  std::map<std::string, absl::Time> begun;
  std::map<std::string, absl::Time> seen;  // when a poll was last answered
  std::set<std::string> failed;            // or will fail: polls since `seen`

  void CreateTask(const CreateTaskRequest& request, Completion<CreateOutcome> done) override {
    ++posts;
    CreateOutcome outcome = CreateAccepted{fakes::Task(request.prompt, State::kCreated)};
    begun[request.prompt] = time_.Now();
    switch (Now()) {
      case Trouble::k429: outcome = Limited(std::nullopt); break;
      case Trouble::k429WithRetryAfter: outcome = Limited(kRetryAfter); break;
      case Trouble::kRefused: outcome = CreateNotSent{"connection refused"}; break;
      case Trouble::kNone: break;
      default: outcome = CreateUnknown{"no good answer"};
    }
    Later([done = std::move(done), outcome = std::move(outcome)]() mutable {
      std::move(done)(std::move(outcome));
    });
  }

  void GetTask(const std::string& id, Completion<PollOutcome> done) override {
    ++gets;
    most_gets_under_way = std::max(most_gets_under_way, ++gets_under_way);
    const bool ended = time_.Now() - begun[id] >= takes;
    PollOutcome outcome =
        PollObserved{fakes::Task(id, ended ? State::kCompleted : State::kProcessing)};
    const auto fails = [](PollProblem problem, int status,
                          std::optional<absl::Duration> retry_after = std::nullopt) {
      return PollFailed{problem, status, "no", retry_after};
    };
    const Trouble now = Now();
    switch (now) {
      case Trouble::kNone: break;
      case Trouble::k429: outcome = fails(PollProblem::kRateLimited, 429); break;
      case Trouble::k429WithRetryAfter:
        outcome = fails(PollProblem::kRateLimited, 429, kRetryAfter);
        break;
      case Trouble::k503: outcome = fails(PollProblem::kTransient, 503); break;
      case Trouble::kNoAnswer:
      case Trouble::kRefused: outcome = fails(PollProblem::kTransient, 0); break;
      default: outcome = fails(PollProblem::kTransient, 500);
    }
    if (now != Trouble::kNone) failed.insert(id);
    Later([this, id, served = now == Trouble::kNone, done = std::move(done),
           outcome = std::move(outcome)]() mutable {
      --gets_under_way;
      if (served) {
        seen[id] = time_.Now();
        failed.erase(id);
      }
      std::move(done)(std::move(outcome));
    });
  }

  void ListTasks(const HistoryQuery&, Completion<HistoryOutcome> done) override {
    Later([done = std::move(done)]() mutable {
      std::move(done)(HistoryFailed{503, "no history", std::nullopt});
    });
  }
  std::string KeyFingerprint() const override { return "0123456789abcdef"; }

 private:
  Trouble Now() {
    if (trouble != Trouble::kEverySecond) return trouble;
    return random_.Draw() % 2 == 0 ? Trouble::kNone : Trouble::k500;
  }
  static CreateOutcome Limited(std::optional<absl::Duration> retry_after) {
    return CreateRejected{Reason::kUpstreamRateLimited, 429, 0, "slow down", retry_after};
  }
  void Later(absl::AnyInvocable<void() &&> answer) {
    const absl::Duration delay = trouble == Trouble::kNoAnswer ? kTimeout : kLatency;
    const uint64_t number = ++calls_;
    waiting_[number] = time_.After(delay, [this, number, answer = std::move(answer)]() mutable {
      waiting_.erase(number);
      std::move(answer)();
    });
  }

  fakes::VirtualTime& time_;
  Random& random_;
  uint64_t calls_ = 0;
  std::map<uint64_t, std::unique_ptr<Timers::Timer>> waiting_;
};

class OverloadWorld {
 public:
  explicit OverloadWorld(uint64_t seed = 1) : random(seed) {
    gateway.Start([](const absl::Status&) {});
  }

  // `rate` a second, for so long; each with a request_id of its own.
  void Offer(double rate, absl::Duration length) {
    const absl::Time end = time.Now() + length;
    for (absl::Time next = time.Now(); next < end; next += absl::Seconds(1) / rate) {
      time.Advance(next - time.Now());
      SubmitOne();
    }
    time.Advance(end - time.Now());
  }
  void SubmitOne() {
    SubmitRequest request;
    request.tenant = "tenant";
    request.request_id = absl::StrCat("v", offered++);
    request.input.prompt = request.request_id;
    gateway.Submit(std::move(request), [this](absl::StatusOr<SubmitAnswer> answer) {
      answers.push_back(answer.ok() ? absl::OkStatus() : answer.status());
      if (answer.ok() && answer->prediction->state != State::kUnresolved) ++accepted;
    });
  }

  Options options;
  fakes::VirtualTime time;
  fakes::FakeRandom random;
  StormyUpstream upstream{time, random};
  fakes::FakeLedger ledger{time};
  fakes::FakeSink sink;
  fakes::FakeEvents events;
  int offered = 0;
  int accepted = 0;
  std::vector<absl::Status> answers;
  Gateway gateway{Ports{time, time, time, random, upstream, ledger, sink, events}, options};
};

struct Storm {
  Trouble trouble;
  absl::Duration length;
  int predictions;  // in flight; of submissions: offered a second

  friend void PrintTo(const Storm& storm, std::ostream* out) {
    *out << Name(storm.trouble) << " for " << storm.length << ", " << storm.predictions;
  }
};

std::string NameOf(const testing::TestParamInfo<Storm>& info) {
  return absl::StrCat(Name(info.param.trouble), "For", absl::ToInt64Seconds(info.param.length),
                      "SecondsOn", info.param.predictions);
}

// How long a storm may be felt after it has ended.
absl::Duration AfterEffects(Trouble trouble) {
  return trouble == Trouble::k429WithRetryAfter ? kRetryAfter : absl::ZeroDuration();
}

// ------------------------------------------------------------------------------------------ polls

class PollStormTest : public testing::TestWithParam<Storm> {
 protected:
  // So many in flight, of an age at which videos end and are polled often.
  static void Fill(OverloadWorld& world, int predictions, uint64_t seed) {
    for (int i = 0; i < predictions; ++i) world.SubmitOne();
    world.time.Advance(absl::Seconds(90) + seed * absl::Milliseconds(500));
    ASSERT_EQ(world.accepted, predictions);
  }
  // A single prediction is polled now and then, so the storm is tried at many moments.
  static uint64_t WorldsFor(int predictions) { return predictions == 1 ? 20 : 1; }
  // The polls that an upstream without trouble would get. Worlds are alike, so each is run once, and a
  // thousand predictions offer what twenty times fifty do.
  static int Offered(int predictions, absl::Duration length) {
    if (predictions == 1000) return 20 * Offered(50, length);
    static std::map<std::pair<int, absl::Duration>, int> known;
    const auto [entry, unknown] = known.try_emplace({predictions, length}, 0);
    if (!unknown) return entry->second;
    for (uint64_t seed = 1; seed <= WorldsFor(predictions); ++seed) {
      OverloadWorld world(seed);
      Fill(world, predictions, seed);
      const int before = world.upstream.gets;
      world.time.Advance(length);
      entry->second += world.upstream.gets - before;
    }
    return entry->second;
  }
  // How many polls are made during the storm.
  static int Weather(const Storm& storm, uint64_t seed);
};

TEST_P(PollStormTest, AStormCostsUpstreamNoMoreThanOfferedAndIsOverIn30Seconds) {
  const Storm& storm = GetParam();
  const uint64_t worlds = WorldsFor(storm.predictions);
  int calls = 0;
  for (uint64_t seed = 1; seed <= worlds; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    calls += Weather(storm, seed);
  }
  const double offered = Offered(storm.predictions, storm.length);
  RecordProperty("calls", calls);
  RecordProperty("offered", static_cast<int>(offered));
  // One in flight may well offer one poll.
  EXPECT_LE(calls, std::max(1.2 * offered, offered + 2 * static_cast<double>(worlds)));
}

int PollStormTest::Weather(const Storm& storm, uint64_t seed) {
  OverloadWorld world(seed);
  Fill(world, storm.predictions, seed);

  world.upstream.trouble = storm.trouble;
  const int before = world.upstream.gets;
  world.time.Advance(storm.length);
  const int calls = world.upstream.gets - before;
  world.upstream.trouble = Trouble::kNone;
  EXPECT_LE(world.upstream.most_gets_under_way, world.options.most_gets_under_way);

  const absl::Time end = world.time.Now();
  std::set<std::string> to_see = world.upstream.failed;
  if (storm.length >= world.options.poll_max_interval) {
    for (const auto& [id, begun] : world.upstream.begun) to_see.insert(id);
  }
  const auto all_seen = [&] {
    return std::all_of(to_see.begin(), to_see.end(),
                       [&](const std::string& id) { return world.upstream.seen[id] > end; });
  };
  const absl::Duration limit = kRecovery + AfterEffects(storm.trouble);
  for (absl::Duration t; t < limit && !all_seen(); t += kLatency) world.time.Advance(kLatency);
  RecordProperty("recovery_ms",
                 static_cast<int>(absl::ToInt64Milliseconds(world.time.Now() - end)));
  EXPECT_TRUE(all_seen());
  world.time.Advance(end + limit - world.time.Now());
  EXPECT_FALSE(world.events.circuit_open["get"]);
  EXPECT_TRUE(world.upstream.failed.empty());
  const GatewayStatus status = world.gateway.Status();
  EXPECT_EQ(status.predictions_in_flight, storm.predictions);
  for (const InFlight& line : status.oldest) {
    if (line.next_poll) {
      EXPECT_GE(*line.next_poll, world.time.Now() - absl::Seconds(1));
    }
  }
  EXPECT_LE(world.upstream.most_gets_under_way, world.options.most_gets_under_way);
  return calls;
}

std::vector<Storm> Storms(const std::vector<int>& predictions) {
  std::vector<Storm> storms;
  for (const Trouble trouble : {Trouble::k429, Trouble::k429WithRetryAfter, Trouble::k500,
                                Trouble::k503, Trouble::kNoAnswer, Trouble::kRefused}) {
    for (const absl::Duration length : {absl::Seconds(10), absl::Minutes(2), absl::Hours(1)}) {
      for (const int number : predictions) storms.push_back({trouble, length, number});
    }
  }
  return storms;
}

INSTANTIATE_TEST_SUITE_P(Overload, PollStormTest, testing::ValuesIn(Storms({1, 50, 1000})), NameOf);

class HalfFailingTest : public testing::TestWithParam<int> {};

TEST_P(HalfFailingTest, EverySecondPollFailingCostsAFifthMoreAtMostAndEverythingEnds) {
  int calls[2];
  for (const bool failing : {false, true}) {
    OverloadWorld world;
    world.upstream.takes = absl::Seconds(100);
    world.Offer(GetParam(), absl::Minutes(2));
    if (failing) world.upstream.trouble = Trouble::kEverySecond;
    const int before = world.upstream.gets;
    world.time.Advance(absl::Minutes(4));
    calls[failing] = world.upstream.gets - before;
    world.time.Advance(absl::Minutes(20));
    EXPECT_EQ(world.gateway.Status().predictions_in_flight, 0);
    EXPECT_EQ(world.events.circuit_openings["get"], 0);
  }
  RecordProperty("calls", calls[1]);
  RecordProperty("offered", calls[0]);
  EXPECT_LE(calls[1], 1.2 * calls[0]);
}

INSTANTIATE_TEST_SUITE_P(Overload, HalfFailingTest, testing::Values(1, 4));

// ------------------------------------------------------------------------------------ submissions

class SubmissionStormTest : public testing::TestWithParam<Storm> {};

TEST_P(SubmissionStormTest, AStormSendsFewPostsAndSubmissionsAreAcceptedAgainWithin30Seconds) {
  const Storm& storm = GetParam();
  const double rate = storm.predictions;
  OverloadWorld world;
  world.Offer(rate, absl::Seconds(10));
  world.time.Advance(absl::Seconds(1));
  ASSERT_EQ(world.accepted, world.offered);

  world.upstream.trouble = storm.trouble;
  const int posts_before = world.upstream.posts;
  const int offered_before = world.offered;
  world.Offer(rate, storm.length);
  const int posts = world.upstream.posts - posts_before;
  const int offered = world.offered - offered_before;
  world.upstream.trouble = Trouble::kNone;
  EXPECT_LE(posts, 1.2 * offered);
  if (storm.length >= absl::Minutes(2)) {
    // Whatever was offered: all slots once, a row of failures for as long as it takes, and probes.
    EXPECT_LE(posts, world.options.max_submits_in_flight + 2 * CircuitBreaker::kFailuresToOpen +
                         10 +
                         absl::FDivDuration(storm.length, CircuitBreaker::kLeastShareOfInterval *
                                                              CircuitBreaker::kLongestProbe));
    EXPECT_GE(world.events.submissions["refused"], offered / 2);
  }
  RecordProperty("posts", posts);
  RecordProperty("offered", offered);

  const absl::Time end = world.time.Now();
  const absl::Duration limit = kRecovery + AfterEffects(storm.trouble);
  const auto accepts = [&] {
    const int before = world.accepted;
    const int offered_now = world.offered;
    world.Offer(rate, absl::Seconds(1));
    return world.accepted - before >= world.offered - offered_now;
  };
  absl::Duration recovery;
  while (recovery < limit && !accepts()) recovery += absl::Seconds(1);
  RecordProperty("recovery_ms", static_cast<int>(absl::ToInt64Milliseconds(recovery)));
  EXPECT_LT(recovery, limit);
  world.Offer(rate, std::max(absl::ZeroDuration(), end + limit - world.time.Now()));
  EXPECT_FALSE(world.events.circuit_open["post"]);
  const int accepted = world.accepted;
  world.Offer(rate, absl::Seconds(5));
  world.time.Advance(absl::Seconds(1));
  EXPECT_GE(world.accepted - accepted, 5 * rate);
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.answers.size(), static_cast<size_t>(world.offered)) << "all are answered";
}

std::vector<Storm> SubmissionStorms() {
  std::vector<Storm> storms = Storms({20});
  for (Storm& storm : storms) {
    if (storm.length == absl::Hours(1)) storm.predictions = 2;  // or the test takes its time
  }
  return storms;
}

INSTANTIATE_TEST_SUITE_P(Overload, SubmissionStormTest, testing::ValuesIn(SubmissionStorms()),
                         NameOf);

// ------------------------------------------------------------------------------------------ status

TEST(CircuitStatusTest, EachCircuitIsShownAsItOpensAndCloses) {
  using State = CircuitBreaker::State;
  OverloadWorld world;
  world.Offer(20, absl::Seconds(10));
  world.time.Advance(absl::Seconds(90));
  EXPECT_EQ(world.gateway.Status().get_circuit, State::kClosed);
  EXPECT_EQ(world.gateway.Status().post_circuit, State::kClosed);

  world.upstream.trouble = Trouble::k503;
  world.time.Advance(absl::Minutes(1));
  EXPECT_EQ(world.gateway.Status().get_circuit, State::kOpen);
  EXPECT_EQ(world.gateway.Status().post_circuit, State::kClosed) << "nobody has submitted";
  world.Offer(20, absl::Minutes(1));
  EXPECT_EQ(world.gateway.Status().post_circuit, State::kOpen);

  world.upstream.trouble = Trouble::kNone;
  std::set<State> gets;
  std::set<State> posts;
  for (absl::Duration t; t < kRecovery; t += kLatency) {
    world.Offer(20, kLatency);
    const GatewayStatus status = world.gateway.Status();
    gets.insert(status.get_circuit);
    posts.insert(status.post_circuit);
  }
  EXPECT_EQ(gets.count(State::kHalfOpen), 1u);
  EXPECT_EQ(posts.count(State::kHalfOpen), 1u);
  EXPECT_EQ(world.gateway.Status().get_circuit, State::kClosed);
  EXPECT_EQ(world.gateway.Status().post_circuit, State::kClosed);
}

}  // namespace
}  // namespace dreamgate::core
