#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace dreamgate::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public ::testing::Test {
 protected:
  std::vector<std::string> lines_;
  EventLog log_{core::LogLevel::kInfo, LogFormat::kLogfmt,
                [this](absl::string_view line) { lines_.emplace_back(line); }};
  Metrics metrics_{log_, {"1.2.3", "abcdef", "GCC 12"}, absl::FromUnixSeconds(1'700'000'000)};
};

TEST_F(MetricsTest, BuildAndStartTimeAreShown) {
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("# TYPE dreamgate_build_info gauge"));
  EXPECT_THAT(text, HasSubstr("version=\"1.2.3\""));
  EXPECT_THAT(text, HasSubstr("revision=\"abcdef\""));
  EXPECT_THAT(text, HasSubstr("compiler=\"GCC 12\""));
  EXPECT_THAT(text, HasSubstr("process_start_time_seconds 1700000000"));
}

TEST_F(MetricsTest, TheProcessShowsItsMemoryDescriptorsAndTime) {
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(text, Not(HasSubstr("process_open_fds 0\n")));
  EXPECT_THAT(text, HasSubstr("process_cpu_seconds_total "));
}

TEST_F(MetricsTest, KnownCountersAreShownBeforeAnythingHappened) {
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_submissions_total{outcome=\"accepted\"} 0"));
  EXPECT_THAT(text, HasSubstr("dreamgate_streams_closed_total{code=\"OK\"} 0"));
  EXPECT_THAT(text, HasSubstr("dreamgate_observations_dropped_total{reason=\"illegal\"} 0"));
  EXPECT_THAT(text, HasSubstr("dreamgate_orphans_total 0"));
  EXPECT_THAT(text, HasSubstr("dreamgate_predictions_unresolved 0"));
  EXPECT_THAT(text, HasSubstr("dreamgate_polling_paused 0\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_orphans_followed 0\n"));
  for (const char* evidence : {"answer", "webhook", "history", "absence", "none"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("dreamgate_reconciled_total{evidence=\"", evidence,
                                             "\"} 0\n")));
  }
}

TEST_F(MetricsTest, ACircuitIsShownForEachKindOfCall) {
  EXPECT_THAT(metrics_.RenderText(),
              HasSubstr("dreamgate_upstream_circuit_open{call=\"get\"} 0\n"));
  metrics_.CircuitChanged("post", true);
  EXPECT_THAT(metrics_.RenderText(),
              HasSubstr("dreamgate_upstream_circuit_open{call=\"get\"} 0\n"));
  EXPECT_THAT(metrics_.RenderText(),
              HasSubstr("dreamgate_upstream_circuit_open{call=\"post\"} 1\n"));
  metrics_.CircuitChanged("post", false);
  EXPECT_THAT(metrics_.RenderText(),
              HasSubstr("dreamgate_upstream_circuit_open{call=\"post\"} 0\n"));
}

TEST_F(MetricsTest, StreamsAreCountedOpenAndClosedByCode) {
  metrics_.StreamOpened();
  metrics_.StreamOpened();
  metrics_.StreamClosed("UNAVAILABLE");
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_streams 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_streams_opened_total 2\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_streams_closed_total{code=\"UNAVAILABLE\"} 1\n"));
}

TEST_F(MetricsTest, SubmissionsAreCountedByOutcomeAndTimed) {
  metrics_.SubmissionFinished("accepted", absl::Milliseconds(30));
  metrics_.SubmissionFinished("accepted", absl::Seconds(2));
  metrics_.SubmissionFinished("replayed", absl::Milliseconds(1));
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_submissions_total{outcome=\"accepted\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_submissions_total{outcome=\"replayed\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_submission_duration_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_submission_duration_seconds_bucket{le=\"1\"} 2\n"));
}

