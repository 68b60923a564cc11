#include "server/wavespeed/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace dreamgate::wavespeed {
namespace {

using core::FailureCode;
using core::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

core::TaskObservation Parse(const std::string& json) {
  absl::StatusOr<core::TaskObservation> task = ParseTask(json);
  EXPECT_TRUE(task.ok()) << task.status() << " for " << json;
  return task.value_or(core::TaskObservation{});
}

// A bare task with these further members.
core::TaskObservation Task(const std::string& members) {
  return Parse(absl::StrCat(R"({"id":"abc123",)", members, "}"));
}

core::TaskObservation Completed(const std::string& members) {
  return Task(absl::StrCat(R"("status":"completed",)", members));
}

core::TaskObservation WithStatus(const std::string& status) {
  return Task(absl::StrCat(R"("outputs":["https://cdn/x.mp4"],"status":")", status, "\""));
}

TEST(TaskTest, ReadsAFullWrappedTask) {
  const auto task = Parse(R"({"code":200,"message":"success","data":{
      "id":"4f0d","model":"m","outputs":["https://cdn.example/v.mp4"],
      "urls":{"get":"https://api/x"},"has_nsfw_contents":[false],"status":"completed",
      "created_at":"2026-01-02T03:04:05.678Z","error":"","timings":{"inference":91234}}})");
  EXPECT_EQ(task.upstream_id, "4f0d");
  EXPECT_EQ(task.state, State::kCompleted);
  EXPECT_EQ(task.raw_status, "completed");
  EXPECT_THAT(task.outputs, ElementsAre(core::Output{"https://cdn.example/v.mp4", false}));
  EXPECT_EQ(task.inference_time, absl::Milliseconds(91234));
  EXPECT_EQ(absl::FormatTime(*task.create_time, absl::UTCTimeZone()),
            "2026-01-02T03:04:05.678+00:00");
  EXPECT_FALSE(task.failure.has_value());
}

TEST(TaskTest, ReadsABareTaskAsWebhooksSendIt) {
  const auto task = Parse(R"({"id":"w1","model":"m","input":{"prompt":"p"},"status":"completed",
      "outputs":["https://cdn/x"],"executionTime":1500,"urls":{"get":"u"}})");
  EXPECT_EQ(task.upstream_id, "w1");
  EXPECT_EQ(task.inference_time, absl::Milliseconds(1500));
}

TEST(TaskTest, ReadsTheCapturedBodyOfAFailedTask) {
  const auto task = Parse(
      R"({"code":200,"data":{"id":"f1","code":1200,"error":"Content flagged by moderation",
      "status":"failed","outputs":[]},"message":"success"})");
  EXPECT_EQ(task.state, State::kFailed);
  ASSERT_TRUE(task.failure.has_value());
  EXPECT_EQ(task.failure->code, FailureCode::kModerated);
  EXPECT_EQ(task.failure->upstream_code, 1200);
  EXPECT_EQ(task.failure->message, "Content flagged by moderation");
  EXPECT_FALSE(task.failure->resubmission_may_help);
}

class StatusTest : public ::testing::TestWithParam<std::pair<const char*, State>> {};

TEST_P(StatusTest, MapsToItsState) {
  const auto task = WithStatus(GetParam().first);
  EXPECT_EQ(task.state, GetParam().second) << GetParam().first;
  EXPECT_EQ(task.raw_status, GetParam().first);
}

INSTANTIATE_TEST_SUITE_P(Table, StatusTest,
                         ::testing::Values(std::pair{"created", State::kCreated},
                                           std::pair{"pending", State::kCreated},
                                           std::pair{"queued", State::kCreated},
                                           std::pair{"processing", State::kProcessing},
                                           std::pair{"completed", State::kCompleted},
                                           std::pair{"failed", State::kFailed},
                                           std::pair{"cancelled", State::kCancelled},
                                           std::pair{"timeout", State::kTimedOut},
                                           std::pair{"deleted", State::kDeleted},
                                           std::pair{"warming_up", State::kProcessing},
                                           std::pair{"COMPLETED", State::kProcessing}));

TEST(TaskTest, TakesAMissingOrStrangeStatusAsCreated) {
  for (const char* status : {R"("status":null)", R"("status":"")", R"("status":7)", R"("x":1)"}) {
    const auto task = Task(status);
    EXPECT_EQ(task.state, State::kCreated) << status;
    EXPECT_EQ(task.raw_status, "") << status;
  }
}

