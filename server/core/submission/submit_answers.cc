#include "server/core/submission/submit_answers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/errors.h"
#include "server/core/submission/submit_circuit.h"

namespace dreamgate::core {
namespace {

constexpr absl::Duration kRetryHint = absl::Seconds(5);

absl::Status LedgerUnavailable(absl::string_view message) {
  return MakeError(Reason::kLedgerUnavailable, message, {.retry_after = kRetryHint});
}

}  // namespace

absl::Status RequestIdInUse(const std::string& request_id) {
  return MakeError(Reason::kRequestIdConflict,
                   "this request_id is in use with another payload; use a new one",
                   {.metadata = {{"request_id", request_id}}});
}

absl::Status RequestIdUsedBefore(const std::string& request_id) {
  return MakeError(Reason::kRequestIdConflict,
                   "this request_id was used with another payload; use a new one",
                   {.metadata = {{"request_id", request_id}}});
}

absl::Status EarlierSubmissionUnsettled() {
  return LedgerUnavailable(
      "an earlier submission with this request_id is still being settled; try again");
}

absl::Status EarlierSubmissionBeingWithdrawn() {
  return LedgerUnavailable("an earlier call with this request_id is being withdrawn; try again");
}

absl::Status TenantLimitReached(const std::string& tenant, int64_t limit) {
  return MakeError(Reason::kTenantLimitReached,
                   absl::StrCat("this tenant has ", limit,
                                " videos in the making, which is its limit; wait for one to end"),
                   {.retry_after = kRetryHint, .quota_subject = absl::StrCat("tenant:", tenant)});
}

absl::Status QueueTimeout() {
  return MakeError(Reason::kTooManyRequests,
                   "too many submissions are waiting for upstream; nothing was sent, try later",
                   {.retry_after = kRetryHint});
}

absl::Status CancelledByCaller() {
  return absl::CancelledError("cancelled by the caller before anything was sent");
}

absl::Status LedgerInTrouble() {
  return LedgerUnavailable("durable storage is in trouble; nothing was sent, try again");
}

absl::Status LedgerTooSlow() {
  return LedgerUnavailable("durable storage is too slow; nothing was sent, try again");
}

absl::Status AnswerUnrecorded() {
  return LedgerUnavailable(
      "durable storage is in trouble and cannot record upstream's answer; try again");
}

absl::Status UpstreamUnreachable(absl::string_view problem, absl::Duration until_next_call) {
  return MakeError(
      Reason::kUpstreamUnreachable,
      absl::StrCat("upstream could not be reached (", problem, "); nothing was sent, try again"),
      {.retry_after = std::max(kRetryHint, until_next_call)});
}

absl::Status UpstreamNotReachedInTime() {
  return MakeError(Reason::kUpstreamUnreachable,
                   "upstream could not be reached in time; nothing was sent, try again",
                   {.retry_after = kRetryHint});
}

absl::Status KeyChangedBeforeSending() {
  return MakeError(Reason::kUpstreamUnreachable,
                   "the API key was changed before anything was sent; try again",
                   {.retry_after = absl::Seconds(1)});
}

Rejection RejectionFrom(const CreateRejected& rejected) {
  Rejection rejection;
  rejection.reason = rejected.reason;
  rejection.message = absl::StrCat("upstream refused the submission: ", rejected.message);
  rejection.metadata["http_status"] = absl::StrCat(rejected.http_status);
  if (rejected.upstream_code != 0) {
    rejection.metadata["upstream_code"] = absl::StrCat(rejected.upstream_code);
  }
  return rejection;
}

absl::Status ErrorFrom(const Rejection& rejection, std::optional<absl::Duration> retry_after) {
  ErrorDetails details;
  details.metadata = rejection.metadata;
  details.retry_after = retry_after;
  return MakeError(rejection.reason, rejection.message, details);
}

std::optional<absl::Duration> RetryAfterOf(const CreateRejected& rejected) {
  if (rejected.retry_after) return rejected.retry_after;
  if (rejected.reason == Reason::kUpstreamRateLimited) return kRetryHint;
  return std::nullopt;
}

Failure FailureFrom(const CreateRejected& rejected) {
  Failure failure;
  failure.message = rejected.message;
  failure.upstream_code = rejected.upstream_code;
  switch (rejected.reason) {
    case Reason::kUpstreamRejected: failure.code = FailureCode::kInvalidInput; break;
    case Reason::kUpstreamBalanceExhausted: failure.code = FailureCode::kInsufficientCredits; break;
    default: failure.code = FailureCode::kSubmitNotCreated; failure.resubmission_may_help = true;
  }
  return failure;
}

absl::string_view OutcomeName(const absl::StatusOr<std::shared_ptr<const Prediction>>& result,
                              bool joined) {
  if (result.ok()) {
    if (joined) return "replayed";
    return (*result)->state == State::kUnresolved ? "unresolved" : "accepted";
  }
  if (SubmitCircuit::IsRefusal(result.status())) return "refused";
  switch (ReasonOf(result.status()).value_or(Reason::kInternal)) {
    case Reason::kUpstreamRejected:
    case Reason::kUpstreamCredentialsRejected:
    case Reason::kUpstreamBalanceExhausted:
    case Reason::kUpstreamModelUnavailable:
    case Reason::kUpstreamRateLimited:
    case Reason::kUpstreamMisconfigured: return "rejected";
    case Reason::kUpstreamUnreachable: return "not_sent";
    default: return "refused";
  }
}

}  // namespace dreamgate::core
