#include "server/core/polling/completion_times.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace dreamgate::core {
namespace {

std::vector<absl::Duration> SomeAges() {
  std::vector<absl::Duration> ages = {absl::ZeroDuration()};
  for (double seconds = 0.05; seconds < 40 * 86'400; seconds *= 1.07) {
    ages.push_back(absl::Seconds(seconds));
  }
  return ages;
}

double LogNormal(double median, double sigma, std::mt19937_64& engine) {
  return median * std::exp(std::normal_distribution<double>(0, sigma)(engine));
}

// A poll every `interval` seconds, from a random phase.
CompletionInterval SeenBetweenPolls(double end, double interval, std::mt19937_64& engine) {
  double before = 0;
  double poll = interval * std::uniform_real_distribution<double>(0, 1)(engine);
  while (poll < end) {
    before = poll;
    poll += interval;
  }
  return {absl::Seconds(before), absl::Seconds(poll)};
}

// Distributions of very different shapes, for properties that hold of all.
std::vector<CompletionTimes> SomeDistributions() {
  std::vector<CompletionTimes> all(6);
  std::mt19937_64 engine(7);
  for (int i = 0; i < 300; ++i) {
    all[1].Observe(absl::Seconds(90));
    all[2].Observe(absl::Seconds(LogNormal(105, 0.4, engine)));
    all[3].Observe(absl::Seconds(i % 3 == 0 ? 4 : 900));
    all[4].Observe(absl::ZeroDuration());
    all[5].Observe({absl::Hours(i), absl::InfiniteDuration()});
  }
  return all;
}

TEST(CompletionTimesTest, BeforeThereIsDataAVideoTakesAMinuteToFourMinutes) {
  const CompletionTimes times;
  EXPECT_EQ(times.weight(), 0);
  EXPECT_GT(times.Median(), absl::Seconds(95));
  EXPECT_LT(times.Median(), absl::Seconds(125));
  EXPECT_GT(times.Quantile(0.1), absl::Seconds(40));
  EXPECT_LT(times.Quantile(0.9), absl::Seconds(260));
}

TEST(CompletionTimesTest, TheHazardIsAboveZeroAndFiniteAtEveryAge) {
  for (const CompletionTimes& times : SomeDistributions()) {
    for (const absl::Duration age : SomeAges()) {
      EXPECT_GT(times.Hazard(age), 0) << age;
      EXPECT_TRUE(std::isfinite(times.Hazard(age))) << age;
    }
    EXPECT_GT(times.Hazard(-absl::Hours(1)), 0);
  }
}

TEST(CompletionTimesTest, TheFarTailThinsOutButNeverEnds) {
  for (const CompletionTimes& times : SomeDistributions()) {
    const double day = times.Hazard(absl::Hours(24));
    const double week = times.Hazard(absl::Hours(7 * 24));
    EXPECT_LT(week, day);
    EXPECT_GT(week, day / 10);
  }
}

TEST(CompletionTimesTest, SurvivalBeginsAtOneNeverRisesAndNeverEnds) {
  for (const CompletionTimes& times : SomeDistributions()) {
    EXPECT_EQ(times.Survival(absl::ZeroDuration()), 1);
    EXPECT_EQ(times.Survival(-absl::Seconds(5)), 1);
    double before = 1;
    for (const absl::Duration age : SomeAges()) {
      EXPECT_LE(times.Survival(age), before + 1e-12) << age;
      EXPECT_GT(times.Survival(age), 0) << age;
      before = times.Survival(age);
    }
  }
}

TEST(CompletionTimesTest, DensityMeanAndQuantilesAgreeWithSurvival) {
  for (const CompletionTimes& times : SomeDistributions()) {
    double ended = 0;
    double mean = 0;
    double age = 0;
    while (age < 3600) {
      const double width = 0.02 + age / 1000;
      const absl::Duration middle = absl::Seconds(age + width / 2);
      ended += times.Density(middle) * width;
      mean += times.Survival(middle) * width;
      age += width;
    }
    EXPECT_NEAR(ended, 1 - times.Survival(absl::Seconds(age)), 0.01);
    const absl::Duration rest =
        times.MeanTimeLeft(absl::Seconds(age)) * times.Survival(absl::Seconds(age));
    EXPECT_NEAR(mean + absl::ToDoubleSeconds(rest), absl::ToDoubleSeconds(times.Mean()),
                absl::ToDoubleSeconds(times.Mean()) / 100);
    for (const double share : {0.001, 0.05, 0.3, 0.5, 0.9, 0.999, 0.9999999}) {
      EXPECT_NEAR(times.Survival(times.Quantile(share)), 1 - share, 1e-6);
    }
  }
}

TEST(CompletionTimesTest, TimeLeftIsPositiveAndProgressNeverFalls) {
  for (const CompletionTimes& times : SomeDistributions()) {
    double before = 0;
    for (const absl::Duration age : SomeAges()) {
      EXPECT_GT(times.MedianTimeLeft(age), absl::ZeroDuration()) << age;
      EXPECT_GT(times.MeanTimeLeft(age), absl::ZeroDuration()) << age;
      EXPECT_LT(times.MeanTimeLeft(age), absl::InfiniteDuration()) << age;
      EXPECT_GE(times.Progress(age), before) << age;
      EXPECT_LE(times.Progress(age), 0.99) << age;
      before = times.Progress(age);
    }
    EXPECT_EQ(times.Progress(absl::ZeroDuration()), 0);
  }
}

TEST(CompletionTimesTest, HalfTheMedianIsHalfTheProgress) {
  std::mt19937_64 engine(2);
  CompletionTimes times;
  for (int i = 0; i < 300; ++i) times.Observe(absl::Seconds(LogNormal(100, 0.1, engine)));
  EXPECT_NEAR(times.Progress(absl::Seconds(50)), 0.5, 0.03);
  EXPECT_NEAR(absl::ToDoubleSeconds(times.MedianTimeLeft(absl::Seconds(50))), 50, 4);
}

struct Known {
  const char* name;
  // The observation of a video that takes so long.
  std::function<CompletionInterval(double seconds, std::mt19937_64& engine)> seen;
  double tolerance = 0.05;  // of a quantile; smoothing and the prior take 0.04 of the outer ones
};

class CompletionTimesRecoverTest : public testing::TestWithParam<Known> {};

// Averaged over histories, since each is only 144 videos' worth.
TEST_P(CompletionTimesRecoverTest, AKnownDistributionIsFoundWithoutBias) {
  constexpr int kHistories = 12;
  const std::vector<double> shares = {0.1, 0.25, 0.5, 0.75, 0.9};
  const std::vector<double> normal = {-1.2816, -0.6745, 0, 0.6745, 1.2816};
  std::vector<double> mean(shares.size());
  for (uint64_t seed = 0; seed < kHistories; ++seed) {
    std::mt19937_64 engine(seed);
    CompletionTimes times;
    for (int i = 0; i < 500; ++i) {
      times.Observe(GetParam().seen(LogNormal(90, 0.35, engine), engine));
    }
    for (size_t i = 0; i < shares.size(); ++i) {
      mean[i] += absl::ToDoubleSeconds(times.Quantile(shares[i])) / kHistories;
    }
  }
  for (size_t i = 0; i < shares.size(); ++i) {
    const double truth = 90 * std::exp(0.35 * normal[i]);
    EXPECT_NEAR(mean[i], truth, truth * GetParam().tolerance) << "quantile " << shares[i];
  }
}

INSTANTIATE_TEST_SUITE_P(
    , CompletionTimesRecoverTest,
    testing::Values(
        Known{"Exact",
              [](double end, std::mt19937_64&) {
                return CompletionInterval{absl::Seconds(end), absl::Seconds(end)};
              }},
        Known{"PollsEvery5s",
              [](double end, std::mt19937_64& engine) { return SeenBetweenPolls(end, 5, engine); }},
        Known{
            "PollsEvery20s",
            [](double end, std::mt19937_64& engine) { return SeenBetweenPolls(end, 20, engine); }},
        // A third is not followed to its end. To drop them, or to take their last age for the end,
        // would make videos seem shorter.
        Known{"ManyNotFollowedToTheEnd",
              [](double end, std::mt19937_64& engine) {
                const double given_up = std::uniform_real_distribution<double>(0, 270)(engine);
                if (given_up < end) return CompletionInterval{absl::Seconds(given_up)};
                return CompletionInterval{absl::Seconds(end), absl::Seconds(end)};
              },
              0.08}),  // fewer are known to the end, so the prior weighs more
    [](const auto& known) { return known.param.name; });

TEST(CompletionTimesTest, ABurstBeforeTheFirstPollIsFoundByPollsAlone) {
  std::mt19937_64 engine(3);
  CompletionTimes times;
  for (int i = 0; i < 150; ++i) times.Observe(absl::Seconds(LogNormal(100, 0.2, engine)));
  const double before = times.Survival(absl::Seconds(20));
  for (int i = 0; i < 100; ++i) times.Observe({absl::ZeroDuration(), absl::Seconds(60)});
  EXPECT_GT(before, 0.97);
  EXPECT_LT(times.Survival(absl::Seconds(20)), 0.9) << "the odds of an early poll have risen";
}

TEST(CompletionTimesTest, AnOldRegimeIsForgottenWithin200Videos) {
  std::mt19937_64 engine(4);
  CompletionTimes times;
  for (int i = 0; i < 1000; ++i) times.Observe(absl::Seconds(LogNormal(100, 0.1, engine)));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.Median()), 100, 5);
  for (int i = 0; i < 200; ++i) times.Observe(absl::Seconds(LogNormal(250, 0.1, engine)));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.Median()), 250, 15);
  EXPECT_LT(1 - times.Survival(absl::Seconds(150)), 0.3);
}

