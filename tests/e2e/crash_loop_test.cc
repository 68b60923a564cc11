// The real server, killed with SIGKILL at every failpoint and started again: no second task, nothing
// acknowledged is lost, nothing shown is withdrawn, and the submission ends as it should.
#include <signal.h>
#include <sqlite3.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/crash_cases.h"
#include "tests/e2e/crash_world.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::Schedule;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string PromptOf(const std::string& request_id) {
  return absl::StrCat("a kite for ", request_id);
}

void Call(CrashWorld& world, const std::string& request_id) {
  world.Call(request_id, PromptOf(request_id));
}

// How a situation is played.
struct Scene {
  CrashWorldOptions options = {};
  std::function<void(CrashWorld&)> prepare = [](CrashWorld&) {};  // before the server that dies
  std::function<void(CrashWorld&)> act = [](CrashWorld& world) {
    Call(world, "id-1");
  };                                                             // while it lives
  std::function<void(CrashWorld&)> repair = [](CrashWorld&) {};  // once another one runs
  std::vector<std::string> request_ids = {"id-1"};               // whose ending is expected
};

// The fault meets the first POST of this request_id.
void MakePostFail(CrashWorld& world, const std::string& request_id, Fault fault) {
  fault.method = "POST";
  fault.path_prefix = world.simulator().SubmitPath();
  fault.body_contains = PromptOf(request_id);
  world.simulator().AddFault(std::move(fault));
}

bool TaskExists(CrashWorld& world, const std::string& request_id) {
  return world.simulator().WaitUntil(
      [&] { return world.simulator().TasksCreatedForPrompt(PromptOf(request_id)) > 0; }, kPatience);
}

// Another submission, whose answer takes a while, holds the server's only slot.
Scene Queued() {
  Scene scene;
  scene.options.server_arguments = {"--max-submits-in-flight=1"};
  scene.act = [](CrashWorld& world) {
    MakePostFail(
        world, "id-0",
        {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(400)});
    Call(world, "id-0");
    ASSERT_TRUE(TaskExists(world, "id-0"));
    Call(world, "id-1");
  };
  return scene;
}

Scene WithFirstPost(Fault fault) {
  Scene scene;
  scene.act = [fault = std::move(fault)](CrashWorld& world) {
    MakePostFail(world, "id-1", fault);
    Call(world, "id-1");
  };
  return scene;
}

Scene Resent() {
  Scene scene = WithFirstPost({.status = 500});
  scene.options.server_arguments = {"--resend-after-absence=1"};
  scene.options.tasks_at_most = 2;
  return scene;
}

// The first task is hidden for so long that a second one is made; then it shows up.
Scene Orphaned() {
  Scene scene;
  scene.options.server_arguments = {"--resend-after-absence=1"};
  scene.options.tasks_at_most = 2;
  scene.options.simulator.history_lag = absl::Minutes(1);
  scene.prepare = [](CrashWorld& world) {
    MakePostFail(world, "id-1", {.create_task = true, .status = 500});
    ASSERT_TRUE(world.StartServer());
    world.CallAndWait("id-1", PromptOf("id-1"));
    EXPECT_EQ(world.simulator().TasksCreated(), 2u);
    world.KillServer();
    world.simulator().SetHistory(simulator::HistoryInput::kAlways, absl::ZeroDuration());
  };
  scene.act = [](CrashWorld&) {};  // the start itself asks
  return scene;
}

// The next server can read history again and finds the task that was given up for want of evidence.
Scene Blind() {
  Scene scene;
  scene.options.unresolved_timeout = absl::Milliseconds(500);
  scene.act = [](CrashWorld& world) {
    world.simulator().AddFault(
        {.method = "POST", .path_prefix = "/api/v3/predictions", .times = -1, .status = 500});
    MakePostFail(world, "id-1", {.create_task = true, .status = 500});
    Call(world, "id-1");
  };
  scene.repair = [](CrashWorld& world) {
    world.CallAndWait("id-1", PromptOf("id-1"));  // given up now
    world.KillServer();
    world.simulator().ClearFaults();
    ASSERT_TRUE(world.StartServer());
  };
  return scene;
}

// One has its task, one's answer never comes, one is UNRESOLVED.
Scene Recovering() {
  Scene scene;
  scene.request_ids = {"id-1", "id-2", "id-3"};
  scene.prepare = [](CrashWorld& world) {
    MakePostFail(world, "id-2", {.action = FaultAction::kHang, .create_task = true});
    MakePostFail(world, "id-3", {.create_task = true, .status = 500});
    ASSERT_TRUE(world.StartServer());
    for (const char* request_id : {"id-1", "id-2", "id-3"}) Call(world, request_id);
    for (const char* request_id : {"id-1", "id-2", "id-3"}) {
      ASSERT_TRUE(TaskExists(world, request_id));
    }
    world.KillServer();
  };
  scene.act = [](CrashWorld&) {};
  return scene;
}

