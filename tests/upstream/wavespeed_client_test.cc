// The client's requests, and its reading of every kind of answer and of every way of not getting one.
#include "server/upstream/wavespeed_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/upstream/client_fixture.h"

namespace dreamgate::upstream {
namespace {

using net_test::RawPeer;
using net_test::RawServer;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class WaveSpeedClientTest : public ClientTest {};

// ---- what is sent

TEST_F(WaveSpeedClientTest, PostsTheTaskAsUpstreamWantsIt) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url());
  ASSERT_TRUE(Accepted(Create()));
  const std::string request = server.Requests().at(0);
  EXPECT_THAT(request,
              StartsWith("POST /api/v3/bytedance/dreamina-v3.0-pro/text-to-video HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr(absl::StrCat("\r\nHost: 127.0.0.1:", server.port(), "\r\n")));
  EXPECT_THAT(request, HasSubstr("\r\nAuthorization: Bearer the-key\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nUser-Agent: dreamgate/0.1\r\n"));
  EXPECT_THAT(request, HasSubstr(R"({"prompt":"a fox","aspect_ratio":"16:9","seed":7})"));
}

TEST_F(WaveSpeedClientTest, GetsTheResultUnderTheBaseUrlsPath) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url() + "/prefix/");
  ASSERT_TRUE(Observed(Get()));
  EXPECT_THAT(server.Requests().at(0),
              StartsWith("GET /prefix/api/v3/predictions/t1/result HTTP/1.1\r\n"));
}

TEST_F(WaveSpeedClientTest, RegistersTheWebhookWithTheAttemptsToken) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url(), {.webhook_url = "https://gw.example/hook"});
  ASSERT_TRUE(Accepted(Create()));
  EXPECT_THAT(server.Requests().at(0),
              HasSubstr("?webhook=https%3A%2F%2Fgw.example%2Fhook%2Ftoken1 HTTP/1.1\r\n"));
}

TEST_F(WaveSpeedClientTest, RefusesAnUnsafeIdWithoutAskingAnybody) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url());
  EXPECT_EQ(std::get<core::PollFailed>(Get("../balance")).problem, core::PollProblem::kRefused);
  EXPECT_EQ(server.Connections(), 0);
}

TEST_F(WaveSpeedClientTest, NeverCompletesInsideTheCall) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url());
  CloseClient();  // even where the answer is known at once
  net_test::Signal done;
  OnLoop([&] {
    client_->CreateTask(FoxRequest(), [&done](core::CreateOutcome outcome) {
      EXPECT_TRUE(NotSent(outcome));
      done.Set();
    });
    EXPECT_FALSE(done.IsSet());
  });
  done.Wait();
}

TEST_F(WaveSpeedClientTest, ReportsEveryRequest) {
  std::atomic<int> answers = 0;
  RawServer server([&answers](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) {
      if (answers++ == 0) {
        peer.Answer(kTaskJson);
      } else {
        peer.Write("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n");
      }
    }
  });
  MakeClient(server.Url());
  (void)Create();
  (void)Get();
  const auto requests = events_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].operation, "create");
  EXPECT_EQ(requests[0].http_status, 200);
  EXPECT_EQ(requests[1].operation, "get");
  EXPECT_EQ(requests[1].http_status, 503);
  const UpstreamHealth health = Health();
  EXPECT_TRUE(health.last_success.has_value());
  EXPECT_TRUE(health.last_failure.has_value());
  EXPECT_THAT(health.last_failure_message, HasSubstr("503"));
}

TEST_F(WaveSpeedClientTest, NamesABadOption) {
  const auto error = [this](WaveSpeedOptions options) {
    auto client =
        WaveSpeedClient::Create(loop_, *resolver_, events_, *ApiKey::FromText(kKey), options);
    return std::string(client.status().message());
  };
  EXPECT_THAT(error({.base_url = "ftp://x"}), HasSubstr("base URL"));
  EXPECT_THAT(error({.model = "../admin"}), HasSubstr("model"));
  EXPECT_THAT(error({.webhook_url = "http://plain.example/"}), HasSubstr("webhook"));
  EXPECT_THAT(error({.ca_file = "/nowhere/ca.pem"}), HasSubstr("/nowhere/ca.pem"));
  EXPECT_THAT(error({.user_agent = "x\r\nY: z"}), HasSubstr("agent"));
}