TEST(CompletionTimesTest, WeightIsBoundedHoweverManyAreObserved) {
  CompletionTimes times;
  for (int i = 0; i < 3000; ++i) times.Observe(absl::Seconds(50 + i % 100));
  EXPECT_NEAR(times.weight(), 144.8, 1);
}

TEST(CompletionTimesTest, TheSameObservationsMakeTheSameDistribution) {
  CompletionTimes one;
  CompletionTimes other;
  for (int i = 0; i < 100; ++i) {
    one.Observe({absl::Seconds(i), absl::Seconds(2 * i)});
    other.Observe({absl::Seconds(i), absl::Seconds(2 * i)});
  }
  EXPECT_EQ(one.Serialize(), other.Serialize());
  EXPECT_EQ(one.Median(), other.Median());
}

TEST(CompletionTimesTest, SenselessIntervalsAreIgnored) {
  CompletionTimes times;
  times.Observe({absl::Seconds(10), absl::Seconds(5)});
  times.Observe({-absl::Seconds(10), -absl::Seconds(5)});
  times.Observe({absl::InfiniteDuration(), absl::InfiniteDuration()});
  times.Observe({-absl::InfiniteDuration(), absl::Seconds(1)});
  EXPECT_EQ(times.weight(), 0);
  times.Observe({-absl::Seconds(1), absl::Seconds(5)});  // a clock that was set
  EXPECT_NEAR(times.weight(), 1, 1e-5);
  times.Observe(absl::Hours(24 * 365));
  EXPECT_NEAR(times.weight(), 2, 0.01);
}

