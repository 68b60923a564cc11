// One attempt to have upstream create a prediction's task: the POST, its repetition while not one
// byte has left, the soft timeout, and what became of it. The first attempt and further ones alike.
//
// Whoever has been told of the prediction decides how an end without a task is told: while nobody
// has, the attempt's owner withdraws the prediction; afterwards it becomes the prediction's state.
// Owned by Submitter until it is over, loop only.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_POSTING_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_POSTING_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/submission/submit_circuit.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

// The parts that submissions and postings share. Owned by Submitter.
struct SubmissionParts {
  const Ports& ports;
  const Options& options;
  Tracker& tracker;
  Durable& withdrawals;
  SubmitCircuit& circuit;
};

class Posting final : public std::enable_shared_from_this<Posting> {
 public:
  // On whose behalf the first attempt is made: a submission that has callers.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Asked just before a POST leaves. False: all callers have gone.
    virtual bool IsWanted() = 0;
    // When the last caller stops listening.
    virtual absl::Time LastCallerLeaves() = 0;
    // The outcome of the attempt is recorded as this state, or will be. Maybe twice: UNRESOLVED,
    // and what a late answer says. Null: the ledger has no such prediction.
    virtual void OnRecorded(const std::shared_ptr<const Prediction>& prediction) = 0;
    // Nothing was created, and nobody has been told of the prediction: it is to be withdrawn.
    virtual void OnRefused(const CreateRejected& rejected, AttemptOutcome outcome) = 0;
    virtual void OnUnsent(AttemptOutcome outcome, absl::Status error) = 0;
    // The latest POST is answered, after the above.
    virtual void OnOffTheWire() = 0;
  };

  // `begun`: when the soft timeout began. `owner` null: a further attempt, whose prediction callers
  // know. `over` is called when nothing follows any more.
  Posting(const SubmissionParts& parts, std::shared_ptr<const Prediction> prediction,
          Attempt attempt, absl::Time begun, std::shared_ptr<Owner> owner,
          absl::AnyInvocable<void() &&> over);

  // The ledger knows of the attempt. Maybe over when it returns.
  void Start();

  // True while a POST may still be answered.
  bool on_the_wire() const { return phase_ == Phase::kOnTheWire; }

 private:
  enum class Phase { kReady, kOnTheWire, kWaiting, kOver };
  // The prediction is known to: nobody; its callers; its callers, as UNRESOLVED by this attempt.
  enum class Standing { kHidden, kShown, kUnresolved };

  void Send();
  void OnAnswered(CreateOutcome outcome);
  void OnAccepted(const CreateAccepted& accepted);
  void OnRejected(const CreateRejected& rejected);
  void OnNotSent(const CreateNotSent& not_sent);
  void OnSoftTimeout();

  // Ends without a POST, or without one that left. `why` goes on record.
  void EndUnsent(absl::string_view why, absl::Status error);
  void RecordUnresolved(TransitionSource source, absl::string_view problem);
  void RecordFailed(Failure failure, AttemptOutcome outcome);
  // `unless_bound`: not if a task has been found.
  void Record(Transition transition, AttemptOutcome outcome, bool unless_bound);
  AttemptOutcome OutcomeOf(AttemptResult result, absl::string_view message) const;
  void End();

  const SubmissionParts& parts_;
  const std::shared_ptr<const Prediction> prediction_;
  const Attempt attempt_;
  const absl::Time begun_;
  const std::shared_ptr<Owner> owner_;
  absl::AnyInvocable<void() &&> over_;
  Phase phase_ = Phase::kReady;
  Standing standing_;
  int not_sent_ = 0;
  SubmitCircuit::Call call_;  // the latest POST
  std::unique_ptr<Timers::Timer> soft_timeout_;
  std::unique_ptr<Timers::Timer> resend_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_POSTING_H_
