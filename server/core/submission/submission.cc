#include "server/core/submission/submission.h"

#include <algorithm>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/durable.h"
#include "server/core/failpoint.h"
#include "server/core/ids.h"
#include "server/core/invariant.h"
#include "server/core/submission/submit_answers.h"
#include "server/core/submission/submitter.h"

namespace dreamgate::core {
namespace {

Prediction NewPrediction(const SubmitRequest& request, const SubmissionParts& parts,
                         std::string id) {
  Prediction prediction;
  prediction.tenant = request.tenant;
  prediction.id = std::move(id);
  prediction.request_id = request.request_id;
  prediction.model = parts.options.model;
  prediction.input = request.input;
  prediction.seed = request.input.seed ? *request.input.seed
                                       : static_cast<int32_t>(parts.ports.random.Draw() >> 33);
  prediction.key_fingerprint = parts.ports.upstream.KeyFingerprint();
  prediction.create_time = parts.ports.clock.Now();
  return prediction;
}

// A verdict on the input stays true; all the others may be different next time.
bool IsRemembered(const CreateRejected& rejected) {
  return rejected.reason == Reason::kUpstreamRejected &&
         (rejected.http_status == 400 || rejected.http_status == 422);
}

}  // namespace

Submission::Submission(const SubmissionParts& parts, Submitter& submitter, SubmitRequest request,
                       std::string canonical, SubmitDone done)
    : parts_(parts),
      submitter_(submitter),
      request_(std::move(request)),
      canonical_(std::move(canonical)),
      begun_(parts.ports.clock.Now()) {
  callers_.push_back(
      {std::move(done), std::move(request_.cancelled), /*joined=*/false, request_.deadline});
}

void Submission::Join(SubmitRequest request, std::string canonical, SubmitDone done) {
  // Until the ledger has answered, the request_id may be held by an earlier submission, and this
  // payload may be the one that has it.
  const bool undecided = phase_ == Phase::kReserving && canonical_ != canonical;
  if (phase_ == Phase::kWithdrawing || undecided) {
    successors_.push_back({std::move(request), std::move(done)});
  } else if (canonical_ == canonical) {
    callers_.push_back(
        {std::move(done), std::move(request.cancelled), /*joined=*/true, request.deadline});
  } else {
    submitter_.Refuse(std::move(done), RequestIdInUse(request.request_id));
  }
}

// ----------------------------------------------------------------------------- reserving, queueing

void Submission::Reserve(std::string id, bool has_slot) {
  holds_slot_ = has_slot;
  Reservation reservation;
  reservation.prediction = NewPrediction(request_, parts_, std::move(id));
  reservation.canonical = canonical_;
  reservation.first_transition.sequence = 1;
  reservation.first_transition.state = has_slot ? State::kSubmitting : State::kQueued;
  reservation.first_transition.time = begun_;
  reservation.first_transition.source = TransitionSource::kGateway;
  reservation.attempt = {1, AttemptToken(begun_, parts_.ports.random), begun_};
  attempt_ = reservation.attempt;
  prediction_ = std::make_shared<const Prediction>(reservation.prediction);
  DREAMGATE_FAILPOINT("submit.before_reserve");
  parts_.ports.ledger.Call(std::move(reservation),
                           [weak = weak_from_this()](absl::StatusOr<ReserveResult> result) {
                             const auto self = weak.lock();
                             if (self == nullptr) return;
                             self->OnReserved(std::move(result));
                             self->SubmitSuccessors();
                           });
}

void Submission::OnReserved(absl::StatusOr<ReserveResult> result) {
  if (!result.ok()) {
    // The reservation may be durable all the same. Nothing was sent, so it is withdrawn before
    // anybody can mistake it for a POST that was.
    WithdrawUnsent("the ledger could not confirm the reservation", result.status());
  } else if (const auto* existing = std::get_if<ReserveExisting>(&*result)) {
    OnExisting(existing->prediction);
  } else if (const auto* remembered = std::get_if<ReserveRemembered>(&*result)) {
    Land();
    AnswerCallers(ErrorFrom(remembered->rejection, std::nullopt));
  } else if (std::holds_alternative<ReserveConflict>(*result)) {
    Land();
    AnswerCallers(RequestIdUsedBefore(request_id()));
  } else {
    OnOurs(std::get<Reserved>(*std::move(result)).prediction);
  }
}

void Submission::OnExisting(const std::shared_ptr<const Prediction>& existing) {
  parts_.tracker.Learn(existing);
  Land();
  if (!parts_.tracker.IsShown(*existing)) {
    AnswerCallers(EarlierSubmissionUnsettled());
    return;
  }
  for (Caller& caller : callers_) caller.joined = true;
  AnswerCallers(existing);
}

void Submission::OnOurs(std::shared_ptr<const Prediction> reserved) {
  DREAMGATE_INVARIANT(phase_ == Phase::kReserving, "a submission is reserved once");
  prediction_ = std::move(reserved);
  DREAMGATE_FAILPOINT("submit.reserved");
  const int64_t limit = parts_.options.max_in_flight_per_tenant;
  if (limit > 0 && parts_.tracker.InFlightOf(tenant()) >= limit) {
    WithdrawUnsent("tenant limit", TenantLimitReached(tenant(), limit));
    return;
  }
  if (TimeIsUp()) {
    WithdrawUnsent("slow ledger", LedgerTooSlow());
    return;
  }
  // A known request_id has had its answer above, and one that has to wait for a slot is told now.
  const absl::Time now = parts_.ports.clock.Now();
  if (!parts_.circuit.MayCall(now)) {
    WithdrawUnsent("upstream fails every submission", parts_.circuit.Refusal(now));
    return;
  }
  parts_.tracker.Adopt(prediction_);
  parts_.ports.events.TransitionCommitted(prediction_->state, TransitionSource::kGateway);
  if (prediction_->state == State::kSubmitting) {
    phase_ = Phase::kPosting;
    submitter_.Post(shared_from_this(), prediction_, attempt_);
    return;
  }
  phase_ = Phase::kQueued;
  queue_timeout_ = parts_.ports.timers.After(parts_.options.submit_soft_timeout, [this] {
    if (phase_ != Phase::kQueued)
      return;  // the ledger answers soon, and then the time is asked for
    const std::shared_ptr<Submission> self = shared_from_this();
    submitter_.Dequeue(self);
    WithdrawUnsent("soft timeout", QueueTimeout());
  });
  DREAMGATE_FAILPOINT("submit.queued");
  submitter_.Enqueue(shared_from_this());
}

void Submission::LeaveQueue() {
  DREAMGATE_INVARIANT(phase_ == Phase::kQueued && !holds_slot_,
                      "a slot goes to what waits for one");
  phase_ = Phase::kLeavingQueue;
  holds_slot_ = true;
  DREAMGATE_FAILPOINT("submit.leaving_queue");
  Observation observation;
  observation.transition.state = State::kSubmitting;
  observation.transition.source = TransitionSource::kGateway;
  observation.insist = false;
  observation.done = [self = shared_from_this()](Recorded recorded) {
    if (recorded.end != Recorded::End::kCommitted) {
      self->WithdrawUnsent("the ledger could not record the start", LedgerInTrouble());
    } else if (self->TimeIsUp()) {
      self->WithdrawUnsent("soft timeout", QueueTimeout());
    } else {
      DREAMGATE_FAILPOINT("submit.left_queue");
      self->phase_ = Phase::kPosting;
      self->queue_timeout_.reset();
      self->submitter_.Post(self, std::move(recorded.prediction), self->attempt_);
    }
  };
  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));
}

