// The errors a caller can meet, as absl::Status values with a stable reason. `MakeError` is the
// only place that pairs a reason with its status code; `api` turns the result into google.rpc
// details without knowing any single reason. Details travel as Status payloads. Thread-free values.
#ifndef DREAMGATE_SERVER_CORE_ERRORS_H_
#define DREAMGATE_SERVER_CORE_ERRORS_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dreamgate::core {

// Numbers are stored in the ledger (remembered rejections): never renumber.
enum class Reason {
  kCredentialsMissing = 1,
  kCredentialsInvalid = 2,
  kInvalidRequest = 3,
  kRequestIdConflict = 4,
  kPredictionNotFound = 5,
  kSequenceOutOfRange = 6,
  kUpstreamRejected = 7,
  kUpstreamCredentialsRejected = 8,
  kUpstreamBalanceExhausted = 9,
  kUpstreamModelUnavailable = 10,
  kUpstreamRateLimited = 11,
  kUpstreamMisconfigured = 12,
  kUpstreamUnreachable = 13,
  kTenantLimitReached = 14,
  kLedgerUnavailable = 15,
  kTooManyStreams = 16,
  kTooManyRequests = 17,
  kDraining = 18,
  kInternal = 19,
};

struct ErrorDetails {
  std::optional<absl::Duration> retry_after = std::nullopt;  // becomes RetryInfo
  std::string quota_subject = {};                    // not empty: becomes a QuotaFailure violation
  std::string resource_type = {};                    // not empty: becomes ResourceInfo
  std::string resource_name = {};                    // likewise
  std::map<std::string, std::string> metadata = {};  // becomes ErrorInfo.metadata
};

// The stable name in ErrorInfo.reason, for example "REQUEST_ID_CONFLICT".
absl::string_view ReasonName(Reason reason);

// The status code that belongs to `reason`.
absl::StatusCode ReasonCode(Reason reason);

// `message` says what is wrong and what to do next; never a key, never a whole prompt.
absl::Status MakeError(Reason reason, absl::string_view message, const ErrorDetails& details = {});

// The details that MakeError put in; nullopt for a Status that it did not make.
std::optional<Reason> ReasonOf(const absl::Status& status);
ErrorDetails DetailsOf(const absl::Status& status);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_ERRORS_H_