TEST_F(WaveSpeedClientTest, UsesTheNewKeyAfterTheOldOneWasRefused) {
  KeyFile key("old-key");
  RawServer server(RefuseEveryKeyBut("new-key", 401, kTaskJson));
  MakeClient(server.Url(), {}, *ApiKey::FromFile(key.path(), events_));
  const std::string fingerprint = client_->KeyFingerprint();
  key.Replace("new-key");
  // The first may or may not have seen the new file yet; once refused, the next has.
  (void)Get();
  EXPECT_TRUE(Observed(Get()));
  EXPECT_NE(client_->KeyFingerprint(), fingerprint);
}

// ---- answers

TEST_F(WaveSpeedClientTest, DoesNotFollowRedirectsAndSendsTheKeyNowhereElse) {
  RawServer elsewhere(AnswerEverything);
  RawServer server(RedirectEverythingTo(elsewhere.Url()));
  MakeClient(server.Url());
  EXPECT_EQ(std::get<core::CreateRejected>(Create()).reason, core::Reason::kUpstreamMisconfigured);
  EXPECT_EQ(std::get<core::PollFailed>(Get()).problem, core::PollProblem::kRefused);
  EXPECT_EQ(elsewhere.Connections(), 0);
}

TEST_F(WaveSpeedClientTest, SkipsInterimAnswers) {
  RawServer server([](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n");
      peer.Answer(kTaskJson);
    }
  });
  MakeClient(server.Url());
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_EQ(server.Connections(), 1);
}

TEST_F(WaveSpeedClientTest, GivesUpOnInterimAnswersWithoutEnd) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    while (peer.Write("HTTP/1.1 100 Continue\r\n\r\n")) {}
  });
  MakeClient(server.Url());
  EXPECT_THAT(MessageOf(Create()), HasSubstr("interim"));
}

TEST_F(WaveSpeedClientTest, TakesABodyThatEndsWithTheConnection) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Write(absl::StrCat("HTTP/1.0 200 OK\r\n\r\n", kTaskJson));
    peer.Close();
  });
  MakeClient(server.Url());
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_EQ(server.Connections(), 2);  // such a connection serves no second request
}

TEST_F(WaveSpeedClientTest, TakesAChunkedBody) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    const std::string body = kTaskJson;
    peer.Write(absl::StrCat("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5;ext=1\r\n",
                            body.substr(0, 5), "\r\n", absl::Hex(body.size() - 5), "\r\n",
                            body.substr(5), "\r\n0\r\nTrailer: x\r\n\r\n"));
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  EXPECT_TRUE(Accepted(Create()));
}

class OversizedAnswerTest : public ClientTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(OversizedAnswerTest, IsNotKeptInMemoryAndLeavesAPostUnknown) {
  const std::string start = GetParam();
  RawServer server([&start](RawPeer& peer) {
    if (peer.ReadRequest().empty()) return;
    peer.Write(start);
    const std::string filler(64 * 1024, 'x');
    while (peer.Write(filler)) {}
  });
  MakeClient(server.Url());
  const auto outcome = Create();
  EXPECT_TRUE(Unknown(outcome));
  EXPECT_THAT(MessageOf(outcome), testing::AnyOf(HasSubstr("too large"), HasSubstr("oversized")));
  EXPECT_EQ(std::get<core::PollFailed>(Get()).problem, core::PollProblem::kTransient);
}

