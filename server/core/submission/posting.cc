#include "server/core/submission/posting.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/invariant.h"
#include "server/core/retry.h"
#include "server/core/submission/submit_answers.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kConnectBackoff = {absl::Milliseconds(200), absl::Seconds(5)};
// For an answer to reach the caller before its deadline.
constexpr absl::Duration kAnswerMargin = absl::Milliseconds(100);

}  // namespace

Posting::Posting(const SubmissionParts& parts, std::shared_ptr<const Prediction> prediction,
                 Attempt attempt, absl::Time begun, std::shared_ptr<Owner> owner,
                 absl::AnyInvocable<void() &&> over)
    : parts_(parts),
      prediction_(std::move(prediction)),
      attempt_(std::move(attempt)),
      begun_(begun),
      owner_(std::move(owner)),
      over_(std::move(over)),
      standing_(owner_ == nullptr ? Standing::kShown : Standing::kHidden) {}

void Posting::Start() {
  const absl::Duration limit = parts_.options.submit_soft_timeout;
  const absl::Duration left = begun_ + limit - parts_.ports.clock.Now();
  // Never longer than the limit, should the clock have been set back.
  soft_timeout_ = parts_.ports.timers.After(std::clamp(left, absl::ZeroDuration(), limit),
                                            [this] { OnSoftTimeout(); });
  Send();
}

void Posting::Send() {
  resend_.reset();
  // The last time that cancellation is asked about. From here on the work goes on whatever the
  // callers do.
  if (standing_ == Standing::kHidden && !owner_->IsWanted()) {
    EndUnsent("cancelled by the caller", CancelledByCaller());
    return;
  }
  // Its account is on record; another one's history says nothing of it.
  if (parts_.ports.upstream.KeyFingerprint() != prediction_->key_fingerprint) {
    EndUnsent("the API key was changed before anything was sent", KeyChangedBeforeSending());
    return;
  }
  // A submission that was queued, or is tried again, meets the circuit here. A further attempt
  // after evidence of absence is rare and not its callers' to repeat: it goes, and is a probe.
  const absl::Time now = parts_.ports.clock.Now();
  if (standing_ == Standing::kHidden && !parts_.circuit.MayCall(now)) {
    EndUnsent("upstream fails every submission", parts_.circuit.Refusal(now));
    return;
  }
  DREAMGATE_INVARIANT(phase_ == Phase::kReady || phase_ == Phase::kWaiting,
                      "one POST of an attempt is under way at most");
  DREAMGATE_INVARIANT(standing_ != Standing::kUnresolved,
                      "nothing is sent again once its outcome was unknown");
  call_ = parts_.circuit.Begin(now);
  phase_ = Phase::kOnTheWire;
  CreateTaskRequest task;
  task.prompt = prediction_->input.prompt;
  task.aspect_ratio = prediction_->input.aspect_ratio;
  task.seed = prediction_->seed;
  task.attempt_token = attempt_.token;
  DREAMGATE_FAILPOINT("submit.before_post");
  parts_.ports.upstream.CreateTask(task, [weak = weak_from_this()](CreateOutcome outcome) {
    if (const auto posting = weak.lock()) posting->OnAnswered(std::move(outcome));
  });
  DREAMGATE_FAILPOINT("submit.post_handed_over");
}

void Posting::OnAnswered(CreateOutcome outcome) {
  DREAMGATE_INVARIANT(phase_ == Phase::kOnTheWire, "what is answered was sent");
  phase_ = Phase::kReady;
  parts_.circuit.OnOutcome(call_, outcome, parts_.ports.clock.Now());
  DREAMGATE_FAILPOINT("submit.answer_known");
  if (const auto* accepted = std::get_if<CreateAccepted>(&outcome)) {
    OnAccepted(*accepted);
  } else if (const auto* rejected = std::get_if<CreateRejected>(&outcome)) {
    OnRejected(*rejected);
  } else if (const auto* not_sent = std::get_if<CreateNotSent>(&outcome)) {
    OnNotSent(*not_sent);
  } else {
    if (standing_ != Standing::kUnresolved) {
      DREAMGATE_FAILPOINT("submit.outcome_unknown");
      RecordUnresolved(TransitionSource::kSubmitAnswer, std::get<CreateUnknown>(outcome).message);
    }
    End();
  }
  if (owner_ != nullptr) owner_->OnOffTheWire();
}

void Posting::OnAccepted(const CreateAccepted& accepted) {
  AttemptOutcome acceptance = OutcomeOf(AttemptResult::kAccepted, "");
  acceptance.upstream_id = accepted.task.upstream_id;
  acceptance.http_status = 200;
  Record(TransitionFrom(accepted.task, TransitionSource::kSubmitAnswer), std::move(acceptance),
         /*unless_bound=*/false);
  End();
}

