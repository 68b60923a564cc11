#include "client/cli/input_checks.h"

#include <gtest/gtest.h>

namespace dreamgate::client {
namespace {

TEST(InputChecksTest, AServerIsAHostAPortOrAnotherTargetOfGrpc) {
  for (const char* good :
       {"localhost", "localhost:50051", "10.0.0.1:1", "[::1]:65535", "[::1]", "::1",
        "dns:///gate.example:50051", "dns:gate:443", "dns://10.0.0.2/gate:443", "unix:/run/gate",
        "unix:///run/gate", "ipv4:127.0.0.1:1,127.0.0.2:2"}) {
    EXPECT_EQ(CheckServer(good), "") << good;
  }
}

TEST(InputChecksTest, AServerIsNoUrlAndItsPortIsANumberThatExists) {
  for (const char* bad :
       {"", " ", "http://localhost:50051", "HTTPS://localhost", "grpc://localhost:1",
        "localhost:50051/v1", "localhost:65536", "localhost:0", "localhost:", "localhost:grpc",
        "localhost:-1", "localhost:99999999999999999999", "[::1]:65536", "dns:///gate:65536",
        "dns:///", "two words:1"}) {
    EXPECT_NE(CheckServer(bad), "") << bad;
    EXPECT_EQ(CheckServer(bad).find('\n'), std::string::npos);
  }
}

TEST(InputChecksTest, ARequestIdIsOneTo128PrintableAsciiCharactersWithoutSpaces) {
  for (const std::string& good : {std::string("a"), std::string(128, '~'), std::string("!x-1/2")})
    EXPECT_EQ(CheckRequestId(good), "") << good;
  for (const std::string& bad : {std::string(), std::string(129, 'a'), std::string("a b"),
                                 std::string("a\n"), std::string("\x7f"), std::string("\xc3\xa9")})
    EXPECT_NE(CheckRequestId(bad), "") << bad;
}

TEST(InputChecksTest, WellFormedUtf8Passes) {
  for (const char* good : {"", "a cat", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(CheckUtf8(good), "") << good;
  }
  EXPECT_EQ(CheckUtf8(std::string(1, '\0')), "");
}

TEST(InputChecksTest, MalformedUtf8IsNamedByItsPlace) {
  for (const char* bad : {"\x80", "\xff", "\xc0\x80", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80",
                          "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_NE(CheckUtf8(bad), "") << bad;
  }
  EXPECT_EQ(CheckUtf8("ab\xff"), "is not valid UTF-8 (byte 3)");
}

}  // namespace
}  // namespace dreamgate::client
