#include "server/core/errors.h"

#include <array>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dreamgate::core {
namespace {

struct ReasonRow {
  Reason reason;
  absl::StatusCode code;
  absl::string_view name;
};

// The error table. proto/README.md ("Errors") shows it with the situations.
constexpr std::array kReasons = {
    ReasonRow{Reason::kCredentialsMissing, absl::StatusCode::kUnauthenticated,
              "CREDENTIALS_MISSING"},
    ReasonRow{Reason::kCredentialsInvalid, absl::StatusCode::kUnauthenticated,
              "CREDENTIALS_INVALID"},
    ReasonRow{Reason::kInvalidRequest, absl::StatusCode::kInvalidArgument, "INVALID_REQUEST"},
    ReasonRow{Reason::kRequestIdConflict, absl::StatusCode::kAlreadyExists, "REQUEST_ID_CONFLICT"},
    ReasonRow{Reason::kPredictionNotFound, absl::StatusCode::kNotFound, "PREDICTION_NOT_FOUND"},
    ReasonRow{Reason::kSequenceOutOfRange, absl::StatusCode::kOutOfRange, "SEQUENCE_OUT_OF_RANGE"},
    ReasonRow{Reason::kUpstreamRejected, absl::StatusCode::kInvalidArgument, "UPSTREAM_REJECTED"},
    ReasonRow{Reason::kUpstreamCredentialsRejected, absl::StatusCode::kFailedPrecondition,
              "UPSTREAM_CREDENTIALS_REJECTED"},
    ReasonRow{Reason::kUpstreamBalanceExhausted, absl::StatusCode::kFailedPrecondition,
              "UPSTREAM_BALANCE_EXHAUSTED"},
    ReasonRow{Reason::kUpstreamModelUnavailable, absl::StatusCode::kFailedPrecondition,
              "UPSTREAM_MODEL_UNAVAILABLE"},
    ReasonRow{Reason::kUpstreamRateLimited, absl::StatusCode::kResourceExhausted,
              "UPSTREAM_RATE_LIMITED"},
    ReasonRow{Reason::kUpstreamMisconfigured, absl::StatusCode::kFailedPrecondition,
              "UPSTREAM_MISCONFIGURED"},
    ReasonRow{Reason::kUpstreamUnreachable, absl::StatusCode::kUnavailable, "UPSTREAM_UNREACHABLE"},
    ReasonRow{Reason::kTenantLimitReached, absl::StatusCode::kResourceExhausted,
              "TENANT_LIMIT_REACHED"},
    ReasonRow{Reason::kLedgerUnavailable, absl::StatusCode::kUnavailable, "LEDGER_UNAVAILABLE"},
    ReasonRow{Reason::kTooManyStreams, absl::StatusCode::kResourceExhausted, "TOO_MANY_STREAMS"},
    ReasonRow{Reason::kTooManyRequests, absl::StatusCode::kResourceExhausted, "TOO_MANY_REQUESTS"},
    ReasonRow{Reason::kDraining, absl::StatusCode::kUnavailable, "DRAINING"},
    ReasonRow{Reason::kInternal, absl::StatusCode::kInternal, "INTERNAL"},
};

constexpr char kReasonUrl[] = "dreamgate/reason";
constexpr char kRetryAfterUrl[] = "dreamgate/retry-after-nanos";
constexpr char kQuotaUrl[] = "dreamgate/quota-subject";
constexpr char kResourceTypeUrl[] = "dreamgate/resource-type";
constexpr char kResourceNameUrl[] = "dreamgate/resource-name";
constexpr char kMetadataPrefix[] = "dreamgate/metadata/";

const ReasonRow& RowOf(Reason reason) {
  for (const ReasonRow& row : kReasons) {
    if (row.reason == reason) return row;
  }
  return kReasons.back();
}

}  // namespace

absl::string_view ReasonName(Reason reason) { return RowOf(reason).name; }

absl::StatusCode ReasonCode(Reason reason) { return RowOf(reason).code; }

absl::Status MakeError(Reason reason, absl::string_view message, const ErrorDetails& details) {
  absl::Status status(ReasonCode(reason), message);
  status.SetPayload(kReasonUrl, absl::Cord(ReasonName(reason)));
  if (details.retry_after) {
    status.SetPayload(kRetryAfterUrl,
                      absl::Cord(absl::StrCat(absl::ToInt64Nanoseconds(*details.retry_after))));
  }
  if (!details.quota_subject.empty())
    status.SetPayload(kQuotaUrl, absl::Cord(details.quota_subject));
  if (!details.resource_type.empty()) {
    status.SetPayload(kResourceTypeUrl, absl::Cord(details.resource_type));
    status.SetPayload(kResourceNameUrl, absl::Cord(details.resource_name));
  }
  for (const auto& [key, value] : details.metadata) {
    status.SetPayload(absl::StrCat(kMetadataPrefix, key), absl::Cord(value));
  }
  return status;
}

std::optional<Reason> ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonUrl);
  if (!payload) return std::nullopt;
  for (const ReasonRow& row : kReasons) {
    if (*payload == row.name) return row.reason;
  }
  return std::nullopt;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  status.ForEachPayload([&details](absl::string_view url, const absl::Cord& value) {
    if (url == kRetryAfterUrl) {
      int64_t nanos = 0;
      if (absl::SimpleAtoi(std::string(value), &nanos))
        details.retry_after = absl::Nanoseconds(nanos);
    } else if (url == kQuotaUrl) {
      details.quota_subject = std::string(value);
    } else if (url == kResourceTypeUrl) {
      details.resource_type = std::string(value);
    } else if (url == kResourceNameUrl) {
      details.resource_name = std::string(value);
    } else if (absl::ConsumePrefix(&url, kMetadataPrefix)) {
      details.metadata.emplace(std::string(url), std::string(value));
    }
  });
  return details;
}

}  // namespace dreamgate::core
