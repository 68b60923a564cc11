#include "server/web/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/web/admin_test.h"
#include "tests/web/raw_client.h"

namespace dreamgate::web {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Get(const std::string& path, const std::string& headers = "") {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                      headers, "\r\n");
}

using AdminServerTest = AdminTest;

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

TEST_F(AdminServerTest, SlowConnectionsDoNotTakeThePlaceOfProbes) {
  HttpOptions options;
  options.max_connections = 4;
  options.timeout = absl::Minutes(5);  // nothing ends in time by itself
  const uint16_t port = Start(options);
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<RawClient>(port));
    ASSERT_TRUE(slow.back()->Send("GET /livez HTTP/1.1\r\nX-Slow: "));
    for (const auto& client : slow) client->Send("s");  // as long as they are let
    EXPECT_THAT(Exchange(port, Get("/livez")), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
}

}  // namespace
}  // namespace dreamgate::web