// ------------------------------------------------------------------------------------------- bytes

TEST(CompletionTimesTest, BytesBringBackExactlyTheSameDistribution) {
  for (CompletionTimes& times : SomeDistributions()) {
    const std::string bytes = times.Serialize();
    EXPECT_LE(bytes.size(), 2117u);
    std::optional<CompletionTimes> parsed = CompletionTimes::Parse(bytes);
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->Serialize(), bytes);
    for (const absl::Duration age : SomeAges()) {
      EXPECT_EQ(parsed->Survival(age), times.Survival(age));
      EXPECT_EQ(parsed->Progress(age), times.Progress(age));
    }
    parsed->Observe({absl::Seconds(40), absl::Seconds(70)});
    times.Observe({absl::Seconds(40), absl::Seconds(70)});
    EXPECT_EQ(parsed->Serialize(), times.Serialize()) << "and the same future";
  }
}

TEST(CompletionTimesTest, DamagedBytesAreRefused) {
  CompletionTimes times;
  for (int i = 0; i < 50; ++i) times.Observe({absl::Seconds(80), absl::Seconds(80 + i)});
  const std::string bytes = times.Serialize();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(CompletionTimes::Parse(absl::string_view(bytes).substr(0, length)).has_value());
  }
  EXPECT_FALSE(CompletionTimes::Parse(bytes + '\0').has_value());
  for (size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string damaged = bytes;
    damaged[i / 8] = static_cast<char>(damaged[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(CompletionTimes::Parse(damaged).has_value()) << "bit " << i;
  }
}

TEST(CompletionTimesTest, ForeignBytesAreRefused) {
  std::mt19937_64 engine(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(engine() % 2400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(engine());
    if (!bytes.empty()) bytes[0] = 1;
    EXPECT_FALSE(CompletionTimes::Parse(bytes).has_value());
  }
}

// With a checksum that fits, one bin flagged, and this weight in it.
std::string BytesWithWeight(float weight) {
  std::string bytes(65, '\0');
  bytes[0] = 1;
  bytes[10] = 4;
  const auto append = [&bytes](uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(word >> shift));
  };
  append(std::bit_cast<uint32_t>(weight));
  uint32_t hash = 2'166'136'261u;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 16'777'619u;
  append(hash);
  return bytes;
}

TEST(CompletionTimesTest, WeightsThatNoHistoryLeavesAreRefused) {
  EXPECT_TRUE(CompletionTimes::Parse(BytesWithWeight(1)).has_value());
  for (const float weight : {0.0f, -1.0f, 1e-30f, 1e9f, NAN, INFINITY, -INFINITY}) {
    EXPECT_FALSE(CompletionTimes::Parse(BytesWithWeight(weight)).has_value()) << weight;
  }
}

// ------------------------------------------------------------------------- what polls say of the end

TEST(ObservedCompletionTest, UpstreamsOwnFigureIsBelievedBetweenThePolls) {
  const CompletionInterval seen = ObservedCompletion(absl::Seconds(90), absl::Seconds(100),
                                                     absl::Seconds(1), absl::Seconds(94));
  EXPECT_EQ(seen.after, absl::Seconds(95));
  EXPECT_EQ(seen.until, absl::Seconds(95));
}

TEST(ObservedCompletionTest, PollsAreBelievedWhereTheFigureContradictsThemOrIsMissing) {
  const std::vector<std::optional<absl::Duration>> figures = {
      std::nullopt, absl::ZeroDuration(), -absl::Seconds(95), absl::Seconds(40), absl::Hours(3)};
  for (const auto& figure : figures) {
    const CompletionInterval seen =
        ObservedCompletion(absl::Seconds(90), absl::Seconds(100), absl::Seconds(1), figure);
    EXPECT_EQ(seen.after, absl::Seconds(90));
    EXPECT_EQ(seen.until, absl::Seconds(100));
  }
}

}  // namespace
}  // namespace dreamgate::core
