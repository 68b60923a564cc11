#include "server/api/status_mapping.h"

#include <gtest/gtest.h>

#include <string>

#include "server/api/converters.h"
#include "server/api/utf8.h"
#include "server/api/validation.h"
#include "server/core/errors.h"
#include "tests/api/error_details.h"

namespace dreamgate::api {
namespace {

TEST(StatusMappingTest, EveryErrorCarriesItsReasonAndDomain) {
  for (int number = 1; number <= static_cast<int>(core::Reason::kInternal); ++number) {
    const auto reason = static_cast<core::Reason>(number);
    const grpc::Status status = ToGrpcStatus(core::MakeError(reason, "what to do"));
    const ErrorDetailsSeen seen = Details(status);
    EXPECT_EQ(seen.reason, core::ReasonName(reason));
    EXPECT_EQ(seen.domain, "dreamgate");
    EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(core::ReasonCode(reason)));
    EXPECT_EQ(status.error_message(), "what to do");
  }
}

TEST(StatusMappingTest, DetailsTravelWhereTheErrorHasThem) {
  core::ErrorDetails details;
  details.retry_after = absl::Milliseconds(1500);
  details.quota_subject = "tenant:a";
  details.resource_type = "dreamgate.v1.Prediction";
  details.resource_name = "p1";
  details.metadata = {{"last_sequence", "4"}};
  const ErrorDetailsSeen seen =
      Details(ToGrpcStatus(core::MakeError(core::Reason::kTenantLimitReached, "wait", details)));
  ASSERT_TRUE(seen.retry && seen.quota && seen.resource);
  EXPECT_EQ(seen.retry->retry_delay().seconds(), 1);
  EXPECT_EQ(seen.retry->retry_delay().nanos(), 500'000'000);
  EXPECT_EQ(seen.quota->violations(0).subject(), "tenant:a");
  EXPECT_EQ(seen.resource->resource_type(), "dreamgate.v1.Prediction");
  EXPECT_EQ(seen.resource->resource_name(), "p1");
  EXPECT_EQ(seen.metadata.at("last_sequence"), "4");
  EXPECT_FALSE(seen.bad_request);
}

TEST(StatusMappingTest, AStatusOfUnknownOriginRevealsNothing) {
  const grpc::Status status = ToGrpcStatus(absl::InvalidArgumentError("path /secret is bad"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message().find("secret"), std::string::npos);
  EXPECT_EQ(Details(status).reason, "INTERNAL");
}

TEST(StatusMappingTest, OkStaysOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(StatusMappingTest, TheWorstErrorFitsIntoTheMetadataThatClientsAccept) {
  std::vector<FieldViolation> violations(1000, {std::string(80, 'f'), std::string(70, 'd')});
  core::ErrorDetails details;
  const std::string long_text(100'000, 'x');
  for (int i = 0; i < 20; ++i) details.metadata["key" + std::to_string(i)] = long_text;
  const grpc::Status rejected =
      ToGrpcStatus(core::MakeError(core::Reason::kUpstreamRejected, long_text, details));
  const grpc::Status invalid = ToGrpcStatus(InvalidRequestError(violations));
  for (const grpc::Status& status : {rejected, invalid}) {
    // Details travel as base64; the message may take three bytes for one.
    const size_t wire = status.error_details().size() * 4 / 3 + status.error_message().size() * 3;
    EXPECT_LT(wire, 7'500U);
  }
  EXPECT_EQ(Details(invalid).fields().size(), 20U);
}

TEST(StatusMappingTest, TextThatIsNotUtf8IsRepaired) {
  const grpc::Status status =
      ToGrpcStatus(core::MakeError(core::Reason::kUpstreamRejected, "bad \xff byte"));
  EXPECT_EQ(status.error_message(), "bad \xEF\xBF\xBD byte");
}

TEST(Utf8Test, CountsCodePointsAndRefusesWhatIsNotUtf8) {
  EXPECT_EQ(CountCodePoints(""), 0U);
  EXPECT_EQ(CountCodePoints("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8E\xAC"), 4U);
  for (const char* bad : {"\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF"}) {
    EXPECT_FALSE(CountCodePoints(bad).has_value());
  }
}

TEST(Utf8Test, CutsAtACodePoint) {
  EXPECT_EQ(CleanUtf8("a\xE2\x82\xAC", 3), "a...");
  EXPECT_EQ(CleanUtf8("a\xE2\x82\xAC", 4), "a\xE2\x82\xAC");
}

core::Prediction FailedPrediction() {
  core::Prediction prediction;
  prediction.tenant = "a";
  prediction.id = "p1";
  prediction.request_id = "r1";
  prediction.model = "m";
  prediction.input.prompt = "a fox";
  prediction.input.aspect_ratio = core::AspectRatio::k9x16;
  prediction.input.labels = {{"team", "blue"}};
  prediction.seed = 7;
  prediction.create_time = absl::FromUnixMillis(1'800'000'000'123);
  prediction.state = core::State::kFailed;
  prediction.sequence = 3;
  prediction.upstream_id = "u1";
  prediction.upstream_status = "failed\xff";
  prediction.recovered_outputs = {{"https://cdn.test/v.mp4", std::nullopt}};
  prediction.failure = core::Failure{core::FailureCode::kModerated, "flagged", 1200, false};
  prediction.inference_time = absl::Milliseconds(1250);
  prediction.update_time = prediction.create_time + absl::Seconds(9);
  prediction.end_time = prediction.update_time;
  prediction.history = {
      {core::State::kSubmitting, prediction.create_time, core::TransitionSource::kGateway, 1}};
  return prediction;
}

TEST(ConvertersTest, APredictionKeepsEveryField) {
  const v1::Prediction proto = ToProto(FailedPrediction());
  EXPECT_EQ(proto.id(), "p1");
  EXPECT_EQ(proto.request_id(), "r1");
  EXPECT_EQ(proto.model(), "m");
  EXPECT_EQ(proto.prompt(), "a fox");
  EXPECT_EQ(proto.aspect_ratio(), v1::ASPECT_RATIO_9_16);
  EXPECT_EQ(proto.labels().at("team"), "blue");
  EXPECT_EQ(proto.seed(), 7);
  EXPECT_EQ(proto.state(), v1::PREDICTION_STATE_FAILED);
  EXPECT_EQ(proto.sequence(), 3);
  EXPECT_EQ(proto.upstream_id(), "u1");
  EXPECT_EQ(proto.upstream_status(), "failed\xEF\xBF\xBD");
  EXPECT_EQ(proto.outputs_size(), 0);
  ASSERT_EQ(proto.recovered_outputs_size(), 1);
  EXPECT_FALSE(proto.recovered_outputs(0).has_has_nsfw_content());
  EXPECT_EQ(proto.error().failure_code(), v1::FAILURE_CODE_MODERATED);
  EXPECT_EQ(proto.error().message(), "flagged");
  EXPECT_EQ(proto.error().upstream_code(), 1200);
  EXPECT_EQ(proto.inference_time().seconds(), 1);
  EXPECT_EQ(proto.inference_time().nanos(), 250'000'000);
  EXPECT_EQ(proto.create_time().seconds(), 1'800'000'000);
  EXPECT_EQ(proto.create_time().nanos(), 123'000'000);
  EXPECT_FALSE(proto.has_upstream_create_time());
  EXPECT_EQ(proto.end_time().seconds(), 1'800'000'009);
  ASSERT_EQ(proto.history_size(), 1);
  EXPECT_EQ(proto.history(0).state(), v1::PREDICTION_STATE_SUBMITTING);
  EXPECT_EQ(proto.history(0).source(), v1::TRANSITION_SOURCE_GATEWAY);
  EXPECT_EQ(proto.history(0).sequence(), 1);
}

TEST(ConvertersTest, AHeartbeatShowsOnlyWhatIsKnown) {
  core::Heartbeat heartbeat;
  EXPECT_EQ(ToProto(heartbeat).ByteSizeLong(), 0U);
  heartbeat.estimated_progress = 0.5;
  heartbeat.estimated_time_left = absl::InfiniteDuration();
  const v1::Heartbeat proto = ToProto(heartbeat);
  EXPECT_EQ(proto.estimated_progress(), 0.5);
  EXPECT_EQ(proto.estimated_time_left().seconds(), 315'576'000'000);
}

TEST(ConvertersTest, TimesStayWithinTheContractsRange) {
  EXPECT_EQ(ToProto(absl::InfiniteFuture()).seconds(), 253'402'300'799);
  EXPECT_EQ(ToProto(absl::InfinitePast()).seconds(), -62'135'596'800);
  const google::protobuf::Timestamp before_epoch = ToProto(absl::FromUnixMillis(-1));
  EXPECT_EQ(before_epoch.seconds(), -1);
  EXPECT_EQ(before_epoch.nanos(), 999'000'000);
}

}  // namespace
}  // namespace dreamgate::api
