// Each fault as a client meets it.
#include "tests/simulator/fault.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "boost/json.hpp"
#include "gtest/gtest.h"
#include "tests/simulator/simulator.h"
#include "tests/simulator/test_client.h"

namespace dreamgate::simulator {
namespace {

constexpr char kSubmit[] = "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video";
constexpr char kBalance[] = "/api/v3/balance";
constexpr absl::Duration kDeadline = absl::Seconds(30);

class FaultTest : public ::testing::Test {
 protected:
  FaultTest() : simulator_(Simulator::Start().value()) {}

  // A connection of its own for each request.
  Reply Submit() { return TestClient(simulator_->port()).Post(kSubmit, R"({"prompt":"a cat"})"); }
  Reply Balance() { return TestClient(simulator_->port()).Get(kBalance); }

  std::unique_ptr<Simulator> simulator_;
};

Fault With(FaultAction action, bool create_task = false) {
  return {.action = action, .create_task = create_task};
}

TEST_F(FaultTest, AConnectionIsResetOnAccept) {
  simulator_->AddFault(With(FaultAction::kResetOnAccept));
  EXPECT_EQ(Balance().end, Reply::End::kReset);
  EXPECT_TRUE(simulator_->Log().empty());
  EXPECT_EQ(Balance().status, 200) << "once only";
}

TEST_F(FaultTest, ARequestIsResetBeforeItWasRead) {
  simulator_->AddFault(With(FaultAction::kResetBeforeRequest));
  EXPECT_EQ(Submit().end, Reply::End::kReset);
  EXPECT_EQ(simulator_->TasksCreated(), 0u);
  ASSERT_EQ(simulator_->Log().size(), 1u);
  EXPECT_EQ(simulator_->Log()[0].status, 0);
  EXPECT_TRUE(simulator_->Log()[0].faulted);
}

TEST_F(FaultTest, ARequestIsResetAfterItWasReadWithOrWithoutATask) {
  simulator_->AddFault(With(FaultAction::kResetAfterRequest, /*create_task=*/false));
  simulator_->AddFault(With(FaultAction::kResetAfterRequest, /*create_task=*/true));
  EXPECT_EQ(Submit().end, Reply::End::kReset);
  EXPECT_EQ(simulator_->TasksCreated(), 0u);
  EXPECT_EQ(Submit().end, Reply::End::kReset);
  EXPECT_EQ(simulator_->TasksCreated(), 1u);
}

TEST_F(FaultTest, TheConnectionEndsAmidTheBody) {
  simulator_->AddFault(With(FaultAction::kCloseMidBody));
  const Reply reply = Submit();
  EXPECT_EQ(reply.end, Reply::End::kClosed);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body.size(), std::stoul(reply.headers.at("content-length")) / 2);
  EXPECT_EQ(simulator_->TasksCreated(), 1u);
}

TEST_F(FaultTest, BytesComeSlowlyButWhole) {
  Fault fault = With(FaultAction::kSlowBytes);
  fault.bytes = 7;
  simulator_->AddFault(fault);
  const Reply reply = Submit();
  EXPECT_EQ(reply.end, Reply::End::kComplete);
  EXPECT_TRUE(reply.Json().at("data").as_object().contains("id"));
}

TEST_F(FaultTest, AnAnswerIsLateAlthoughTheTaskExistsAtOnce) {
  Fault fault = With(FaultAction::kLatency);
  fault.delay = absl::Milliseconds(50);
  simulator_->AddFault(fault);
  EXPECT_EQ(Submit().status, 200);
  EXPECT_GE(absl::Now() - simulator_->Log()[0].time, absl::Milliseconds(45));
}

TEST_F(FaultTest, TheBodyIsAPageInsteadOfJson) {
  Fault fault = With(FaultAction::kNotJson, /*create_task=*/true);
  fault.status = 502;
  simulator_->AddFault(fault);
  const Reply reply = Submit();
  EXPECT_EQ(reply.status, 502);
  EXPECT_EQ(reply.headers.at("content-type"), "text/html");
  EXPECT_TRUE(absl::StartsWith(reply.body, "<html>"));
  EXPECT_EQ(simulator_->TasksCreated(), 1u);
}

TEST_F(FaultTest, TheContentTypeIsWrong) {
  simulator_->AddFault(With(FaultAction::kWrongContentType));
  const Reply reply = Balance();
  EXPECT_EQ(reply.headers.at("content-type"), "text/html");
  EXPECT_TRUE(reply.Json().is_object());
}

TEST_F(FaultTest, TheBodyIsHugeAndStillJson) {
  Fault fault = With(FaultAction::kHugeBody);
  fault.bytes = 2'000'000;
  simulator_->AddFault(fault);
  const Reply reply = Balance();
  EXPECT_GT(reply.body.size(), 2'000'000u);
  EXPECT_TRUE(reply.Json().is_object());
}

TEST_F(FaultTest, TheAnswerIsARedirect) {
  Fault fault = With(FaultAction::kRedirect);
  fault.location = "http://127.0.0.1:1/elsewhere";
  fault.status = 307;
  simulator_->AddFault(fault);
  const Reply reply = Balance();
  EXPECT_EQ(reply.status, 307);
  EXPECT_EQ(reply.headers.at("location"), "http://127.0.0.1:1/elsewhere");
}

TEST_F(FaultTest, AnyStatusWithAnyBodyAndHeaders) {
  Fault fault = With(FaultAction::kStatus);
  fault.status = 402;
  simulator_->AddFault(fault);
  fault.status = 418;
  fault.body = "short and stout";
  fault.content_type = "text/plain";
  fault.headers = {{"X-Pot", "tea"}};
  simulator_->AddFault(fault);
  const Reply plain = Balance();
  EXPECT_EQ(plain.status, 402);
  EXPECT_EQ(plain.Json().at("code").as_int64(), 402);
  EXPECT_TRUE(plain.Json().at("data").is_null());
  const Reply own = Balance();
  EXPECT_EQ(own.status, 418);
  EXPECT_EQ(own.body, "short and stout");
  EXPECT_EQ(own.headers.at("x-pot"), "tea");
}

TEST_F(FaultTest, AServerErrorComesBeforeOrAfterTheTaskWasCreated) {
  simulator_->AddFault(With(FaultAction::kStatus, /*create_task=*/false));
  simulator_->AddFault(With(FaultAction::kStatus, /*create_task=*/true));
  EXPECT_EQ(Submit().status, 500);
  EXPECT_EQ(simulator_->TasksCreatedForPrompt("a cat"), 0u);
  EXPECT_EQ(Submit().status, 500);
  EXPECT_EQ(simulator_->TasksCreatedForPrompt("a cat"), 1u);
}

TEST_F(FaultTest, ALimitIsReachedWithOrWithoutRetryAfter) {
  Fault fault = With(FaultAction::kRateLimited);
  simulator_->AddFault(fault);
  fault.retry_after = "Wed, 21 Oct 2065 07:28:00 GMT";
  simulator_->AddFault(fault);
  const Reply without = Submit();
  EXPECT_EQ(without.status, 429);
  EXPECT_EQ(without.headers.count("retry-after"), 0u);
  const Reply with = Submit();
  EXPECT_EQ(with.status, 429);
  EXPECT_EQ(with.headers.at("retry-after"), "Wed, 21 Oct 2065 07:28:00 GMT");
}

TEST_F(FaultTest, TheTaskHasAnUnknownStatus) {
  Fault fault = With(FaultAction::kUnknownStatus);
  fault.text = "levitating";
  simulator_->AddFault(fault);
  EXPECT_EQ(Submit().Json().at_pointer("/data/status").as_string(), "levitating");
}

TEST_F(FaultTest, TheEnvelopeSaysAnErrorUnderHttp200) {
  Fault fault = With(FaultAction::kEnvelopeError);
  fault.code = 403;
  fault.text = "no";
  simulator_->AddFault(fault);
  const Reply reply = Submit();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Json().at("code").as_int64(), 403);
  EXPECT_EQ(reply.Json().at("message").as_string(), "no");
}

