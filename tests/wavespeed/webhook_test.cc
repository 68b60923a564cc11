#include "server/wavespeed/webhook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "tests/web/webhook_vectors.h"

namespace dreamgate::wavespeed {
namespace {

using ::testing::SizeIs;
using web::ReadWebhookVectors;
using web::WebhookVector;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

WebhookVector Vector(const std::string& name) {
  for (WebhookVector& vector : ReadWebhookVectors()) {
    if (vector.name == name) return std::move(vector);
  }
  ADD_FAILURE() << "no vector " << name;
  return {};
}

struct Judged {
  WebhookVector vector;
  std::string signatures;
  std::vector<std::string> secrets;
  absl::Time now = kNow;

  explicit Judged(const WebhookVector& from)
      : vector(from), signatures("v3," + from.signature), secrets({from.secret}) {}
  WebhookVerdict operator()() const {
    return JudgeWebhook({vector.id, vector.timestamp, signatures, vector.body}, secrets, now);
  }
};

TEST(JudgeWebhookTest, EveryVectorOfTheIndependentToolIsGenuine) {
  const std::vector<WebhookVector> vectors = ReadWebhookVectors();
  EXPECT_THAT(vectors, SizeIs(18));
  for (const WebhookVector& vector : vectors) {
    EXPECT_EQ(Judged(vector)(), WebhookVerdict::kGenuine) << vector.name;
  }
}

TEST(JudgeWebhookTest, NoVectorIsGenuineUnderAnotherSecret) {
  for (const WebhookVector& vector : ReadWebhookVectors()) {
    Judged judged(vector);
    judged.secrets = {"whsec_another", ""};
    EXPECT_EQ(judged(), WebhookVerdict::kForged) << vector.name;
    judged.secrets.clear();
    EXPECT_EQ(judged(), WebhookVerdict::kForged) << vector.name;
  }
}

TEST(JudgeWebhookTest, ASecretIsNotDecodedAndLosesItsPrefixOnce) {
  Judged decoded(Vector("base64_secret"));
  decoded.secrets = {"whsec_secret"};  // what c2VjcmV0 is in base64
  EXPECT_EQ(decoded(), WebhookVerdict::kForged);
  Judged twice(Vector("prefix_twice"));
  twice.secrets = {"whsec_secret"};
  EXPECT_EQ(twice(), WebhookVerdict::kForged);
  Judged bare(Vector("secret_without_prefix"));
  bare.secrets = {"whsec_just-a-secret"};
  EXPECT_EQ(bare(), WebhookVerdict::kGenuine);
}

TEST(JudgeWebhookTest, EveryChangedBitOfTheBodyIsNoticed) {
  const WebhookVector vector = Vector("bare");
  for (size_t i = 0; i < vector.body.size() * 8; ++i) {
    Judged judged(vector);
    judged.vector.body[i / 8] = static_cast<char>(judged.vector.body[i / 8] ^ (1 << (i % 8)));
    EXPECT_EQ(judged(), WebhookVerdict::kForged) << "bit " << i;
  }
}

TEST(JudgeWebhookTest, EveryChangedDigitOfTheSignatureIsNoticed) {
  const WebhookVector vector = Vector("bare");
  for (size_t i = 0; i < vector.signature.size(); ++i) {
    Judged judged(vector);
    char& digit = judged.signatures[3 + i];
    digit = digit == '0' ? '1' : '0';
    EXPECT_EQ(judged(), WebhookVerdict::kForged) << "digit " << i;
  }
}

TEST(JudgeWebhookTest, AnotherIdOrTimestampIsNoticed) {
  Judged id(Vector("bare"));
  id.vector.id = "msg_4";
  EXPECT_EQ(id(), WebhookVerdict::kForged);
  Judged timestamp(Vector("bare"));
  timestamp.vector.timestamp = "1700000001";
  EXPECT_EQ(timestamp(), WebhookVerdict::kForged);
  timestamp.vector.timestamp = "01700000000";  // the same number
  EXPECT_EQ(timestamp(), WebhookVerdict::kForged);
}

TEST(JudgeWebhookTest, IdTimestampAndBodyCannotMoveAcrossTheDots) {
  // The same signed bytes, cut elsewhere: nothing that follows can be a body in JSON.
  const WebhookVector vector = Vector("dotted_id");  // msg.1.2
  Judged cut(vector);
  cut.vector.id = "msg";
  cut.vector.timestamp = "1";
  cut.vector.body = absl::StrCat("2.1700000000.", vector.body);
  cut.now = absl::FromUnixSeconds(1);
  EXPECT_EQ(cut(), WebhookVerdict::kGenuine);
  EXPECT_EQ(ParseWebhook(cut.vector.body).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JudgeWebhookTest, OneGoodSignatureAmongSeveralIsEnough) {
  const WebhookVector vector = Vector("bare");
  const std::string good = "v3," + vector.signature;
  const std::string bad = "v3," + std::string(64, '0');
  for (const std::string& signatures :
       {absl::StrCat(bad, " ", good), absl::StrCat(good, " ", bad), absl::StrCat(" ", good, "  "),
        absl::StrCat("v1,abc v2 v3, ", good, " v4,x"), absl::StrCat(good, " ", good),
        "v3," + absl::AsciiStrToUpper(vector.signature)}) {
    Judged judged(vector);
    judged.signatures = signatures;
    EXPECT_EQ(judged(), WebhookVerdict::kGenuine) << signatures;
  }
}

TEST(JudgeWebhookTest, OnlyTheThirdVersionCountsAndOnlyWhole) {
  const WebhookVector vector = Vector("bare");
  const std::string& hex = vector.signature;
  for (const std::string& signatures :
       {std::string(),
        std::string(" "),
        std::string("v3"),
        std::string("v3,"),
        hex,
        absl::StrCat(",", hex),
        absl::StrCat("v1,", hex),
        absl::StrCat("v2,", hex),
        absl::StrCat("v4,", hex),
        absl::StrCat("V3,", hex),
        absl::StrCat("v3=", hex),
        absl::StrCat("v3, ", hex),
        absl::StrCat("v3,", hex, ","),
        absl::StrCat("v3,0x", hex),
        absl::StrCat("v3,", hex.substr(1)),
        absl::StrCat("v3,", hex.substr(0, 63)),
        absl::StrCat("v3,", hex, "0"),
        absl::StrCat("v3,", hex, "\t"),
        absl::StrCat("v3,", hex.substr(0, 32), " v3,", hex.substr(32)),
        absl::StrCat("v3,", std::string(64, '0'), ",v3,", hex),
        std::string("v3,") + '\0' + hex}) {
    Judged judged(vector);
    judged.signatures = signatures;
    EXPECT_EQ(judged(), WebhookVerdict::kForged) << signatures;
  }
}

TEST(JudgeWebhookTest, BothSecretsOfARotationCount) {
  Judged judged(Vector("bare"));
  const std::string right = judged.vector.secret;
  judged.secrets = {"whsec_retired", right};
  EXPECT_EQ(judged(), WebhookVerdict::kGenuine);
  judged.secrets = {right, "whsec_next"};
  EXPECT_EQ(judged(), WebhookVerdict::kGenuine);
}

TEST(JudgeWebhookTest, TheToleranceIsFiveMinutesBothWaysAndHasSharpEdges) {
  const absl::Duration edge = absl::Seconds(300);
  const absl::Duration more = absl::Nanoseconds(1);
  for (const absl::Duration offset :
       {absl::ZeroDuration(), edge, -edge, absl::Seconds(299), absl::Seconds(-299)}) {
    Judged judged(Vector("bare"));
    judged.now = kNow + offset;
    EXPECT_EQ(judged(), WebhookVerdict::kGenuine) << offset;
  }
  for (const absl::Duration offset : {edge + more, -edge - more, absl::Hours(24), absl::Hours(-24),
                                      kNow - absl::UnixEpoch(), absl::UnixEpoch() - kNow}) {
    Judged judged(Vector("bare"));
    judged.now = kNow + offset;
    EXPECT_EQ(judged(), WebhookVerdict::kStale) << offset;
  }
}

TEST(JudgeWebhookTest, AForgedWebhookIsNotCalledStale) {
  Judged judged(Vector("bare"));
  judged.now = kNow + absl::Hours(1);
  judged.secrets = {"whsec_another"};
  EXPECT_EQ(judged(), WebhookVerdict::kForged);
}

TEST(JudgeWebhookTest, ATimestampIsDigitsAlone) {
  for (const std::string& timestamp :
       {std::string(), std::string("now"), std::string("-1700000000"), std::string("+1700000000"),
        std::string(" 1700000000"), std::string("1700000000 "), std::string("1700000000.0"),
        std::string("1.7e9"), std::string("0x6553F100"), std::string("1,700,000,000"),
        std::string("1700000000000"), std::string(40, '9'), std::string("1700000000\0", 11),
        std::string("2023-11-14T22:13:20Z"), std::string("\xD9\xA1\xD9\xA7")}) {
    Judged judged(Vector("bare"));
    judged.vector.timestamp = timestamp;
    EXPECT_EQ(judged(), WebhookVerdict::kMalformed) << timestamp;
  }
}

TEST(JudgeWebhookTest, AnIdIsNeededAndHasAnEnd) {
  for (const std::string& id : {std::string(), std::string(257, 'm')}) {
    Judged judged(Vector("bare"));
    judged.vector.id = id;
    EXPECT_EQ(judged(), WebhookVerdict::kMalformed) << id;
  }
}

TEST(ParseWebhookTest, TheTaskIsReadFromEveryVectorThatHasOne) {
  for (const WebhookVector& vector : ReadWebhookVectors()) {
    const auto webhook = ParseWebhook(vector.body);
    if (vector.name == "zero_byte" || vector.name == "empty_body" || vector.name == "large") {
      EXPECT_EQ(webhook.status().code(), absl::StatusCode::kInvalidArgument) << vector.name;
    } else {
      ASSERT_TRUE(webhook.ok()) << vector.name << ": " << webhook.status();
      EXPECT_EQ(webhook->upstream_id, "task-1") << vector.name;
    }
  }
}

TEST(ParseWebhookTest, TheStatusIsShortTextForPeople) {
  EXPECT_EQ(ParseWebhook(Vector("completed").body)->raw_status, "completed");
  EXPECT_EQ(ParseWebhook(Vector("bare").body)->raw_status, "");
  EXPECT_EQ(ParseWebhook(R"({"id":"a","status":7})")->raw_status, "");
  EXPECT_EQ(ParseWebhook("{\"id\":\"a\",\"status\":\"a\\nb\"}")->raw_status, "a b");
  EXPECT_LE(ParseWebhook(absl::StrCat(R"({"id":"a","status":")", std::string(5000, 's'), "\"}"))
                ->raw_status.size(),
            64u);
}

TEST(ParseWebhookTest, AnEnvelopeIsOpened) {
  const auto webhook =
      ParseWebhook(R"({"code":200,"message":"success","data":{"id":"a","status":"failed"}})");
  ASSERT_TRUE(webhook.ok()) << webhook.status();
  EXPECT_EQ(webhook->upstream_id, "a");
  EXPECT_EQ(webhook->raw_status, "failed");
  EXPECT_EQ(ParseWebhook(R"({"id":"a","data":{"id":"b"}})")->upstream_id, "a");
}

TEST(ParseWebhookTest, ABodyThatNamesNoUsableTaskIsRefused) {
  for (const std::string& body :
       {std::string(),
        std::string("task-1"),
        std::string("null"),
        std::string("\"task-1\""),
        std::string("1700000000"),
        std::string("[]"),
        std::string(R"([{"id":"a"}])"),
        std::string("{}"),
        std::string(R"({"id":null})"),
        std::string(R"({"id":""})"),
        std::string(R"({"id":17})"),
        std::string(R"({"id":["a"]})"),
        std::string(R"({"id":".."})"),
        std::string(R"({"id":"a/b"})"),
        std::string(R"({"id":"a b"})"),
        std::string(R"({"id":"a%2fb"})"),
        std::string(R"({"id":"a?b"})"),
        std::string(R"({"id":"é"})"),
        std::string("{\"id\":\"a\\u0000\"}"),
        absl::StrCat(R"({"id":")", std::string(129, 'a'), "\"}"),
        std::string(R"({"ID":"a"})"),
        std::string(R"({"data":null})"),
        std::string(R"({"data":[{"id":"a"}]})"),
        std::string(R"({"id":"a"} {"id":"b"})"),
        std::string(R"({"id":"a")"),
        std::string("id=a&status=completed"),
        std::string("\xFF\xFE{\0\"\0", 6),
        absl::StrCat(R"({"id":"a","x":)", std::string(40, '['), std::string(40, ']'), "}")}) {
    EXPECT_EQ(ParseWebhook(body).status().code(), absl::StatusCode::kInvalidArgument) << body;
  }
}

}  // namespace
}  // namespace dreamgate::wavespeed
