// The error table, row by row, through real sockets: a real client, the real server program, and the
// simulator's faults.
#include <signal.h>

#include <future>
#include <memory>
#include <optional>
#include <ostream>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "dreamgate/client/error_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using client::Decode;
using ::grpc::StatusCode;
using simulator::Fault;
using simulator::FaultAction;
using simulator::Schedule;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::Pair;

Fault OnPoll(Fault fault) {
  fault.method = "GET";
  return fault;
}

void ExpectError(const grpc::Status& status, StatusCode code, const std::string& reason) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_EQ(Decode(status).domain, "dreamgate");
  EXPECT_EQ(Decode(status).reason, reason) << status.error_message();
  EXPECT_FALSE(status.error_message().empty());
}

// ------------------------------------------------------------------------------------ credentials

class CredentialsTest : public ::testing::Test {
 protected:
  CredentialsTest() {
    deployment_ = std::make_unique<Deployment>(std::vector<std::string>{
        "--callers-file=" +
        folder_.Write("callers",
                      "first first-tenant-token-0001\nsecond second-tenant-token-002\n")});
  }

  TemporaryFolder folder_;
  std::unique_ptr<Deployment> deployment_;
};

TEST_F(CredentialsTest, NoCredentialsAreUnauthenticated) {
  ExpectError(Submit(deployment_->stub(), Request("id-1")).status, StatusCode::UNAUTHENTICATED,
              "CREDENTIALS_MISSING");
  EXPECT_EQ(deployment_->simulator().TasksCreated(), 0u);
}

TEST_F(CredentialsTest, WrongCredentialsAreUnauthenticated) {
  ExpectError(Submit(deployment_->stub(), Request("id-1"), "not-a-token-anybody-has").status,
              StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID");
  EXPECT_EQ(deployment_->simulator().TasksCreated(), 0u);
}

TEST_F(CredentialsTest, AnotherTenantsPredictionIsIndistinguishableFromAnUnknownOne) {
  const SubmitResult mine = Submit(deployment_->stub(), Request("id-1"), "first-tenant-token-0001");
  ASSERT_TRUE(mine.status.ok()) << mine.status.error_message();
  const auto get = [this](const std::string& id) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer second-tenant-token-002");
    v1::GetPredictionRequest request;
    request.set_prediction_id(id);
    v1::GetPredictionResponse response;
    return deployment_->stub().GetPrediction(&context, request, &response);
  };
  const grpc::Status foreign = get(mine.response.prediction().id());
  const grpc::Status unknown = get("01hzzzzzzzzzzzzzzzzzzzzzzz");
  ExpectError(foreign, StatusCode::NOT_FOUND, "PREDICTION_NOT_FOUND");
  ExpectError(unknown, StatusCode::NOT_FOUND, "PREDICTION_NOT_FOUND");
  EXPECT_EQ(foreign.error_message(), unknown.error_message());
  EXPECT_EQ(Decode(foreign).resource_name, mine.response.prediction().id());
  EXPECT_EQ(Decode(unknown).resource_name, "01hzzzzzzzzzzzzzzzzzzzzzzz");
  EXPECT_EQ(Decode(foreign).metadata, Decode(unknown).metadata);

  Stream watch(deployment_->stub(), mine.response.prediction().id(), std::nullopt,
               "second-tenant-token-002");
  ASSERT_TRUE(watch.WaitForEnd());
  ExpectError(watch.status(), StatusCode::NOT_FOUND, "PREDICTION_NOT_FOUND");
}

TEST_F(CredentialsTest, TheSameRequestIdOfTwoTenantsMakesTwoVideos) {
  const SubmitResult first =
      Submit(deployment_->stub(), Request("same"), "first-tenant-token-0001");
  const SubmitResult second =
      Submit(deployment_->stub(), Request("same"), "second-tenant-token-002");
  ASSERT_TRUE(first.status.ok() && second.status.ok());
  EXPECT_NE(first.response.prediction().id(), second.response.prediction().id());
  EXPECT_FALSE(second.response.replayed());
  EXPECT_EQ(deployment_->simulator().TasksCreated(), 2u);
}

// ------------------------------------------------------------------------- what the caller got wrong