bool Submission::TimeIsUp() const {
  return parts_.ports.clock.Now() >= begun_ + parts_.options.submit_soft_timeout;
}

// --------------------------------------------------------------------------- what the POST came to

bool Submission::IsWanted() {
  return !std::all_of(callers_.begin(), callers_.end(),
                      [](Caller& caller) { return caller.cancelled && caller.cancelled(); });
}

absl::Time Submission::LastCallerLeaves() {
  absl::Time last = absl::InfinitePast();
  for (const Caller& caller : callers_) last = std::max(last, caller.deadline);
  return last;
}

void Submission::OnRecorded(const std::shared_ptr<const Prediction>& prediction) {
  Land();
  if (prediction == nullptr) {  // the ledger has lost it
    AnswerCallers(AnswerUnrecorded());
  } else {
    AnswerCallers(prediction);
  }
}

void Submission::OnRefused(const CreateRejected& rejected, AttemptOutcome outcome) {
  parts_.ports.events.Log(LogLevel::kWarning, "upstream rejected a submission",
                          {{"reason", std::string(ReasonName(rejected.reason))},
                           {"http_status", absl::StrCat(rejected.http_status)},
                           {"upstream_code", absl::StrCat(rejected.upstream_code)}});
  DREAMGATE_FAILPOINT("submit.rejected");
  const Rejection rejection = RejectionFrom(rejected);
  Withdraw(std::move(outcome), IsRemembered(rejected) ? std::optional(rejection) : std::nullopt,
           ErrorFrom(rejection, RetryAfterOf(rejected)));
}

