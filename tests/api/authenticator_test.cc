#include "server/api/authenticator.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "server/core/errors.h"

namespace dreamgate::api {
namespace {

constexpr char kBlueToken[] = "blue-0123456789abcdef";
constexpr char kRedToken[] = "red-0123456789abcdef";

std::string Bearer(const std::string& token) { return "Bearer " + token; }

class TokenFile {
 public:
  explicit TokenFile(const std::string& content) {
    const int file = mkstemp(path_.data());
    EXPECT_GE(file, 0);
    close(file);
    Write(content);
  }
  ~TokenFile() { std::remove(path_.c_str()); }

  // Replaces the file, as an operator or a mounted secret would.
  void Write(const std::string& content) {
    const std::string next = path_ + ".next";
    std::ofstream(next) << content;
    std::rename(next.c_str(), path_.c_str());
  }
  void Remove() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = testing::TempDir() + "dreamgate_tokens_XXXXXX";
};

class RecordingEvents : public core::Events {
 public:
  void Log(core::LogLevel level, absl::string_view, const core::LogFields& fields) override {
    if (level != core::LogLevel::kError) return;
    ++errors;
    for (const auto& [name, value] : fields) text += value;
  }
  int errors = 0;
  std::string text;
};

class AuthenticatorTest : public testing::Test {
 protected:
  std::unique_ptr<Authenticator> Make(const std::string& path) {
    // Looks at the file at every call.
    auto made = Authenticator::Create({.token_file = path, .reread_interval = absl::ZeroDuration()},
                                      events_);
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  RecordingEvents events_;
  TokenFile file_{std::string("# callers\n\nblue ") + kBlueToken + "\nred\t" + kRedToken + "\r\n"};
};

TEST_F(AuthenticatorTest, WithoutAFileEveryCallerIsTheDefaultTenant) {
  const auto authenticator = Make("");
  EXPECT_EQ(*authenticator->Authenticate(std::nullopt), "default");
  EXPECT_EQ(*authenticator->Authenticate("anything"), "default");
}

TEST_F(AuthenticatorTest, ATokenNamesItsTenant) {
  const auto authenticator = Make(file_.path());
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kBlueToken)), "blue");
  EXPECT_EQ(*authenticator->Authenticate("bearer " + std::string(kRedToken)), "red");
}

TEST_F(AuthenticatorTest, TheReasonTellsMissingFromWrong) {
  const auto authenticator = Make(file_.path());
  EXPECT_EQ(core::ReasonOf(authenticator->Authenticate(std::nullopt).status()),
            core::Reason::kCredentialsMissing);
  for (const std::string& wrong :
       {std::string(), std::string("Bearer "), std::string("Basic abc"), std::string(kBlueToken),
        Bearer(std::string(kBlueToken) + "x")}) {
    EXPECT_EQ(core::ReasonOf(authenticator->Authenticate(wrong).status()),
              core::Reason::kCredentialsInvalid)
        << wrong;
  }
}

TEST_F(AuthenticatorTest, AChangedFileCounts) {
  const auto authenticator = Make(file_.path());
  file_.Write(std::string("green ") + kBlueToken + "\n");
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kBlueToken)), "green");
  EXPECT_FALSE(authenticator->Authenticate(Bearer(kRedToken)).ok());
}

TEST_F(AuthenticatorTest, ABadChangeKeepsTheCallersAndIsReportedOnce) {
  const auto authenticator = Make(file_.path());
  file_.Write("blue short\n");
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kBlueToken)), "blue");
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kRedToken)), "red");
  EXPECT_EQ(events_.errors, 1);
  EXPECT_FALSE(absl::StrContains(events_.text, "short")) << "a token never reaches the log";
  file_.Remove();
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kBlueToken)), "blue");
  EXPECT_EQ(events_.errors, 2);
}

TEST_F(AuthenticatorTest, TheFileIsNotLookedAtMoreOftenThanAllowed) {
  auto authenticator = *Authenticator::Create(
      {.token_file = file_.path(), .reread_interval = absl::Hours(1)}, events_);
  file_.Remove();
  EXPECT_EQ(*authenticator->Authenticate(Bearer(kBlueToken)), "blue");
  EXPECT_EQ(events_.errors, 0);
}

TEST_F(AuthenticatorTest, AMissingFileStopsTheStartAndIsNamed) {
  const auto made = Authenticator::Create({.token_file = "/nonexistent/tokens"}, events_);
  ASSERT_FALSE(made.ok());
  EXPECT_TRUE(absl::StrContains(made.status().message(), "/nonexistent/tokens"));
}

TEST(ParseTokensTest, NamesTheLineThatIsBad) {
  for (const char* content :
       {"# c\nblue\n", "# c\nblue short\n", "# c\nbl/ue 0123456789abcdef\n",
        "x 0123456789abcdef\ny 0123456789abcdef\n", "# c\nblue 0123456789abcdef extra\n"}) {
    const absl::Status status = ParseTokens(content).status();
    EXPECT_TRUE(absl::StrContains(status.message(), "line 2")) << content << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "0123456789abcdef"));
  }
  EXPECT_FALSE(ParseTokens("# nobody\n").ok());
  EXPECT_TRUE(ParseTokens("blue 0123456789abcdef").ok());
}

}  // namespace
}  // namespace dreamgate::api
