#include "client/cli/download.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <thread>

#include "tests/client/raw_http_server.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class DownloadTest : public testing::Test {
 protected:
  DownloadResult Fetch(const std::string& url, DownloadOptions options = {}) {
    options.first_pause = 1ms;
    return Download(url, folder_.File("v.mp4"), options);
  }

  // The transfer failed with `error` in its words, and left nothing behind.
  void ExpectFailed(const DownloadResult& result, const std::string& error) {
    EXPECT_FALSE(result.ok);
    EXPECT_THAT(result.error, HasSubstr(error));
    EXPECT_THAT(folder_.Names(), IsEmpty());
  }

  const std::string video_ = std::string(200'000, 'v') + "the end";
  fakes::TemporaryFolder folder_;
  RawHttpServer server_;
};

// The first `count` bytes of `body` under a header that promises all of it.
std::string Truncated(const std::string& body, size_t count, const std::string& headers = "") {
  const std::string whole = OkAnswer(body, headers);
  return whole.substr(0, whole.size() - body.size() + count);
}

std::string Part(const std::string& body, size_t first) {
  const std::string rest = body.substr(first);
  return "HTTP/1.1 206 Partial Content\r\nContent-Length: " + std::to_string(rest.size()) +
         "\r\nContent-Range: bytes " + std::to_string(first) + "-" +
         std::to_string(body.size() - 1) + "/" + std::to_string(body.size()) + "\r\n\r\n" + rest;
}

TEST_F(DownloadTest, AVideoIsStoredWholeAndReportsItsProgress) {
  server_.Then(OkAnswer(video_));
  uint64_t received = 0;
  std::optional<uint64_t> total;
  const DownloadResult result =
      Fetch(server_.Url("/v?sig=1"), {.on_progress = [&](auto now, auto all) {
              EXPECT_GT(now, received);
              received = now;
              total = all;
            }});
  EXPECT_TRUE(result.ok) << result.error;
  EXPECT_EQ(result.bytes, video_.size());
  EXPECT_EQ(received, video_.size());
  EXPECT_EQ(total, video_.size());
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
  EXPECT_THAT(folder_.Names(), ElementsAre("v.mp4"));
  EXPECT_THAT(server_.requests().at(0), HasSubstr("GET /v?sig=1 HTTP/1.1\r\n"));
}

TEST_F(DownloadTest, NoCredentialsAreSent) {
  server_.Then(OkAnswer(video_));
  Fetch(server_.Url("/v"));
  EXPECT_THAT(server_.requests().at(0), Not(HasSubstr("uthorization")));
  EXPECT_THAT(server_.requests().at(0), Not(HasSubstr("ookie")));
}

TEST_F(DownloadTest, AChunkedBodyIsReadToItsEnd) {
  server_.Then(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), "abcde");
}

