// Webhooks, received by a second simulator that answers and logs them.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "gtest/gtest.h"
#include "tests/simulator/simulator.h"
#include "tests/simulator/test_client.h"
#include "tests/simulator/webhook_message.h"

namespace dreamgate::simulator {
namespace {

namespace json = boost::json;

constexpr char kSubmit[] = "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video";
constexpr char kSecret[] = "whsec_simulator-webhook-secret";
constexpr absl::Duration kDeadline = absl::Seconds(30);

class WebhookTest : public ::testing::Test {
 protected:
  WebhookTest()
      : simulator_(Simulator::Start().value()),
        receiver_(Simulator::Start().value()),
        client_(simulator_->port()) {
    Answer(200, -1);
  }

  void Answer(int status, int times) {
    receiver_->AddFault({.path_prefix = "/hooks/", .times = times, .status = status});
  }
  std::string Submit(const std::string& webhook, const std::string& prompt = "a cat") {
    const Reply reply = client_.Post(absl::StrCat(kSubmit, "?webhook=", webhook),
                                     absl::StrCat(R"({"prompt":")", prompt, R"("})"));
    return std::string(reply.Json().at_pointer("/data/id").as_string());
  }
  std::string HookUrl() {
    return absl::StrCat("http%3A%2F%2F127.0.0.1%3A", receiver_->port(), "%2Fhooks%2Ftoken%3Fa%3Db");
  }
  std::vector<LoggedRequest> WaitForDeliveries(std::size_t count) {
    EXPECT_TRUE(receiver_->WaitForRequests("POST", "/hooks/", count, kDeadline));
    return receiver_->Log();
  }
  static std::string Header(const LoggedRequest& request, const std::string& name) {
    for (const auto& [key, value] : request.headers) {
      if (key == name) return value;
    }
    return "";
  }
  static std::string RightSignature(const LoggedRequest& request) {
    int64_t timestamp = 0;
    EXPECT_TRUE(absl::SimpleAtoi(Header(request, "webhook-timestamp"), &timestamp));
    return WebhookSignature(kSecret, Header(request, "webhook-id"), timestamp, request.body);
  }

  std::unique_ptr<Simulator> simulator_;
  std::unique_ptr<Simulator> receiver_;
  TestClient client_;
};

TEST(WebhookSignatureTest, MatchesAnIndependentlyComputedVector) {
  // printf '%s' 'msg_1.1700000000.{"id":"x"}' | openssl dgst -sha256 -hmac 'secret text'
  EXPECT_EQ(WebhookSignature("whsec_secret text", "msg_1", 1700000000, R"({"id":"x"})"),
            "v3,b993d898b2d0777c9706aa6c4c99e8aefab59c0fe8a07b2e390f1adc6359d536");
}

TEST_F(WebhookTest, ATerminalTaskCallsBackSignedAndNotWrapped) {
  const std::string id = Submit(HookUrl());
  simulator_->SetTaskState(id, {.status = "completed"});
  const LoggedRequest delivery = WaitForDeliveries(1).at(0);
  EXPECT_EQ(delivery.target, "/hooks/token?a=b");
  EXPECT_EQ(delivery.authorization, "");
  EXPECT_EQ(Header(delivery, "content-type"), "application/json");
  EXPECT_EQ(Header(delivery, "webhook-signature"), RightSignature(delivery));
  const json::object body = json::parse(delivery.body).as_object();
  for (const char* field : {"id", "model", "input", "outputs", "urls", "has_nsfw_contents",
                            "status", "created_at", "error", "executionTime", "timings"}) {
    EXPECT_TRUE(body.contains(field)) << field;
  }
  EXPECT_EQ(body.at("id").as_string(), id);
  EXPECT_EQ(body.at("status").as_string(), "completed");
  EXPECT_EQ(body.at("input").at("prompt").as_string(), "a cat");
  ASSERT_TRUE(simulator_->WaitForWebhookAttempts(1, kDeadline));
  EXPECT_EQ(simulator_->WebhookAttempts()[0].status, 200);
}

TEST_F(WebhookTest, AScheduleCallsBackByItself) {
  simulator_->SetSchedule(
      Schedule::Failing(absl::Milliseconds(5), absl::Milliseconds(5), 1200, "flagged"));
  Submit(HookUrl());
  const json::value body = json::parse(WaitForDeliveries(1).at(0).body);
  EXPECT_EQ(body.at("status").as_string(), "failed");
  EXPECT_EQ(body.at("error").as_string(), "flagged");
}

TEST_F(WebhookTest, APromptCanHaveABehaviorOfItsOwn) {
  simulator_->SetWebhookBehaviorForPrompt("a dog", {.silent = true});
  simulator_->SetWebhookBehaviorForPrompt("a bird", {.copies = 2});
  for (const char* prompt : {"a dog", "a bird", "a cat"}) {
    simulator_->SetTaskState(Submit(HookUrl(), prompt), {.status = "completed"});
  }
  int birds = 0;
  int cats = 0;
  for (const LoggedRequest& delivery : WaitForDeliveries(3)) {
    birds += absl::StrContains(delivery.body, "a bird") ? 1 : 0;
    cats += absl::StrContains(delivery.body, "a cat") ? 1 : 0;
  }
  EXPECT_EQ(birds, 2);
  EXPECT_EQ(cats, 1);
}

TEST_F(WebhookTest, OnlyCompletedAndFailedCallBackAndOnlyOnce) {
  const std::string id = Submit(HookUrl());
  simulator_->SetTaskState(id, {.status = "processing"});
  simulator_->SetTaskState(id, {.status = "completed"});
  simulator_->SetTaskState(id, {.status = "completed"});
  WaitForDeliveries(1);
  const std::string last = Submit(HookUrl(), "last");
  simulator_->SetTaskState(last, {.status = "completed"});
  const auto deliveries = WaitForDeliveries(2);
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_TRUE(absl::StrContains(deliveries[1].body, last));
}

TEST_F(WebhookTest, RefusedDeliveriesAreRepeatedThreeTimes) {
  receiver_->ClearFaults();
  Answer(500, -1);
  simulator_->SetWebhookBehavior({.redelivery_backoff = absl::Milliseconds(1)});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  const auto deliveries = WaitForDeliveries(4);
  EXPECT_EQ(deliveries[0].body, deliveries[3].body);
  EXPECT_EQ(Header(deliveries[0], "webhook-id"), Header(deliveries[3], "webhook-id"));
  ASSERT_TRUE(simulator_->WaitForWebhookAttempts(4, kDeadline));
  EXPECT_EQ(simulator_->WebhookAttempts()[3].number, 3);
}

TEST_F(WebhookTest, ARedeliveryEndsWithTheFirstSuccess) {
  receiver_->ClearFaults();
  Answer(503, 1);
  Answer(200, -1);
  simulator_->SetWebhookBehavior({.redelivery_backoff = absl::Milliseconds(1)});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  ASSERT_TRUE(simulator_->WaitForWebhookAttempts(2, kDeadline));
  EXPECT_EQ(simulator_->WebhookAttempts()[0].status, 503);
  EXPECT_EQ(simulator_->WebhookAttempts()[1].status, 200);
}

TEST_F(WebhookTest, ADeliveryMayComeTwice) {
  simulator_->SetWebhookBehavior({.copies = 2});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  const auto deliveries = WaitForDeliveries(2);
  EXPECT_EQ(deliveries[0].body, deliveries[1].body);
}

TEST_F(WebhookTest, ADeliveryMayBeForged) {
  simulator_->SetWebhookBehavior({.forged = true});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  const LoggedRequest delivery = WaitForDeliveries(1).at(0);
  EXPECT_TRUE(absl::StartsWith(Header(delivery, "webhook-signature"), "v3,"));
  EXPECT_NE(Header(delivery, "webhook-signature"), RightSignature(delivery));
}

TEST_F(WebhookTest, ADeliveryMayCarrySeveralSignatures) {
  simulator_->SetWebhookBehavior({.several_signatures = true});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  const LoggedRequest delivery = WaitForDeliveries(1).at(0);
  EXPECT_TRUE(
      absl::EndsWith(Header(delivery, "webhook-signature"), " " + RightSignature(delivery)));
}

TEST_F(WebhookTest, ADeliveryMayBeOld) {
  simulator_->SetWebhookBehavior({.timestamp_offset = -absl::Minutes(10)});
  simulator_->SetTaskState(Submit(HookUrl()), {.status = "completed"});
  const LoggedRequest delivery = WaitForDeliveries(1).at(0);
  int64_t timestamp = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Header(delivery, "webhook-timestamp"), &timestamp));
  EXPECT_LT(absl::FromUnixSeconds(timestamp), delivery.time - absl::Minutes(9));
  EXPECT_EQ(Header(delivery, "webhook-signature"), RightSignature(delivery));
}