INSTANTIATE_TEST_SUITE_P(
    All, OversizedAnswerTest,
    ::testing::Values("HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n",
                      "HTTP/1.1 200 OK\r\n\r\n",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;extension=",
                      "HTTP/1.1 200 OK\r\nX-Endless: ",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n"));

class BrokenAnswerTest : public ClientTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BrokenAnswerTest, LeavesAPostUnknownAndIsNeverAnsweredByASecondPost) {
  const std::string answer = GetParam();
  RawServer server([&answer](RawPeer& peer) {
    if (peer.ReadRequest().empty()) return;
    peer.Write(answer);
    peer.Close();
  });
  MakeClient(server.Url());
  EXPECT_TRUE(Unknown(Create()));
  EXPECT_EQ(std::get<core::PollFailed>(Get()).problem, core::PollProblem::kTransient);
  CloseClient();
  EXPECT_EQ(server.Count("POST "), 1);
  EXPECT_EQ(server.Count("GET "), 1);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenAnswerTest,
    ::testing::Values("", "HTTP/1.1 200 OK\r\n",
                      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"co",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"co",
                      "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
                      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                      "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                      "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"));

TEST_F(WaveSpeedClientTest, LeavesAPostUnknownAfterAResetAndDoesNotSendItAgain) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Reset();
  });
  MakeClient(server.Url());
  EXPECT_TRUE(Unknown(Create()));
  CloseClient();
  EXPECT_EQ(server.Count("POST "), 1);
  EXPECT_EQ(server.Connections(), 1);
}

TEST_F(WaveSpeedClientTest, LeavesAPostUnknownWhenNoAnswerComesInTimeAndDoesNotSendItAgain) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.WaitForEnd();
  });
  MakeClient(server.Url(), {.late_answer_timeout = absl::Milliseconds(50)});
  const auto outcome = Create();
  EXPECT_TRUE(Unknown(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("within 50ms"));
  ASSERT_TRUE(server.WaitForClientCloses(1));
  EXPECT_EQ(server.Requests().size(), 1u);
}

TEST_F(WaveSpeedClientTest, GivesUpAGetWhoseBytesComeTooSlowly) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{");
    peer.WaitForEnd();
  });
  MakeClient(server.Url(), {.get_timeout = absl::Milliseconds(50)});
  const auto failed = std::get<core::PollFailed>(Get());
  EXPECT_EQ(failed.problem, core::PollProblem::kTransient);
  EXPECT_EQ(failed.http_status, 0);
  EXPECT_EQ(server.Requests().size(), 1u);
}

TEST_F(WaveSpeedClientTest, DeliversALateAnswer) {
  net_test::Signal may_answer;
  RawServer server([&may_answer](RawPeer& peer) {
    while (true) {
      const std::string request = peer.ReadRequest();
      if (request.empty()) return;
      if (absl::StartsWith(request, "POST ")) may_answer.Wait();
      peer.Answer(kTaskJson);
    }
  });
  MakeClient(server.Url());
  auto late = StartCreate();
  ASSERT_TRUE(server.WaitForRequests(1));
  EXPECT_TRUE(Observed(Get()));  // meanwhile life goes on
  may_answer.Set();
  EXPECT_TRUE(Accepted(late.get()));
  EXPECT_EQ(server.Count("POST "), 1);
}

TEST_F(WaveSpeedClientTest, ReceivesARefusalThatComesBeforeTheWholeRequestWasRead) {
  RawServer server([](RawPeer& peer) {
    peer.ReadSome();
    peer.Write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  core::CreateTaskRequest request = FoxRequest();
  request.prompt.assign(16 << 20, 'x');  // more than the kernel takes without a reader
  EXPECT_TRUE(std::holds_alternative<core::CreateRejected>(StartCreate(request).get()));
}

TEST_F(WaveSpeedClientTest, NeverShowsTheKeyOrAWholePromptThatUpstreamEchoes) {
  RawServer server([](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) {
      const std::string body =
          R"({"message":"the-key may not say: a very long prompt about a fox in the snow"})";
      peer.Write(
          absl::StrCat("HTTP/1.1 400 Bad\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
    }
  });
  MakeClient(server.Url());
  core::CreateTaskRequest request = FoxRequest();
  request.prompt = "a very long prompt about a fox in the snow";
  const std::string message = MessageOf(StartCreate(request).get());
  EXPECT_EQ(message, "[redacted] may not say: [redacted]");
  EXPECT_THAT(Health().last_failure_message, Not(HasSubstr("the-key")));
}

// ---- not sent

TEST_F(WaveSpeedClientTest, SaysNotSentWhenTheConnectionIsRefused) {
  MakeClient(absl::StrCat("http://127.0.0.1:", net_test::UnusedPort()));
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("refused"));
  EXPECT_EQ(events_.requests().at(0).http_status, 0);
  EXPECT_EQ(std::get<core::PollFailed>(Get()).problem, core::PollProblem::kTransient);
}

TEST_F(WaveSpeedClientTest, SaysNotSentWhenTheNameHasNoAddress) {
  MakeClient("http://nowhere.test");
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("nowhere.test"));
}

TEST_F(WaveSpeedClientTest, SaysNotSentWhenNoConnectionIsMadeInTime) {
  const uint16_t port = net_test::UnusedPort();
  const net_test::BlackHole hole("127.0.0.1", port);
  MakeClient(absl::StrCat("http://127.0.0.1:", port), {.connect_timeout = absl::Milliseconds(50)});
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("within 50ms"));
}

