#include "server/telemetry/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <thread>
#include <vector>

namespace dreamgate::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const absl::Time kTime = absl::FromUnixMillis(1'700'000'000'123);

std::string Logfmt(absl::string_view message, const core::LogFields& fields) {
  return FormatLogLine(LogFormat::kLogfmt, kTime, core::LogLevel::kWarning, message, fields);
}

TEST(LogTest, ALogfmtLineHasTimeLevelMessageAndFieldsInOrder) {
  EXPECT_EQ(Logfmt("polling paused", {{"status", "401"}, {"probe", "30s"}}),
            "2023-11-14T22:13:20.123Z warning polling paused status=401 probe=30s");
}

TEST(LogTest, ValuesWithSpacesQuotesOrNothingAreQuoted) {
  EXPECT_THAT(Logfmt("m", {{"a", "two words"}, {"b", ""}, {"c", "say \"no\""}, {"d", "k=v"}}),
              HasSubstr(R"(m a="two words" b="" c="say \"no\"" d="k=v")"));
}

TEST(LogTest, NoValueCanForgeASecondLine) {
  const core::LogFields fields = {{"error", "bad\n2023 error forged\r\x1b[31m"}};
  for (const LogFormat format : {LogFormat::kLogfmt, LogFormat::kJson}) {
    const std::string line =
        FormatLogLine(format, kTime, core::LogLevel::kError, "first\nsecond", fields);
    for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
  }
}

TEST(LogTest, NonAsciiTextStaysReadable) {
  EXPECT_THAT(Logfmt("m", {{"label", "café"}}), HasSubstr("label=café"));
}

TEST(LogTest, AJsonLineIsOneObjectWithEveryField) {
  const boost::json::value line = boost::json::parse(FormatLogLine(
      LogFormat::kJson, kTime, core::LogLevel::kInfo, "serving", {{"listen", "\"x\""}}));
  EXPECT_EQ(line.at("time").as_string(), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(line.at("level").as_string(), "info");
  EXPECT_EQ(line.at("message").as_string(), "serving");
  EXPECT_EQ(line.at("listen").as_string(), "\"x\"");
}

TEST(LogTest, EventsBelowTheLevelAreLeftOut) {
  std::vector<std::string> lines;
  EventLog log(core::LogLevel::kWarning, LogFormat::kLogfmt,
               [&lines](absl::string_view line) { lines.emplace_back(line); });
  log.Write(core::LogLevel::kDebug, "one");
  log.Write(core::LogLevel::kInfo, "two");
  log.Write(core::LogLevel::kWarning, "three");
  log.Write(core::LogLevel::kError, "four");
  EXPECT_THAT(lines, ElementsAre(HasSubstr("warning three"), HasSubstr("error four")));
}

TEST(LogTest, LinesOfSeveralThreadsStayWhole) {
  std::vector<std::string> lines;
  EventLog log(core::LogLevel::kInfo, LogFormat::kLogfmt,
               [&lines](absl::string_view line) { lines.emplace_back(line); });
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 100; ++i) log.Write(core::LogLevel::kInfo, "whole", {{"k", "v"}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(lines, SizeIs(400));
  for (const std::string& line : lines) EXPECT_THAT(line, HasSubstr("info whole k=v"));
}

TEST(LogTest, PercentSignsAndBracesAreNotFormatting) {
  std::vector<std::string> lines;
  EventLog log(core::LogLevel::kInfo, LogFormat::kLogfmt,
               [&lines](absl::string_view line) { lines.emplace_back(line); });
  log.Write(core::LogLevel::kInfo, "100% {} %v", {{"path", "{0}%s"}});
  EXPECT_THAT(lines, ElementsAre(HasSubstr("info 100% {} %v path={0}%s")));
}

}  // namespace
}  // namespace dreamgate::telemetry
