// The watch guarantees, by name, against the real server program.
#include <signal.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The one task of a deployment in step-controlled mode.
void SetStatus(Deployment& deployment, const std::string& status) {
  ASSERT_TRUE(deployment.simulator().SetTaskState(deployment.simulator().TaskIds().at(0),
                                                  {.status = status}));
}

TEST(WatchGuaranteeTest, EveryTransitionArrivesOnceInOrderAndTheTerminalOneEndsTheStreamWithOk) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream live(deployment.stub(), prediction.id());
  ASSERT_TRUE(live.WaitForUpdates(1));
  SetStatus(deployment, "processing");
  ASSERT_TRUE(live.WaitForUpdates(2));
  SetStatus(deployment, "completed");
  ASSERT_TRUE(live.WaitForEnd());
  EXPECT_TRUE(live.status().ok());
  EXPECT_THAT(live.states(), ElementsAre(kCreated, kProcessing, kCompleted));
  EXPECT_THAT(live.violations(), IsEmpty());

  const v1::Prediction last = live.updates().back();
  ASSERT_EQ(last.outputs_size(), 1);
  EXPECT_THAT(last.outputs(0).url(), HasSubstr(".mp4"));
  EXPECT_TRUE(last.outputs(0).has_has_nsfw_content());
  EXPECT_FALSE(last.outputs(0).has_nsfw_content());
  EXPECT_TRUE(last.has_inference_time());
  EXPECT_TRUE(last.has_upstream_create_time());
  EXPECT_TRUE(last.has_end_time());
  EXPECT_EQ(last.upstream_id(), deployment.simulator().TaskIds().at(0));
  EXPECT_EQ(last.upstream_status(), "completed");
  EXPECT_EQ(last.model(), "bytedance/dreamina-v3.0-pro/text-to-video");
  EXPECT_GE(last.seed(), 0);
  EXPECT_EQ(last.history_size(), 4);
}

TEST(WatchGuaranteeTest, ReplayShowsTheWholePastAsItWasLive) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream live(deployment.stub(), prediction.id(), 0);
  SetStatus(deployment, "processing");
  ASSERT_TRUE(live.WaitForUpdates(3));
  SetStatus(deployment, "completed");
  ASSERT_TRUE(live.WaitForEnd());
  deployment.CrashAndRestart();
  Stream replayed(deployment.stub(), prediction.id(), 0);
  ASSERT_TRUE(replayed.WaitForEnd());
  EXPECT_TRUE(replayed.status().ok());
  EXPECT_THAT(replayed.states(), ElementsAre(kSubmitting, kCreated, kProcessing, kCompleted));
  ASSERT_EQ(live.updates().size(), replayed.updates().size());
  for (size_t i = 0; i < live.updates().size(); ++i) {
    EXPECT_EQ(live.updates()[i].SerializeAsString().size(),
              replayed.updates()[i].SerializeAsString().size());
    EXPECT_EQ(live.updates()[i].DebugString(), replayed.updates()[i].DebugString());
  }
  EXPECT_THAT(replayed.violations(), IsEmpty());
}

TEST(WatchGuaranteeTest, ResumingAtTheTerminalTransitionEndsWithOkAtOnceAndNoUpdate) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream first(deployment.stub(), prediction.id());
  SetStatus(deployment, "completed");
  ASSERT_TRUE(first.WaitForEnd());
  Stream again(deployment.stub(), prediction.id(), first.updates().back().sequence());
  ASSERT_TRUE(again.WaitForEnd());
  EXPECT_TRUE(again.status().ok());
  EXPECT_THAT(again.updates(), IsEmpty());
}

TEST(WatchGuaranteeTest, AFailedVideoIsDataAndTheStreamEndsWithOk) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  ASSERT_TRUE(deployment.simulator().SetTaskState(
      deployment.simulator().TaskIds().at(0),
      {.status = "failed", .error = "Content flagged as potentially sensitive", .code = 1200}));
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_TRUE(watch.status().ok());
  const v1::Prediction last = watch.updates().back();
  EXPECT_EQ(last.state(), kFailed);
  EXPECT_EQ(last.error().failure_code(), v1::FAILURE_CODE_MODERATED);
  EXPECT_EQ(last.error().upstream_code(), 1200);
  EXPECT_THAT(last.error().message(), HasSubstr("sensitive"));
}

