// The dreamgate command against the real server: killed and resumed, across a kill of the server too,
// and a video downloaded.
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using simulator::Schedule;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<ChildProcess> Command(const Deployment& deployment,
                                      std::vector<std::string> arguments) {
  ChildOptions options;
  options.arguments = {DREAMGATE_PROGRAM};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.arguments.push_back(absl::StrCat("--server=127.0.0.1:", deployment.server().grpc_port()));
  return std::make_unique<ChildProcess>(options);
}

// The "update" events of `dreamgate watch --json` so far.
std::vector<v1::Prediction> Updates(const ChildProcess& watch) {
  std::vector<v1::Prediction> updates;
  const std::string output = watch.StandardOutput();
  for (const absl::string_view line : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
    v1::WatchPredictionResponse event;
    const auto status = google::protobuf::util::JsonStringToMessage(std::string(line), &event);
    if (status.ok() && event.has_update()) updates.push_back(event.update());
  }
  return updates;
}

bool WaitForUpdates(const ChildProcess& watch, size_t count) {
  return Eventually([&] { return Updates(watch).size() >= count; });
}

TEST(CommandTest, AKilledWatcherResumesWithAfterSequenceAndSeesEachTransitionExactlyOnce) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  const std::string task = deployment.simulator().TaskIds().at(0);
  std::vector<v1::Prediction> seen;
  const auto watch_on = [&](size_t updates, bool kill_server) {
    const int64_t position = seen.empty() ? 0 : seen.back().sequence();
    const auto watch = Command(deployment, {"watch", prediction.id(), "--json",
                                            absl::StrCat("--after-sequence=", position)});
    EXPECT_TRUE(WaitForUpdates(*watch, updates)) << watch->StandardError();
    watch->Signal(SIGKILL);
    watch->Wait(kPatience);
    for (const v1::Prediction& update : Updates(*watch)) seen.push_back(update);
    if (kill_server) deployment.CrashAndRestart();
  };
  watch_on(2, /*kill_server=*/false);
  deployment.simulator().SetTaskState(task, {.status = "processing"});
  watch_on(1, /*kill_server=*/true);
  deployment.simulator().SetTaskState(task, {.status = "completed"});

  const auto last =
      Command(deployment, {"watch", prediction.id(), "--json",
                           absl::StrCat("--after-sequence=", seen.back().sequence())});
  EXPECT_EQ(last->Wait(kPatience), 0) << last->StandardError();
  for (const v1::Prediction& update : Updates(*last)) seen.push_back(update);

  std::vector<std::string> states;
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].sequence(), static_cast<int64_t>(i) + 1);
    states.push_back(v1::PredictionState_Name(seen[i].state()));
  }
  EXPECT_THAT(states, ElementsAre("PREDICTION_STATE_SUBMITTING", "PREDICTION_STATE_CREATED",
                                  "PREDICTION_STATE_PROCESSING", "PREDICTION_STATE_COMPLETED"));
}

TEST(CommandTest, ARunningWatchSurvivesAKillOfTheServerByItself) {
  // The port must stay the same across the restart: the first server's choice is kept.
  Deployment deployment;
  const std::string port = absl::StrCat(deployment.server().grpc_port());
  deployment.Restart({"--listen-address=127.0.0.1:" + port});
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  const auto watch =
      Command(deployment, {"watch", prediction.id(), "--json", "--after-sequence=0"});
  ASSERT_TRUE(WaitForUpdates(*watch, 2)) << watch->StandardError();
  deployment.CrashAndRestart();
  deployment.simulator().SetTaskState(deployment.simulator().TaskIds().at(0),
                                      {.status = "completed"});
  EXPECT_EQ(watch->Wait(kPatience), 0) << watch->StandardError();
  const std::vector<v1::Prediction> seen = Updates(*watch);
  ASSERT_EQ(seen.size(), 3u);
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].sequence(), static_cast<int64_t>(i) + 1);
  }
}

TEST(CommandTest, GenerateSubmitsWatchesAndDownloadsWithoutShowingTheKeyToTheCdn) {
  Deployment deployment;
  deployment.simulator().SetSchedule(
      Schedule::Completing(absl::Milliseconds(100), absl::Milliseconds(200)));
  const std::string file = deployment.folder().File("video.mp4");
  const auto generate =
      Command(deployment, {"generate", "a red kite over the sea", "--output", file});
  EXPECT_EQ(generate->Wait(kPatience), 0) << generate->StandardError();
  EXPECT_FALSE(deployment.folder().Read("video.mp4").empty());
  for (const char* state : {"CREATED", "PROCESSING", "COMPLETED"}) {
    EXPECT_THAT(generate->StandardError() + generate->StandardOutput(), HasSubstr(state));
  }
  EXPECT_THAT(deployment.simulator().Violations(), ::testing::IsEmpty());
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
}

TEST(CommandTest, AFailedVideoHasAnExitCodeOfItsOwn) {
  Deployment deployment;
  deployment.simulator().SetSchedule(
      Schedule::Failing(absl::Milliseconds(10), absl::Milliseconds(10), 1200, "Content flagged"));
  const auto generate = Command(
      deployment, {"generate", "a red kite", "--output", deployment.folder().File("video.mp4")});
  EXPECT_EQ(generate->Wait(kPatience), 5);
  EXPECT_THAT(generate->StandardError(), HasSubstr("Content flagged"));
}

}  // namespace
}  // namespace dreamgate::e2e
