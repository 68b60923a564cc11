#include "server/web/webhook_secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/crypto/crypto.h"

namespace dreamgate::web {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(ParseWebhookSecretsTest, OneOrTwoAreTakenALineEach) {
  EXPECT_THAT(*ParseWebhookSecrets("whsec_a"), ElementsAre("whsec_a"));
  EXPECT_THAT(*ParseWebhookSecrets("\n  whsec_a\t\r\n\r\nplain+/=\r\n"),
              ElementsAre("whsec_a", "plain+/="));
}

TEST(ParseWebhookSecretsTest, AnythingElseIsRefusedAndNotRepeated) {
  for (const std::string& content :
       {std::string(), std::string("\n \n"), std::string("whsec_"), std::string("whsec_a\nwhsec_"),
        std::string("whsec_a whsec_b"), std::string("whsec_\xC3\xA9"), std::string("whsec_a\0", 8),
        std::string("whsec_a\nwhsec_b\nwhsec_c")}) {
    const auto secrets = ParseWebhookSecrets(content);
    EXPECT_EQ(secrets.status().code(), absl::StatusCode::kInvalidArgument) << content;
    EXPECT_THAT(std::string(secrets.status().message()), Not(HasSubstr("whsec_a")));
  }
}

class LoggedEvents : public core::Events {
 public:
  void Log(core::LogLevel, absl::string_view message, const core::LogFields& fields) override {
    std::string line(message);
    for (const auto& [key, value] : fields) absl::StrAppend(&line, " ", value);
    lines.push_back(line);
  }
  std::vector<std::string> lines;
};

class WebhookSecretsTest : public ::testing::Test {
 protected:
  WebhookSecretsTest() { Write("whsec_first"); }
  ~WebhookSecretsTest() override { std::remove(file_.c_str()); }

  // As a mounted secret changes: another file takes the name.
  void Write(const std::string& content) {
    const std::string draft = file_ + ".new";
    std::ofstream(draft, std::ios::trunc) << content;
    ASSERT_EQ(std::rename(draft.c_str(), file_.c_str()), 0);
  }
  std::unique_ptr<WebhookSecrets> Read() {
    auto secrets = WebhookSecrets::FromFile(file_, events_, [this] { return now_; });
    EXPECT_TRUE(secrets.ok()) << secrets.status();
    return *std::move(secrets);
  }

  const std::string file_ = absl::StrCat(::testing::TempDir(), "secrets-", crypto::RandomHex(8));
  LoggedEvents events_;
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(WebhookSecretsTest, AChangedFileIsRereadAtMostOnceASecond) {
  const auto secrets = Read();
  Write("whsec_first\nwhsec_second");
  EXPECT_THAT(secrets->Current(), ElementsAre("whsec_first"));
  now_ += absl::Seconds(1);
  EXPECT_THAT(secrets->Current(), ElementsAre("whsec_first", "whsec_second"));
  Write("whsec_second");
  now_ += absl::Milliseconds(999);
  EXPECT_THAT(secrets->Current(), SizeIs(2));
  now_ += absl::Milliseconds(1);
  EXPECT_THAT(secrets->Current(), ElementsAre("whsec_second"));
  EXPECT_THAT(events_.lines, IsEmpty());
}

TEST_F(WebhookSecretsTest, AFileThatWentBadLeavesTheSecretsAndIsLoggedOnce) {
  const auto secrets = Read();
  Write("whsec_\n");
  for (int i = 0; i < 3; ++i) {
    now_ += absl::Seconds(1);
    EXPECT_THAT(secrets->Current(), ElementsAre("whsec_first"));
  }
  EXPECT_THAT(events_.lines, ElementsAre(HasSubstr(file_)));
  std::remove(file_.c_str());
  now_ += absl::Seconds(1);
  EXPECT_THAT(secrets->Current(), ElementsAre("whsec_first"));
  EXPECT_THAT(events_.lines, SizeIs(2));
  Write("whsec_second");
  now_ += absl::Seconds(1);
  EXPECT_THAT(secrets->Current(), ElementsAre("whsec_second"));
}

TEST_F(WebhookSecretsTest, AFileThatCannotBeUsedIsAnErrorThatNamesIt) {
  Write("");
  for (const std::string& file : {file_, file_ + "-not-there", ::testing::TempDir()}) {
    const auto secrets = WebhookSecrets::FromFile(file, events_);
    EXPECT_EQ(secrets.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(secrets.status().message()), HasSubstr(file));
  }
  Write(std::string(10'000, 'a'));
  EXPECT_FALSE(WebhookSecrets::FromFile(file_, events_).ok());
}

}  // namespace
}  // namespace dreamgate::web