TEST_F(DownloadTest, AnInterimAnswerIsSkipped) {
  server_.Then("HTTP/1.1 100 Continue\r\n\r\n" + OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
}

TEST_F(DownloadTest, ABrokenTransferIsResumedWhereItBroke) {
  server_.Then(Truncated(video_, 100'000, "ETag: \"e1\"\r\n"));
  server_.Then(Part(video_, 100'000));
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
  ASSERT_EQ(server_.requests().size(), 2u);
  EXPECT_THAT(server_.requests()[1], HasSubstr("Range: bytes=100000-\r\n"));
  EXPECT_THAT(server_.requests()[1], HasSubstr("If-Range: \"e1\"\r\n"));
}

TEST_F(DownloadTest, AServerWithoutRangesSendsItAllAgain) {
  server_.Then(Truncated(video_, 100'000));
  server_.Then(OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
}

TEST_F(DownloadTest, APartOfAnotherFileIsNotAppended) {
  server_.Then(Truncated(video_, 100'000));
  server_.Then(Part(video_ + "longer", 100'000));
  server_.Then(OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
}

TEST_F(DownloadTest, ATransferThatBreaksAgainAndAgainFailsAfterThreeRetries) {
  server_.Then(Truncated(video_, 10));
  ExpectFailed(Fetch(server_.Url("/v")), "broke off");
  EXPECT_EQ(server_.requests().size(), 4u);
}

TEST_F(DownloadTest, AServerInTroubleIsAskedAgain) {
  server_.Then("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  server_.Then(OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/v")).ok);
}

TEST_F(DownloadTest, ARefusalIsFinal) {
  server_.Then("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  ExpectFailed(Fetch(server_.Url("/v")), "404");
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(DownloadTest, AnEmptyFileIsNoVideo) {
  server_.Then(OkAnswer(""));
  ExpectFailed(Fetch(server_.Url("/v")), "empty");
}

TEST_F(DownloadTest, AHostThatCannotBeReachedFails) {
  ExpectFailed(Fetch("http://127.0.0.1:1/v"), "cannot connect to 127.0.0.1:1");
}

TEST_F(DownloadTest, AMalformedAddressFailsAtOnce) {
  ExpectFailed(Fetch("file:///etc/passwd"), "not an http");
}

TEST_F(DownloadTest, ASilentServerIsGivenUp) {
  server_.ThenHold(Truncated(video_, 10));
  ExpectFailed(Fetch(server_.Url("/v"), {.max_retries = 0, .inactivity_timeout = 1s}),
               "nothing arrived for too long");
}

TEST_F(DownloadTest, RedirectsAreFollowed) {
  RawHttpServer other;
  server_.Then(RedirectTo("/second"));
  server_.Then(RedirectTo(other.Url("/third")));
  other.Then(OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/first")).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
  EXPECT_THAT(other.requests().at(0), HasSubstr("GET /third"));
}

TEST_F(DownloadTest, FiveRedirectsAreTheLimit) {
  server_.Then(RedirectTo("/again"));
  ExpectFailed(Fetch(server_.Url("/v")), "redirected too often");
  EXPECT_EQ(server_.requests().size(), 6u);
}

TEST_F(DownloadTest, AnExistingFileIsNotOverwritten) {
  folder_.Write("v.mp4", "old");
  server_.Then(OkAnswer(video_));
  const DownloadResult result = Fetch(server_.Url("/v"));
  EXPECT_FALSE(result.ok);
  EXPECT_THAT(result.error, HasSubstr("exists"));
  EXPECT_EQ(folder_.Read("v.mp4"), "old");
  EXPECT_THAT(folder_.Names(), ElementsAre("v.mp4"));
}

TEST_F(DownloadTest, AnExistingFileIsOverwrittenIfAskedFor) {
  folder_.Write("v.mp4", "old");
  server_.Then(OkAnswer(video_));
  EXPECT_TRUE(Fetch(server_.Url("/v"), {.overwrite = true}).ok);
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
}

TEST_F(DownloadTest, AStopEndsATransferAndLeavesNothingBehind) {
  server_.ThenHold(Truncated(video_, 100'000));
  std::stop_source stop;
  const DownloadResult result =
      Fetch(server_.Url("/v"), {.stop = stop.get_token(), .on_progress = [&](auto now, auto) {
                                  if (now == 100'000) stop.request_stop();
                                }});
  EXPECT_TRUE(result.interrupted);
  ExpectFailed(result, "interrupted");
}

TEST_F(DownloadTest, AStopFromAnotherThreadEndsAWaitForTheServer) {
  server_.ThenHold("");
  std::stop_source stop;
  std::thread stopper([&] {
    while (server_.requests().empty()) std::this_thread::yield();
    stop.request_stop();
  });
  EXPECT_TRUE(Fetch(server_.Url("/v"), {.stop = stop.get_token()}).interrupted);
  stopper.join();
}

class SecureDownloadTest : public DownloadTest {
 protected:
  void Trust() { setenv("SSL_CERT_FILE", certificate_.file().c_str(), 1); }
  ~SecureDownloadTest() override { unsetenv("SSL_CERT_FILE"); }

  TestCertificate certificate_;
  RawHttpServer secure_server_{&certificate_};
};

TEST_F(SecureDownloadTest, AVideoIsFetchedOverTls) {
  Trust();
  secure_server_.Then(OkAnswer(video_));
  const DownloadResult result = Fetch(secure_server_.Url("/v", "localhost"));
  EXPECT_TRUE(result.ok) << result.error;
  EXPECT_EQ(folder_.Read("v.mp4"), video_);
}

TEST_F(SecureDownloadTest, ACertificateThatIsNotTrustedIsRefused) {
  secure_server_.Then(OkAnswer(video_));
  ExpectFailed(Fetch(secure_server_.Url("/v", "localhost")), "cannot be trusted");
  EXPECT_THAT(secure_server_.requests(), IsEmpty());
}

TEST_F(SecureDownloadTest, ATrustedCertificateForAnotherHostIsRefused) {
  Trust();
  secure_server_.Then(OkAnswer(video_));
  ExpectFailed(Fetch(secure_server_.Url("/v", "127.0.0.1")), "made out to another host");
  EXPECT_THAT(secure_server_.requests(), IsEmpty());
}

TEST_F(SecureDownloadTest, ARedirectFromHttpsToHttpIsRefused) {
  Trust();
  secure_server_.Then(RedirectTo(server_.Url("/v")));
  server_.Then(OkAnswer(video_));
  ExpectFailed(Fetch(secure_server_.Url("/v", "localhost")), "from https to http");
  EXPECT_THAT(server_.requests(), IsEmpty());
}

}  // namespace
}  // namespace dreamgate::client