TEST(CallerErrorTest, EveryViolationIsReportedAtOnce) {
  Deployment deployment;
  v1::SubmitVideoRequest request;
  request.set_prompt("  ");
  request.set_aspect_ratio(static_cast<v1::AspectRatio>(77));
  request.set_seed(-2);
  request.set_request_id("has space");
  (*request.mutable_labels())[std::string(64, 'k')] = "value";
  const grpc::Status status = Submit(deployment.stub(), request).status;
  ExpectError(status, StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST");
  std::vector<std::string> fields;
  for (const auto& violation : Decode(status).field_violations) fields.push_back(violation.field);
  EXPECT_THAT(fields, IsSupersetOf({"prompt", "aspect_ratio", "seed", "request_id"}));
  EXPECT_THAT(fields, Contains(HasSubstr("labels")));
  EXPECT_EQ(deployment.Posts(), 0u);
}

TEST(CallerErrorTest, AKnownRequestIdWithTheSamePayloadIsReplayedAndNotPaidAgain) {
  Deployment deployment;
  const v1::Prediction original = MustSubmit(deployment.stub(), "id-1");
  const SubmitResult again = Submit(deployment.stub(), Request("id-1"));
  ASSERT_TRUE(again.status.ok());
  EXPECT_TRUE(again.response.replayed());
  EXPECT_EQ(again.response.prediction().id(), original.id());
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
}

TEST(CallerErrorTest, ConcurrentDuplicatesJoinTheCallInFlight) {
  constexpr size_t kCallers = 64;
  Deployment deployment;
  deployment.OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(300)});
  const v1::SubmitVideoRequest request = Request("id-1");
  std::vector<std::future<SubmitResult>> calls;
  for (size_t i = 0; i < kCallers; ++i) {
    calls.push_back(
        std::async(std::launch::async, [&] { return Submit(deployment.stub(), request); }));
  }
  size_t originals = 0;
  std::set<std::string> ids;
  for (std::future<SubmitResult>& call : calls) {
    const SubmitResult result = call.get();
    ASSERT_TRUE(result.status.ok()) << result.status.error_message();
    if (!result.response.replayed()) ++originals;
    ids.insert(result.response.prediction().id());
  }
  EXPECT_EQ(originals, 1u);
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(deployment.Posts(), 1u);
}

TEST(CallerErrorTest, AKnownRequestIdWithAnotherPayloadConflicts) {
  Deployment deployment;
  MustSubmit(deployment.stub(), "id-1", "a kite");
  const grpc::Status status = Submit(deployment.stub(), Request("id-1", "a boat")).status;
  ExpectError(status, StatusCode::ALREADY_EXISTS, "REQUEST_ID_CONFLICT");
  EXPECT_THAT(Decode(status).metadata, Contains(Pair("request_id", "id-1")));
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
}

TEST(CallerErrorTest, AFuturePositionIsOutOfRangeAndTheValidRangeIsTold) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream watch(deployment.stub(), prediction.id(), 99);
  ASSERT_TRUE(watch.WaitForEnd());
  ExpectError(watch.status(), StatusCode::OUT_OF_RANGE, "SEQUENCE_OUT_OF_RANGE");
  const auto metadata = Decode(watch.status()).metadata;
  EXPECT_THAT(metadata, Contains(Pair("first_sequence", "0")));
  EXPECT_THAT(metadata, Contains(Pair("last_sequence", absl::StrCat(prediction.sequence()))));
}

// ---------------------------------------------------------------------- what upstream said to a POST

struct Rejection {
  std::string name;
  Fault fault;
  StatusCode code;
  std::string reason;
  bool remembered = false;
  std::optional<absl::Duration> at_least, at_most;  // of RetryInfo

  friend void PrintTo(const Rejection& row, std::ostream* out) { *out << row.name; }
};

Fault Answer(int status, const std::string& body = "") {
  return {.action = FaultAction::kStatus, .status = status, .body = body};
}

Fault Limited(const std::string& retry_after) {
  return {.action = FaultAction::kRateLimited, .retry_after = retry_after};
}

Fault Envelope(int code) {
  return {.action = FaultAction::kEnvelopeError, .code = code, .text = "said by the envelope"};
}

