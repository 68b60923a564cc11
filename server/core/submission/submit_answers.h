// The answers to the callers of a submission: the errors of those that end without a
// prediction, each with what to do next, and what a refusal by upstream means. Pure
// functions, used by Submitter.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_ANSWERS_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_ANSWERS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/core/prediction.h"

namespace dreamgate::core {

// The request_id belongs to another payload: of a submission in flight, or of one that is over.
absl::Status RequestIdInUse(const std::string& request_id);
absl::Status RequestIdUsedBefore(const std::string& request_id);
// Whether the request_id is taken is not known yet.
absl::Status EarlierSubmissionUnsettled();
absl::Status EarlierSubmissionBeingWithdrawn();

absl::Status TenantLimitReached(const std::string& tenant, int64_t limit);
// No slot became free in time.
absl::Status QueueTimeout();
absl::Status CancelledByCaller();

absl::Status LedgerInTrouble();
absl::Status LedgerTooSlow();
// Upstream has answered for good, but that cannot be remembered.
absl::Status AnswerUnrecorded();

// `until_next_call`: how long upstream's circuit lets nothing through.
absl::Status UpstreamUnreachable(absl::string_view problem, absl::Duration until_next_call);
absl::Status UpstreamNotReachedInTime();
absl::Status KeyChangedBeforeSending();

// The rejection that is remembered of a refusal, and its error, now and for every replay.
Rejection RejectionFrom(const CreateRejected& rejected);
absl::Status ErrorFrom(const Rejection& rejection, std::optional<absl::Duration> retry_after);
// When it is worth another try, if that is known.
std::optional<absl::Duration> RetryAfterOf(const CreateRejected& rejected);
// The failure of a prediction that callers already know of.
Failure FailureFrom(const CreateRejected& rejected);

// The outcome for Events::SubmissionFinished. `joined`: another call had begun the submission.
absl::string_view OutcomeName(const absl::StatusOr<std::shared_ptr<const Prediction>>& result,
                              bool joined);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_ANSWERS_H_
