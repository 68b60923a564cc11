#include "server/web/backup.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/web/admin_test.h"
#include "tests/web/raw_client.h"

namespace dreamgate::web {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// ------------------------------------------------------------------------------- who may have it

BackupRequester Requester(const std::string& peer, const std::string& host) {
  return {.peer = peer, .host = host};
}

TEST(WhyNoBackupTest, ThisMachineMayHaveItByAnyOfItsLoopbackNames) {
  for (const std::string peer : {"127.0.0.1", "127.0.0.6", "::1", "::ffff:127.0.0.1"}) {
    for (const std::string host : {"127.0.0.1:9090", "127.0.0.1", "localhost", "LocalHost:9090",
                                   "[::1]:9090", "[::1]", "[::ffff:127.0.0.1]:1"}) {
      EXPECT_EQ(WhyNoBackup(Requester(peer, host)), std::nullopt) << peer << " " << host;
    }
  }
}

TEST(WhyNoBackupTest, AnotherMachineMayNot) {
  for (const std::string peer : {"10.0.0.1", "192.168.1.7", "fe80::1", "::ffff:10.0.0.1",
                                 "2001:db8::7f00:1", "0.0.0.0", "::", "128.0.0.1", ""}) {
    EXPECT_THAT(WhyNoBackup(Requester(peer, "localhost")).value_or(""), HasSubstr("this machine"))
        << peer;
  }
}

TEST(WhyNoBackupTest, ANameThatDnsMadePointHereMayNot) {
  for (const std::string host : {"evil.example:9090",
                                 "evil.example",
                                 "localhost.evil.example",
                                 "127.0.0.1.evil.example",
                                 "127.0.0.1@evil.example",
                                 "evil.example:127.0.0.1",
                                 "localhost.",
                                 "dreamgate:9090",
                                 "10.0.0.1:9090",
                                 "0.0.0.0:9090",
                                 "[::]:9090",
                                 "[::1",
                                 "[::1]x",
                                 "[::1]:x",
                                 "localhost:",
                                 "localhost:x",
                                 "127.1",
                                 "2130706433",
                                 "0x7f000001",
                                 "",
                                 " ",
                                 "::1",
                                 "localhost, evil"}) {
    EXPECT_THAT(WhyNoBackup(Requester("127.0.0.1", host)).value_or(""), HasSubstr("Host")) << host;
  }
}

TEST(WhyNoBackupTest, BrowsersAndProxiesMayNot) {
  BackupRequester browser = Requester("127.0.0.1", "localhost");
  browser.browser = true;
  EXPECT_THAT(WhyNoBackup(browser).value_or(""), HasSubstr("browser"));
  BackupRequester proxy = Requester("127.0.0.1", "localhost");
  proxy.forwarded = true;
  EXPECT_THAT(WhyNoBackup(proxy).value_or(""), HasSubstr("proxy"));
}

// ---------------------------------------------------------------------------- over a real socket

std::string Post(const std::string& headers = "", const std::string& host = "localhost") {
  return absl::StrCat("POST /backup HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n", headers,
                      "\r\n");
}

std::string BodyOf(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

// An open file with this content, and its descriptor.
int FileOf(const std::string& content) {
  const int descriptor = memfd_create("copy", MFD_CLOEXEC);
  EXPECT_EQ(write(descriptor, content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  lseek(descriptor, 0, SEEK_SET);
  return descriptor;
}

int SparseFileOf(size_t bytes) {
  const int descriptor = memfd_create("copy", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(descriptor, static_cast<off_t>(bytes)), 0);
  return descriptor;
}

// Not loopback.
std::vector<std::string> OwnAddresses() {
  std::vector<std::string> addresses;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_LOOPBACK) != 0 || (entry->ifa_flags & IFF_UP) == 0) continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text,
              sizeof text);
    addresses.emplace_back(text);
  }
  freeifaddrs(all);
  return addresses;
}

class BackupTest : public AdminTest {
 protected:
  void Answer(Done done, absl::StatusOr<int> descriptor) {
    loop_.Post([done = std::move(done), descriptor = std::move(descriptor)]() mutable {
      if (!descriptor.ok()) return std::move(done)(descriptor.status());
      std::move(done)(BackupCopy::FromDescriptor(*descriptor));
    });
  }
};