TEST_F(WaveSpeedClientTest, DoesNotLetADeadAddressEatTheBudget) {
  RawServer server(AnswerEverything);
  const net_test::BlackHole dead("127.0.0.2", server.port());
  SetName("dual.test", {"127.0.0.2", "127.0.0.1"});
  WaveSpeedOptions options;
  options.connect_timeout = absl::Seconds(60);  // only the stagger can save the test
  MakeClient(absl::StrCat("http://dual.test:", server.port()), options);
  EXPECT_TRUE(Accepted(Create()));
}

TEST_F(WaveSpeedClientTest, TriesTheNextAddressAtOnceWhenOneRefuses) {
  RawServer server(AnswerEverything);
  SetName("dual.test", {"127.0.0.3", "::1", "127.0.0.1"});
  MakeClient(absl::StrCat("http://dual.test:", server.port()));
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_THAT(server.Requests().at(0), HasSubstr("Host: dual.test:"));
}

// ---- closing

TEST_F(WaveSpeedClientTest, ClosingEndsWaitingPostsUnsentAndWrittenOnesUnknown) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.WaitForEnd();
  });
  MakeClient(server.Url(), {.max_connections = 1});
  auto written = StartCreate();
  ASSERT_TRUE(server.WaitForRequests(1));
  auto waiting = StartCreate();
  auto polling = StartGet();
  bool all_done = false;
  net_test::Signal closed;
  loop_.Post([&] {
    client_->Close([&] {
      all_done = written.wait_for(std::chrono::seconds(0)) == std::future_status::ready &&
                 waiting.wait_for(std::chrono::seconds(0)) == std::future_status::ready &&
                 polling.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
      closed.Set();
    });
  });
  closed.Wait();
  closed_ = true;
  EXPECT_TRUE(all_done);
  EXPECT_TRUE(Unknown(written.get()));
  EXPECT_TRUE(NotSent(waiting.get()));
  EXPECT_FALSE(Observed(polling.get()));
}

TEST_F(WaveSpeedClientTest, ClosingEndsAPostThatIsStillConnectingUnsent) {
  const uint16_t port = net_test::UnusedPort();
  const net_test::BlackHole hole("127.0.0.1", port);
  MakeClient(absl::StrCat("http://127.0.0.1:", port));
  auto connecting = StartCreate();
  ASSERT_TRUE(WaitForHealth([](const UpstreamHealth& h) { return h.requests_in_flight == 1; }));
  CloseClient();
  EXPECT_TRUE(NotSent(connecting.get()));
}

TEST_F(WaveSpeedClientTest, MayBeDestroyedWithRequestsInFlightOnceTheLoopHasStopped) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  auto written = StartCreate();
  ASSERT_TRUE(server.WaitForRequests(1));
  loop_.Stop();
  client_.reset();
  EXPECT_THROW(written.get(), std::future_error);  // dropped, as all work after the stop
}

}  // namespace
}  // namespace dreamgate::upstream