TEST_F(WebhookTest, DeliveriesMayComeInAnotherOrder) {
  simulator_->SetWebhookBehavior({.hold_until_next = true});
  const std::string first = Submit(HookUrl(), "first");
  const std::string second = Submit(HookUrl(), "second");
  simulator_->SetTaskState(first, {.status = "completed"});
  simulator_->SetTaskState(second, {.status = "completed"});
  const auto deliveries = WaitForDeliveries(2);
  EXPECT_TRUE(absl::StrContains(deliveries[0].body, second));
  EXPECT_TRUE(absl::StrContains(deliveries[1].body, first));
}

TEST_F(WebhookTest, ADeliveryMayNeverOrOnlyLaterCome) {
  WebhookBehavior behavior;
  behavior.silent = true;
  simulator_->SetWebhookBehavior(behavior);
  const std::string silent = Submit(HookUrl());
  simulator_->SetTaskState(silent, {.status = "completed"});
  // An answer due behind the silent webhook, in the same thread.
  simulator_->AddFault({.action = FaultAction::kLatency, .delay = absl::Milliseconds(20)});
  EXPECT_EQ(client_.Get("/api/v3/balance").status, 200);
  EXPECT_EQ(receiver_->Count("POST", "/hooks/"), 0u);
  behavior.silent = false;
  simulator_->SetWebhookBehavior(behavior);
  ASSERT_TRUE(simulator_->ResendWebhook(silent));
  EXPECT_TRUE(absl::StrContains(WaitForDeliveries(1).at(0).body, silent));
}

TEST_F(WebhookTest, AnHttpsUrlCanBeDeliveredToAnotherOrigin) {
  simulator_->SetWebhookOrigin(receiver_->base_url());
  const std::string id = Submit("https%3A%2F%2Fvideo.example.com%2Fhooks%2Fsecret-token");
  simulator_->SetTaskState(id, {.status = "completed"});
  EXPECT_EQ(WaitForDeliveries(1).at(0).target, "/hooks/secret-token");
}

TEST_F(WebhookTest, NothingLeavesTheLoopback) {
  const std::string id = Submit("http%3A%2F%2F192.0.2.1%2Fhooks");
  simulator_->SetTaskState(id, {.status = "completed"});
  ASSERT_TRUE(simulator_->WaitForWebhookAttempts(1, kDeadline));
  EXPECT_EQ(simulator_->WebhookAttempts()[0].status, 0);
}

}  // namespace
}  // namespace dreamgate::simulator
