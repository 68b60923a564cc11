// Webhooks of the simulated WaveSpeed to the real server program. Polls are an hour apart, so that what
// is seen here was brought by a webhook and the one poll that follows it. Every test ends by counting
// the POSTs and the tasks that upstream has billed.
#include <signal.h>

#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment_fixture.h"
#include "tests/simulator/webhook_message.h"
#include "tests/web/raw_client.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::HistoryInput;
using simulator::Schedule;
using simulator::WebhookAttempt;
using simulator::WebhookBehavior;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kSecret[] = "whsec_simulator-webhook-secret";
constexpr char kHook[] = "/dreamgate";

class WebhookTest : public DeploymentTest {
 protected:
  void Start(const std::vector<std::string>& more = {}, const std::string& secret = kSecret) {
    std::vector<std::string> arguments = {
        "--webhook-public-url=https://hooks.example/dreamgate",
        "--webhook-listen-address=127.0.0.1:0",
        "--webhook-secret-file=" + folder_.Write("secret", secret + "\n"),
        "--poll-min-interval=1h",
        "--poll-max-interval=1h",
        "--absence-settle-time=1h",
        "--unresolved-timeout=3h"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Deploy(arguments);
    upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
    LeadWebhooks();
  }

  // As an ingress would: the public URL is routed to the server's port.
  void LeadWebhooks() {
    upstream().SetWebhookOrigin(
        absl::StrCat("http://127.0.0.1:", deployment().server().webhook_port()));
  }

  void LoseTheAnswer() {
    deployment().OnSubmit({.action = FaultAction::kResetAfterRequest, .create_task = true});
  }

  void Behave(WebhookBehavior behavior) {
    behavior.redelivery_backoff = absl::Milliseconds(1);
    upstream().SetWebhookBehavior(behavior);
  }

  // The server's answers to the first `count` deliveries.
  std::vector<int> Answers(size_t count) {
    EXPECT_TRUE(upstream().WaitForWebhookAttempts(count, kPatience));
    std::vector<int> statuses;
    for (const WebhookAttempt& attempt : upstream().WebhookAttempts()) {
      statuses.push_back(attempt.status);
    }
    return statuses;
  }

  void ExpectPaid(size_t posts, size_t tasks) {
    EXPECT_EQ(deployment().Posts(), posts);
    EXPECT_EQ(upstream().TasksCreated(), tasks);
    EXPECT_THAT(upstream().Violations(), IsEmpty());
  }
};

TEST_F(WebhookTest, EachSubmissionRegistersItsOwnUnguessableUrl) {
  Start();
  for (const char* id : {"id-1", "id-2", "id-3"}) MustSubmit(stub(), id);
  std::set<std::string> registered;
  for (const auto& request : upstream().Log()) {
    const size_t query = request.target.find("?webhook=");
    if (query != std::string::npos) registered.insert(request.target.substr(query));
  }
  EXPECT_THAT(registered, SizeIs(3));
  for (const std::string& query : registered) {
    EXPECT_THAT(query,
                ::testing::StartsWith("?webhook=https%3A%2F%2Fhooks.example%2Fdreamgate%2F"));
    EXPECT_EQ(query.substr(query.rfind("%2F") + 3).find_first_not_of("0123456789abcdef"),
              std::string::npos);
    EXPECT_EQ(query.size() - query.rfind("%2F") - 3, 32u);
  }
  ExpectPaid(3, 3);
}

TEST_F(WebhookTest, AWebhookAndOnePollBringTheVideo) {
  Start();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(2));
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_TRUE(watch->status().ok());
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kCreated, kCompleted));
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_EQ(watch->updates().back().outputs_size(), 1);
  EXPECT_THAT(Answers(1), ElementsAre(204));
  EXPECT_EQ(upstream().ResultRequests(Task(0)), 1u);
  EXPECT_EQ(Metric("dreamgate_webhooks_total{outcome=\"accepted\"}"), "1");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, AWebhookBeforeThePostsAnswerBringsTheVideoAndTheAnswerChangesNothing) {
  Start();
  upstream().SetSchedule(Schedule::Completing(absl::ZeroDuration(), absl::ZeroDuration()));
  deployment().OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(700)});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_THAT(Answers(1), ElementsAre(204));
  ASSERT_TRUE(Eventually([&] {
    return Metric("dreamgate_upstream_requests_total{operation=\"create\",status=\"200\"}") == "1";
  }));
  const v1::Prediction now = Get(prediction.id());
  EXPECT_EQ(now.sequence(), watch->updates().back().sequence());
  EXPECT_EQ(now.recovered_outputs_size(), 0);
  EXPECT_EQ(Metric("dreamgate_orphans_total"), "0");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, WhereTheAnswerNeverComesTheWebhookStandsForIt) {
  Start({"--submit-soft-timeout=500ms"});
  upstream().SetSchedule(Schedule::Completing(absl::ZeroDuration(), absl::ZeroDuration()));
  deployment().OnSubmit({.action = FaultAction::kHang, .create_task = true});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_EQ(watch->updates().back().upstream_id(), Task(0));
  EXPECT_EQ(watch->updates().back().outputs_size(), 1);
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ALostAnswerIsResolvedByTheWebhook) {
  Start();
  LoseTheAnswer();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  EXPECT_EQ(prediction.state(), kUnresolved);
  const auto watch = WatchAll(prediction);
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_TRUE(watch->status().ok());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_THAT(watch->violations(), IsEmpty());
  const v1::Prediction last = watch->updates().back();
  EXPECT_EQ(last.upstream_id(), Task(0));
  EXPECT_EQ(last.history(2).source(), v1::TRANSITION_SOURCE_WEBHOOK);
  EXPECT_EQ(last.outputs_size(), 1);
  EXPECT_THAT(Answers(1), ElementsAre(204));
  EXPECT_EQ(Metric("dreamgate_reconciled_total{evidence=\"webhook\"}"), "1");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ASubmissionAnsweredWithAnErrorIsResolvedByTheWebhook) {
  Start();
  deployment().OnSubmit({.action = FaultAction::kStatus, .create_task = true, .status = 500});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  EXPECT_EQ(prediction.state(), kUnresolved);
  ASSERT_TRUE(upstream().SetTaskState(Task(0), {.status = "failed", .error = "flagged"}));
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kFailed);
  EXPECT_EQ(watch->updates().back().error().failure_code(), v1::FAILURE_CODE_EXECUTION_FAILED);
  EXPECT_EQ(watch->updates().back().upstream_id(), Task(0));
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, CopiesAndReplaysChangeNothingMore) {
  Start();
  Behave({.copies = 5});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(2));
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(Answers(5), ElementsAre(204, 204, 204, 204, 204));
  ASSERT_TRUE(upstream().ResendWebhook(Task(0)));
  EXPECT_THAT(Answers(10), SizeIs(10));
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kCreated, kCompleted));
  EXPECT_THAT(watch->violations(), IsEmpty());
  const v1::Prediction now = Get(prediction.id());
  EXPECT_EQ(now.sequence(), 3);
  EXPECT_EQ(now.recovered_outputs_size(), 0);
  EXPECT_EQ(Metric("dreamgate_webhooks_total{outcome=\"accepted\"}"), "10");
  EXPECT_EQ(Metric("dreamgate_orphans_total"), "0");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ReorderedWebhooksEachFindTheirOwn) {
  Start();
  Behave({.hold_until_next = true});
  const v1::Prediction first = MustSubmit(stub(), "id-1");
  const v1::Prediction second = MustSubmit(stub(), "id-2");
  const auto watch_first = WatchAll(first);
  const auto watch_second = WatchAll(second);
  SetStatus(0, "completed");  // held back
  SetStatus(1, "completed");  // sent before it
  ASSERT_TRUE(watch_first->WaitForEnd());
  ASSERT_TRUE(watch_second->WaitForEnd());
  EXPECT_EQ(watch_first->updates().back().upstream_id(), Task(0));
  EXPECT_EQ(watch_second->updates().back().upstream_id(), Task(1));
  EXPECT_THAT(watch_first->violations(), IsEmpty());
  EXPECT_THAT(watch_second->violations(), IsEmpty());
  ExpectPaid(2, 2);
}