TEST_F(FaultTest, ASuccessHasNoId) {
  simulator_->AddFault(With(FaultAction::kNoId, /*create_task=*/false));
  simulator_->AddFault(With(FaultAction::kNoId, /*create_task=*/true));
  for (std::size_t tasks = 0; tasks < 2; ++tasks) {
    const Reply reply = Submit();
    EXPECT_EQ(reply.status, 200);
    EXPECT_FALSE(reply.Json().at("data").as_object().contains("id"));
    EXPECT_EQ(simulator_->TasksCreated(), tasks);
  }
}

TEST_F(FaultTest, ARequestHangsUntilTheClientGivesUp) {
  simulator_->AddFault(With(FaultAction::kHang));
  TestClient client(simulator_->port());
  EXPECT_EQ(client.Send("GET", kBalance, "", {}, /*timeout_ms=*/50).end, Reply::End::kTimeout);
  EXPECT_TRUE(simulator_->WaitForRequests("GET", kBalance, 1, kDeadline));
  EXPECT_EQ(Balance().status, 200) << "others are served meanwhile";
}

TEST_F(FaultTest, InterimAnswersPrecedeTheFinalOne) {
  Fault fault = With(FaultAction::kInterimResponses);
  fault.count = 2;
  simulator_->AddFault(fault);
  const Reply reply = Balance();
  EXPECT_EQ(reply.interim_statuses, (std::vector<int>{100, 103, 100, 103}));
  EXPECT_EQ(reply.status, 200);
}

