// Upstream's circuit as its POSTs show it. Every POST that may have created a task and did not say
// so may be billed, so while upstream fails all of them only probes leave, and every other
// submission is refused with the reason of the latest failure. On the caller's time, as
// CircuitBreaker is. Owned by Submitter, loop only.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_CIRCUIT_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_CIRCUIT_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/errors.h"
#include "server/core/polling/circuit_breaker.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class SubmitCircuit {
 public:
  using Call = CircuitBreaker::Call;

  // `events` is told when it opens and closes.
  SubmitCircuit(Events& events, Random& random);

  // A POST that wants to leave now: may it?
  bool MayCall(absl::Time now) { return circuit_.MayCall(now); }
  // The call leaves.
  Call Begin(absl::Time now) { return circuit_.Begin(now); }

  // The outcome of the POST.
  void OnOutcome(Call& call, const CreateOutcome& outcome, absl::Time now);
  // The POST has been without an answer for too long, which is a failure. OnOutcome may follow.
  void OnTimeout(Call& call, absl::string_view problem, absl::Time now);

  CircuitBreaker::State state() const { return circuit_.state(); }
  // How long until a POST may leave as things stand, in whole milliseconds.
  absl::Duration UntilNextCall(absl::Time now);

  // The error of a submission that may not leave.
  absl::Status Refusal(absl::Time now);
  static bool IsRefusal(const absl::Status& error);

 private:
  void OnFailed(Call& call, Reason reason, absl::string_view problem,
                std::optional<absl::Duration> retry_after, absl::Time now);
  void ReportChange(absl::string_view problem);

  Events& events_;
  CircuitBreaker circuit_;
  bool reported_open_ = false;
  Reason latest_failure_ = Reason::kUpstreamUnreachable;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_SUBMIT_CIRCUIT_H_