// A prediction ended long ago.
Scene Pruning() {
  Scene scene;
  scene.prepare = [](CrashWorld& world) {
    ASSERT_TRUE(world.StartServer());
    world.CallAndWait("id-0", PromptOf("id-0"));
    world.Forget("id-0");
    world.KillServer();
    sqlite3* ledger = nullptr;
    ASSERT_EQ(sqlite3_open(world.ledger_path().c_str(), &ledger), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(ledger,
                           "UPDATE predictions SET end_time = end_time - 31 * 86400 * 1000000000"
                           " WHERE request_id = 'id-0'",
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(ledger);
  };
  return scene;
}

Scene BackingUp() {
  Scene scene;
  scene.act = [](CrashWorld& world) {
    world.CallAndWait("id-1", PromptOf("id-1"));
    EXPECT_EQ(world.PostToAdmin("/backup"), std::nullopt);
  };
  scene.repair = [](CrashWorld& world) {
    const std::optional<std::string> backup = world.PostToAdmin("/backup");
    ASSERT_TRUE(backup.has_value());
    EXPECT_TRUE(absl::StartsWith(*backup, "SQLite format 3"));
  };
  return scene;
}

Scene Leaving() {
  Scene scene;
  scene.act = [](CrashWorld& world) {
    Call(world, "id-1");
    ASSERT_TRUE(TaskExists(world, "id-1"));
    world.server().Signal(SIGTERM);
  };
  return scene;
}

Scene SceneOf(Situation situation) {
  Scene scene;
  switch (situation) {
    case Situation::kPlain:
    case Situation::kStarting: return scene;
    case Situation::kLongPrompt:
      scene.options.server_arguments = {"--max-prompt-chars=100000"};
      scene.act = [](CrashWorld& world) {
        world.Call("id-1", absl::StrCat(PromptOf("id-1"), std::string(90'000, '!')));
      };
      return scene;
    case Situation::kQueued: return Queued();
    case Situation::kRejected: return WithFirstPost({.status = 400});
    case Situation::kSlow:
      scene = WithFirstPost(
          {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(700)});
      scene.options.server_arguments = {"--submit-soft-timeout=200ms"};
      return scene;
    case Situation::kCreated500: return WithFirstPost({.create_task = true, .status = 500});
    case Situation::kAbsent500: return WithFirstPost({.status = 500});
    case Situation::kResent: return Resent();
    case Situation::kOrphaned: return Orphaned();
    case Situation::kBlind: return Blind();
    case Situation::kRecovering: return Recovering();
    case Situation::kBackingUp: return BackingUp();
    case Situation::kPruning: return Pruning();
    case Situation::kLeaving: return Leaving();
  }
  return scene;
}

void ExpectEnding(const CrashWorld& world, const std::string& request_id, Ending ending) {
  const FinalAnswer& answer = world.AnswerOf(request_id);
  const v1::Prediction& prediction = answer.prediction;
  switch (ending) {
    case Ending::kCompleted:
      EXPECT_EQ(prediction.state(), v1::PREDICTION_STATE_COMPLETED) << prediction.DebugString();
      EXPECT_EQ(prediction.outputs_size(), 1);
      EXPECT_EQ(prediction.recovered_outputs_size(), static_cast<int>(answer.tasks) - 1);
      return;
    case Ending::kNotCreated:
      EXPECT_EQ(prediction.error().failure_code(), v1::FAILURE_CODE_SUBMIT_NOT_CREATED)
          << prediction.DebugString();
      EXPECT_EQ(answer.tasks, 0u);
      return;
    case Ending::kUnknown:
      EXPECT_EQ(prediction.error().failure_code(), v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN)
          << prediction.DebugString();
      EXPECT_EQ(answer.tasks, 1u);
      EXPECT_EQ(prediction.recovered_outputs_size(), 1);
      return;
    case Ending::kRejected:
      EXPECT_EQ(answer.reason, "UPSTREAM_REJECTED");
      EXPECT_EQ(answer.tasks, 0u);
      return;
  }
}

class CrashTest : public testing::TestWithParam<CrashCase> {};

TEST_P(CrashTest, LosesNothingAndPaysOnce) {
  const CrashCase& crash = GetParam();
  Scene scene = SceneOf(crash.situation);
  scene.options.simulator.schedule =
      Schedule::Completing(absl::Milliseconds(80), absl::Milliseconds(80));
  CrashWorld world(scene.options);
  scene.prepare(world);
  world.BeginServer(absl::StrCat(crash.failpoint, ":", crash.pass));
  scene.act(world);
  const bool died = world.DiedOf(crash.failpoint, kPatience);
  EXPECT_TRUE(died) << world.server().StandardError();
  if (!died) world.KillServer();
  ASSERT_TRUE(world.StartServer()) << world.server().StandardError();
  scene.repair(world);
  EXPECT_THAT(world.Settle(), IsEmpty()) << world.server().StandardError();
  if (!crash.ending.has_value()) return;
  for (const std::string& request_id : scene.request_ids) {
    ExpectEnding(world, request_id, *crash.ending);
  }
}

std::string NameOf(const testing::TestParamInfo<CrashCase>& crash) {
  std::string name = crash.param.failpoint;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(At, CrashTest, testing::ValuesIn(CrashCases()), NameOf);

// The judge itself: a server whose memory is taken away pays twice, and that is seen.
TEST(CrashWorldTest, ALostLedgerIsNoticed) {
  CrashWorldOptions options;
  options.simulator.schedule = Schedule::Completing(absl::ZeroDuration(), absl::Milliseconds(50));
  CrashWorld world(options);
  ASSERT_TRUE(world.StartServer());
  world.CallAndWait("id-1", PromptOf("id-1"));
  world.CallAndWait("id-2", PromptOf("id-2"));
  world.KillServer();
  for (const char* suffix : {"", "-wal", "-journal"}) {
    unlink((world.ledger_path() + suffix).c_str());
  }
  ASSERT_TRUE(world.StartServer());
  world.CallAndWait("id-1", PromptOf("id-1"));
  const std::vector<std::string> violations = world.Settle();
  EXPECT_THAT(violations, Contains(HasSubstr("id-1 created 2 tasks")));
  EXPECT_THAT(violations, Contains(HasSubstr("id-2 is prediction")));
  EXPECT_GE(world.totals().duplicates, 1u);
}

}  // namespace
}  // namespace dreamgate::e2e