TEST(WatchGuaranteeTest, CompletedWithoutOutputsIsAFailure) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  ASSERT_TRUE(deployment.simulator().SetTaskState(
      deployment.simulator().TaskIds().at(0),
      {.status = "completed", .outputs = std::vector<std::string>{}}));
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_EQ(watch.updates().back().error().failure_code(), v1::FAILURE_CODE_NO_OUTPUT);
}

TEST(WatchGuaranteeTest, CancellingAWatchDetachesTheWatcherAndTheVideoIsStillMade) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  {
    Stream cancelled(deployment.stub(), prediction.id());
    ASSERT_TRUE(cancelled.WaitForUpdates(1));
    cancelled.Cancel();
    ASSERT_TRUE(cancelled.WaitForEnd());
  }
  SetStatus(deployment, "completed");
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_EQ(watch.updates().back().state(), kCompleted);
}

TEST(WatchGuaranteeTest, ResumedAcrossAKillOfTheServerEachTransitionIsSeenExactlyOnce) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  std::vector<v1::PredictionState> seen;
  int64_t position = 0;
  const auto collect = [&seen, &position](const Stream& stream) {
    for (const v1::Prediction& update : stream.updates()) {
      EXPECT_EQ(update.sequence(), position + 1);
      position = update.sequence();
      seen.push_back(update.state());
    }
    EXPECT_THAT(stream.violations(), IsEmpty());
  };
  {
    Stream before(deployment.stub(), prediction.id(), position);
    ASSERT_TRUE(before.WaitForUpdates(2));
    deployment.CrashAndRestart();
    ASSERT_TRUE(before.WaitForEnd());
    EXPECT_EQ(before.status().error_code(), grpc::StatusCode::UNAVAILABLE);
    collect(before);
  }
  SetStatus(deployment, "processing");
  {
    Stream between(deployment.stub(), prediction.id(), position);
    ASSERT_TRUE(between.WaitForUpdates(1));
    deployment.CrashAndRestart();
    ASSERT_TRUE(between.WaitForEnd());
    collect(between);
  }
  SetStatus(deployment, "completed");
  Stream after(deployment.stub(), prediction.id(), position);
  ASSERT_TRUE(after.WaitForEnd());
  EXPECT_TRUE(after.status().ok());
  collect(after);
  EXPECT_THAT(seen, ElementsAre(kSubmitting, kCreated, kProcessing, kCompleted));
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
}

TEST(WatchLoadTest, AThousandWatchersCostUpstreamAsManyGetsAsOne) {
  // With one poller, the next poll is never closer than this to the one before.
  Deployment deployment({"--poll-min-interval=300ms", "--poll-max-interval=300ms"});
  simulator::Simulator& simulator = deployment.simulator();
  const auto gets_from_the_crowd_on = [&](const std::string& request_id, size_t watchers) {
    const v1::Prediction prediction = MustSubmit(deployment.stub(), request_id);
    const std::string task = simulator.TaskIds().back();
    std::vector<std::unique_ptr<Stream>> streams;
    for (size_t i = 0; i < watchers; ++i) {
      streams.push_back(std::make_unique<Stream>(deployment.stub(), prediction.id()));
    }
    for (const auto& stream : streams) EXPECT_TRUE(stream->WaitForUpdates(1));
    // Everybody watches. Right after a poll: five more shall still show work, the sixth the end.
    const uint64_t seen = simulator.ResultRequests(task);
    EXPECT_TRUE(
        simulator.WaitUntil([&] { return simulator.ResultRequests(task) > seen; }, kPatience));
    const uint64_t before = simulator.ResultRequests(task);
    simulator.AddFault({.method = "GET",
                        .task_id = task,
                        .times = 5,
                        .action = simulator::FaultAction::kUnknownStatus,
                        .text = "dreaming"});
    simulator.SetTaskState(task, {.status = "completed"});
    for (const auto& stream : streams) {
      EXPECT_TRUE(stream->WaitForEnd());
      EXPECT_TRUE(stream->status().ok());
      EXPECT_THAT(stream->states(), ElementsAre(kCreated, kProcessing, kCompleted));
      EXPECT_THAT(stream->violations(), IsEmpty());
    }
    return simulator.ResultRequests(task) - before;
  };
  EXPECT_EQ(gets_from_the_crowd_on("one", 1), 6u);
  EXPECT_EQ(gets_from_the_crowd_on("thousand", 1000), 6u);
}