// One server for all rows: none leaves anything behind that another row would see.
template <typename Row>
class OneServerTest : public ::testing::TestWithParam<Row> {
 protected:
  static void SetUpTestSuite() { deployment_ = std::make_unique<Deployment>(); }
  static void TearDownTestSuite() { deployment_.reset(); }
  static inline std::unique_ptr<Deployment> deployment_;
};

class RejectionTest : public OneServerTest<Rejection> {};

TEST_P(RejectionTest, IsAnErrorOfSubmitVideoAndNeverBecomesAPrediction) {
  const Rejection& row = GetParam();
  Deployment& deployment = *deployment_;
  const size_t posts_before = deployment.Posts();
  deployment.OnSubmit(row.fault);
  const v1::SubmitVideoRequest request = Request("id-" + row.name);

  const grpc::Status status = Submit(deployment.stub(), request).status;
  ExpectError(status, row.code, row.reason);
  EXPECT_EQ(deployment.Posts(), posts_before + 1) << "sent exactly once";
  if (row.at_least) {
    ASSERT_TRUE(Decode(status).retry_after.has_value());
    EXPECT_GE(absl::FromChrono(*Decode(status).retry_after), *row.at_least);
    EXPECT_LE(absl::FromChrono(*Decode(status).retry_after), *row.at_most);
  }
  grpc::ClientContext context;
  v1::ListPredictionsResponse list;
  ASSERT_TRUE(deployment.stub().ListPredictions(&context, {}, &list).ok());
  for (const v1::Prediction& prediction : list.predictions()) {
    EXPECT_NE(prediction.request_id(), request.request_id());
  }

  // The same call again: remembered, or sent anew because the operator may have fixed the cause.
  const SubmitResult again = Submit(deployment.stub(), request);
  if (row.remembered) {
    ExpectError(again.status, row.code, row.reason);
    EXPECT_EQ(again.status.error_message(), status.error_message());
    EXPECT_EQ(deployment.Posts(), posts_before + 1);
  } else {
    EXPECT_TRUE(again.status.ok()) << again.status.error_message();
    EXPECT_FALSE(again.response.replayed());
    EXPECT_EQ(deployment.Posts(), posts_before + 2);
  }
}

INSTANTIATE_TEST_SUITE_P(
    ErrorTable, RejectionTest,
    ::testing::Values(
        Rejection{"Http400",
                  Answer(400),
                  StatusCode::INVALID_ARGUMENT,
                  "UPSTREAM_REJECTED",
                  true,
                  {},
                  {}},
        Rejection{"Http422",
                  Answer(422),
                  StatusCode::INVALID_ARGUMENT,
                  "UPSTREAM_REJECTED",
                  true,
                  {},
                  {}},
        Rejection{"Http418",
                  Answer(418),
                  StatusCode::INVALID_ARGUMENT,
                  "UPSTREAM_REJECTED",
                  false,
                  {},
                  {}},
        Rejection{"Http401",
                  Answer(401),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_CREDENTIALS_REJECTED",
                  false,
                  {},
                  {}},
        Rejection{"Http403",
                  Answer(403),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_CREDENTIALS_REJECTED",
                  false,
                  {},
                  {}},
        Rejection{"Http402",
                  Answer(402),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_BALANCE_EXHAUSTED",
                  false,
                  {},
                  {}},
        Rejection{"Http404",
                  Answer(404),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_MODEL_UNAVAILABLE",
                  false,
                  {},
                  {}},
        Rejection{"RateLimitedWithSeconds", Limited("7"), StatusCode::RESOURCE_EXHAUSTED,
                  "UPSTREAM_RATE_LIMITED", false, absl::Seconds(7), absl::Seconds(7)},
        Rejection{"RateLimitedWithADate",
                  Limited(absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT",
                                           absl::Now() + absl::Minutes(30), absl::UTCTimeZone())),
                  StatusCode::RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", false, absl::Minutes(20),
                  absl::Minutes(30)},
        Rejection{"RateLimitedWithoutAHint", Limited(""), StatusCode::RESOURCE_EXHAUSTED,
                  "UPSTREAM_RATE_LIMITED", false, absl::Milliseconds(1), absl::Minutes(1)},
        Rejection{"Redirect",
                  {.action = FaultAction::kRedirect, .location = "http://127.0.0.1:1/elsewhere"},
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_MISCONFIGURED",
                  false,
                  {},
                  {}},
        Rejection{"Envelope400",
                  Envelope(400),
                  StatusCode::INVALID_ARGUMENT,
                  "UPSTREAM_REJECTED",
                  true,
                  {},
                  {}},
        Rejection{"Envelope401",
                  Envelope(401),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_CREDENTIALS_REJECTED",
                  false,
                  {},
                  {}},
        Rejection{"Envelope402",
                  Envelope(402),
                  StatusCode::FAILED_PRECONDITION,
                  "UPSTREAM_BALANCE_EXHAUSTED",
                  false,
                  {},
                  {}},
        Rejection{"Envelope429", Envelope(429), StatusCode::RESOURCE_EXHAUSTED,
                  "UPSTREAM_RATE_LIMITED", false, absl::Milliseconds(1), absl::Minutes(1)}),
    [](const auto& instance) { return instance.param.name; });

