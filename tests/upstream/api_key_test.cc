#include "server/upstream/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/fakes/temporary_folder.h"

namespace dreamgate::upstream {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class LoggedEvents : public core::Events {
 public:
  void Log(core::LogLevel, absl::string_view, const core::LogFields& fields) override {
    for (const auto& [name, value] : fields) values.push_back(value);
  }
  std::vector<std::string> values;
};

class ApiKeyTest : public ::testing::Test {
 protected:
  void Replace(const std::string& text) { folder_.Replace("key", text); }

  absl::StatusOr<std::unique_ptr<ApiKey>> Open() {
    return ApiKey::FromFile(file_, events_, [this] { return now_; });
  }

  const fakes::TemporaryFolder folder_;
  const std::string file_ = folder_.File("key");
  LoggedEvents events_;
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

TEST_F(ApiKeyTest, SaysOnceWhyAFileCannotBeUsedAndDoesNotRepeatIt) {
  Replace("first");
  auto key = *Open();
  Replace("not a key");
  for (int i = 0; i < 3; ++i) {
    now_ += absl::Seconds(1);
    key->Current();
    key->Reread();
  }
  EXPECT_THAT(events_.values, ElementsAre(AllOf(HasSubstr(file_), Not(HasSubstr("not a key")))));
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
