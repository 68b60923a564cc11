#include "server/wavespeed/request.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

namespace dreamgate::wavespeed {
namespace {

TEST(RequestTest, SendsExactlyPromptRatioAndSeed) {
  core::CreateTaskRequest request;
  request.prompt = "a \"quoted\"\nfox \xF0\x9F\xA6\x8A";
  request.aspect_ratio = core::AspectRatio::k9x21;
  request.seed = 2147483647;
  request.attempt_token = "token";
  EXPECT_EQ(boost::json::parse(CreateBody(request)),
            (boost::json::value{{"prompt", "a \"quoted\"\nfox \xF0\x9F\xA6\x8A"},
                                {"aspect_ratio", "9:21"},
                                {"seed", 2147483647}}));
}

TEST(RequestTest, PostsToTheModelsPath) {
  EXPECT_EQ(CreateTarget("bytedance/dreamina-v3.0-pro/text-to-video", ""),
            "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video");
}

TEST(RequestTest, EncodesTheWebhookUrlWhole) {
  EXPECT_EQ(CreateTarget("m", "https://gw.example/hook/a?b=c&d"),
            "/api/v3/m?webhook=https%3A%2F%2Fgw.example%2Fhook%2Fa%3Fb%3Dc%26d");
}

TEST(RequestTest, EncodesEverythingButUnreservedCharacters) {
  EXPECT_EQ(PercentEncode("aZ09-._~"), "aZ09-._~");
  EXPECT_EQ(PercentEncode(" %\n\xC3\xA9"), "%20%25%0A%C3%A9");
}

TEST(RequestTest, GetsTheResultById) {
  EXPECT_EQ(ResultTarget("abc"), "/api/v3/predictions/abc/result");
}

TEST(RequestTest, KnowsASafeModelPath) {
  EXPECT_TRUE(IsSafeModelPath("bytedance/dreamina-v3.0-pro/text-to-video"));
  for (const char* model : {"", "/a", "a/", "a//b", "a/../b", "a b", "a?b", "a\r\nb"}) {
    EXPECT_FALSE(IsSafeModelPath(model)) << model;
  }
}

TEST(RequestTest, FingerprintsAKeyWithoutRevealingIt) {
  const std::string fingerprint = KeyFingerprint("secret-key");
  EXPECT_EQ(fingerprint.size(), 16u);
  EXPECT_EQ(fingerprint, KeyFingerprint("secret-key"));
  EXPECT_NE(fingerprint, KeyFingerprint("secret-kez"));
}

}  // namespace
}  // namespace dreamgate::wavespeed