TEST(UpstreamErrorTest, UpstreamsOwnMessageIsPassedOn) {
  Deployment deployment;
  deployment.OnSubmit(
      Answer(400, R"({"code":400,"message":"prompt mentions a forbidden thing","data":null})"));
  const grpc::Status status = Submit(deployment.stub(), Request("id-1")).status;
  EXPECT_THAT(status.error_message(), HasSubstr("prompt mentions a forbidden thing"));
  EXPECT_THAT(Decode(status).metadata, Contains(Pair("http_status", "400")));
}

TEST(UpstreamErrorTest, AnUnreachableUpstreamIsUnavailableAndNothingIsKept) {
  Deployment deployment({"--submit-soft-timeout=1s", "--upstream-base-url=http://127.0.0.1:1"});
  const grpc::Status status = Submit(deployment.stub(), Request("id-1")).status;
  ExpectError(status, StatusCode::UNAVAILABLE, "UPSTREAM_UNREACHABLE");
  EXPECT_TRUE(Decode(status).retry_after.has_value());
  deployment.Restart({});
  const SubmitResult again = Submit(deployment.stub(), Request("id-1"));
  EXPECT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_FALSE(again.response.replayed());
}

TEST(UpstreamErrorTest, ACallerWithAShortDeadlineStillIsToldWhy) {
  Deployment deployment({"--upstream-base-url=http://127.0.0.1:1"});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(3));
  v1::SubmitVideoResponse response;
  ExpectError(deployment.stub().SubmitVideo(&context, Request("id-1"), &response),
              StatusCode::UNAVAILABLE, "UPSTREAM_UNREACHABLE");
}

TEST(UpstreamErrorTest, AnUpstreamThatCannotSpeakTlsIsUnavailable) {
  Deployment deployment;
  const std::string port =
      deployment.simulator().base_url().substr(deployment.simulator().base_url().rfind(':') + 1);
  deployment.Restart({"--submit-soft-timeout=1s", "--upstream-base-url=https://127.0.0.1:" + port});
  ExpectError(Submit(deployment.stub(), Request("id-1")).status, StatusCode::UNAVAILABLE,
              "UPSTREAM_UNREACHABLE");
  EXPECT_EQ(deployment.simulator().TasksCreated(), 0u);
}

// ------------------------------------------------------------------ what nobody can know: UNRESOLVED

struct Ambiguity {
  std::string name;
  Fault fault;

  friend void PrintTo(const Ambiguity& row, std::ostream* out) { *out << row.name; }
};

class UnresolvedTest : public OneServerTest<Ambiguity> {};

TEST_P(UnresolvedTest, IsAnsweredOkAndNeverSentAgain) {
  Deployment& deployment = *deployment_;
  const std::string prompt = "a kite, case " + GetParam().name;
  const size_t posts_before = deployment.Posts();
  deployment.OnSubmit(GetParam().fault);
  const SubmitResult result = Submit(deployment.stub(), Request("id-" + GetParam().name, prompt));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.response.prediction().state(), v1::PREDICTION_STATE_UNRESOLVED);
  EXPECT_FALSE(result.response.prediction().id().empty());

  const SubmitResult again = Submit(deployment.stub(), Request("id-" + GetParam().name, prompt));
  ASSERT_TRUE(again.status.ok());
  EXPECT_TRUE(again.response.replayed());
  EXPECT_EQ(again.response.prediction().id(), result.response.prediction().id());
  EXPECT_EQ(deployment.Posts(), posts_before + 1);
  EXPECT_LE(deployment.simulator().TasksCreatedForPrompt(prompt), 1u);
}

