#include "server/core/ids.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

const absl::Time kNow = absl::FromUnixMillis(1'800'000'000'123);

// The same draw for ever.
class ConstantRandom final : public Random {
 public:
  explicit ConstantRandom(uint64_t draw) : draw_(draw) {}
  uint64_t Draw() override { return draw_; }
  std::string UnguessableToken() override { return std::string(32, '0'); }

 private:
  const uint64_t draw_;
};

TEST(IdsTest, AnIdHas26CharactersOfCrockfordsAlphabet) {
  fakes::FakeRandom random;
  IdGenerator ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = ids.Next(kNow + absl::Milliseconds(i), random);
    EXPECT_EQ(id.size(), 26u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdefghjkmnpqrstvwxyz"), std::string::npos) << id;
  }
}

TEST(IdsTest, IdsOfOneMillisecondRiseStrictly) {
  fakes::FakeRandom random;
  IdGenerator ids;
  std::string last;
  for (int i = 0; i < 10000; ++i) {
    const std::string id = ids.Next(kNow, random);
    EXPECT_LT(last, id);
    last = id;
  }
}

TEST(IdsTest, IdsRiseWhenTheClockStepsBack) {
  fakes::FakeRandom random;
  IdGenerator ids;
  std::string last;
  for (const int hours : {0, -1, -2, -1, 0, 1, -100}) {
    const std::string id = ids.Next(kNow + absl::Hours(hours), random);
    EXPECT_LT(last, id) << hours;
    last = id;
  }
}

TEST(IdsTest, IdsOfALaterMillisecondSortLaterWhateverGeneratorMadeThem) {
  fakes::FakeRandom random(7);
  IdGenerator one;
  IdGenerator other;
  const std::string earlier = one.Next(kNow, random);
  EXPECT_LT(earlier, other.Next(kNow + absl::Milliseconds(1), random));
}

TEST(IdsTest, IdsRiseAlsoWhenTheRandomPartRunsOver) {
  ConstantRandom highest(~uint64_t{0});
  IdGenerator ids;
  std::string last;
  for (int i = 0; i < 100; ++i) {
    const std::string id = ids.Next(kNow, highest);
    EXPECT_LT(last, id);
    last = id;
  }
}

TEST(IdsTest, ADrawOfZeroStillMakesADifferentId) {
  ConstantRandom zero(0);
  IdGenerator ids;
  const std::string first = ids.Next(kNow, zero);
  EXPECT_LT(first, ids.Next(kNow, zero));
}

TEST(IdsTest, TwoGeneratorsDoNotRepeatOneAnother) {
  fakes::FakeRandom random_one(1);
  fakes::FakeRandom random_other(2);
  IdGenerator one;
  IdGenerator other;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(one.Next(kNow, random_one));
    seen.insert(other.Next(kNow, random_other));
  }
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(IdsTest, AnAttemptTokenHas32LowerCaseHexadecimalDigitsOfWhich21AreRandom) {
  fakes::FakeRandom random;
  std::set<std::string> rest;
  for (int i = 0; i < 1000; ++i) {
    const std::string token = AttemptToken(kNow, random);
    EXPECT_EQ(token.size(), 32u);
    EXPECT_EQ(token.find_first_not_of("0123456789abcdef"), std::string::npos) << token;
    EXPECT_EQ(token.substr(0, 11), "1a3185c507b");
    EXPECT_TRUE(rest.insert(token.substr(11)).second) << token;
  }
}

TEST(IdsTest, AttemptTokensRiseWithTime) {
  fakes::FakeRandom random;
  std::string last;
  for (const absl::Time now : {absl::FromUnixMillis(-1), absl::UnixEpoch(), kNow,
                               kNow + absl::Milliseconds(1), kNow + absl::Hours(24 * 365 * 400)}) {
    const std::string token = AttemptToken(now, random);
    EXPECT_EQ(token.size(), 32u);
    if (now > absl::UnixEpoch()) {
      EXPECT_LT(last, token);
    }
    last = token;
  }
}

}  // namespace
}  // namespace dreamgate::core
