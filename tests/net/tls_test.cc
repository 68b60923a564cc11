#include "server/net/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/net/test_certificates.h"

namespace dreamgate::net {
namespace {

using ::testing::HasSubstr;

TEST(TlsTest, TrustsTheSystemByDefaultAndAGivenFileOtherwise) {
  const net_test::TestCertificates certificates("DNS:localhost");
  EXPECT_TRUE(MakeClientTls("").ok());
  EXPECT_TRUE(MakeClientTls(certificates.ca_file()).ok());
}

TEST(TlsTest, NamesAnAuthorityFileThatCannotBeUsed) {
  EXPECT_THAT(MakeClientTls("/nowhere/ca.pem").status().message(), HasSubstr("/nowhere/ca.pem"));
}

TEST(TlsTest, ServesACertificateWithItsKey) {
  const net_test::TestCertificates certificates("DNS:localhost");
  EXPECT_TRUE(MakeServerTls(certificates.chain_file(), certificates.key_file()).ok());
}

TEST(TlsTest, NamesAKeyOfAnotherCertificate) {
  const net_test::TestCertificates one("DNS:localhost");
  const net_test::TestCertificates other("DNS:localhost");
  EXPECT_THAT(MakeServerTls(one.chain_file(), other.key_file()).status().message(),
              HasSubstr(other.key_file()));
}

}  // namespace
}  // namespace dreamgate::net
