// A gateway between fakes on virtual time: one process, its disk and its upstream. Tests talk to it as
// `api` does, through Gateway alone.
#ifndef DREAMGATE_TESTS_CORE_WORLD_H_
#define DREAMGATE_TESTS_CORE_WORLD_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/gateway.h"
#include "tests/fakes/fake_events.h"
#include "tests/fakes/fake_ledger.h"
#include "tests/fakes/fake_random.h"
#include "tests/fakes/fake_upstream.h"
#include "tests/fakes/fake_watcher.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::core {

using fakes::FakeLedger;
using fakes::FakeWatcher;
using fakes::Task;
using testing::ElementsAre;
using testing::IsEmpty;

// One call of Submit.
struct Call {
  std::string request_id;
  int answers = 0;
  absl::StatusOr<SubmitAnswer> result = absl::UnknownError("not answered");
  bool cancelled = false;  // set it: the caller no longer wants it
  bool void_by_crash = false;

  bool answered() const { return answers > 0; }
  std::string id() const { return result->prediction->id; }
  State state() const { return result->prediction->state; }
  Reason reason() const { return ReasonOf(result.status()).value_or(Reason::kCredentialsMissing); }
};

constexpr char kTenant[] = "tenant-a";

// The outcome of one POST.
inline CreateOutcome Accepted(std::string upstream_id, State state = State::kCreated) {
  return CreateAccepted{Task(std::move(upstream_id), state)};
}
inline CreateOutcome Rejected(Reason reason, int http_status) {
  return CreateRejected{reason, http_status, 0, "no", std::nullopt};
}
inline CreateOutcome NotSent() { return CreateNotSent{"connection refused"}; }
inline CreateOutcome Unknown() { return CreateUnknown{"connection reset"}; }

// The answer to one GET.
inline PollOutcome Shows(const std::string& upstream_id, State state) {
  return PollObserved{Task(upstream_id, state)};
}
inline PollOutcome Fails(PollProblem problem, int http_status,
                         std::optional<absl::Duration> retry_after = std::nullopt) {
  return PollFailed{problem, http_status, "no", retry_after};
}

class World {
 public:
  explicit World(Options given = {}, uint64_t seed = 1) : options(std::move(given)), random(seed) {
    StartGateway();
  }
  ~World() {
    for (const auto& call : calls) EXPECT_LE(call->answers, 1) << "answered twice";
    for (const auto& watcher : watchers) EXPECT_THAT(watcher->violations(), IsEmpty());
  }

  void StartGateway() {
    gateway.reset();
    gateway = std::make_unique<Gateway>(
        Ports{clock, time, time, random, upstream, ledger, sink, events}, options);
    gateway->Start([this](absl::Status status) { started = std::move(status); });
  }
  // The process ends here. What is not durable is lost; `ledger_goes_on`: what it was told to write
  // still becomes durable.
  void Crash(bool ledger_goes_on = false) {
    gateway.reset();
    upstream.DropWaiting();
    if (ledger_goes_on) {
      ledger.Release();
      time.RunDue();
    }
    time.DropAll();
    ledger.DropHeld();
    for (const auto& call : calls) call->void_by_crash = call->void_by_crash || !call->answered();
  }

  std::shared_ptr<Call> SubmitLater(const std::string& request_id,
                                    const std::string& prompt = "a cat",
                                    const std::string& tenant = kTenant) {
    auto call = std::make_shared<Call>();
    call->request_id = request_id;
    calls.push_back(call);
    SubmitRequest request;
    request.tenant = tenant;
    request.request_id = request_id;
    request.input.prompt = prompt;
    request.cancelled = [call] { return call->cancelled; };
    gateway->Submit(std::move(request), [call](absl::StatusOr<SubmitAnswer> answer) {
      ++call->answers;
      call->result = std::move(answer);
    });
    return call;
  }
  std::shared_ptr<Call> Submit(const std::string& request_id, const std::string& prompt = "a cat",
                               const std::string& tenant = kTenant) {
    auto call = SubmitLater(request_id, prompt, tenant);
    time.RunDue();
    return call;
  }
  // A prediction that upstream has accepted as `upstream_id`.
  std::string Create(const std::string& request_id, const std::string& upstream_id,
                     State state = State::kCreated) {
    const auto call = Submit(request_id);
    Answer(Accepted(upstream_id, state));
    return call->id();
  }

  void Answer(CreateOutcome outcome, size_t index = 0) {
    ASSERT_LT(index, upstream.creates.size()) << "no POST is waiting";
    upstream.AnswerCreate(std::move(outcome), index);
    time.RunDue();
  }
  // Answers the next GET, which must come within `limit`.
  void AnswerGet(PollOutcome outcome, absl::Duration limit = absl::Minutes(10)) {
    ASSERT_TRUE(time.AdvanceUntil([this] { return !upstream.gets.empty(); }, limit));
    upstream.AnswerGet(std::move(outcome));
    time.RunDue();
  }

  absl::StatusOr<std::shared_ptr<const Prediction>> Get(const std::string& id,
                                                        const std::string& tenant = kTenant) {
    absl::StatusOr<std::shared_ptr<const Prediction>> got = absl::UnknownError("not answered");
    int answers = 0;
    gateway->Get(tenant, id,
                 [&got, &answers](absl::StatusOr<std::shared_ptr<const Prediction>> answer) {
                   got = std::move(answer);
                   ++answers;
                 });
    time.RunDue();
    EXPECT_EQ(answers, 1);
    return got;
  }
  State StateOf(const std::string& id) {
    const auto got = Get(id);
    EXPECT_TRUE(got.ok()) << got.status();
    return got.ok() ? (*got)->state : State::kQueued;
  }

  std::shared_ptr<FakeWatcher> WatchLater(const std::string& id,
                                          std::optional<int64_t> after_sequence = std::nullopt,
                                          std::optional<absl::Duration> heartbeat = std::nullopt,
                                          const std::string& tenant = kTenant) {
    auto watcher = std::make_shared<FakeWatcher>(after_sequence);
    watchers.push_back(watcher);
    gateway->Watch({tenant, id, after_sequence, heartbeat}, watcher);
    return watcher;
  }
  std::shared_ptr<FakeWatcher> Watch(const std::string& id,
                                     std::optional<int64_t> after_sequence = std::nullopt,
                                     std::optional<absl::Duration> heartbeat = std::nullopt,
                                     const std::string& tenant = kTenant) {
    auto watcher = WatchLater(id, after_sequence, heartbeat, tenant);
    time.RunDue();
    return watcher;
  }

  // The wall clock, which may be set while timers go on as before.
  struct WallClock final : Clock {
    explicit WallClock(const fakes::VirtualTime& steady) : time(steady) {}
    absl::Time Now() const override { return time.Now() + error; }
    const fakes::VirtualTime& time;
    absl::Duration error;
  };

  Options options;
  fakes::VirtualTime time;
  WallClock clock{time};
  fakes::FakeRandom random;
  fakes::FakeUpstream upstream{time};
  FakeLedger ledger{time};
  fakes::FakeSink sink;
  fakes::FakeEvents events;
  absl::Status started = absl::UnknownError("not answered");
  std::vector<std::shared_ptr<Call>> calls;
  std::vector<std::shared_ptr<FakeWatcher>> watchers;
  std::unique_ptr<Gateway> gateway;  // dies before its ports
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_TESTS_CORE_WORLD_H_
