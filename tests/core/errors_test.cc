#include "server/core/errors.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace dreamgate::core {
namespace {

struct Expected {
  absl::StatusCode code;
  std::string name;
};

// The error table of the contract.
const std::map<Reason, Expected> kTable = {
    {Reason::kCredentialsMissing, {absl::StatusCode::kUnauthenticated, "CREDENTIALS_MISSING"}},
    {Reason::kCredentialsInvalid, {absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID"}},
    {Reason::kInvalidRequest, {absl::StatusCode::kInvalidArgument, "INVALID_REQUEST"}},
    {Reason::kRequestIdConflict, {absl::StatusCode::kAlreadyExists, "REQUEST_ID_CONFLICT"}},
    {Reason::kPredictionNotFound, {absl::StatusCode::kNotFound, "PREDICTION_NOT_FOUND"}},
    {Reason::kSequenceOutOfRange, {absl::StatusCode::kOutOfRange, "SEQUENCE_OUT_OF_RANGE"}},
    {Reason::kUpstreamRejected, {absl::StatusCode::kInvalidArgument, "UPSTREAM_REJECTED"}},
    {Reason::kUpstreamCredentialsRejected,
     {absl::StatusCode::kFailedPrecondition, "UPSTREAM_CREDENTIALS_REJECTED"}},
    {Reason::kUpstreamBalanceExhausted,
     {absl::StatusCode::kFailedPrecondition, "UPSTREAM_BALANCE_EXHAUSTED"}},
    {Reason::kUpstreamModelUnavailable,
     {absl::StatusCode::kFailedPrecondition, "UPSTREAM_MODEL_UNAVAILABLE"}},
    {Reason::kUpstreamRateLimited, {absl::StatusCode::kResourceExhausted, "UPSTREAM_RATE_LIMITED"}},
    {Reason::kUpstreamMisconfigured,
     {absl::StatusCode::kFailedPrecondition, "UPSTREAM_MISCONFIGURED"}},
    {Reason::kUpstreamUnreachable, {absl::StatusCode::kUnavailable, "UPSTREAM_UNREACHABLE"}},
    {Reason::kTenantLimitReached, {absl::StatusCode::kResourceExhausted, "TENANT_LIMIT_REACHED"}},
    {Reason::kLedgerUnavailable, {absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE"}},
    {Reason::kTooManyStreams, {absl::StatusCode::kResourceExhausted, "TOO_MANY_STREAMS"}},
    {Reason::kTooManyRequests, {absl::StatusCode::kResourceExhausted, "TOO_MANY_REQUESTS"}},
    {Reason::kDraining, {absl::StatusCode::kUnavailable, "DRAINING"}},
    {Reason::kInternal, {absl::StatusCode::kInternal, "INTERNAL"}},
};

TEST(ErrorsTest, EveryReasonHasTheStatusAndTheNameOfTheContract) {
  ASSERT_EQ(kTable.size(), 19u);
  for (const auto& [reason, expected] : kTable) {
    EXPECT_EQ(ReasonCode(reason), expected.code) << expected.name;
    EXPECT_EQ(ReasonName(reason), expected.name);
    const absl::Status error = MakeError(reason, "what to do");
    EXPECT_EQ(error.code(), expected.code);
    EXPECT_EQ(error.message(), "what to do");
    EXPECT_EQ(ReasonOf(error), reason);
  }
}

TEST(ErrorsTest, DetailsComeBackAsTheyWerePutIn) {
  ErrorDetails details;
  details.retry_after = absl::Milliseconds(1500);
  details.quota_subject = "tenant:a";
  details.resource_type = "dreamgate.v1.Prediction";
  details.resource_name = "p/1";
  details.metadata = {{"last_sequence", "3"}, {"a/b c", ""}};
  const ErrorDetails read = DetailsOf(MakeError(Reason::kTenantLimitReached, "later", details));
  EXPECT_EQ(read.retry_after, details.retry_after);
  EXPECT_EQ(read.quota_subject, details.quota_subject);
  EXPECT_EQ(read.resource_type, details.resource_type);
  EXPECT_EQ(read.resource_name, details.resource_name);
  EXPECT_EQ(read.metadata, details.metadata);
}

TEST(ErrorsTest, AnErrorWithoutDetailsHasNone) {
  const ErrorDetails read = DetailsOf(MakeError(Reason::kInternal, "bad"));
  EXPECT_FALSE(read.retry_after.has_value());
  EXPECT_TRUE(read.quota_subject.empty());
  EXPECT_TRUE(read.resource_type.empty());
  EXPECT_TRUE(read.metadata.empty());
}

TEST(ErrorsTest, AForeignStatusHasNoReason) {
  EXPECT_FALSE(ReasonOf(absl::OkStatus()).has_value());
  EXPECT_FALSE(ReasonOf(absl::UnavailableError("no")).has_value());
}

}  // namespace
}  // namespace dreamgate::core
