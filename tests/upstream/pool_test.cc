// The choice of a connection for a request: reuse, early eviction, freshness, limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/upstream/https_client.h"
#include "tests/upstream/client_fixture.h"

namespace dreamgate::upstream {
namespace {

using net_test::RawPeer;
using net_test::RawServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PoolTest : public ClientTest {};

// Reads the second request and ends without a byte: a connection closed at the wrong moment looks so.
void AnswerOnceThenReset(RawPeer& peer) {
  peer.ReadRequest();
  peer.Answer(kTaskJson);
  peer.ReadRequest();
  peer.Reset();
}

TEST_F(PoolTest, ReusesAKeptAliveConnection) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url());
  ASSERT_TRUE(Accepted(Create()));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Observed(Get()));
  EXPECT_EQ(server.Connections(), 1);
  const UpstreamHealth health = Health();
  EXPECT_EQ(health.open_connections, 1);
  EXPECT_EQ(health.idle_connections, 1);
  EXPECT_EQ(health.requests_in_flight, 0);
}

TEST_F(PoolTest, LetsGoOfAnIdleConnectionAsSoonAsTheServerEndsIt) {
  net_test::Signal may_close;
  RawServer server([&may_close](RawPeer& peer) {
    peer.ReadRequest();
    peer.Answer(kTaskJson);
    may_close.Wait();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  EXPECT_EQ(Health().idle_connections, 1);
  may_close.Set();
  EXPECT_TRUE(WaitForHealth([](const UpstreamHealth& h) { return h.open_connections == 0; }));
}

TEST_F(PoolTest, LetsGoOfAnIdleConnectionThatSpeaksUnasked) {
  net_test::Signal may_speak;
  RawServer server([&may_speak](RawPeer& peer) {
    peer.ReadRequest();
    peer.Answer(kTaskJson);
    if (peer.number() > 0) return peer.WaitForEnd();
    may_speak.Wait();
    peer.Answer(R"({"code":200,"data":{"id":"t1","status":"failed"}})");
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  may_speak.Set();
  ASSERT_TRUE(WaitForHealth([](const UpstreamHealth& h) { return h.open_connections == 0; }));
  EXPECT_EQ(std::get<core::PollObserved>(Get()).task.state, core::State::kCreated);
}

TEST_F(PoolTest, DoesNotKeepAConnectionThatSentMoreThanTheAnswer) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Write(absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", sizeof(kTaskJson) - 1,
                            "\r\n\r\n", kTaskJson, "HTTP/1.1 200 OK\r\n"));
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  ASSERT_TRUE(Observed(Get()));
  EXPECT_EQ(server.Connections(), 2);
}

TEST_F(PoolTest, DoesNotKeepAConnectionTheServerWantsClosed) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Write(absl::StrCat("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                            sizeof(kTaskJson) - 1, "\r\n\r\n", kTaskJson));
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  EXPECT_TRUE(server.WaitForClientCloses(1));
  EXPECT_EQ(Health().open_connections, 0);
}

TEST_F(PoolTest, ClosesAConnectionThatHasBeenIdleForLong) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url(), {.idle_timeout = absl::Milliseconds(20)});
  ASSERT_TRUE(Observed(Get()));
  EXPECT_TRUE(server.WaitForClientCloses(1));
}

TEST_F(PoolTest, SendsAGetAgainAtOnceWhenThePooledConnectionTurnsOutDead) {
  RawServer server([](RawPeer& peer) {
    if (peer.number() == 0) return AnswerOnceThenReset(peer);
    AnswerEverything(peer);
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_EQ(server.Connections(), 2);
  EXPECT_EQ(server.Count("GET "), 3);
  EXPECT_EQ(events_.requests().size(), 2u);
}

TEST_F(PoolTest, SendsAGetAgainOnlyOnce) {
  RawServer server([](RawPeer& peer) {
    if (peer.number() == 0) return AnswerOnceThenReset(peer);
    peer.ReadRequest();
    peer.Reset();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  EXPECT_FALSE(Observed(Get()));
  EXPECT_EQ(server.Count("GET "), 3);
}

TEST_F(PoolTest, DoesNotSendAGetAgainOnceItsAnswerHasBegun) {
  RawServer server([](RawPeer& peer) {
    peer.ReadRequest();
    peer.Answer(kTaskJson);
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Le");
    peer.Close();
  });
  MakeClient(server.Url());
  ASSERT_TRUE(Observed(Get()));
  EXPECT_FALSE(Observed(Get()));
  EXPECT_EQ(server.Count("GET "), 2);
}

TEST_F(PoolTest, DoesNotSendAPostAgainWhenThePooledConnectionTurnsOutDead) {
  RawServer server(AnswerOnceThenReset);
  MakeClient(server.Url(), {.post_reuse_window = absl::InfiniteDuration()});
  ASSERT_TRUE(Observed(Get()));
  EXPECT_TRUE(Unknown(Create()));
  CloseClient();
  EXPECT_EQ(server.Count("POST "), 1);
  EXPECT_EQ(server.Connections(), 1);
}

TEST_F(PoolTest, KeepsPollingWhilePostsWaitForLateAnswersOnAllTheirConnections) {
  RawServer server([](RawPeer& peer) {
    for (std::string request = peer.ReadRequest(); !request.empty(); request = peer.ReadRequest()) {
      if (absl::StartsWith(request, "POST ")) return peer.WaitForEnd();
      peer.Answer(kTaskJson);
    }
  });
  MakeClient(server.Url(), {.max_connections = 4});
  std::vector<std::future<core::CreateOutcome>> posts;
  for (int i = 0; i < 6; ++i) posts.push_back(StartCreate());
  ASSERT_TRUE(server.WaitForRequests(3));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_EQ(Health().requests_in_flight, 3);
  EXPECT_EQ(Health().requests_waiting, 3);
}

TEST_F(PoolTest, QueuesBeyondTheLimitOfConnectionsAndServesEverybody) {
  RawServer server(AnswerEverything);
  MakeClient(server.Url(), {.max_connections = 3});
  std::vector<std::future<core::CreateOutcome>> posts;
  std::vector<std::future<core::PollOutcome>> gets;
  for (int i = 0; i < 50; ++i) {
    posts.push_back(StartCreate());
    gets.push_back(StartGet());
  }
  for (auto& post : posts) EXPECT_TRUE(Accepted(post.get()));
  for (auto& get : gets) EXPECT_TRUE(Observed(get.get()));
  EXPECT_LE(server.Connections(), 3);
  EXPECT_EQ(server.Count("POST "), 50);
}

TEST_F(PoolTest, EndsAPostUnsentThatWaitedTooLongForAConnection) {
  RawServer server(NeverAnswer);
  MakeClient(server.Url(), {.queue_timeout = absl::Milliseconds(20), .max_connections = 1});
  auto first = StartCreate();
  ASSERT_TRUE(server.WaitForRequests(1));
  const core::CreateOutcome late = Create();
  EXPECT_TRUE(NotSent(late));
  EXPECT_THAT(MessageOf(late), HasSubstr("max-upstream-connections"));
  EXPECT_EQ(server.Count("POST "), 1);
}

// ---- the pool by itself, its freshness on a clock that the test moves

class HttpsClientTest : public ClientTest {
 protected:
  void MakePool(const RawServer& server, int max_connections,
                absl::Duration queue_timeout = absl::Seconds(10)) {
    HttpsClientOptions options;
    options.queue_timeout = queue_timeout;
    options.connection.host = "127.0.0.1";
    options.connection.port = server.port();
    options.max_connections = max_connections;
    options.now = [this] { return now_; };
    pool_ = std::make_unique<HttpsClient>(loop_, *resolver_, std::move(options));
  }

  ~HttpsClientTest() override {
    OnLoop([this] { pool_.reset(); });
  }

  static HttpRequest Request(const std::string& method) {
    return {.text = absl::StrCat(method, " / HTTP/1.1\r\nHost: x\r\n\r\n"),
            .idempotent = method == "GET",
            .timeout = absl::Seconds(60)};
  }

  bool Send(const char* method) {
    std::promise<bool> answered;
    OnLoop([&] {
      pool_->Send(Request(method), [&answered](HttpResult result) {
        answered.set_value(std::holds_alternative<wavespeed::HttpAnswer>(result));
      });
    });
    return answered.get_future().get();
  }

  void Advance(absl::Duration time) {
    OnLoop([&] { now_ += time; });
  }

  absl::Time now_ = absl::UnixEpoch();  // the loop's
  std::unique_ptr<HttpsClient> pool_;
};

TEST_F(HttpsClientTest, APostTakesAConnectionThatWasInUseAMomentAgo) {
  RawServer server(AnswerEverything);
  MakePool(server, 64);
  ASSERT_TRUE(Send("GET"));
  Advance(absl::Milliseconds(999));
  ASSERT_TRUE(Send("POST"));
  EXPECT_EQ(server.Connections(), 1);
}

TEST_F(HttpsClientTest, APostNeverTakesAConnectionThatHasBeenIdleForASecond) {
  RawServer server(AnswerEverything);
  MakePool(server, 64);
  ASSERT_TRUE(Send("GET"));
  Advance(absl::Seconds(1));
  ASSERT_TRUE(Send("POST"));
  EXPECT_EQ(server.Connections(), 2);
  Advance(absl::Seconds(1));
  ASSERT_TRUE(Send("GET"));  // a GET may
  EXPECT_EQ(server.Connections(), 2);
}

TEST_F(HttpsClientTest, AConnectionIdleForLongMakesRoomForAPostAtTheLimit) {
  RawServer server(AnswerEverything);
  MakePool(server, 1);
  ASSERT_TRUE(Send("GET"));
  Advance(absl::Seconds(5));
  ASSERT_TRUE(Send("POST"));
  EXPECT_EQ(server.Connections(), 2);
  EXPECT_TRUE(server.WaitForClientCloses(1));
}

TEST_F(HttpsClientTest, RequestsThatWaitTooLongAreGivenUpOneByOneInTheOrderSent) {
  RawServer server(NeverAnswer);
  MakePool(server, 1, /*queue_timeout=*/absl::Milliseconds(20));
  const std::vector<std::string> methods = {"POST", "GET", "GET", "POST", "POST", "GET"};
  std::vector<size_t> given_up;   // the loop's
  std::vector<int> left_waiting;  // the loop's, as each was given up
  net_test::Signal all_given_up;
  OnLoop([&] {
    pool_->Send(Request("POST"), [](HttpResult) {});  // has the only connection, for good
    for (size_t i = 0; i < methods.size(); ++i) {
      pool_->Send(Request(methods[i]), [&, i](HttpResult result) {
        const auto* failure = std::get_if<HttpFailure>(&result);
        ASSERT_TRUE(failure != nullptr);
        EXPECT_FALSE(failure->sent);
        given_up.push_back(i);
        left_waiting.push_back(pool_->Counts().waiting);
        if (given_up.size() == methods.size()) all_given_up.Set();
      });
    }
    EXPECT_EQ(pool_->Counts().waiting, static_cast<int>(methods.size()));
  });
  all_given_up.Wait();
  EXPECT_THAT(given_up, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(left_waiting, ElementsAre(5, 4, 3, 2, 1, 0));
}

}  // namespace
}  // namespace dreamgate::upstream