void Submission::OnUnsent(AttemptOutcome outcome, absl::Status error) {
  Withdraw(std::move(outcome), std::nullopt, std::move(error));
}

// ------------------------------------------------------------------------------------- withdrawing

void Submission::WithdrawUnsent(absl::string_view why, absl::Status error) {
  OnUnsent(
      {attempt_.number, AttemptResult::kNotSent, parts_.ports.clock.Now(), "", 0, std::string(why)},
      std::move(error));
}

void Submission::Withdraw(AttemptOutcome outcome, std::optional<Rejection> remember,
                          absl::Status error) {
  DREAMGATE_INVARIANT(phase_ != Phase::kLanded && phase_ != Phase::kWithdrawing,
                      "what callers know of is not withdrawn, and nothing twice");
  phase_ = Phase::kWithdrawing;
  queue_timeout_.reset();
  // In ledger trouble there is nothing to wait for: the error is true however the withdrawal goes.
  if (IsLedgerTrouble(error)) AnswerCallers(error);
  // An error that will be remembered is not told before it is: a crash would make a prediction of
  // it.
  absl::Status unrecorded = remember ? AnswerUnrecorded() : error;
  DREAMGATE_FAILPOINT("submit.withdrawing");
  RejectRequest request;
  request.tenant = tenant();
  request.prediction_id = prediction_->id;
  request.attempt_outcome = std::move(outcome);
  request.remember = std::move(remember);
  parts_.withdrawals.Call(
      std::move(request), [self = shared_from_this(), error = std::move(error),
                           unrecorded = std::move(unrecorded)](absl::StatusOr<Done> written) {
        if (!IsLedgerTrouble(written.status())) {
          self->OnWithdrawn(written.status(), error);
          return;
        }
        self->AnswerCallers(unrecorded);  // it is tried again
        for (Successor& successor : std::exchange(self->successors_, {})) {
          self->submitter_.Refuse(std::move(successor.done), EarlierSubmissionBeingWithdrawn());
        }
      });
}

void Submission::OnWithdrawn(const absl::Status& written, const absl::Status& error) {
  DREAMGATE_FAILPOINT("submit.rejection_recorded");
  const PredictionKey key = KeyOf(*prediction_);
  Land();
  if (!written.ok() && !parts_.tracker.TaskOf(key).empty()) {
    // A webhook was faster: the task exists, and evidence wins over a refusal.
    AnswerCallers(parts_.tracker.Find(key));
  } else {
    parts_.tracker.Forget(key);
    AnswerCallers(error);
  }
  SubmitSuccessors();
}

// --------------------------------------------------------------------------------------- answering

void Submission::Land() {
  phase_ = Phase::kLanded;
  queue_timeout_.reset();
  submitter_.OnLanded(*this);
  FreeSlotIfOver();
}

void Submission::FreeSlotIfOver() {
  if (!holds_slot_ || phase_ != Phase::kLanded || submitter_.OnTheWire(KeyOf(*prediction_))) return;
  holds_slot_ = false;
  submitter_.FreeSlot();
}

void Submission::AnswerCallers(const absl::StatusOr<std::shared_ptr<const Prediction>>& result) {
  for (Caller& caller : std::exchange(callers_, {})) {
    parts_.ports.events.SubmissionFinished(OutcomeName(result, caller.joined),
                                           parts_.ports.clock.Now() - begun_);
    if (result.ok()) {
      std::move(caller.done)(SubmitAnswer{*result, caller.joined});
    } else {
      std::move(caller.done)(result.status());
    }
  }
}

void Submission::SubmitSuccessors() {
  for (Successor& successor : std::exchange(successors_, {})) {
    submitter_.Submit(std::move(successor.request), std::move(successor.done));
  }
}

}  // namespace dreamgate::core