TEST(TaskTest, AcceptsEveryOptionalMemberNullAbsentOrEmpty) {
  for (const char* empty : {"null", "\"\"", "[]", "{}", "0", "false"}) {
    std::string members = R"("status":"processing")";
    for (const char* name :
         {"outputs", "error", "timings", "has_nsfw_contents", "model", "urls", "created_at"}) {
      absl::StrAppend(&members, ",\"", name, "\":", empty);
    }
    const auto task = Task(members);
    EXPECT_EQ(task.state, State::kProcessing) << empty;
    EXPECT_THAT(task.outputs, IsEmpty()) << empty;
    EXPECT_FALSE(task.inference_time.has_value()) << empty;
    EXPECT_FALSE(task.create_time.has_value()) << empty;
    EXPECT_FALSE(task.failure.has_value()) << empty;
  }
  EXPECT_EQ(Task(R"("status":"processing")").state, State::kProcessing);
}

// ---- outputs

TEST(TaskTest, TakesOutputsAsStringsAndAsObjectsWithUrl) {
  EXPECT_THAT(
      Completed(R"("outputs":["https://cdn/a",{"url":"http://cdn/b","type":"video"}])").outputs,
      ElementsAre(core::Output{"https://cdn/a", {}}, core::Output{"http://cdn/b", {}}));
}

TEST(TaskTest, TakesALoneOutputForAListOfOne) {
  EXPECT_THAT(Completed(R"("outputs":"https://cdn/a")").outputs, SizeIs(1));
  EXPECT_THAT(Completed(R"("outputs":{"url":"https://cdn/a"})").outputs, SizeIs(1));
}

TEST(TaskTest, DropsOutputsThatAreNoHttpUrlAndKeepsTheFlagsAligned) {
  const auto task = Completed(R"j("outputs":["javascript:alert(1)","https://","file:///etc/passwd",
      null,7,{"x":1},"https:///p","https://c/\u0000","https://cdn/good"],
      "has_nsfw_contents":[false,false,false,false,false,false,false,false,true])j");
  EXPECT_THAT(task.outputs, ElementsAre(core::Output{"https://cdn/good", true}));
}

TEST(TaskTest, TakesCompletedWithoutOutputsForAFailure) {
  for (const char* outputs : {"null", "[]", R"(["ftp://x"])", R"([null])"}) {
    const auto task = Completed(absl::StrCat(R"("outputs":)", outputs));
    EXPECT_EQ(task.state, State::kFailed) << outputs;
    ASSERT_TRUE(task.failure.has_value()) << outputs;
    EXPECT_EQ(task.failure->code, FailureCode::kNoOutput);
    EXPECT_EQ(task.raw_status, "completed");
  }
}

// ---- has_nsfw_contents

TEST(TaskTest, TakesNsfwFlagsAsBooleansOrStrings) {
  const auto task =
      Completed(R"("outputs":["https://c/1","https://c/2","https://c/3","https://c/4"],
      "has_nsfw_contents":[true,"true","False","maybe"])");
  ASSERT_THAT(task.outputs, SizeIs(4));
  EXPECT_EQ(task.outputs[0].has_nsfw_content, true);
  EXPECT_EQ(task.outputs[1].has_nsfw_content, true);
  EXPECT_EQ(task.outputs[2].has_nsfw_content, false);
  EXPECT_EQ(task.outputs[3].has_nsfw_content, std::nullopt);
}

TEST(TaskTest, LeavesTheNsfwFlagUnsetWhereTheListIsMissingOrShorter) {
  for (const char* flags : {"null", "[]", "true", "{}"}) {
    const auto task =
        Completed(absl::StrCat(R"("outputs":["https://c/1"],"has_nsfw_contents":)", flags));
    ASSERT_THAT(task.outputs, SizeIs(1));
    EXPECT_EQ(task.outputs[0].has_nsfw_content, std::nullopt) << flags;
  }
  const auto shorter =
      Completed(R"("outputs":["https://c/1","https://c/2"],"has_nsfw_contents":[false])");
  EXPECT_EQ(shorter.outputs[0].has_nsfw_content, false);
  EXPECT_EQ(shorter.outputs[1].has_nsfw_content, std::nullopt);
}

// ---- times

TEST(TaskTest, TakesInferenceMillisecondsWholeOrNot) {
  EXPECT_EQ(Task(R"("timings":{"inference":1234.5})").inference_time, absl::Microseconds(1234500));
  EXPECT_EQ(Task(R"("timings":{"inference":7})").inference_time, absl::Milliseconds(7));
  EXPECT_EQ(Task(R"("timings":{"inference":"250"})").inference_time, absl::Milliseconds(250));
}

TEST(TaskTest, IgnoresInferenceTimesThatCannotBe) {
  for (const char* value : {"0", "-5", "1e300", "1e999", "99999999999999999999999", "null", "[]"}) {
    EXPECT_FALSE(
        Task(absl::StrCat(R"("timings":{"inference":)", value, "}")).inference_time.has_value())
        << value;
  }
}

TEST(TaskTest, TakesCreatedAtWithZeroToNineFractionalDigits) {
  const absl::Time second = absl::FromUnixSeconds(1767323045);  // 2026-01-02T03:04:05Z
  EXPECT_EQ(Task(R"("created_at":"2026-01-02T03:04:05Z")").create_time, second);
  std::string digits;
  for (int count = 1; count <= 9; ++count) {
    absl::StrAppend(&digits, count);
    const auto task = Task(absl::StrCat(R"("created_at":"2026-01-02T03:04:05.)", digits, "Z\""));
    ASSERT_TRUE(task.create_time.has_value()) << digits;
    EXPECT_EQ(absl::ToUnixSeconds(*task.create_time), absl::ToUnixSeconds(second)) << digits;
  }
  EXPECT_EQ(Task(R"("created_at":"2026-01-02T03:04:05.123456789Z")").create_time,
            second + absl::Nanoseconds(123456789));
}

TEST(TaskTest, IgnoresCreatedAtThatIsNoTimeOfOurEra) {
  for (const char* text : {"yesterday", "infinite-future", "infinite-past", "-5000-01-01T00:00:00Z",
                           "9999-01-01T00:00:00Z", "2026-01-02"}) {
    EXPECT_FALSE(Task(absl::StrCat(R"("created_at":")", text, "\"")).create_time.has_value())
        << text;
  }
}

// ---- failures

class FailureCodeTest
    : public ::testing::TestWithParam<std::tuple<int, FailureCode, /*resubmission*/ bool>> {};

TEST_P(FailureCodeTest, MapsAsTheContractSays) {
  const auto [code, failure, resubmission] = GetParam();
  const auto task = Task(absl::StrCat(R"("status":"failed","code":)", code));
  ASSERT_TRUE(task.failure.has_value());
  EXPECT_EQ(task.failure->code, failure);
  EXPECT_EQ(task.failure->upstream_code, code);
  EXPECT_EQ(task.failure->resubmission_may_help, resubmission);
}

INSTANTIATE_TEST_SUITE_P(Table, FailureCodeTest,
                         ::testing::Values(std::tuple{1200, FailureCode::kModerated, false},
                                           std::tuple{1400, FailureCode::kInvalidInput, false},
                                           std::tuple{1401, FailureCode::kInvalidInput, false},
                                           std::tuple{1402, FailureCode::kMediaAccess, false},
                                           std::tuple{1403, FailureCode::kExecutionFailed, true},
                                           std::tuple{1405, FailureCode::kExecutionFailed, true},
                                           std::tuple{1406, FailureCode::kExecutionFailed, true},
                                           std::tuple{1407, FailureCode::kInsufficientCredits,
                                                      false},
                                           std::tuple{5000, FailureCode::kUpstreamInternal, true},
                                           std::tuple{5003, FailureCode::kUpstreamInternal, true},
                                           std::tuple{5004, FailureCode::kUpstreamInternal, true},
                                           std::tuple{1999, FailureCode::kExecutionFailed, false}));

TEST(TaskTest, TakesATaskCodeAsANumberOrAString) {
  EXPECT_EQ(Task(R"("status":"failed","code":"1402")").failure->code, FailureCode::kMediaAccess);
  EXPECT_EQ(Task(R"("status":"failed","code":1402.0)").failure->code, FailureCode::kMediaAccess);
}

TEST(TaskTest, TakesAStrangeTaskCodeForNone) {
  for (const char* code : {"null", "\"x\"", "[]", "{}", "1.5", "1e99", "99999999999999999999",
                           "200", "-99999999999999"}) {
    const auto task = Task(absl::StrCat(R"("status":"failed","code":)", code));
    EXPECT_EQ(task.failure->upstream_code, 0) << code;
    EXPECT_EQ(task.failure->code, FailureCode::kExecutionFailed) << code;
  }
}

TEST(TaskTest, ExplainsAFailureInUpstreamsWordsOrSaysThatThereAreNone) {
  EXPECT_EQ(Task(R"("status":"failed","error":{"message":"in an object"})").failure->message,
            "in an object");
  for (const char* error : {"null", "\"\"", "[]", "7", "{}"}) {
    EXPECT_EQ(Task(absl::StrCat(R"("status":"failed","error":)", error)).failure->message,
              "upstream gave no reason");
  }
}

TEST(TaskTest, CutsLongFailureMessagesAtWholeCharacters) {
  std::string message = "x";
  for (int i = 0; i < 400; ++i) message += "\xC3\xA9";
  const auto task = Task(absl::StrCat(R"("status":"failed","error":")", message, "\""));
  EXPECT_EQ(task.failure->message.size(), 511u);
  EXPECT_EQ(task.failure->message, message.substr(0, 511));
}

TEST(TaskTest, KeepsAnErrorTextOnATaskThatDidNotFailFromMakingItAFailure) {
  EXPECT_FALSE(Task(R"("status":"processing","error":"temporary")").failure.has_value());
}

// ---- ids

TEST(TaskTest, TakesAnyUrlSafeId) {
  for (const char* id : {"0123456789abcdef0123456789abcdef", "task_1-2.3~x", "A"}) {
    EXPECT_EQ(Parse(absl::StrCat(R"({"id":")", id, "\"}")).upstream_id, id);
  }
}

TEST(TaskTest, RefusesIdsThatCouldBendAPath) {
  const std::string long_id(129, 'a');
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a?b"),
        std::string("a b"), std::string("a%2e"), std::string("\xC3\xA9"), std::string("a\\r\\nb"),
        long_id}) {
    EXPECT_FALSE(ParseTask(absl::StrCat(R"({"id":")", id, "\"}")).ok()) << id;
  }
  for (const char* id : {"null", "7", "[]", "{}", "true"}) {
    EXPECT_FALSE(ParseTask(absl::StrCat(R"({"id":)", id, "}")).ok()) << id;
  }
  EXPECT_FALSE(ParseTask(R"({"status":"created"})").ok());
}

// ---- hostile or damaged documents

TEST(TaskTest, RefusesWhatIsNoTask) {
  for (const char* text : {"", " ", "null", "7", "\"text\"", "[]", "[{\"id\":\"a\"}]", "{",
                           "{\"id\":", "<html>", R"({"id":"a"} x)", R"({"data":null})",
                           R"({"data":[]})", R"({"code":200,"message":"success"})"}) {
    EXPECT_FALSE(ParseTask(text).ok()) << text;
  }
}

TEST(TaskTest, TakesTheLastOfDuplicateMembers) {
  EXPECT_EQ(Parse(R"({"id":"a","id":"b","status":"failed","status":"created"})").upstream_id, "b");
}

TEST(TaskTest, RefusesDeepNestingInsteadOfCrashing) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(ParseTask(absl::StrCat(R"({"id":"a","outputs":)", deep)).ok());
  std::string objects;
  for (int i = 0; i < 50000; ++i) objects += R"({"data":)";
  EXPECT_FALSE(ParseTask(objects).ok());
}