TEST_F(BackupTest, TheCopyIsSentWholeAsAnAttachment) {
  std::string content;
  for (int i = 0; content.size() < 1'000'000; ++i) absl::StrAppend(&content, i, " ");
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Post()));
  Answer(TakeRequest(), FileOf(content));
  const std::string answer = client.ReadAll();
  EXPECT_THAT(answer.substr(0, 500),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                    HasSubstr("Content-Type: application/octet-stream\r\n"),
                    HasSubstr("Content-Disposition: attachment; filename="),
                    HasSubstr(absl::StrCat("Content-Length: ", content.size(), "\r\n")),
                    HasSubstr("Cache-Control: no-store\r\n")));
  EXPECT_TRUE(BodyOf(answer) == content);
}

TEST_F(BackupTest, AConnectionGoesOnAfterItsBackup) {
  RawClient client(Start());
  ASSERT_TRUE(client.Send("POST /backup HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n\r\n"));
  Answer(TakeRequest(), FileOf("the ledger"));
  EXPECT_THAT(client.ReadUntil("ledger"), StartsWith("HTTP/1.1 200 OK\r\n"));
  ASSERT_TRUE(client.Send("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(client.ReadAll(), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("ok\n")));
}

TEST_F(BackupTest, OnlyPostIsAllowed) {
  const uint16_t port = Start();
  for (const std::string method : {"GET", "HEAD", "PUT", "DELETE"}) {
    EXPECT_THAT(
        Exchange(port, absl::StrCat(method, " /backup HTTP/1.1\r\nHost: localhost\r\n",
                                    "Connection: close\r\n\r\n")),
        AllOf(StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"), HasSubstr("Allow: POST\r\n")));
  }
  EXPECT_EQ(asked(), 0);
}

TEST_F(BackupTest, WhoMayNotHaveItIsToldWhyInOneLine) {
  const uint16_t port = Start();
  for (const std::string& request :
       {Post("", "evil.example:9090"), Post("Host: evil.example\r\n"),
        std::string("POST /backup HTTP/1.0\r\n\r\n"), Post("Origin: http://evil.example\r\n"),
        Post("Origin: null\r\n"), Post("Sec-Fetch-Site: cross-site\r\n"),
        Post("X-Forwarded-For: 10.0.0.1\r\n"), Post("Forwarded: for=10.0.0.1\r\n"),
        Post("Via: 1.1 proxy\r\n")}) {
    const std::string answer = Exchange(port, request);
    EXPECT_THAT(answer, HasSubstr(" 403 Forbidden\r\n")) << request;
    EXPECT_THAT(BodyOf(answer), AllOf(EndsWith("\n"), StartsWith("a backup"))) << request;
  }
  EXPECT_EQ(asked(), 0);
}

TEST_F(BackupTest, APeerThatIsNotLoopbackIsRefused) {
  // The only way to be such a peer without another machine; elsewhere WhyNoBackupTest stands alone.
  for (const std::string& address : OwnAddresses()) {
    net::Loop loop;
    loop.Start();
    HttpOptions options;
    options.host = address;
    AdminPages pages;
    pages.backup = [](Done) { ADD_FAILURE() << "asked for"; };
    const auto server = StartAdminServer(loop, options, std::move(pages));
    ASSERT_TRUE(server.ok()) << server.status();
    EXPECT_THAT(Exchange((*server)->port(), Post(), address),
                AllOf(StartsWith("HTTP/1.1 403 Forbidden\r\n"), HasSubstr("this machine")));
  }
}

TEST_F(BackupTest, LedgerTroubleIsServiceUnavailableWithItsLine) {
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Post()));
  Answer(TakeRequest(), absl::UnavailableError("the disk is full"));
  EXPECT_THAT(client.ReadAll(), AllOf(StartsWith("HTTP/1.1 503 Service Unavailable\r\n"),
                                      EndsWith("\r\n\r\nthe disk is full\n")));
}

TEST_F(BackupTest, ASecondAtATimeIsRefusedWhileTheFirstIsMadeOrSent) {
  const uint16_t port = Start();
  RawClient first(port);
  ASSERT_TRUE(first.Send(Post()));
  Done done = TakeRequest();
  const auto refused = AllOf(StartsWith("HTTP/1.1 409 Conflict\r\n"), EndsWith("has ended\n"));
  EXPECT_THAT(Exchange(port, Post()), refused);
  Answer(std::move(done), SparseFileOf(256 << 20));
  EXPECT_THAT(first.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(Exchange(port, Post()), refused);
  EXPECT_THAT(Exchange(port, "GET /livez HTTP/1.0\r\n\r\n"), HasSubstr(" 200 OK\r\n"));
  EXPECT_EQ(asked(), 1);
}

TEST_F(BackupTest, ASlowClientHoldsAPieceInMemoryAndNotTheFile) {
  constexpr off_t kSize = 256 << 20;
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Post()));
  const int descriptor = SparseFileOf(kSize);
  const int same = dup(descriptor);  // shares the position
  Answer(TakeRequest(), descriptor);
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr(absl::StrCat("Content-Length: ", kSize)));
  // The rest of the queue: what came after the reads that the header's arrival has seen begin.
  EXPECT_THAT(Exchange(server_->port(), "GET /livez HTTP/1.0\r\n\r\n"), HasSubstr(" 200 OK\r\n"));
  EXPECT_LT(lseek(same, 0, SEEK_CUR), kSize / 4);
  close(same);
}