TEST_F(FaultTest, AChunkHasAHugeExtension) {
  Fault fault = With(FaultAction::kHugeChunkExtension);
  fault.bytes = 200'000;
  simulator_->AddFault(fault);
  const Reply reply = Balance();
  EXPECT_EQ(reply.headers.at("transfer-encoding"), "chunked");
  EXPECT_GT(reply.body.size(), 200'000u);
  EXPECT_TRUE(absl::StrContains(reply.body, R"("balance")"));
}

TEST_F(FaultTest, OnlyTheCloseDelimitsTheBody) {
  simulator_->AddFault(With(FaultAction::kCloseDelimited));
  const Reply reply = Balance();
  EXPECT_EQ(reply.end, Reply::End::kClosed);
  EXPECT_EQ(reply.headers.count("content-length"), 0u);
  EXPECT_TRUE(reply.Json().is_object());
}

TEST_F(FaultTest, AnyBytesCanBeTheAnswer) {
  Fault fault = With(FaultAction::kRawResponse);
  fault.body = "SSH-2.0-surprise\r\n";
  simulator_->AddFault(fault);
  const Reply reply = Balance();
  EXPECT_EQ(reply.end, Reply::End::kClosed);
  EXPECT_EQ(reply.body, "SSH-2.0-surprise\r\n");
}

TEST_F(FaultTest, AFaultMeetsOnlyTheRequestsItMatches) {
  Fault fault = With(FaultAction::kStatus);
  fault.method = "GET";
  fault.path_prefix = "/api/v3/predictions/";
  fault.skip = 1;
  fault.times = 2;
  const int number = simulator_->AddFault(fault);
  const std::string id(Submit().Json().at_pointer("/data/id").as_string());
  TestClient client(simulator_->port());
  std::vector<int> statuses;
  for (int i = 0; i < 4; ++i) {
    statuses.push_back(client.Get("/api/v3/predictions/" + id + "/result").status);
    EXPECT_EQ(client.Get(kBalance).status, 200);
  }
  EXPECT_EQ(statuses, (std::vector<int>{200, 500, 500, 200}));
  EXPECT_EQ(simulator_->FaultHits(number), 2);
}

TEST_F(FaultTest, AFaultMayBelongToATaskOrAPrompt) {
  const std::string first(Submit().Json().at_pointer("/data/id").as_string());
  const std::string second(Submit().Json().at_pointer("/data/id").as_string());
  Fault of_task = With(FaultAction::kStatus);
  of_task.task_id = second;
  simulator_->AddFault(of_task);
  Fault of_prompt = With(FaultAction::kStatus);
  of_prompt.body_contains = "a dog";
  simulator_->AddFault(of_prompt);
  TestClient client(simulator_->port());
  EXPECT_EQ(client.Get("/api/v3/predictions/" + first + "/result").status, 200);
  EXPECT_EQ(client.Get("/api/v3/predictions/" + second + "/result").status, 500);
  EXPECT_EQ(Submit().status, 200);
  EXPECT_EQ(client.Post(kSubmit, R"({"prompt":"a dog"})").status, 500);
}

TEST_F(FaultTest, ClearedFaultsAreGone) {
  Fault fault = With(FaultAction::kStatus);
  fault.times = -1;
  simulator_->AddFault(fault);
  EXPECT_EQ(Balance().status, 500);
  simulator_->ClearFaults();
  EXPECT_EQ(Balance().status, 200);
}

TEST(FaultTableTest, AChanceIsReproducibleBySeed) {
  const auto strikes = [](uint64_t seed) {
    FaultTable table;
    table.Add({.times = -1, .probability = 0.3, .seed = seed});
    std::string pattern;
    for (int i = 0; i < 1000; ++i) {
      pattern += table.Strike(FaultMoment::kRequest, Request()) ? '1' : '0';
    }
    return pattern;
  };
  const std::string pattern = strikes(7);
  EXPECT_EQ(pattern, strikes(7));
  EXPECT_NE(pattern, strikes(8));
  const auto hits = std::count(pattern.begin(), pattern.end(), '1');
  EXPECT_GT(hits, 200);
  EXPECT_LT(hits, 400);
}

TEST(FaultFromJsonTest, EveryFieldIsRead) {
  const auto fault = FaultFromJson(R"({"action":"slow_bytes","method":"GET","path_prefix":"/a",
      "task_id":"t","body_contains":"b","skip":1,"times":-1,"probability":0.5,"seed":9,
      "create_task":true,"delay":"250ms","status":503,"code":7,"count":3,"bytes":10,
      "interval":"2s","body":"x","content_type":"text/plain","location":"/l","retry_after":"3",
      "text":"hm","headers":{"A":"b"}})");
  ASSERT_TRUE(fault.ok()) << fault.status();
  EXPECT_EQ(fault->action, FaultAction::kSlowBytes);
  EXPECT_EQ(fault->method + fault->path_prefix + fault->task_id + fault->body_contains, "GET/atb");
  EXPECT_EQ(fault->skip, 1);
  EXPECT_EQ(fault->times, -1);
  EXPECT_EQ(fault->probability, 0.5);
  EXPECT_EQ(fault->seed, 9u);
  EXPECT_TRUE(fault->create_task);
  EXPECT_EQ(fault->delay, absl::Milliseconds(250));
  EXPECT_EQ(fault->status + fault->code + fault->count, 513);
  EXPECT_EQ(fault->bytes, 10u);
  EXPECT_EQ(fault->interval, absl::Seconds(2));
  EXPECT_EQ(fault->body + fault->content_type + fault->location, "xtext/plain/l");
  EXPECT_EQ(fault->retry_after + fault->text, "3hm");
  EXPECT_EQ(fault->headers, (Headers{{"A", "b"}}));
  for (const char* wrong : {"", "[]", "{}", R"({"action":"hang","delay":"soon"})",
                            R"({"action":"hang","status":"high"})"}) {
    EXPECT_FALSE(FaultFromJson(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace dreamgate::simulator