TEST_F(WebhookTest, AWebhookAfterTheSubmissionWasGivenUpBringsItsVideoAsRecovered) {
  // An orphan is polled within the shortest interval.
  Start({"--unresolved-timeout=500ms", "--poll-min-interval=50ms"});
  LoseTheAnswer();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kUnresolved, kFailed));
  EXPECT_EQ(watch->updates().back().error().failure_code(),
            v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN);
  SetStatus(0, "completed");
  EXPECT_THAT(Answers(1), ElementsAre(204));
  ASSERT_TRUE(Eventually([&] { return Get(prediction.id()).recovered_outputs_size() == 1; }));
  const v1::Prediction last = Get(prediction.id());
  EXPECT_EQ(last.state(), kFailed);
  EXPECT_EQ(last.sequence(), 3);
  EXPECT_THAT(last.recovered_outputs(0).url(), HasSubstr(Task(0)));
  EXPECT_EQ(Metric("dreamgate_orphans_total"), "1");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, AWebhookForARejectedSubmissionIsRecordedAsAnOrphan) {
  Start();
  deployment().OnSubmit({.action = FaultAction::kStatus, .create_task = true, .status = 400});
  EXPECT_EQ(Submit(stub(), Request("id-1")).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  SetStatus(0, "completed");
  EXPECT_THAT(Answers(1), ElementsAre(204));
  EXPECT_TRUE(Eventually([&] { return Metric("dreamgate_orphans_total") == "1"; }));
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ForgedAndStaleWebhooksChangeNothing) {
  Start();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  Behave({.forged = true});
  SetStatus(0, "completed");
  EXPECT_THAT(Answers(4), ElementsAre(403, 403, 403, 403));
  Behave({.timestamp_offset = absl::Seconds(-310), .redeliveries = 0});
  ASSERT_TRUE(upstream().ResendWebhook(Task(0)));
  EXPECT_THAT(Answers(5).back(), 403);
  Behave({.timestamp_offset = absl::Seconds(360), .redeliveries = 0});
  ASSERT_TRUE(upstream().ResendWebhook(Task(0)));
  EXPECT_THAT(Answers(6).back(), 403);
  EXPECT_EQ(Get(prediction.id()).state(), kCreated);
  EXPECT_EQ(upstream().ResultRequests(Task(0)), 0u);
  EXPECT_EQ(Metric("dreamgate_webhooks_total{outcome=\"forged\"}"), "4");
  EXPECT_EQ(Metric("dreamgate_webhooks_total{outcome=\"stale\"}"), "2");

  Behave({.several_signatures = true});  // a genuine one all the same
  ASSERT_TRUE(upstream().ResendWebhook(Task(0)));
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kCreated, kCompleted));
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ASignedWebhookForATokenThatNobodyHasIsNotFound) {
  Start();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const std::string body = absl::StrCat(R"({"id":")", Task(0), R"(","status":"completed"})");
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  const std::string answer = web::Exchange(
      static_cast<uint16_t>(deployment().server().webhook_port()),
      absl::StrCat(
          "POST ", kHook, "/", std::string(32, '0'),
          " HTTP/1.1\r\nHost: hooks.example\r\nConnection: close\r\nwebhook-id: msg_1\r\n"
          "webhook-timestamp: ",
          now, "\r\nwebhook-signature: ", simulator::WebhookSignature(kSecret, "msg_1", now, body),
          "\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  EXPECT_THAT(answer, ::testing::StartsWith("HTTP/1.1 404 "));
  EXPECT_EQ(Get(prediction.id()).state(), kCreated);
  EXPECT_EQ(Metric("dreamgate_webhooks_total{outcome=\"unknown\"}"), "1");
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, ASecretIsRotatedWithoutARestart) {
  Start({}, "whsec_an-older-one");
  Behave({.redeliveries = 0});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  SetStatus(0, "completed");
  EXPECT_THAT(Answers(1), ElementsAre(403));
  folder_.Write("secret", absl::StrCat("whsec_an-older-one\n", kSecret, "\n"));
  size_t deliveries = 1;
  EXPECT_TRUE(Eventually(
      [&] { return upstream().ResendWebhook(Task(0)) && Answers(++deliveries).back() == 204; }));
  ASSERT_TRUE(WatchAll(prediction)->WaitForEnd());
  EXPECT_EQ(Get(prediction.id()).state(), kCompleted);
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, AWebhookSentWhileTheServerWasDeadIsDeliveredAgain) {
  Start();
  LoseTheAnswer();
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  Behave({.redeliveries = 1});
  deployment().server().process().Signal(SIGKILL);
  deployment().server().process().Wait(kPatience);
  SetStatus(0, "completed");
  EXPECT_THAT(Answers(2), ElementsAre(0, 0));
  deployment().CrashAndRestart();
  LeadWebhooks();
  EXPECT_EQ(Get(prediction.id()).state(), kUnresolved);
  ASSERT_TRUE(upstream().ResendWebhook(Task(0)));
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_EQ(Answers(3).back(), 204);
  ExpectPaid(1, 1);
}

TEST_F(WebhookTest, TheLogShowsNeitherTokensNorSecretsNorBodies) {
  Start({"--log-level=debug"});
  const v1::Prediction prediction = MustSubmit(stub(), "id-1", "a prompt of mine");
  SetStatus(0, "completed");
  ASSERT_TRUE(WatchAll(prediction)->WaitForEnd());
  ASSERT_TRUE(deployment().server().process().WaitForOutput("upstream called back"));
  const std::string log = deployment().server().process().StandardError();
  EXPECT_THAT(log, ::testing::Not(HasSubstr("a prompt of mine")));
  EXPECT_THAT(log, ::testing::Not(HasSubstr("simulator-webhook-secret")));
  for (const auto& request : upstream().Log()) {
    const size_t token = request.target.rfind("%2F");
    if (!absl::StrContains(request.target, "?webhook=") || token == std::string::npos) continue;
    EXPECT_THAT(log, ::testing::Not(HasSubstr(request.target.substr(token + 3))));
  }
  ExpectPaid(1, 1);
}

}  // namespace
}  // namespace dreamgate::e2e