void Posting::OnRejected(const CreateRejected& rejected) {
  AttemptOutcome outcome = OutcomeOf(AttemptResult::kRejected, rejected.message);
  outcome.http_status = rejected.http_status;
  // A webhook may have shown the task already, and evidence wins over a refusal.
  const bool bound = !parts_.tracker.TaskOf(KeyOf(*prediction_)).empty();
  if (standing_ == Standing::kHidden && !bound) {
    owner_->OnRefused(rejected, std::move(outcome));
  } else {
    RecordFailed(FailureFrom(rejected), std::move(outcome));
  }
  End();
}

void Posting::OnNotSent(const CreateNotSent& not_sent) {
  const Ports& ports = parts_.ports;
  const absl::Duration delay = FullJitter(kConnectBackoff, not_sent_++, ports.random);
  absl::Time deadline = begun_ + parts_.options.submit_soft_timeout;
  if (standing_ == Standing::kHidden) {
    deadline = std::min(deadline, owner_->LastCallerLeaves() - kAnswerMargin);
  }
  const absl::Time now = ports.clock.Now();
  if (now + delay < deadline && standing_ != Standing::kUnresolved) {
    phase_ = Phase::kWaiting;
    resend_ = ports.timers.After(delay, [this] { Send(); });
    return;
  }
  if (standing_ == Standing::kHidden) {
    ports.events.Log(LogLevel::kWarning, "upstream cannot be reached, a submission is withdrawn",
                     {{"problem", not_sent.message}});
  }
  EndUnsent(not_sent.message,
            UpstreamUnreachable(not_sent.message, parts_.circuit.UntilNextCall(now)));
}

void Posting::OnSoftTimeout() {
  constexpr absl::string_view kNoAnswer = "no answer within the soft timeout";
  if (phase_ ==
      Phase::kWaiting) {  // the clock was set back: OnNotSent waits for no later than this
    EndUnsent("soft timeout", UpstreamNotReachedInTime());
  } else if (phase_ == Phase::kOnTheWire) {
    DREAMGATE_FAILPOINT("submit.soft_timeout");
    parts_.circuit.OnTimeout(call_, kNoAnswer, parts_.ports.clock.Now());
    standing_ = Standing::kUnresolved;
    RecordUnresolved(TransitionSource::kGateway, kNoAnswer);
  }
}

void Posting::EndUnsent(absl::string_view why, absl::Status error) {
  AttemptOutcome outcome = OutcomeOf(AttemptResult::kNotSent, why);
  if (standing_ == Standing::kHidden) {
    owner_->OnUnsent(std::move(outcome), std::move(error));
  } else {
    RecordFailed(Failure{FailureCode::kSubmitNotCreated,
                         absl::StrCat("nothing was sent upstream: ", why), 0, true},
                 std::move(outcome));
  }
  End();
}

void Posting::RecordUnresolved(TransitionSource source, absl::string_view problem) {
  parts_.ports.events.Log(LogLevel::kWarning, "the outcome of a submission is unknown",
                          {{"prediction", prediction_->id}, {"problem", std::string(problem)}});
  Transition unresolved;
  unresolved.state = State::kUnresolved;
  unresolved.source = source;
  Record(std::move(unresolved), OutcomeOf(AttemptResult::kUnknown, problem),
         /*unless_bound=*/true);
}

void Posting::RecordFailed(Failure failure, AttemptOutcome outcome) {
  Transition failed;
  failed.state = State::kFailed;
  failed.source = TransitionSource::kSubmitAnswer;
  failed.failure = std::move(failure);
  Record(std::move(failed), std::move(outcome), /*unless_bound=*/true);
}

void Posting::Record(Transition transition, AttemptOutcome outcome, bool unless_bound) {
  Observation observation;
  observation.transition = std::move(transition);
  observation.attempt_outcome = std::move(outcome);
  observation.unless_bound = unless_bound;
  observation.done = [owner = owner_](Recorded recorded) {
    DREAMGATE_FAILPOINT("submit.recorded");
    if (owner != nullptr) owner->OnRecorded(recorded.prediction);
  };
  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));
}

AttemptOutcome Posting::OutcomeOf(AttemptResult result, absl::string_view message) const {
  return {attempt_.number, result, parts_.ports.clock.Now(), "", 0, std::string(message)};
}

void Posting::End() {
  const std::shared_ptr<Posting> kept = shared_from_this();  // until this returns to its caller
  DREAMGATE_INVARIANT(phase_ != Phase::kOver && phase_ != Phase::kOnTheWire,
                      "an attempt ends once, and off the wire");
  phase_ = Phase::kOver;
  soft_timeout_.reset();
  resend_.reset();
  std::exchange(over_, nullptr)();
}

}  // namespace dreamgate::core