TEST(TaskTest, SurvivesHugeNumbersEverywhere) {
  const std::string digits(5000, '9');
  const auto task =
      Task(absl::StrCat(R"("status":"failed","code":)", digits, R"(,"timings":{"inference":)",
                        digits, R"(},"created_at":)", digits, R"(,"executionTime":-1e308)"));
  EXPECT_EQ(task.failure->upstream_code, 0);
  EXPECT_FALSE(task.inference_time.has_value());
}

TEST(TaskTest, ReplacesInvalidUtf8) {
  const auto task = Task("\"status\":\"failed\",\"error\":\"bad \xFF\xC3 byte \xED\xA0\x80\"");
  EXPECT_EQ(task.failure->message,
            "bad \xEF\xBF\xBD\xEF\xBF\xBD byte \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(Task("\"status\":\"odd\xFF\"").raw_status, "odd\xEF\xBF\xBD");
  EXPECT_EQ(Completed("\"outputs\":[\"https://c/\xFF\"]").outputs[0].url, "https://c/\xEF\xBF\xBD");
}

TEST(TaskTest, ReplacesHalvesOfSurrogatePairsAndKeepsWholeOnes) {
  EXPECT_EQ(Task(R"("status":"failed","error":"cut \uD83D")").failure->message, "cut \xEF\xBF\xBD");
  EXPECT_EQ(Task(R"("status":"failed","error":"\uD83D\uDE00 \uDE00 \\uD83D")").failure->message,
            "\xF0\x9F\x98\x80 \xEF\xBF\xBD \\uD83D");
}

TEST(TaskTest, TurnsControlCharactersInMessagesIntoSpaces) {
  EXPECT_EQ(Task(R"("status":"failed","error":" a\r\nb\u0000c\t")").failure->message, "a  b c");
}

TEST(TaskTest, BoundsTheRawStatus) {
  const std::string status(1000, 's');
  EXPECT_EQ(WithStatus(status).raw_status.size(), 64u);
}

TEST(TaskTest, AcceptsAByteOrderMark) {
  EXPECT_EQ(Parse("\xEF\xBB\xBF{\"id\":\"a\"}").upstream_id, "a");
}

}  // namespace
}  // namespace dreamgate::wavespeed
