// The server over real sockets, below a service that says ok at once, or when the test says so.
#include "server/web/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/web/raw_client.h"

namespace dreamgate::web {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kPartOfARequest[] = "GET / HTTP/1.1\r\nX-Slow: ";

std::string Get(const std::string& path, const std::string& headers = "") {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                      headers, "\r\n");
}

class HttpServerTest : public ::testing::Test {
 protected:
  ~HttpServerTest() override {
    server_.reset();
    loop_.Stop();
  }

  uint16_t Start(HttpOptions options = {}) {
    loop_.Start();
    auto server = HttpServer::Start(loop_, std::move(options), std::make_unique<Service>(*this));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return server_->port();
  }

  // Waits until so many requests of /later are there.
  void WaitForHeld(size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(30), [&] { return held_.size() >= count; }));
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    loop_.Post([held = std::exchange(held_, {})]() mutable {
      for (HttpReply& reply : held) std::move(reply).Send(TextResponse(200, "ok"));
    });
  }
  void Forget() {
    const std::lock_guard lock(mutex_);
    loop_.Post([held = std::exchange(held_, {})] {});
  }
  bool WaitForRefusal(absl::Duration most) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoMilliseconds(most),
                             [this] { return !refusals_.empty(); });
  }
  std::vector<HttpRefusal> Refusals() {
    const std::lock_guard lock(mutex_);
    return refusals_;
  }

  net::Loop loop_;
  std::unique_ptr<HttpServer> server_;

 private:
  class Service : public HttpService {
   public:
    explicit Service(HttpServerTest& test) : test_(test) {}
    void Handle(HttpRequest request, HttpReply reply) override {
      if (request.target != "/later") return std::move(reply).Send(TextResponse(200, "ok"));
      const std::lock_guard lock(test_.mutex_);
      test_.held_.push_back(std::move(reply));
      test_.changed_.notify_all();
    }
    void OnRefused(HttpRefusal why) override {
      const std::lock_guard lock(test_.mutex_);
      test_.refusals_.push_back(why);
      test_.changed_.notify_all();
    }

   private:
    HttpServerTest& test_;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<HttpReply> held_;
  std::vector<HttpRefusal> refusals_;
};

