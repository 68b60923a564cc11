#include "client/cli/format.h"

#include <gtest/gtest.h>

namespace dreamgate::client {
namespace {

TEST(FormatTest, ATransitionIsOneAlignedLine) {
  const absl::Time time = absl::FromUnixMillis(1'700'000'000'204);
  EXPECT_EQ(FormatTransition({time, "CREATED", absl::Milliseconds(420), 2, "submit answer"},
                             absl::UTCTimeZone()),
            "22:13:20.204  CREATED       +0.4s  seq 2  (submit answer)");
  EXPECT_EQ(FormatTransition({time, "PROCESSING", absl::Seconds(31), 3, ""}, absl::UTCTimeZone()),
            "22:13:20.204  PROCESSING   +31.0s  seq 3");
}

TEST(FormatTest, WaitingShowsAnEstimateOnlyIfThereIsOne) {
  EXPECT_EQ(FormatWaiting("PROCESSING", absl::Seconds(42), 0.61, absl::Seconds(27)),
            "PROCESSING  0:42  about 61 %, 0:27 left (estimate)");
  EXPECT_EQ(FormatWaiting("CREATED", absl::Seconds(3), {}, {}), "CREATED     0:03");
  EXPECT_EQ(FormatWaiting("CREATED", absl::Seconds(3), {}, absl::Seconds(9)),
            "CREATED     0:03  about 0:09 left (estimate)");
}

TEST(FormatTest, ADownloadShowsBytesPercentAndSpeed) {
  EXPECT_EQ(FormatDownload(3'000'000, 12'000'000, absl::Seconds(2)),
            "downloading  3.0 MB of 12.0 MB  25 %  1.5 MB/s");
  EXPECT_EQ(FormatDownload(812, std::nullopt, absl::ZeroDuration()), "downloading  812 B");
}

TEST(FormatTest, BytesChangeTheirUnitBeforeTheyReadAsAThousand) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.0 kB");
  EXPECT_EQ(FormatBytes(999'999), "1.0 MB");
}

TEST(FormatTest, ElapsedTimeGrowsHoursOnlyWhenNeeded) {
  EXPECT_EQ(FormatElapsed(absl::Seconds(59)), "0:59");
  EXPECT_EQ(FormatElapsed(absl::Seconds(3723)), "1:02:03");
  EXPECT_EQ(FormatElapsed(-absl::Seconds(5)), "0:00");
}

TEST(FormatTest, ColumnsAreAlignedByCodePoints) {
  EXPECT_EQ(FormatPairs({{"prompt", "is empty"}, {"s\xc3\xa9", "x"}}, "  "),
            "  prompt  is empty\n  s\xc3\xa9      x");
  EXPECT_EQ(FormatTable({{"ID", "STATE"}, {"p1", "CREATED"}, {"long", "X"}}),
            "ID    STATE\np1    CREATED\nlong  X");
}

TEST(FormatTest, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[31mb\r\x7f\nc\xc2\x9b"
                      "d\xc3\xa9"),
            "a?[31mb?? c?d\xc3\xa9");
}

TEST(FormatTest, LongTextIsCutBetweenCodePoints) {
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdefg", 6), "abc...");
  EXPECT_EQ(Shorten("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 4), "\xc3\xa9...");
}

}  // namespace
}  // namespace dreamgate::client
