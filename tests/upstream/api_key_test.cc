#include "server/upstream/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace dreamgate::upstream {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ApiKeyTest : public ::testing::Test {
 protected:
  ApiKeyTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "dreamgate-key-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    file_ = folder_ + "/key";
  }
  ~ApiKeyTest() override { std::filesystem::remove_all(folder_); }

  // As mounted secrets change: a new file takes the old one's name.
  void Replace(const std::string& text) {
    std::ofstream(file_ + ".new") << text;
    std::filesystem::rename(file_ + ".new", file_);
  }

  absl::StatusOr<std::unique_ptr<ApiKey>> Open() {
    return ApiKey::FromFile(file_, [this] { return now_; });
  }

  std::string folder_, file_;
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(ApiKeyTest, TrimsWhiteSpace) {
  EXPECT_EQ((*ApiKey::FromText(" abc \r\n"))->Current(), "abc");
  Replace("\n abc\n");
  EXPECT_EQ((*Open())->Current(), "abc");
}

TEST_F(ApiKeyTest, RefusesKeysThatWouldBreakAHeaderAndDoesNotRepeatThem) {
  for (const char* text : {"", "  \n", "abc\r\nX: y", "abc def", "ab\tc", "ab\x01", "\xC3\xA9"}) {
    EXPECT_FALSE(ApiKey::FromText(text).ok()) << text;
    Replace(text);
    const auto key = Open();
    ASSERT_FALSE(key.ok()) << text;
    EXPECT_THAT(key.status().message(), HasSubstr(file_));
    EXPECT_THAT(key.status().message(), Not(HasSubstr("abc")));
  }
  EXPECT_FALSE(ApiKey::FromText(std::string("a\0b", 3)).ok());
}

TEST_F(ApiKeyTest, NamesAFileThatCannotBeRead) {
  EXPECT_THAT(Open().status().message(), HasSubstr(file_));
  std::filesystem::create_directory(file_);
  EXPECT_THAT(Open().status().message(), HasSubstr(file_));
}

TEST_F(ApiKeyTest, RefusesAFileLongerThanAnyKey) {
  Replace(std::string(100'000, 'a'));
  EXPECT_THAT(Open().status().message(), HasSubstr("longer"));
}

TEST_F(ApiKeyTest, FollowsTheFileButLooksAtMostOnceASecond) {
  Replace("first");
  auto key = *Open();
  const std::string fingerprint = key->Fingerprint();
  Replace("second");
  EXPECT_EQ(key->Current(), "first");
  now_ += absl::Seconds(1);
  EXPECT_EQ(key->Current(), "second");
  EXPECT_NE(key->Fingerprint(), fingerprint);
}

TEST_F(ApiKeyTest, RereadsAtOnceWhenUpstreamRefusedTheKey) {
  Replace("first");
  auto key = *Open();
  Replace("second");
  key->Reread();
  EXPECT_EQ(key->Current(), "second");
}

TEST_F(ApiKeyTest, KeepsTheLastGoodKeyWhileTheFileIsUnusable) {
  Replace("first");
  auto key = *Open();
  for (const char* broken : {"", "not a key"}) {
    Replace(broken);
    now_ += absl::Seconds(2);
    EXPECT_EQ(key->Current(), "first");
  }
  std::filesystem::remove(file_);
  now_ += absl::Seconds(2);
  EXPECT_EQ(key->Current(), "first");
  Replace("third");
  now_ += absl::Seconds(2);
  EXPECT_EQ(key->Current(), "third");
}

}  // namespace
}  // namespace dreamgate::upstream
