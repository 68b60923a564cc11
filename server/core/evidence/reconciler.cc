#include "server/core/evidence/reconciler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/ids.h"

namespace dreamgate::core {
namespace {

absl::Status InTrouble() {
  return MakeError(Reason::kLedgerUnavailable,
                   "durable storage is in trouble and cannot record this yet; call again",
                   {.retry_after = absl::Seconds(5)});
}

}  // namespace

Reconciler::Reconciler(const Ports& ports, const Options& options, Tracker& tracker,
                       Submitter& submitter, Poller& poller)
    : ports_(ports),
      options_(options),
      tracker_(tracker),
      submitter_(submitter),
      poller_(poller),
      history_(ports, options, tracker,
               [this](const HistoryReading& reading, AttemptReview review, bool whole) {
                 LeaveOutDecided(review);
                 Judge(reading, review, whole);
               }),
      absences_(options.absence_settle_time),
      orphans_(ports, options, tracker, poller) {}

Reconciler::~Reconciler() = default;

void Reconciler::Start() {
  orphans_.Start();
  history_.Start();
}

// ----------------------------------------------------------------------------------------- judging

// An acceptance that the ledger cannot write yet is known all the same.
void Reconciler::LeaveOutDecided(AttemptReview& review) const {
  std::vector<StoredAttempt> undecided;
  for (StoredAttempt& attempt : review.open) {
    std::string upstream_id =
        attempt.latest ? tracker_.TaskOf({attempt.tenant, attempt.prediction_id}) : "";
    if (upstream_id.empty()) {
      undecided.push_back(std::move(attempt));
    } else {
      review.bound.push_back(std::move(upstream_id));
    }
  }
  review.open = std::move(undecided);
  std::sort(review.bound.begin(), review.bound.end());
}

void Reconciler::Judge(const HistoryReading& reading, const AttemptReview& review, bool whole) {
  const auto on_the_wire = [this](const StoredAttempt& attempt) {
    return attempt.latest && submitter_.OnTheWire({attempt.tenant, attempt.prediction_id});
  };
  const Matching matching = MatchTasks(reading, review, on_the_wire);
  if (std::exchange(ambiguous_, matching.ambiguous) < matching.ambiguous) {
    ports_.events.Log(LogLevel::kWarning,
                      "upstream's history shows tasks with the input of several submissions whose "
                      "outcome is unknown; none is bound",
                      {{"inputs", absl::StrCat(matching.ambiguous)}});
  }
  std::set<const StoredAttempt*> matched;
  for (const Match& match : matching.matches) {
    matched.insert(match.attempt);
    Bind(*match.attempt, *match.item, TransitionSource::kReconciliation,
         [](absl::Status) { /* asked again in the next question */ });
  }
  if (whole) return;
  std::vector<const StoredAttempt*> undecided;
  for (const StoredAttempt& attempt : review.open) {
    if (attempt.state == State::kUnresolved && attempt.latest &&
        attempt.result == AttemptResult::kUnknown && !matched.contains(&attempt) &&
        !on_the_wire(attempt)) {
      undecided.push_back(&attempt);
    }
  }
  for (const StoredAttempt* absent : absences_.Add(reading, review, undecided)) {
    ConcludeAbsence(*absent);
  }
}

void Reconciler::Bind(const StoredAttempt& attempt, const HistoryItem& task,
                      TransitionSource source, Completion<absl::Status> done) {
  const PredictionKey key(attempt.tenant, attempt.prediction_id);
  AttemptOutcome acceptance{
      attempt.attempt.number,   AttemptResult::kAccepted, ports_.clock.Now(), task.upstream_id, 0,
      "found by reconciliation"};
  const bool live = attempt.latest &&
                    (attempt.state == State::kSubmitting || attempt.state == State::kUnresolved);
  if (!live || tracker_.Find(key) == nullptr) {
    orphans_.Record(key, acceptance, std::move(done));
    return;
  }
  DREAMGATE_FAILPOINT("reconcile.before_binding");
  Observation observation;
  observation.unless_bound = true;
  observation.transition.state = task.state;
  observation.transition.source = source;
  observation.transition.upstream_id = task.upstream_id;
  if (!task.raw_status.empty()) observation.transition.upstream_status = task.raw_status;
  observation.transition.upstream_create_time = task.create_time;
  observation.attempt_outcome = acceptance;
  observation.done = [this, key, source, acceptance = std::move(acceptance),
                      done = std::move(done)](Recorded recorded) mutable {
    DREAMGATE_FAILPOINT("reconcile.bound");
    const TaskKey bound{key, acceptance.upstream_id};
    if (source == TransitionSource::kWebhook) {
      poller_.OnWebhook(bound);
    } else {
      poller_.PollNow(bound);
    }
    const Prediction* now = recorded.prediction.get();
    if (now != nullptr && now->upstream_id == acceptance.upstream_id) {
      std::move(done)(absl::OkStatus());
    } else if (recorded.end == Recorded::End::kKept) {
      std::move(done)(InTrouble());
    } else {  // it has ended, or has another task: this one is left to the orphans
      orphans_.Record(key, acceptance, std::move(done));
    }
  };
  tracker_.Record(key, std::move(observation));
}

void Reconciler::ConcludeAbsence(const StoredAttempt& attempt) {
  DREAMGATE_FAILPOINT("reconcile.absence_concluded");
  const PredictionKey key(attempt.tenant, attempt.prediction_id);
  Observation observation;
  observation.only_in = State::kUnresolved;
  observation.transition.source = TransitionSource::kReconciliation;
  observation.attempt_outcome = AttemptOutcome{attempt.attempt.number,
                                               AttemptResult::kAbsent,
                                               ports_.clock.Now(),
                                               "",
                                               0,
                                               "upstream's history shows no such task"};
  if (attempt.attempt.number > options_.resend_after_absence) {
    observation.transition.state = State::kFailed;
    observation.transition.failure =
        Failure{FailureCode::kSubmitNotCreated,
                "Upstream's history shows that this submission created no task, so nothing was "
                "paid. Submit again with a new request_id.",
                0, true};
    tracker_.Record(key, std::move(observation));
    return;
  }
  const Attempt next{attempt.attempt.number + 1, AttemptToken(ports_.clock.Now(), ports_.random),
                     ports_.clock.Now()};
  observation.transition.state = State::kSubmitting;
  observation.new_attempt = next;
  observation.done = [this, key, next](Recorded recorded) {
    if (recorded.end == Recorded::End::kCommitted) {
      DREAMGATE_FAILPOINT("reconcile.before_resending");
      submitter_.SendAgain(std::move(recorded.prediction), next);
    } else if (recorded.end == Recorded::End::kKept) {
      // Should it come to SUBMITTING after all, nothing will have been sent.
      Observation not_sent;
      not_sent.only_in = State::kSubmitting;
      not_sent.transition.state = State::kFailed;
      not_sent.transition.source = TransitionSource::kReconciliation;
      not_sent.transition.failure =
          Failure{FailureCode::kSubmitNotCreated,
                  "This submission created no task, and could not be sent again. Submit again with "
                  "a new request_id.",
                  0, true};
      not_sent.attempt_outcome = AttemptOutcome{
          next.number, AttemptResult::kNotSent, ports_.clock.Now(), "", 0, "ledger trouble"};
      tracker_.Record(key, std::move(not_sent));
    }
  };
  tracker_.Record(key, std::move(observation));
}

// -------------------------------------------------------------------------------- other evidence

void Reconciler::OnWebhook(std::string attempt_token, std::string upstream_id,
                           Completion<absl::Status> done) {
  ports_.ledger.Call(
      AttemptQuery{std::move(attempt_token)},
      lifeline_.Guard([this, upstream_id = std::move(upstream_id),
                       done = std::move(done)](absl::StatusOr<StoredAttempt> found) mutable {
        if (!found.ok()) {
          std::move(done)(found.status());
          return;
        }
        if (found->upstream_id == upstream_id) {  // known: this is about how the task goes on
          poller_.OnWebhook({{found->tenant, found->prediction_id}, upstream_id});
          orphans_.OnWebhook(*found);
          std::move(done)(absl::OkStatus());
          return;
        }
        HistoryItem task;
        task.upstream_id = std::move(upstream_id);
        Bind(*found, task, TransitionSource::kWebhook, std::move(done));
      }));
}

void Reconciler::OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) {
  orphans_.Record(key, acceptance, [](absl::Status) { /* repeated until it is recorded */ });
}

}  // namespace dreamgate::core
