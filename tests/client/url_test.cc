#include "client/cli/url.h"

#include <gtest/gtest.h>

namespace dreamgate::client {
namespace {

std::string Text(const std::optional<Url>& url) {
  if (!url.has_value()) return "none";
  return (url->secure ? "https " : "http ") + url->host + " " + url->port + " " + url->target;
}

TEST(UrlTest, AnAddressIsSplitIntoItsParts) {
  EXPECT_EQ(Text(ParseUrl("https://cdn.example/a/b.mp4?x=1#t")),
            "https cdn.example 443 /a/b.mp4?x=1");
  EXPECT_EQ(Text(ParseUrl("HTTP://h:8080")), "http h 8080 /");
  EXPECT_EQ(Text(ParseUrl("http://h?q")), "http h 80 /?q");
  EXPECT_EQ(Text(ParseUrl("http://[::1]:81/x")), "http ::1 81 /x");
}

TEST(UrlTest, AnAddressThatCannotBeFetchedSafelyIsRefused) {
  for (const char* text : {"", "ftp://h/x", "h/x", "http://", "http://user:secret@h/",
                           "http://h/a b", "http://h/\r\nX: y", "http://h:99999/", "http://h:/",
                           "http://[::1/x", "http://a:b:c/", "http://[::1]x/"}) {
    EXPECT_EQ(ParseUrl(text), std::nullopt) << text;
  }
}

TEST(UrlTest, TheAuthorityNamesThePortOnlyIfItIsNotTheUsualOne) {
  EXPECT_EQ(ParseUrl("https://h/")->Authority(), "h");
  EXPECT_EQ(ParseUrl("https://h:80/")->Authority(), "h:80");
  EXPECT_EQ(ParseUrl("http://[::1]:81/")->Authority(), "[::1]:81");
}

TEST(UrlTest, ARedirectMayBeRelative) {
  const Url base = *ParseUrl("https://h:444/a/b?q");
  EXPECT_EQ(Text(ResolveRedirect(base, "http://other/x")), "http other 80 /x");
  EXPECT_EQ(Text(ResolveRedirect(base, "//other/x")), "https other 443 /x");
  EXPECT_EQ(Text(ResolveRedirect(base, "/c")), "https h 444 /c");
  EXPECT_EQ(Text(ResolveRedirect(base, "c?d:e")), "https h 444 /a/c?d:e");
  EXPECT_EQ(Text(ResolveRedirect(base, "?z")), "https h 444 /a/b?z");
  EXPECT_EQ(Text(ResolveRedirect(base, "file:///etc/passwd")), "none");
  EXPECT_EQ(Text(ResolveRedirect(base, "")), "none");
}

}  // namespace
}  // namespace dreamgate::client