TEST_F(BackupTest, AClientThatLeavesInTheMiddleMakesRoomForTheNext) {
  const uint16_t port = Start();
  {
    RawClient leaving(port);
    ASSERT_TRUE(leaving.Send(Post()));
    Answer(TakeRequest(), SparseFileOf(256 << 20));
    EXPECT_THAT(leaving.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  // Once the server has noticed.
  std::optional<RawClient> next;
  for (int tries = 0; tries < 10'000 && asked() < 2; ++tries) {
    next.emplace(port);
    ASSERT_TRUE(
        next->Send("POST /backup HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\n"
                   "Connection: close\r\n\r\n"));
    if (asked() == 2) break;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(5), [this] { return asked_ == 2; });
  }
  ASSERT_EQ(asked(), 2);
  Answer(TakeRequest(), FileOf("the second"));
  EXPECT_THAT(next->ReadUntil("the second"), HasSubstr("200 OK\r\n"));
}

TEST_F(BackupTest, AClientThatLeavesBeforeTheCopyIsMadeMakesRoomForTheNext) {
  const uint16_t port = Start();
  Done done;
  {
    RawClient leaving(port);
    ASSERT_TRUE(leaving.Send(Post()));
    done = TakeRequest();
  }
  Answer(std::move(done), SparseFileOf(256 << 20));
  std::string answer;
  for (int tries = 0; tries < 10'000 && asked() < 2; ++tries) {
    RawClient next(port);
    ASSERT_TRUE(next.Send(Post()));
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(5), [this] { return asked_ == 2; });
  }
  EXPECT_EQ(asked(), 2);
}

TEST_F(BackupTest, AFileThatEndsEarlyClosesTheConnectionBeforeTheAnnouncedLength) {
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Post()));
  const int descriptor = SparseFileOf(64 << 20);
  const int same = dup(descriptor);
  Answer(TakeRequest(), descriptor);
  std::string answer = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 67108864\r\n"));
  EXPECT_EQ(ftruncate(same, 0), 0);
  answer += client.ReadAll();
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_LT(BodyOf(answer).size(), 64u << 20);
  close(same);
}

TEST_F(BackupTest, TheServerMayGoWhileACopyIsMade) {
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Post()));
  Done done = TakeRequest();
  server_.reset();
  Answer(std::move(done), FileOf("too late"));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(BackupTest, WithoutAnybodyWhoMakesCopiesThereIsNoSuchPage) {
  net::Loop loop;
  loop.Start();
  const auto server = StartAdminServer(loop, {}, AdminPages());
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(Exchange((*server)->port(), Post()), StartsWith("HTTP/1.1 404 Not Found\r\n"));
}

}  // namespace
}  // namespace dreamgate::web
