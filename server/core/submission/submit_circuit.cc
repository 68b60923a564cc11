#include "server/core/submission/submit_circuit.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

namespace dreamgate::core {
namespace {

// The least that a submission is asked to wait.
constexpr absl::Duration kLeastRetryHint = absl::Seconds(1);
// Marks the errors that are refusals.
constexpr char kRefusalKey[] = "circuit";

}  // namespace

SubmitCircuit::SubmitCircuit(Events& events, Random& random)
    : events_(events),
      circuit_(std::numeric_limits<int>::max(), random) {}  // how many: the submitter's slots say

void SubmitCircuit::OnOutcome(Call& call, const CreateOutcome& outcome, absl::Time now) {
  if (const auto* rejected = std::get_if<CreateRejected>(&outcome);
      rejected != nullptr && rejected->reason == Reason::kUpstreamRateLimited) {
    OnFailed(call, rejected->reason, rejected->message, rejected->retry_after, now);
  } else if (const auto* not_sent = std::get_if<CreateNotSent>(&outcome)) {
    OnFailed(call, Reason::kUpstreamUnreachable, not_sent->message, std::nullopt, now);
  } else if (const auto* unknown = std::get_if<CreateUnknown>(&outcome)) {
    OnFailed(call, Reason::kUpstreamUnreachable, unknown->message, std::nullopt, now);
  } else {
    circuit_.OnServed(call, now);
    ReportChange("");
  }
}

void SubmitCircuit::OnTimeout(Call& call, absl::string_view problem, absl::Time now) {
  OnFailed(call, Reason::kUpstreamUnreachable, problem, std::nullopt, now);
}

void SubmitCircuit::OnFailed(Call& call, Reason reason, absl::string_view problem,
                             std::optional<absl::Duration> retry_after, absl::Time now) {
  latest_failure_ = reason;
  circuit_.OnFailed(call, now, retry_after);
  ReportChange(problem);
}

void SubmitCircuit::ReportChange(absl::string_view problem) {
  const bool open = circuit_.state() != CircuitBreaker::State::kClosed;
  if (std::exchange(reported_open_, open) != open) ReportCircuit(events_, "post", open, problem);
}

absl::Duration SubmitCircuit::UntilNextCall(absl::Time now) {
  return absl::Ceil(circuit_.NextCall(now) - now, absl::Milliseconds(1));
}

absl::Status SubmitCircuit::Refusal(absl::Time now) {
  return MakeError(latest_failure_,
                   "upstream has failed the last submissions; nothing was sent, try again later",
                   {.retry_after = std::max(kLeastRetryHint, UntilNextCall(now)),
                    .metadata = {{kRefusalKey, "open"}}});
}

bool SubmitCircuit::IsRefusal(const absl::Status& error) {
  return DetailsOf(error).metadata.count(kRefusalKey) > 0;
}

}  // namespace dreamgate::core