TEST(ShutdownTest, SigtermMovesAHundredWatchersWithinTheGraceAndExitsWithZero) {
  Deployment deployment({"--shutdown-grace=200ms", "--shutdown-timeout=10s"});
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs;
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 100; ++i) {
    stubs.push_back(deployment.server().Stub());
    streams.push_back(std::make_unique<Stream>(*stubs.back(), prediction.id()));
  }
  for (const auto& stream : streams) ASSERT_TRUE(stream->WaitForUpdates(1));
  deployment.server().process().Signal(SIGTERM);
  for (const auto& stream : streams) {
    ASSERT_TRUE(stream->WaitForEnd());
    EXPECT_TRUE(stream->saw_reconnect());
    EXPECT_EQ(stream->status().error_code(), grpc::StatusCode::UNAVAILABLE)
        << stream->status().error_message();
    EXPECT_THAT(stream->violations(), IsEmpty());
  }
  EXPECT_EQ(deployment.server().process().Wait(absl::Seconds(12)), 0);

  deployment.Restart({});
  Stream resumed(deployment.stub(), prediction.id(), prediction.sequence());
  SetStatus(deployment, "completed");
  ASSERT_TRUE(resumed.WaitForEnd());
  EXPECT_TRUE(resumed.status().ok());
}

TEST(DurabilityTest, AcknowledgedPredictionsSurviveAKill) {
  Deployment deployment;
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(MustSubmit(deployment.stub(), "id-" + std::to_string(i)).id());
  }
  deployment.CrashAndRestart();
  for (int i = 0; i < 20; ++i) {
    const v1::Prediction kept = GetPrediction(deployment.stub(), ids[static_cast<size_t>(i)]);
    EXPECT_EQ(kept.state(), kCreated);
    EXPECT_EQ(kept.request_id(), "id-" + std::to_string(i));
    const SubmitResult again = Submit(deployment.stub(), Request("id-" + std::to_string(i)));
    EXPECT_TRUE(again.response.replayed());
  }
  EXPECT_EQ(deployment.simulator().TasksCreated(), 20u);
}

TEST(DurabilityTest, AKillWhileThePostIsInFlightIsUnresolvedAfterwardsAndNeverSentAgain) {
  Deployment deployment;
  deployment.simulator().AddFault(
      {.method = "POST", .action = simulator::FaultAction::kHang, .create_task = true});
  const v1::SubmitVideoRequest request = Request("id-1");
  v1::SubmitVideoResponse response;
  grpc::ClientContext context;
  std::promise<grpc::Status> ended;
  deployment.stub().async()->SubmitVideo(
      &context, &request, &response, [&ended](grpc::Status status) { ended.set_value(status); });
  ASSERT_TRUE(deployment.simulator().WaitForTasks(1, kPatience));
  deployment.CrashAndRestart();
  EXPECT_EQ(ended.get_future().get().error_code(), grpc::StatusCode::UNAVAILABLE);
  const SubmitResult again = Submit(deployment.stub(), request);
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_TRUE(again.response.replayed());
  EXPECT_EQ(again.response.prediction().state(), v1::PREDICTION_STATE_UNRESOLVED);
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
}

}  // namespace
}  // namespace dreamgate::e2e
