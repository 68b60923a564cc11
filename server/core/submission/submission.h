// One request_id on its way, from the first call to the answer: its callers, duplicates that join
// them, the reservation, the wait for a slot, and the withdrawal if nothing comes of it. The POST
// itself is a Posting. Owned by Submitter (and by what is under way for it), loop only.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_SUBMISSION_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_SUBMISSION_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/core/submission/posting.h"

namespace dreamgate::core {

struct SubmitRequest {
  std::string tenant;
  std::string request_id;  // not empty
  VideoInput input;        // validated
  // Asked once, just before the POST: true if the caller no longer wants it. May be empty.
  absl::AnyInvocable<bool()> cancelled;
  // When the caller stops listening. While upstream cannot be reached, the caller is told before.
  absl::Time deadline = absl::InfiniteFuture();
};

struct SubmitAnswer {
  std::shared_ptr<const Prediction> prediction;
  bool replayed = false;
};

class Submitter;

using SubmitDone = Completion<absl::StatusOr<SubmitAnswer>>;

class Submission final : public Posting::Owner, public std::enable_shared_from_this<Submission> {
 public:
  Submission(const SubmissionParts& parts, Submitter& submitter, SubmitRequest request,
             std::string canonical, SubmitDone done);

  // `has_slot`: it may be sent as soon as it is durable.
  void Reserve(std::string id, bool has_slot);
  // Another call with its request_id: it joins, waits for what becomes of this one, or is refused.
  void Join(SubmitRequest request, std::string canonical, SubmitDone done);
  // A slot is free. SUBMITTING must be durable before the POST: after a crash a QUEUED prediction
  // counts as never sent.
  void LeaveQueue();
  // The process ends: its timers refer back to it.
  void Abandon() { queue_timeout_.reset(); }

  const std::string& tenant() const { return request_.tenant; }
  const std::string& request_id() const { return request_.request_id; }

 private:
  enum class Phase { kReserving, kQueued, kLeavingQueue, kPosting, kWithdrawing, kLanded };

  struct Caller {
    SubmitDone done;
    absl::AnyInvocable<bool()> cancelled;
    bool joined = false;
    absl::Time deadline;
  };
  // Has to wait until it is known what becomes of this submission, and begins anew then.
  struct Successor {
    SubmitRequest request;
    SubmitDone done;
  };

  void OnReserved(absl::StatusOr<ReserveResult> result);
  void OnExisting(const std::shared_ptr<const Prediction>& existing);
  void OnOurs(std::shared_ptr<const Prediction> reserved);
  bool TimeIsUp() const;

  bool IsWanted() override;
  absl::Time LastCallerLeaves() override;
  void OnRecorded(const std::shared_ptr<const Prediction>& prediction) override;
  void OnRefused(const CreateRejected& rejected, AttemptOutcome outcome) override;
  void OnUnsent(AttemptOutcome outcome, absl::Status error) override;
  void OnOffTheWire() override { FreeSlotIfOver(); }

  // Withdraws what has not been sent. `why` goes on record.
  void WithdrawUnsent(absl::string_view why, absl::Status error);
  // Withdraws the prediction, answers with `error`, and remembers the rejection or frees the
  // request_id, which stays taken until that is durable.
  void Withdraw(AttemptOutcome outcome, std::optional<Rejection> remember, absl::Status error);
  void OnWithdrawn(const absl::Status& written, const absl::Status& error);

  void Land();
  // A slot is taken until the submission has landed and its POST is off the wire.
  void FreeSlotIfOver();
  void AnswerCallers(const absl::StatusOr<std::shared_ptr<const Prediction>>& result);
  void SubmitSuccessors();

  const SubmissionParts& parts_;
  Submitter& submitter_;
  SubmitRequest request_;
  const std::string canonical_;
  const absl::Time begun_;
  std::vector<Caller> callers_;
  std::vector<Successor> successors_;
  std::shared_ptr<const Prediction> prediction_;
  Attempt attempt_;
  Phase phase_ = Phase::kReserving;
  bool holds_slot_ = false;
  std::unique_ptr<Timers::Timer> queue_timeout_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_SUBMISSION_H_
