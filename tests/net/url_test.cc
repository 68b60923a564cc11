#include "server/net/url.h"

#include <gtest/gtest.h>

namespace dreamgate::net {
namespace {

TEST(UrlTest, ReadsEveryPart) {
  const auto url = ParseUrl("HTTPS://API.Example.com:8443/a/b%20c?x=1&y=2");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_TRUE(url->https);
  EXPECT_EQ(url->host, "api.example.com");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->path, "/a/b%20c");
  EXPECT_EQ(url->query, "x=1&y=2");
  EXPECT_EQ(url->Authority(), "api.example.com:8443");
}

TEST(UrlTest, KnowsTheDefaultPortsAndLeavesThemOutOfTheAuthority) {
  EXPECT_EQ(ParseUrl("http://a")->port, 80);
  EXPECT_EQ(ParseUrl("https://a")->port, 443);
  EXPECT_EQ(ParseUrl("https://a:443")->Authority(), "a");
  EXPECT_EQ(ParseUrl("http://a:443")->Authority(), "a:443");
}

TEST(UrlTest, KeepsIpv6LiteralsWithoutBracketsAndPutsThemBackIntoTheAuthority) {
  const auto url = ParseUrl("http://[::1]:8080/x");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->host, "::1");
  EXPECT_EQ(url->Authority(), "[::1]:8080");
}

TEST(UrlTest, TellsLiteralsFromNames) {
  EXPECT_TRUE(IsIpLiteral("127.0.0.1"));
  EXPECT_TRUE(IsIpLiteral("::1"));
  EXPECT_FALSE(IsIpLiteral("localhost"));
  EXPECT_FALSE(IsIpLiteral("127.0.0"));
}

class RefusedUrlTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RefusedUrlTest, IsRefusedWithAReason) {
  const auto url = ParseUrl(GetParam());
  EXPECT_FALSE(url.ok()) << GetParam();
  EXPECT_FALSE(url.status().message().empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedUrlTest,
    ::testing::Values("", "api.example.com", "ftp://a", "//a/b", "http://", "http:///path",
                      "http://:80", "http://user:secret@a", "http://a:0", "http://a:65536",
                      "http://a:", "http://a:+80", "http://a:8x", "http://a b/", "http://a/b c",
                      "http://a/%2", "http://a/%zz", "http://a/\r\nX: y", "http://a/#fragment",
                      "http://[::1", "http://[::1]x", "http://[127.0.0.1]/", "http://a..b",
                      "http://.a", "http://a/\xC3\xA9"));

TEST(UrlTest, RefusesWhatTheReadersOfAddressesAndNumbersOverlook) {
  EXPECT_FALSE(ParseUrl("http://a:80 ").ok());
  EXPECT_FALSE(ParseUrl("http://a:80\r/").ok());
  EXPECT_FALSE(ParseUrl(absl::string_view("http://[::1\0x]/", 15)).ok());
}

}  // namespace
}  // namespace dreamgate::net