INSTANTIATE_TEST_SUITE_P(
    ErrorTable, UnresolvedTest,
    ::testing::Values(
        Ambiguity{"Http408", Answer(408)}, Ambiguity{"Http425", Answer(425)},
        Ambiguity{"Http500", Answer(500)}, Ambiguity{"Http503", Answer(503)},
        Ambiguity{"Http500AfterTheTaskWasCreated",
                  {.action = FaultAction::kStatus, .create_task = true, .status = 500}},
        Ambiguity{"Http504WithAnHtmlPage", {.action = FaultAction::kNotJson, .status = 504}},
        Ambiguity{"Envelope500", Envelope(500)},
        Ambiguity{"NoId", {.action = FaultAction::kNoId, .create_task = true}},
        Ambiguity{"NotJson", {.action = FaultAction::kNotJson, .create_task = true}},
        Ambiguity{"HalfABody", {.action = FaultAction::kCloseMidBody, .create_task = true}},
        Ambiguity{"HugeBody",
                  {.action = FaultAction::kHugeBody, .create_task = true, .bytes = 2u << 20}},
        Ambiguity{"ResetBeforeTheRequestWasRead", {.action = FaultAction::kResetBeforeRequest}},
        Ambiguity{"ResetAfterTheTaskWasCreated",
                  {.action = FaultAction::kResetAfterRequest, .create_task = true}},
        Ambiguity{
            "GarbageInsteadOfHttp",
            {.action = FaultAction::kRawResponse, .create_task = true, .body = "hello\r\n\r\n"}}),
    [](const auto& instance) { return instance.param.name; });

TEST(LateAnswerTest, TheCallerIsToldUnresolvedAndTheLateAnswerStillCounts) {
  Deployment deployment({"--submit-soft-timeout=1s"});
  deployment.OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Seconds(2)});
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  EXPECT_EQ(prediction.state(), v1::PREDICTION_STATE_UNRESOLVED);
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForUpdates(2));
  EXPECT_THAT(watch.states(),
              ElementsAre(v1::PREDICTION_STATE_UNRESOLVED, v1::PREDICTION_STATE_CREATED));
  EXPECT_EQ(watch.updates()[1].upstream_id(), deployment.simulator().TaskIds().at(0));
  EXPECT_THAT(watch.violations(), IsEmpty());
  EXPECT_EQ(deployment.Posts(), 1u);
}

TEST(LateAnswerTest, AnUnresolvedPredictionWithoutEvidenceFailsInTime) {
  Deployment deployment({"--unresolved-timeout=1s"});
  deployment.OnSubmit(Answer(500));
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_TRUE(watch.status().ok());
  EXPECT_EQ(watch.updates().back().state(), v1::PREDICTION_STATE_FAILED);
  EXPECT_EQ(watch.updates().back().error().failure_code(), v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN);
  EXPECT_THAT(watch.updates().back().error().message(), HasSubstr("history"));
}

// -------------------------------------------------------------------------------- failing polls

class PollFaultTest : public ::testing::TestWithParam<Ambiguity> {};

