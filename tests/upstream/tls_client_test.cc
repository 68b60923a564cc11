// The client over TLS: whom it trusts, and that a failed handshake means "not sent".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/net/raw_server.h"
#include "tests/net/test_certificates.h"
#include "tests/upstream/client_fixture.h"

namespace dreamgate::upstream {
namespace {

using net_test::RawPeer;
using net_test::RawServer;
using net_test::TestCertificates;
using ::testing::HasSubstr;

class TlsClientTest : public ClientTest {
 protected:
  static RawServer::Tls With(const TestCertificates& certificates) {
    return {certificates.chain_file(), certificates.key_file()};
  }
  static WaveSpeedOptions Trusting(const TestCertificates& certificates) {
    return {.ca_file = certificates.ca_file()};
  }
};

TEST_F(TlsClientTest, SpeaksToATrustedServerByNameSendingSniAndReusesTheConnection) {
  const TestCertificates certificates("DNS:api.test");
  RawServer server(AnswerEverything, With(certificates));
  SetName("api.test", {"127.0.0.1"});
  MakeClient(absl::StrCat("https://api.test:", server.port()), Trusting(certificates));
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_TRUE(Observed(Get()));
  EXPECT_EQ(server.LastServerName(), "api.test");
  EXPECT_EQ(server.Connections(), 1);
}

TEST_F(TlsClientTest, SendsNoSniForAnAddressButChecksIt) {
  const TestCertificates certificates("IP:127.0.0.1");
  RawServer server(AnswerEverything, With(certificates));
  MakeClient(server.Url(), Trusting(certificates));
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_EQ(server.LastServerName(), "");
}

TEST_F(TlsClientTest, SendsNothingToAServerWithATrustedCertificateForAnotherName) {
  const TestCertificates certificates("DNS:other.test");
  RawServer server(AnswerEverything, With(certificates));
  SetName("api.test", {"127.0.0.1"});
  MakeClient(absl::StrCat("https://api.test:", server.port()), Trusting(certificates));
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("certificate verify failed"));
  EXPECT_TRUE(server.Requests().empty());
}

TEST_F(TlsClientTest, SendsNothingToAServerOfAnUntrustedAuthority) {
  const TestCertificates certificates("IP:127.0.0.1");
  const TestCertificates others("IP:127.0.0.1");
  RawServer server(AnswerEverything, With(certificates));
  MakeClient(server.Url(), Trusting(others));
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("certificate"));
  EXPECT_TRUE(server.Requests().empty());
}

TEST_F(TlsClientTest, SendsNothingToAServerThatDoesNotSpeakTls) {
  const TestCertificates certificates("IP:127.0.0.1");
  RawServer server([](RawPeer& peer) {
    peer.ReadSome();
    peer.Write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    peer.WaitForEnd();
  });
  MakeClient(absl::StrCat("https://127.0.0.1:", server.port()), Trusting(certificates));
  EXPECT_TRUE(NotSent(Create()));
}

TEST_F(TlsClientTest, GivesUpAHandshakeThatHangs) {
  const TestCertificates certificates("IP:127.0.0.1");
  RawServer server([](RawPeer& peer) { peer.WaitForEnd(); });
  WaveSpeedOptions options = Trusting(certificates);
  options.tls_timeout = absl::Milliseconds(50);
  MakeClient(absl::StrCat("https://127.0.0.1:", server.port()), options);
  const auto outcome = Create();
  EXPECT_TRUE(NotSent(outcome));
  EXPECT_THAT(MessageOf(outcome), HasSubstr("TLS handshake"));
  EXPECT_TRUE(server.WaitForClientCloses(1));
}

TEST_F(TlsClientTest, LeavesAPostUnknownWhenTheServerEndsWithoutAnAnswer) {
  const TestCertificates certificates("IP:127.0.0.1");
  RawServer server([](RawPeer& peer) { peer.ReadRequest(); }, With(certificates));
  MakeClient(server.Url(), Trusting(certificates));
  EXPECT_TRUE(Unknown(Create()));
  EXPECT_EQ(server.Count("POST "), 1);
}

TEST_F(TlsClientTest, DoesNotBelieveABodyWhoseEndAnAttackerCouldHaveSet) {
  // Without a length only the orderly end of TLS tells that the body is whole.
  const TestCertificates certificates("IP:127.0.0.1");
  RawServer server(
      [](RawPeer& peer) {
        peer.ReadRequest();
        peer.Write(absl::StrCat("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", kTaskJson));
        if (peer.number() == 0) peer.Close();  // with close_notify
      },
      With(certificates));
  MakeClient(server.Url(), Trusting(certificates));
  EXPECT_TRUE(Accepted(Create()));
  EXPECT_TRUE(Unknown(Create()));
}

TEST_F(TlsClientTest, LetsGoOfAnIdleConnectionAsSoonAsTheServerEndsIt) {
  const TestCertificates certificates("IP:127.0.0.1");
  net_test::Signal may_close;
  RawServer server(
      [&may_close](RawPeer& peer) {
        peer.ReadRequest();
        peer.Answer(kTaskJson);
        may_close.Wait();
        peer.Close();
      },
      With(certificates));
  MakeClient(server.Url(), Trusting(certificates));
  ASSERT_TRUE(Observed(Get()));
  EXPECT_EQ(Health().idle_connections, 1);
  may_close.Set();
  EXPECT_TRUE(WaitForHealth([](const UpstreamHealth& h) { return h.open_connections == 0; }));
}

}  // namespace
}  // namespace dreamgate::upstream
