// The meaning of each kind of answer, row by row, for the paid POST and for the free GET.
#include "server/wavespeed/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"

namespace dreamgate::wavespeed {
namespace {

using core::PollProblem;
using core::Reason;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTask[] =
    R"({"code":200,"message":"success","data":{"id":"t1","status":"created"}})";
const absl::Time kNow = absl::FromUnixSeconds(784111777);

HttpAnswer Answer(int status, const std::string& body) {
  return {status, "application/json", "", body};
}

AnswerContext Context() { return {kNow, {"the-secret-key"}}; }

core::CreateOutcome Create(const HttpAnswer& answer) { return ReadCreateAnswer(answer, Context()); }
core::PollOutcome Poll(const HttpAnswer& answer) { return ReadPollAnswer(answer, "t1", Context()); }

std::string Error(int code, const std::string& message) {
  return absl::StrCat(R"({"code":)", code, R"(,"message":")", message, R"(","data":null})");
}

// ------------------------------------------------------------------------------ create table

struct CreateRow {
  const char* name;
  int status;
  std::string body;
  std::optional<Reason> rejected;  // unset: unknown
};
void PrintTo(const CreateRow& row, std::ostream* out) { *out << row.name; }

class CreateTableTest : public ::testing::TestWithParam<CreateRow> {};

TEST_P(CreateTableTest, Row) {
  const CreateRow& row = GetParam();
  const core::CreateOutcome outcome = Create(Answer(row.status, row.body));
  if (!row.rejected.has_value()) {
    ASSERT_TRUE(std::holds_alternative<core::CreateUnknown>(outcome)) << outcome.index();
    EXPECT_FALSE(std::get<core::CreateUnknown>(outcome).message.empty());
    return;
  }
  ASSERT_TRUE(std::holds_alternative<core::CreateRejected>(outcome)) << outcome.index();
  EXPECT_EQ(std::get<core::CreateRejected>(outcome).reason, *row.rejected);
  EXPECT_FALSE(std::get<core::CreateRejected>(outcome).message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Http, CreateTableTest,
    ::testing::Values(
        CreateRow{"BadRequest", 400, Error(400, "bad"), Reason::kUpstreamRejected},
        CreateRow{"Unprocessable", 422, Error(422, "bad"), Reason::kUpstreamRejected},
        CreateRow{"BadKey", 401, Error(401, "no"), Reason::kUpstreamCredentialsRejected},
        CreateRow{"BadRole", 403, Error(403, "no"), Reason::kUpstreamCredentialsRejected},
        CreateRow{"Payment", 402, Error(402, "pay"), Reason::kUpstreamBalanceExhausted},
        CreateRow{"CreditsByMessage", 400, Error(400, "Insufficient credits. Please top up."),
                  Reason::kUpstreamBalanceExhausted},
        CreateRow{"BalanceByMessage", 403, Error(403, "insufficient balance"),
                  Reason::kUpstreamBalanceExhausted},
        CreateRow{"CreditsByCode", 400, Error(1407, "x"), Reason::kUpstreamBalanceExhausted},
        CreateRow{"CreditsByErrorCode", 400,
                  R"({"code":400,"error_code":"1407","message":"x","data":null})",
                  Reason::kUpstreamBalanceExhausted},
        CreateRow{"NotFound", 404, Error(404, "model"), Reason::kUpstreamModelUnavailable},
        CreateRow{"RateLimited", 429, Error(429, "limit"), Reason::kUpstreamRateLimited},
        CreateRow{"Redirect", 302, "", Reason::kUpstreamMisconfigured},
        CreateRow{"PermanentRedirect", 308, "", Reason::kUpstreamMisconfigured},
        CreateRow{"OtherClientError", 409, Error(409, "x"), Reason::kUpstreamRejected},
        CreateRow{"HtmlRejection", 413, "<html>too large</html>", Reason::kUpstreamRejected},
        CreateRow{"RequestTimeout", 408, Error(408, "x"), {}},
        CreateRow{"TooEarly", 425, Error(425, "x"), {}},
        CreateRow{"InternalError", 500, Error(500, "x"), {}},
        CreateRow{"BadGateway", 502, "<html>bad gateway</html>", {}},
        CreateRow{"Unavailable", 503, "", {}}, CreateRow{"GatewayTimeout", 504, "", {}},
        CreateRow{
            "CreditsOnAServerErrorStayUnknown", 500, Error(1407, "insufficient credits"), {}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Envelope, CreateTableTest,
    ::testing::Values(
        CreateRow{"BadRequest", 200, Error(400, "bad"), Reason::kUpstreamRejected},
        CreateRow{"CodeAsText", 200, R"({"code":"422","message":"bad","data":null})",
                  Reason::kUpstreamRejected},
        CreateRow{"BadKey", 200, Error(401, "no"), Reason::kUpstreamCredentialsRejected},
        CreateRow{"Payment", 200, Error(402, "pay"), Reason::kUpstreamBalanceExhausted},
        CreateRow{"Credits", 200, Error(1407, "x"), Reason::kUpstreamBalanceExhausted},
        CreateRow{"NotFound", 200, Error(404, "x"), Reason::kUpstreamModelUnavailable},
        CreateRow{"RateLimited", 200, Error(429, "x"), Reason::kUpstreamRateLimited},
        CreateRow{"ModeratedAtOnce", 200, Error(1200, "flagged"), Reason::kUpstreamRejected},
        CreateRow{"ServerError", 200, Error(500, "x"), {}},
        CreateRow{"TaskServerError", 200, Error(5003, "x"), {}},
        CreateRow{"UnknownCode", 200, Error(77, "x"), {}},
        CreateRow{"ServerErrorWithData",
                  200,
                  R"({"code":500,"message":"x","data":{"id":"t1","status":"created"}})",
                  {}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Unreadable, CreateTableTest,
    ::testing::Values(
        CreateRow{"Empty", 200, "", {}}, CreateRow{"NoContent", 204, "", {}},
        CreateRow{"Html", 200, "<html></html>", {}}, CreateRow{"NotAnObject", 200, "[]", {}},
        CreateRow{"CutOff", 200, R"({"code":200,"data":{"id":"t1")", {}},
        CreateRow{"NoData", 200, R"({"code":200,"message":"success","data":null})", {}},
        CreateRow{"NoId", 200, R"({"code":200,"data":{"status":"created"}})", {}},
        CreateRow{"UnsafeId", 200, R"({"code":200,"data":{"id":"../x","status":"created"}})", {}}),
    [](const auto& row) { return row.param.name; });

TEST(CreateAnswerTest, AcceptsATask) {
  const auto outcome = Create(Answer(200, kTask));
  ASSERT_TRUE(std::holds_alternative<core::CreateAccepted>(outcome));
  EXPECT_EQ(std::get<core::CreateAccepted>(outcome).task.upstream_id, "t1");
}

TEST(CreateAnswerTest, AcceptsABareTaskOtherSuccessCodesAndAnyContentType) {
  for (const HttpAnswer& answer : {HttpAnswer{201, "text/html", "", kTask},
                                   HttpAnswer{200, "", "", R"({"id":"t1","status":"processing"})"},
                                   HttpAnswer{200, "", "", R"({"data":{"id":"t1"}})"},
                                   HttpAnswer{200, "", "", R"({"code":201,"data":{"id":"t1"}})"}}) {
    EXPECT_TRUE(std::holds_alternative<core::CreateAccepted>(Create(answer))) << answer.body;
  }
}

TEST(CreateAnswerTest, AcceptsATaskThatIsTerminalAtOnce) {
  const auto outcome =
      Create(Answer(200, R"({"code":200,"data":{"id":"t1","status":"failed","code":1200}})"));
  ASSERT_TRUE(std::holds_alternative<core::CreateAccepted>(outcome));
  EXPECT_EQ(std::get<core::CreateAccepted>(outcome).task.state, core::State::kFailed);
}

TEST(CreateAnswerTest, CountsATaskAsEvidenceAgainstACodeNobodyKnows) {
  EXPECT_TRUE(std::holds_alternative<core::CreateAccepted>(
      Create(Answer(200, R"({"code":0,"data":{"id":"t1","status":"created"}})"))));
  EXPECT_TRUE(std::holds_alternative<core::CreateAccepted>(
      Create(Answer(200, R"({"code":1200,"data":{"id":"t1","status":"failed"}})"))));
}

TEST(CreateAnswerTest, CarriesStatusCodeMessageAndRetryAfter) {
  HttpAnswer answer = Answer(429, R"({"code":429,"message":"slow down","error_code":4290})");
  answer.retry_after = "17";
  const auto rejected = std::get<core::CreateRejected>(Create(answer));
  EXPECT_EQ(rejected.http_status, 429);
  EXPECT_EQ(rejected.upstream_code, 4290);
  EXPECT_EQ(rejected.message, "slow down");
  EXPECT_EQ(rejected.retry_after, absl::Seconds(17));
}

TEST(CreateAnswerTest, TakesRetryAfterAsADateRelativeToNow) {
  HttpAnswer answer = Answer(429, "");
  answer.retry_after =
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", kNow + absl::Seconds(40), absl::UTCTimeZone());
  EXPECT_EQ(std::get<core::CreateRejected>(Create(answer)).retry_after, absl::Seconds(40));
}

TEST(CreateAnswerTest, ReportsTheEnvelopesStatus) {
  EXPECT_EQ(std::get<core::CreateRejected>(Create(Answer(200, Error(422, "bad")))).http_status,
            422);
}

TEST(CreateAnswerTest, CutsAndCleansMessages) {
  const std::string message = absl::StrCat("line\\nfeed \xFF ", std::string(2000, 'x'));
  const auto rejected = std::get<core::CreateRejected>(Create(Answer(400, Error(400, message))));
  EXPECT_EQ(rejected.message.size(), 512u);
  EXPECT_THAT(rejected.message, HasSubstr("line feed \xEF\xBF\xBD xxx"));
}

TEST(CreateAnswerTest, NeverShowsTheKeyEvenIfUpstreamEchoesIt) {
  // The echo stands where cutting the message would leave half of the key.
  for (int padding : {0, 505}) {
    const std::string message = absl::StrCat(std::string(padding, 'x'), "the-secret-key is wrong");
    const auto rejected = std::get<core::CreateRejected>(Create(Answer(401, Error(401, message))));
    EXPECT_THAT(rejected.message, Not(HasSubstr("the-sec")));
  }
}

TEST(CreateAnswerTest, NeverShowsTheKeyInWhatItObservesOrInAContentType) {
  const auto accepted = std::get<core::CreateAccepted>(Create(Answer(
      200, R"({"data":{"id":"t1","status":"failed","error":"the-secret-key has no access"}})")));
  EXPECT_EQ(accepted.task.failure->message, "[redacted] has no access");
  const auto strange = std::get<core::CreateAccepted>(
      Create(Answer(200, R"({"data":{"id":"t1","status":"the-secret-key"}})")));
  EXPECT_EQ(strange.task.raw_status, "[redacted]");
  const auto unknown =
      std::get<core::CreateUnknown>(Create({502, "text/the-secret-key", "", "<html>"}));
  EXPECT_THAT(unknown.message, AllOf(HasSubstr("text/"), Not(HasSubstr("the-sec"))));
}

TEST(CreateAnswerTest, FindsUpstreamsWordsWhereverTheyAre) {
  for (const char* body : {R"({"message":"words"})", R"({"error":"words"})",
                           R"({"error":{"message":"words"}})", R"({"detail":"words"})"}) {
    EXPECT_EQ(std::get<core::CreateRejected>(Create(Answer(400, body))).message, "words") << body;
  }
}

// -------------------------------------------------------------------------------- poll table

struct PollRow {
  const char* name;
  int status;
  std::string body;
  PollProblem problem;
};
void PrintTo(const PollRow& row, std::ostream* out) { *out << row.name; }

class PollTableTest : public ::testing::TestWithParam<PollRow> {};

TEST_P(PollTableTest, Row) {
  const auto outcome = Poll(Answer(GetParam().status, GetParam().body));
  ASSERT_TRUE(std::holds_alternative<core::PollFailed>(outcome));
  EXPECT_EQ(std::get<core::PollFailed>(outcome).problem, GetParam().problem);
  EXPECT_FALSE(std::get<core::PollFailed>(outcome).message.empty());
  EXPECT_NE(std::get<core::PollFailed>(outcome).http_status, 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, PollTableTest,
    ::testing::Values(
        PollRow{"BadKey", 401, "", PollProblem::kCredentialsRejected},
        PollRow{"Payment", 402, "", PollProblem::kCredentialsRejected},
        PollRow{"BadRole", 403, "", PollProblem::kCredentialsRejected},
        PollRow{"Credits", 400, Error(1407, "x"), PollProblem::kCredentialsRejected},
        PollRow{"NotFound", 404, "", PollProblem::kNotFound},
        PollRow{"RateLimited", 429, "", PollProblem::kRateLimited},
        PollRow{"RequestTimeout", 408, "", PollProblem::kTransient},
        PollRow{"TooEarly", 425, "", PollProblem::kTransient},
        PollRow{"InternalError", 500, "", PollProblem::kTransient},
        PollRow{"BadGateway", 502, "<html>", PollProblem::kTransient},
        PollRow{"Redirect", 301, "", PollProblem::kRefused},
        PollRow{"BadRequest", 400, "", PollProblem::kRefused},
        PollRow{"Gone", 410, "", PollProblem::kRefused},
        PollRow{"EnvelopeNotFound", 200, Error(404, "x"), PollProblem::kNotFound},
        PollRow{"EnvelopeBadKey", 200, Error(401, "x"), PollProblem::kCredentialsRejected},
        PollRow{"EnvelopeServerError", 200, Error(500, "x"), PollProblem::kTransient},
        PollRow{"EnvelopeUnknownCode", 200, Error(77, "x"), PollProblem::kTransient},
        PollRow{"NotJson", 200, "<html>", PollProblem::kTransient},
        PollRow{"Empty", 200, "", PollProblem::kTransient},
        PollRow{"NoTask", 200, R"({"code":200,"data":null})", PollProblem::kTransient},
        PollRow{"AnotherTask", 200, R"({"code":200,"data":{"id":"t2","status":"failed"}})",
                PollProblem::kTransient}),
    [](const auto& row) { return row.param.name; });

TEST(PollAnswerTest, ObservesTheTask) {
  const auto outcome = Poll(Answer(200, kTask));
  ASSERT_TRUE(std::holds_alternative<core::PollObserved>(outcome));
  EXPECT_EQ(std::get<core::PollObserved>(outcome).task.upstream_id, "t1");
}

TEST(PollAnswerTest, FillsInTheIdWhereTheTaskDoesNotNameItself) {
  const auto outcome = Poll(Answer(200, R"({"code":200,"data":{"status":"failed","code":1200}})"));
  ASSERT_TRUE(std::holds_alternative<core::PollObserved>(outcome));
  EXPECT_EQ(std::get<core::PollObserved>(outcome).task.upstream_id, "t1");
}

TEST(PollAnswerTest, TakesATaskCodeInTheEnvelopeForTheTasks) {
  const auto outcome = Poll(
      Answer(200, R"({"code":1200,"message":"flagged","data":{"id":"t1","status":"failed"}})"));
  ASSERT_TRUE(std::holds_alternative<core::PollObserved>(outcome));
  EXPECT_EQ(std::get<core::PollObserved>(outcome).task.failure->code,
            core::FailureCode::kModerated);
}

TEST(PollAnswerTest, CarriesRetryAfter) {
  HttpAnswer answer = Answer(503, "");
  answer.retry_after = "5";
  EXPECT_EQ(std::get<core::PollFailed>(Poll(answer)).retry_after, absl::Seconds(5));
}

}  // namespace
}  // namespace dreamgate::wavespeed
