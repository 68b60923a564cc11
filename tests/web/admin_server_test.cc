#include "server/web/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/web/raw_client.h"

namespace dreamgate::web {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Get(const std::string& path, const std::string& headers = "") {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                      headers, "\r\n");
}

class AdminServerTest : public ::testing::Test {
 protected:
  ~AdminServerTest() override {
    server_.reset();
    loop_.Stop();
  }

  uint16_t Start(AdminOptions options = {}) {
    options.port = 0;
    AdminPages pages;
    pages.readiness = [this] {
      return ready_ ? Readiness{true, "serving"} : Readiness{false, "draining"};
    };
    pages.metrics = [] { return std::string("dreamgate_streams 3\n"); };
    pages.status = [] {
      StatusReport report;
      report.build = {{"version", "1.2.3"}};
      return report;
    };
    loop_.Start();
    auto server = AdminServer::Start(loop_, options, std::move(pages));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return server_->port();
  }

  std::atomic<bool> ready_{true};
  net::Loop loop_;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, LivezIsOkWhileTheLoopRuns) {
  const std::string answer = Exchange(Start(), Get("/livez"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nok\n"));
}

TEST_F(AdminServerTest, ReadyzSaysWhetherAndWhy) {
  const uint16_t port = Start();
  EXPECT_THAT(Exchange(port, Get("/readyz")), StartsWith("HTTP/1.1 200 OK\r\n"));
  ready_ = false;
  const std::string answer = Exchange(port, Get("/readyz"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\ndraining\n"));
}

TEST_F(AdminServerTest, MetricsComeInPrometheusTextFormat) {
  const std::string answer = Exchange(Start(), Get("/metrics"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\ndreamgate_streams 3\n"));
}

TEST_F(AdminServerTest, StatuszIsJsonForToolsAndAPageForBrowsers) {
  const uint16_t port = Start();
  const std::string json = Exchange(port, Get("/statusz"));
  EXPECT_THAT(json, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(json, HasSubstr("\"version\":\"1.2.3\""));
  const std::string html =
      Exchange(port, Get("/statusz", "Accept: application/xml;q=0.9,Text/HTML\r\n"));
  EXPECT_THAT(html, HasSubstr("Content-Type: text/html; charset=utf-8\r\n"));
  EXPECT_THAT(html, HasSubstr("<td>1.2.3</td>"));
}

TEST_F(AdminServerTest, AQueryIsNoPartOfThePath) {
  EXPECT_THAT(Exchange(Start(), Get("/livez?verbose=1")), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(AdminServerTest, AnUnknownPathIsNotFound) {
  const std::string answer = Exchange(Start(), Get("/nowhere"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(answer, HasSubstr("/metrics"));
}

TEST_F(AdminServerTest, OtherMethodsAreNotAllowed) {
  const std::string answer =
      Exchange(Start(), "POST /livez HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST_F(AdminServerTest, HeadHasTheLengthButNoBody) {
  const std::string answer = Exchange(Start(), "HEAD /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(AdminServerTest, AConnectionServesManyRequests) {
  const uint16_t port = Start();
  RawClient client(port);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\n\r\n"));
    EXPECT_THAT(client.ReadUntil("ok\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.0\r\n\r\n"));
  const std::string pipelined = client.ReadAll();
  EXPECT_THAT(pipelined, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(pipelined, HasSubstr("404 Not Found\r\n"));
}

TEST_F(AdminServerTest, WhatIsNotHttpIsABadRequest) {
  const uint16_t port = Start();
  EXPECT_THAT(Exchange(port, "\x16\x03\x01 hello\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Exchange(port, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(
      Exchange(port, "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
      StartsWith("HTTP/1.1 400 "));
}

TEST_F(AdminServerTest, AnOversizeHeaderIsRefused) {
  const uint16_t port = Start();
  const std::string large(9'000, 'a');
  EXPECT_THAT(Exchange(port, Get("/livez", absl::StrCat("X-Large: ", large, "\r\n"))),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange(port, Get(absl::StrCat("/", large))), StartsWith("HTTP/1.1 431 "));
}

TEST_F(AdminServerTest, AnOversizeBodyIsRefused) {
  const uint16_t port = Start();
  EXPECT_THAT(Exchange(port, "GET /livez HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  const std::string chunk = absl::StrCat("800\r\n", std::string(0x800, 'b'), "\r\n");
  EXPECT_THAT(
      Exchange(port,
               absl::StrCat("GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)),
      StartsWith("HTTP/1.1 413 "));
}

TEST_F(AdminServerTest, AnEndlessChunkExtensionIsRefused) {
  const std::string answer =
      Exchange(Start(), absl::StrCat("GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                                     std::string(20'000, 'x')));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 4"));
}

TEST_F(AdminServerTest, TransferEncodingsOtherThanChunkedAreRefused) {
  const uint16_t port = Start();
  for (const std::string encoding : {"gzip", "identity", "chunked, gzip"}) {
    EXPECT_THAT(
        Exchange(port, Get("/livez", absl::StrCat("Transfer-Encoding: ", encoding, "\r\n"))),
        Not(StartsWith("HTTP/1.1 200")))
        << encoding;
  }
  EXPECT_THAT(
      Exchange(port, absl::StrCat(Get("/livez", "Transfer-Encoding: chunked\r\n"), "0\r\n\r\n")),
      StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(AdminServerTest, ASlowClientIsClosed) {
  AdminOptions options;
  options.timeout = absl::Milliseconds(50);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send("GET /livez HT"));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(AdminServerTest, AnIdleConnectionIsClosed) {
  AdminOptions options;
  options.timeout = absl::Milliseconds(500);
  RawClient client(Start(options));
  ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadAll(), EndsWith("ok\n"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(AdminServerTest, ConnectionsAboveTheCapAreRefusedUntilOneEnds) {
  AdminOptions options;
  options.max_connections = 2;
  const uint16_t port = Start(options);
  auto first = std::make_unique<RawClient>(port);
  RawClient second(port);
  for (RawClient* client : {first.get(), &second}) {
    ASSERT_TRUE(client->Send("GET /livez HTTP/1.1\r\n\r\n"));
    EXPECT_THAT(client->ReadUntil("ok\n"), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_THAT(RawClient(port).ReadAll(), StartsWith("HTTP/1.1 503"));

  first.reset();
  std::string answer;
  for (int tries = 0; tries < 10'000 && !absl::StartsWith(answer, "HTTP/1.1 200"); ++tries) {
    answer = Exchange(port, Get("/livez"));
  }
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminServerTest, APortInUseIsAnError) {
  AdminOptions options;
  options.port = Start();
  const auto second = AdminServer::Start(loop_, options, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << second.status();
}

TEST_F(AdminServerTest, AnAddressThatIsNoneIsAnError) {
  AdminOptions options;
  options.host = "no.such.address";
  const auto server = AdminServer::Start(loop_, options, {});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << server.status();
}

TEST_F(AdminServerTest, DestroyingTheServerClosesItsConnections) {
  const uint16_t port = Start();
  RawClient client(port);
  ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadUntil("ok\n"), EndsWith("ok\n"));
  server_.reset();
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_FALSE(RawClient(port).connected());
}

TEST_F(AdminServerTest, TheLoopMayStopFirst) {
  const uint16_t port = Start();
  RawClient client(port);
  ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(client.ReadUntil("ok\n"), EndsWith("ok\n"));
  loop_.Stop();
  server_.reset();
}

}  // namespace
}  // namespace dreamgate::web