TEST_F(MetricsTest, UpstreamRequestsAreCountedByOperationAndStatus) {
  metrics_.UpstreamRequest("create", 200, absl::Milliseconds(120));
  metrics_.UpstreamRequest("get", 0, absl::Seconds(30));
  metrics_.UpstreamRequest("get", 503, absl::Milliseconds(5));
  metrics_.UpstreamRequest("list", 200, absl::Milliseconds(40));
  metrics_.UpstreamRequest("get", 503, absl::Milliseconds(5));
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(
      text,
      HasSubstr("dreamgate_upstream_requests_total{operation=\"create\",status=\"200\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("dreamgate_upstream_requests_total{operation=\"get\",status=\"0\"} 1\n"));
  EXPECT_THAT(
      text, HasSubstr("dreamgate_upstream_requests_total{operation=\"list\",status=\"200\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("dreamgate_upstream_requests_total{operation=\"get\",status=\"503\"} 2\n"));
  EXPECT_THAT(
      text, HasSubstr("dreamgate_upstream_request_duration_seconds_count{operation=\"get\"} 3\n"));
}

TEST_F(MetricsTest, EveryStateAndSourceOfATransitionHasItsCounter) {
  for (int state = 1; state <= 10; ++state) {
    for (int source = 1; source <= 5; ++source) {
      metrics_.TransitionCommitted(static_cast<core::State>(state),
                                   static_cast<core::TransitionSource>(source));
    }
  }
  metrics_.TransitionCommitted(core::State::kCompleted, core::TransitionSource::kPoll);
  const std::string text = metrics_.RenderText();
  const absl::string_view poll = core::TransitionSourceName(core::TransitionSource::kPoll);
  EXPECT_THAT(text, HasSubstr(absl::StrCat("dreamgate_transitions_total{source=\"", poll,
                                           "\",state=\"COMPLETED\"} 2\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("dreamgate_transitions_total{source=\"", poll,
                                           "\",state=\"DELETED\"} 1\n")));
}

TEST_F(MetricsTest, DroppedObservationsAreCountedByReasonAlsoAnUnknownOne) {
  metrics_.ObservationDropped("repeated");
  metrics_.ObservationDropped("something new");
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_observations_dropped_total{reason=\"repeated\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_observations_dropped_total{reason=\"other\"} 1\n"));
}

TEST_F(MetricsTest, LedgerCommitsShowTimeBatchAndFailures) {
  metrics_.LedgerCommit(absl::Microseconds(200), 3, true);
  metrics_.LedgerCommit(absl::Milliseconds(40), 64, false);
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_ledger_commit_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_ledger_batch_operations_sum 67\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_ledger_batch_operations_bucket{le=\"4\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_ledger_commit_failures_total 1\n"));
}

TEST_F(MetricsTest, DeliveriesRpcsOrphansAndPredictionsInFlightAreShown) {
  metrics_.TransitionDelivered(absl::Milliseconds(3), 10'000);
  metrics_.RpcFinished("SubmitVideo", "OK", absl::Milliseconds(90));
  metrics_.OrphanRecorded();
  metrics_.PredictionsInFlight(7);
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_transition_delivery_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_updates_delivered_total 10000\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_rpcs_total{code=\"OK\",method=\"SubmitVideo\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_rpc_duration_seconds_count{method=\"SubmitVideo\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_orphans_total 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_predictions_in_flight 7\n"));
}

TEST_F(MetricsTest, ResolvedPredictionsAreCountedByEvidence) {
  metrics_.Reconciled("history");
  metrics_.Reconciled("history");
  metrics_.Reconciled("none");
  metrics_.Reconciled("a dream");
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_reconciled_total{evidence=\"history\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_reconciled_total{evidence=\"none\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_reconciled_total{evidence=\"other\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_reconciled_total{evidence=\"answer\"} 0\n"));
}

TEST_F(MetricsTest, WebhookRequestsAreCountedByOutcome) {
  metrics_.WebhookReceived("accepted");
  metrics_.WebhookReceived("forged");
  metrics_.WebhookReceived("forged");
  metrics_.WebhookReceived("a stranger's words");
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_webhooks_total{outcome=\"accepted\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_webhooks_total{outcome=\"forged\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_webhooks_total{outcome=\"stale\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_webhooks_total{outcome=\"other\"} 1\n"));
}

TEST_F(MetricsTest, UnresolvedPredictionsAreShownAsTheirNumberNow) {
  metrics_.PredictionsUnresolved(3);
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("dreamgate_predictions_unresolved 3\n"));
  metrics_.PredictionsUnresolved(0);
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("dreamgate_predictions_unresolved 0\n"));
}

TEST_F(MetricsTest, PausedPollingIsShownForAsLongAsItLasts) {
  metrics_.PollingPaused(true);
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("# TYPE dreamgate_polling_paused gauge\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_polling_paused 1\n"));
  metrics_.PollingPaused(false);
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("dreamgate_polling_paused 0\n"));
}

TEST_F(MetricsTest, FollowedOrphansAreShownAsTheirNumberNow) {
  metrics_.OrphansFollowed(2);
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("# TYPE dreamgate_orphans_followed gauge\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_orphans_followed 2\n"));
  metrics_.OrphansFollowed(0);
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("dreamgate_orphans_followed 0\n"));
}

TEST_F(MetricsTest, TheNumberOfSeriesHasAnEnd) {
  for (int status = 0; status < 5'000; ++status) {
    metrics_.UpstreamRequest("get", status, absl::ZeroDuration());
  }
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("{operation=\"other\",status=\"other\"} 4488\n"));
  EXPECT_THAT(text, Not(HasSubstr("status=\"4999\"")));
}

TEST_F(MetricsTest, LogEventsGoToTheLog) {
  metrics_.Log(core::LogLevel::kInfo, "serving", {{"listen", "0.0.0.0:50051"}});
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("info serving listen=0.0.0.0:50051")));
}

TEST_F(MetricsTest, CountingAndRenderingOnManyThreadsLosesNothing) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this] {
      for (int i = 0; i < 500; ++i) {
        metrics_.StreamOpened();
        metrics_.RpcFinished("GetPrediction", "OK", absl::Milliseconds(1));
        metrics_.TransitionCommitted(core::State::kCreated, core::TransitionSource::kSubmitAnswer);
        if (i % 100 == 0) metrics_.RenderText();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = metrics_.RenderText();
  EXPECT_THAT(text, HasSubstr("dreamgate_streams_opened_total 2000\n"));
  EXPECT_THAT(text, HasSubstr("dreamgate_rpcs_total{code=\"OK\",method=\"GetPrediction\"} 2000\n"));
}

}  // namespace
}  // namespace dreamgate::telemetry
