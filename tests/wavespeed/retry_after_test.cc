#include "server/wavespeed/retry_after.h"

#include <gtest/gtest.h>

namespace dreamgate::wavespeed {
namespace {

// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
const absl::Time kDate = absl::FromUnixSeconds(784111777);

TEST(RetryAfterTest, TakesSeconds) {
  EXPECT_EQ(ParseRetryAfter("0", kDate), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter(" 120 ", kDate), absl::Seconds(120));
}

TEST(RetryAfterTest, TakesAllThreeFormsOfAnHttpDate) {
  const absl::Time now = kDate - absl::Seconds(90);
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Sunday, 06-Nov-94 08:49:37 GMT", now), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Sun Nov  6 08:49:37 1994", now), absl::Seconds(90));
}

TEST(RetryAfterTest, StaysBetweenZeroAndAnHour) {
  EXPECT_EQ(ParseRetryAfter("86400", kDate), absl::Hours(1));
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999999", kDate), absl::Hours(1));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", kDate + absl::Hours(5)),
            absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 2094 08:49:37 GMT", kDate), absl::Hours(1));
}

TEST(RetryAfterTest, IgnoresWhatItCannotRead) {
  for (const char* text : {"", "  ", "soon", "-5", "1.5", "12 s", "Sun, 99 Nov 1994 08:49:37 GMT",
                           "1994-11-06T08:49:37Z", "infinite-future"}) {
    EXPECT_FALSE(ParseRetryAfter(text, kDate).has_value()) << text;
  }
}

}  // namespace
}  // namespace dreamgate::wavespeed