TEST_F(HttpServerTest, WhatIsNotHttpIsABadRequest) {
  const uint16_t port = Start();
  EXPECT_THAT(Exchange(port, "\x16\x03\x01 hello\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Exchange(port, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(
      Exchange(port, "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
      StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, AnOversizeHeaderIsRefused) {
  const uint16_t port = Start();
  const std::string large(9'000, 'a');
  EXPECT_THAT(Exchange(port, Get("/", absl::StrCat("X-Large: ", large, "\r\n"))),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange(port, Get(absl::StrCat("/", large))), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpServerTest, AnOversizeBodyIsRefused) {
  const uint16_t port = Start();
  EXPECT_THAT(Exchange(port, "GET / HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  const std::string chunk = absl::StrCat("800\r\n", std::string(0x800, 'b'), "\r\n");
  EXPECT_THAT(
      Exchange(port, absl::StrCat("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)),
      StartsWith("HTTP/1.1 413 "));
}

TEST_F(HttpServerTest, AnEndlessChunkExtensionIsRefused) {
  const std::string answer =
      Exchange(Start(), absl::StrCat("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                                     std::string(20'000, 'x')));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 4"));
}

TEST_F(HttpServerTest, TransferEncodingsOtherThanChunkedAreRefused) {
  const uint16_t port = Start();
  for (const std::string encoding : {"gzip", "identity", "chunked, gzip"}) {
    EXPECT_THAT(Exchange(port, Get("/", absl::StrCat("Transfer-Encoding: ", encoding, "\r\n"))),
                Not(StartsWith("HTTP/1.1 200")))
        << encoding;
  }
  EXPECT_THAT(Exchange(port, absl::StrCat(Get("/", "Transfer-Encoding: chunked\r\n"), "0\r\n\r\n")),
              StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, ASlowClientIsClosed) {
  HttpOptions options;
  options.timeout = absl::Milliseconds(50);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send("GET / HT"));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  HttpOptions options;
  options.timeout = absl::Milliseconds(500);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadAll(), EndsWith("ok\n"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpServerTest, BytesThatDripDoNotMoveTheDeadline) {
  HttpOptions options;
  options.timeout = absl::Milliseconds(500);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send(kPartOfARequest));
  const absl::Time start = absl::Now();
  while (!WaitForRefusal(absl::Milliseconds(1)) && absl::Now() < start + absl::Seconds(6)) {
    client.Send("s");
  }
  EXPECT_THAT(Refusals(), ElementsAre(HttpRefusal::kIncomplete));
}

// ------------------------------------------------------------------------------- too many connections

TEST_F(HttpServerTest, WhoHasKeptItsRequestLongestMakesRoomForANewcomer) {
  HttpOptions options;
  options.max_connections = 2;
  const uint16_t port = Start(options);
  RawClient idle(port);
  ASSERT_TRUE(idle.Send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(idle.ReadUntil("ok\n"), StartsWith("HTTP/1.1 200"));
  RawClient slow(port);
  ASSERT_TRUE(slow.Send(kPartOfARequest));
  EXPECT_THAT(Exchange(port, Get("/")), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_TRUE(idle.closed_by_server());
  ASSERT_TRUE(slow.Send("\r\n\r\n"));  // there was room for it beside the newcomer
  EXPECT_THAT(slow.ReadUntil("ok\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Refusals(), ElementsAre(HttpRefusal::kBusy));
}

TEST_F(HttpServerTest, WhoIsAnsweredIsNeverClosedForOthers) {
  HttpOptions options;
  options.max_connections = 2;
  const uint16_t port = Start(options);
  RawClient first(port);
  RawClient second(port);
  for (RawClient* client : {&first, &second}) {
    ASSERT_TRUE(client->Send("GET /later HTTP/1.1\r\n\r\n"));
  }
  WaitForHeld(2);
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(RawClient(port).ReadAll(), StartsWith("HTTP/1.1 503"));
  }
  Release();
  for (RawClient* client : {&first, &second}) {
    EXPECT_THAT(client->ReadUntil("ok\n"), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_THAT(Exchange(port, Get("/")), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, TheRefusedThatDoNotLeaveAreClosedWhenThereAreTooMany) {
  HttpOptions options;
  options.max_connections = 2;
  const uint16_t port = Start(options);
  RawClient first(port);
  RawClient second(port);
  for (RawClient* client : {&first, &second}) ASSERT_TRUE(client->Send(Get("/later")));
  WaitForHeld(2);
  std::vector<std::unique_ptr<RawClient>> refused;
  for (int i = 0; i < 5; ++i) {
    refused.push_back(std::make_unique<RawClient>(port));
    EXPECT_THAT(refused.back()->ReadAll(), StartsWith("HTTP/1.1 503"));
  }
  int sent = 0;
  while (sent < 10'000 && refused.front()->Send("x")) ++sent;
  EXPECT_LT(sent, 10'000) << "somebody reads it";
}

TEST_F(HttpServerTest, ClientsThatLingerWithTheirRefusalAreInNobodysWay) {
  HttpOptions options;
  options.max_connections = 2;
  const uint16_t port = Start(options);
  std::vector<std::unique_ptr<RawClient>> refused;
  for (int i = 0; i < 5; ++i) {
    refused.push_back(std::make_unique<RawClient>(port));
    ASSERT_TRUE(refused.back()->Send("nonsense\r\n\r\n"));
    EXPECT_THAT(refused.back()->ReadAll(), StartsWith("HTTP/1.1 400"));
  }
  EXPECT_THAT(Exchange(port, Get("/")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Refusals(), Not(Contains(HttpRefusal::kBusy)));
}

// ----------------------------------------------------------------------------------------- the answer

TEST_F(HttpServerTest, AnAnswerThatComesTooLateIsNotSent) {
  HttpOptions options;
  options.answer_timeout = absl::Milliseconds(50);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send("GET /later HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 503"));
  Release();
  EXPECT_THAT(Exchange(server_->port(), Get("/")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Refusals(), ElementsAre(HttpRefusal::kUnanswered));
}

TEST_F(HttpServerTest, ARequestThatIsForgottenClosesItsConnection) {
  RawClient client(Start());
  ASSERT_TRUE(client.Send("GET /later HTTP/1.1\r\n\r\n"));
  WaitForHeld(1);
  Forget();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpServerTest, AnExpectationNobodyMeetsIsRefused) {
  EXPECT_THAT(Exchange(Start(), Get("/", "Expect: a-miracle\r\n")), StartsWith("HTTP/1.1 417"));
}

// ----------------------------------------------------------------------------- beginnings and ends

TEST_F(HttpServerTest, APortInUseIsAnError) {
  HttpOptions options;
  options.port = Start();
  const auto second = HttpServer::Start(loop_, options, nullptr);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << second.status();
}

TEST_F(HttpServerTest, AnAddressThatIsNoneIsAnError) {
  HttpOptions options;
  options.host = "no.such.address";
  const auto server = HttpServer::Start(loop_, options, nullptr);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << server.status();
}

TEST_F(HttpServerTest, DestroyingTheServerClosesItsConnections) {
  const uint16_t port = Start();
  RawClient client(port);
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadUntil("ok\n"), EndsWith("ok\n"));
  server_.reset();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_FALSE(RawClient(port).connected());
}

TEST_F(HttpServerTest, TheLoopMayStopFirst) {
  const uint16_t port = Start();
  RawClient client(port);
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadUntil("ok\n"), EndsWith("ok\n"));
  loop_.Stop();
  server_.reset();
}

}  // namespace
}  // namespace dreamgate::web
