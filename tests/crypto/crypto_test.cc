#include "server/crypto/crypto.h"

#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dreamgate::crypto {
namespace {

using ::testing::MatchesRegex;
using ::testing::SizeIs;

// FIPS 180-4 examples.
TEST(Sha256HexTest, GivesThePublishedDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256HexTest, TakesNullBytesAsData) {
  EXPECT_NE(Sha256Hex(std::string("a\0b", 3)), Sha256Hex("a"));
}

// RFC 4231, test cases 1 to 4, 6 and 7.
TEST(HmacSha256HexTest, GivesThePublishedCodes) {
  EXPECT_EQ(HmacSha256Hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(HmacSha256Hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(HmacSha256Hex(std::string(20, '\xaa'), std::string(50, '\xdd')),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(
      HmacSha256Hex(absl::HexStringToBytes("0102030405060708090a0b0c0d0e0f10111213141516171819"),
                    std::string(50, '\xcd')),
      "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
  EXPECT_EQ(HmacSha256Hex(std::string(131, '\xaa'),
                          "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(HmacSha256Hex(std::string(131, '\xaa'),
                          "This is a test using a larger than block-size key and a larger than "
                          "block-size data. The key needs to be hashed before being used by the "
                          "HMAC algorithm."),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

TEST(HmacSha256HexTest, TakesAnEmptyKeyAndAnEmptyMessage) {
  EXPECT_EQ(HmacSha256Hex(absl::string_view(), absl::string_view()),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(ConstantTimeEqualsTest, ComparesLikeOrdinaryEquality) {
  EXPECT_TRUE(ConstantTimeEquals("", absl::string_view()));
  EXPECT_TRUE(ConstantTimeEquals("secret", "secret"));
  EXPECT_FALSE(ConstantTimeEquals("secret", "secreT"));
  EXPECT_FALSE(ConstantTimeEquals("secret", "secret "));
  EXPECT_FALSE(ConstantTimeEquals(std::string("a\0b", 3), std::string("a\0c", 3)));
}

TEST(RandomTest, DrawsHexDigitsOfTheLengthAskedFor) {
  EXPECT_EQ(RandomHex(0), "");
  EXPECT_THAT(RandomHex(16), MatchesRegex("[0-9a-f]+"));
  EXPECT_THAT(RandomHex(16), SizeIs(32));
}

TEST(RandomTest, DoesNotRepeatItself) {
  std::set<std::string> tokens;
  std::set<uint64_t> numbers;
  for (int i = 0; i < 1000; ++i) {
    tokens.insert(RandomHex(16));
    numbers.insert(RandomU64());
  }
  EXPECT_THAT(tokens, SizeIs(1000));
  EXPECT_THAT(numbers, SizeIs(1000));
}

}  // namespace
}  // namespace dreamgate::crypto