TEST_P(PollFaultTest, IsNotTheCallersErrorAndTheVideoStillArrives) {
  Deployment deployment;
  Fault fault = OnPoll(GetParam().fault);
  fault.times = 2;
  deployment.simulator().AddFault(fault);
  deployment.simulator().SetSchedule(
      Schedule::Completing(absl::Milliseconds(10), absl::Milliseconds(10)));
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_TRUE(watch.status().ok()) << watch.status().error_message();
  EXPECT_EQ(watch.updates().back().state(), v1::PREDICTION_STATE_COMPLETED);
  EXPECT_THAT(watch.violations(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    ErrorTable, PollFaultTest,
    ::testing::Values(Ambiguity{"Http500", Answer(500)}, Ambiguity{"Http503", Answer(503)},
                      Ambiguity{"Http400", Answer(400)}, Ambiguity{"Http404", Answer(404)},
                      Ambiguity{"RateLimited", Limited("1")},
                      Ambiguity{"NotJson", {.action = FaultAction::kNotJson}},
                      Ambiguity{"HalfABody", {.action = FaultAction::kCloseMidBody}},
                      Ambiguity{"Reset", {.action = FaultAction::kResetAfterRequest}},
                      Ambiguity{"Envelope500", Envelope(500)},
                      Ambiguity{"UnknownStatus",
                                {.action = FaultAction::kUnknownStatus, .text = "dreaming"}}),
    [](const auto& instance) { return instance.param.name; });

TEST(PollCredentialsTest, ARefusedKeyPausesPollingFailsNothingAndHealsByItself) {
  Deployment deployment({"--probe-interval=1s"});
  Fault refused = OnPoll(Answer(401));
  refused.times = -1;
  const int number = deployment.simulator().AddFault(refused);
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream watch(deployment.stub(), prediction.id());
  // The second is a probe, so the server has made up its mind about the first.
  ASSERT_TRUE(deployment.simulator().WaitUntil(
      [&] { return deployment.simulator().FaultHits(number) >= 2; }, kPatience));
  EXPECT_THAT(deployment.server().AdminPage("/statusz"), HasSubstr("paused"));
  EXPECT_EQ(deployment.server().Metric("dreamgate_polling_paused"), "1");
  deployment.simulator().SetTaskState(deployment.simulator().TaskIds().at(0),
                                      {.status = "completed"});
  deployment.simulator().ClearFaults();
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_EQ(watch.updates().back().state(), v1::PREDICTION_STATE_COMPLETED);
  EXPECT_EQ(deployment.server().Metric("dreamgate_polling_paused"), "0");
}

// ------------------------------------------------------------------- limits, ledger, and leaving

TEST(LimitTest, TheTenantLimitIsAQuotaFailure) {
  Deployment deployment({"--max-in-flight-per-tenant=1"});
  MustSubmit(deployment.stub(), "id-1");
  const grpc::Status status = Submit(deployment.stub(), Request("id-2")).status;
  ExpectError(status, StatusCode::RESOURCE_EXHAUSTED, "TENANT_LIMIT_REACHED");
  EXPECT_THAT(Decode(status).quota_violations, ElementsAre(HasSubstr("default")));
  EXPECT_EQ(deployment.simulator().TasksCreated(), 1u);
  EXPECT_TRUE(Submit(deployment.stub(), Request("id-1")).response.replayed());
}

TEST(LimitTest, TooManyStreamsAreRefusedWithARetryHint) {
  Deployment deployment({"--max-streams=1"});
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream first(deployment.stub(), prediction.id());
  ASSERT_TRUE(first.WaitForUpdates(1));
  Stream second(deployment.stub(), prediction.id());
  ASSERT_TRUE(second.WaitForEnd());
  ExpectError(second.status(), StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS");
  EXPECT_TRUE(Decode(second.status()).retry_after.has_value());
}

TEST(LimitTest, TooManyRequestsAreRefusedWithARetryHint) {
  Deployment deployment({"--max-requests=1"});
  deployment.OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Seconds(3)});
  grpc::ClientContext context;
  v1::SubmitVideoResponse response;
  std::promise<grpc::Status> first;
  const v1::SubmitVideoRequest request = Request("id-1");
  deployment.stub().async()->SubmitVideo(
      &context, &request, &response, [&first](grpc::Status status) { first.set_value(status); });
  ASSERT_TRUE(deployment.simulator().WaitForRequests("POST", deployment.simulator().SubmitPath(), 1,
                                                     kPatience));
  const grpc::Status second = Submit(deployment.stub(), Request("id-2")).status;
  ExpectError(second, StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS");
  EXPECT_TRUE(Decode(second).retry_after.has_value());
  EXPECT_TRUE(first.get_future().get().ok());
}

TEST(LedgerTroubleTest, WithoutRoomOnDiskNothingIsSentAndWatchesGoOn) {
  const TemporaryFolder folder;
  auto simulator = simulator::Simulator::Start().value();
  Server server(folder, simulator->base_url(), {}, /*file_size_limit=*/256u << 10);
  const auto stub = server.Stub();
  const v1::Prediction watched = MustSubmit(*stub, "watched");
  Stream watch(*stub, watched.id());
  ASSERT_TRUE(watch.WaitForUpdates(1));

  // The first refusals make the ledger clear up and go on; in the end there is no room left.
  grpc::Status refused;
  std::vector<v1::SubmitVideoRequest> refused_requests;
  size_t accepted = 1;
  for (int i = 0, refused_in_a_row = 0; i < 3000 && refused_in_a_row < 10; ++i) {
    const v1::SubmitVideoRequest request = Request(absl::StrCat("id-", i), std::string(1000, 'x'));
    const grpc::Status status = Submit(*stub, request).status;
    refused_in_a_row = status.ok() ? 0 : refused_in_a_row + 1;
    if (status.ok()) {
      ++accepted;
    } else {
      refused = status;
      refused_requests.push_back(request);
    }
  }
  ExpectError(refused, StatusCode::UNAVAILABLE, "LEDGER_UNAVAILABLE");
  EXPECT_TRUE(Decode(refused).retry_after.has_value());
  // An acceptance that could not be written any more was answered OK all the same; nothing that was
  // refused was sent.
  EXPECT_EQ(simulator->TasksCreated(), accepted);
  EXPECT_THAT(server.AdminPage("/readyz"), HasSubstr("200"));
  EXPECT_EQ(watch.status().error_message(), "not ended");

  // There is room again: every refused request_id is free and pays once.
  server.process().LiftFileSizeLimit();
  for (const v1::SubmitVideoRequest& request : refused_requests) {
    SubmitResult healed;
    ASSERT_TRUE(Eventually([&] {
      healed = Submit(*stub, request);
      return healed.status.ok();
    })) << healed.status.error_message();
    EXPECT_FALSE(healed.response.replayed());
  }
  EXPECT_EQ(simulator->TasksCreated(), accepted + refused_requests.size());
  simulator->SetTaskState(watched.upstream_id(), {.status = "completed"});
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_TRUE(watch.status().ok());
  EXPECT_THAT(watch.violations(), IsEmpty());
}

TEST(DrainTest, WatchersAreToldToReconnectAndEndWithDraining) {
  Deployment deployment;
  const v1::Prediction prediction = MustSubmit(deployment.stub(), "id-1");
  Stream watch(deployment.stub(), prediction.id());
  ASSERT_TRUE(watch.WaitForUpdates(1));
  deployment.server().process().Signal(SIGTERM);
  ASSERT_TRUE(watch.WaitForEnd());
  EXPECT_TRUE(watch.saw_reconnect());
  ExpectError(watch.status(), StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_TRUE(Decode(watch.status()).retry_after.has_value());
  EXPECT_EQ(deployment.server().process().Wait(kPatience), 0);
}

TEST(LogTest, EveryLineIsAnEventWhateverACallerSends) {
  Deployment deployment({"--log-format=json", "--log-level=debug"});
  const grpc::Status status = Submit(deployment.stub(), Request("id-1", "\xff\xfe")).status;
  ExpectError(status, StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST");
  ASSERT_TRUE(deployment.server().process().WaitForOutput("library log"));
  const std::string log = deployment.server().process().StandardError();
  for (const absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    EXPECT_EQ(line.front(), '{') << line;
  }
}

TEST(SecrecyTest, NeitherErrorsNorLogsNorStatusPagesShowTheKeyOrAPrompt) {
  Deployment deployment({"--log-level=debug"});
  deployment.OnSubmit(Answer(401));
  const std::string prompt = "a very private prompt about kites";
  const grpc::Status status = Submit(deployment.stub(), Request("id-1", prompt)).status;
  MustSubmit(deployment.stub(), "id-2", prompt);
  const std::string pages = absl::StrCat(deployment.server().AdminPage("/statusz"),
                                         deployment.server().AdminPage("/metrics"));
  deployment.server().process().Signal(SIGTERM);
  ASSERT_EQ(deployment.server().process().Wait(kPatience), 0);  // then its log is whole
  const std::string everything = absl::StrCat(status.error_message(), status.error_details(), pages,
                                              deployment.server().process().StandardError());
  EXPECT_THAT(everything, Not(HasSubstr("simulator-key")));
  EXPECT_THAT(everything, Not(HasSubstr(prompt)));
}

}  // namespace
}  // namespace dreamgate::e2e
