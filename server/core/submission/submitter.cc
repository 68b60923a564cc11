#include "server/core/submission/submitter.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/retry.h"
#include "server/core/submission/submit_answers.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kConnectBackoff = {absl::Milliseconds(200), absl::Seconds(5)};
// For an answer to reach the caller before its deadline.
constexpr absl::Duration kAnswerMargin = absl::Milliseconds(100);
// Reservations that ledger trouble has left to be withdrawn. With so many, nothing new is begun.
constexpr size_t kMostToWithdraw = 1000;

Prediction NewPrediction(const SubmitRequest& request, const Options& options, std::string id,
                         absl::Time now, Random& random, std::string key_fingerprint) {
  Prediction prediction;
  prediction.tenant = request.tenant;
  prediction.id = std::move(id);
  prediction.request_id = request.request_id;
  prediction.model = options.model;
  prediction.input = request.input;
  prediction.seed =
      request.input.seed ? *request.input.seed : static_cast<int32_t>(random.Draw() >> 33);
  prediction.key_fingerprint = std::move(key_fingerprint);
  prediction.create_time = now;
  return prediction;
}

}  // namespace

struct Submitter::Flight {
  struct Caller {
    Completion<absl::StatusOr<SubmitAnswer>> done;
    absl::AnyInvocable<bool()> cancelled;
    bool joined = false;
    absl::Time deadline;
  };
  // Has to wait until it is known what becomes of the flight, and begins anew then.
  struct Successor {
    SubmitRequest request;
    Completion<absl::StatusOr<SubmitAnswer>> done;
  };

  // Where the flight is between the reservation and the answer.
  enum class Phase { kReserving, kQueued, kLeavingQueue, kSending, kWaiting, kSettling };

  SubmitRequest request;
  std::string canonical;
  absl::Time start;
  std::vector<Caller> callers;
  std::vector<Successor> successors;
  std::shared_ptr<const Prediction> prediction;
  Attempt attempt;
  Phase phase = Phase::kReserving;
  bool withdrawing = false;  // its reservation is being withdrawn: nobody may join
  bool known = false;        // its callers have the prediction: it cannot be withdrawn
  bool unresolved = false;   // recorded for this attempt
  bool on_the_wire = false;  // its POST
  bool landed = false;
  bool holds_slot = false;
  int not_sent = 0;
  SubmitCircuit::Call call;  // its latest POST
  std::unique_ptr<Timers::Timer> soft_timeout;
  std::unique_ptr<Timers::Timer> resend;
};

Submitter::Submitter(const Ports& ports, const Options& options, Tracker& tracker)
    : ports_(ports),
      options_(options),
      tracker_(tracker),
      circuit_(ports.events, ports.random),
      withdrawals_(ports) {}

Submitter::~Submitter() {
  // Their timers refer back to them.
  for (auto& [key, flight] : flights_) flight->soft_timeout.reset();
  for (const std::shared_ptr<Flight>& flight : waiting_) flight->resend.reset();
}

void Submitter::Submit(SubmitRequest request, Completion<absl::StatusOr<SubmitAnswer>> done) {
  const FlightKey key(request.tenant, request.request_id);
  std::string canonical = CanonicalEncoding(request.input);

  if (const auto found = flights_.find(key); found != flights_.end()) {
    Flight& flight = *found->second;
    // Until the ledger has answered, the request_id may be held by an earlier flight, and this
    // payload may be the one that has it.
    const bool undecided =
        flight.phase == Flight::Phase::kReserving && flight.canonical != canonical;
    if (flight.withdrawing || undecided) {
      flight.successors.push_back({std::move(request), std::move(done)});
    } else if (flight.canonical == canonical) {
      flight.callers.push_back(
          {std::move(done), std::move(request.cancelled), /*joined=*/true, request.deadline});
    } else {
      Refuse(std::move(done), RequestIdInUse(request.request_id));
    }
    return;
  }

  if (withdrawals_.waiting() >= kMostToWithdraw) {
    Refuse(std::move(done), LedgerInTrouble());
    return;
  }
  auto flight = std::make_shared<Flight>();
  flight->callers.push_back(
      {std::move(done), std::move(request.cancelled), /*joined=*/false, request.deadline});
  flight->request = std::move(request);
  flight->canonical = std::move(canonical);
  flight->start = ports_.clock.Now();
  flights_.emplace(key, flight);
  Reserve(flight);
}

void Submitter::Reserve(const std::shared_ptr<Flight>& flight) {
  const absl::Time now = ports_.clock.Now();
  const bool free_slot = queue_.empty() && slots_used_ < options_.max_submits_in_flight;
  if (free_slot) {
    flight->holds_slot = true;
    ++slots_used_;
  }

  Reservation reservation;
  reservation.prediction = NewPrediction(flight->request, options_, ids_.Next(now, ports_.random),
                                         now, ports_.random, ports_.upstream.KeyFingerprint());
  reservation.canonical = flight->canonical;
  reservation.first_transition.sequence = 1;
  reservation.first_transition.state = free_slot ? State::kSubmitting : State::kQueued;
  reservation.first_transition.time = now;
  reservation.first_transition.source = TransitionSource::kGateway;
  reservation.attempt = {1, ports_.random.UnguessableToken(), now};
  flight->attempt = reservation.attempt;
  flight->prediction = std::make_shared<const Prediction>(reservation.prediction);
  DREAMGATE_FAILPOINT("submit.before_reserve");
  ports_.ledger.Call(std::move(reservation),
                     lifeline_.Guard([this, flight](absl::StatusOr<ReserveResult> result) {
                       OnReserved(flight, std::move(result));
                       SubmitSuccessors(*flight);
                     }));
}

void Submitter::OnReserved(const std::shared_ptr<Flight>& flight,
                           absl::StatusOr<ReserveResult> result) {
  if (!result.ok()) {
    // The reservation may be durable all the same. Nothing was sent, so it is withdrawn before anybody can
    // mistake it for a POST that was.
    WithdrawUnsent(flight, "the ledger could not confirm the reservation", result.status());
    return;
  }
  if (auto* existing = std::get_if<ReserveExisting>(&*result)) {
    tracker_.Learn(existing->prediction);
    Land(flight);
    if (!tracker_.IsShown(*existing->prediction)) {
      AnswerCallers(flight, EarlierSubmissionUnsettled());
      return;
    }
    for (Flight::Caller& caller : flight->callers) caller.joined = true;
    AnswerCallers(flight, existing->prediction);
    return;
  }
  if (auto* remembered = std::get_if<ReserveRemembered>(&*result)) {
    Land(flight);
    AnswerCallers(flight, ErrorFrom(remembered->rejection, std::nullopt));
    return;
  }
  if (std::holds_alternative<ReserveConflict>(*result)) {
    Land(flight);
    AnswerCallers(flight, RequestIdUsedBefore(flight->request.request_id));
    return;
  }
  flight->prediction = std::get<Reserved>(*result).prediction;
  DREAMGATE_FAILPOINT("submit.reserved");
  const int64_t limit = options_.max_in_flight_per_tenant;
  if (limit > 0 && tracker_.InFlightOf(flight->request.tenant) >= limit) {
    WithdrawUnsent(flight, "tenant limit", TenantLimitReached(flight->request.tenant, limit));
    return;
  }
  if (ports_.clock.Now() >= flight->start + options_.submit_soft_timeout) {
    WithdrawUnsent(flight, "slow ledger", LedgerTooSlow());
    return;
  }
  // A known request_id has had its answer above, and one that has to wait for a slot is told now.
  if (!circuit_.MayCall(ports_.clock.Now())) {
    TurnAway(flight);
    return;
  }
  tracker_.Adopt(flight->prediction);
  ports_.events.TransitionCommitted(flight->prediction->state, TransitionSource::kGateway);
  Begin(flight);
}

void Submitter::Begin(const std::shared_ptr<Flight>& flight) {
  flight->soft_timeout =
      ports_.timers.After(options_.submit_soft_timeout, [this, flight] { OnSoftTimeout(flight); });
  if (flight->prediction->state == State::kSubmitting) {
    Send(flight);
  } else {
    flight->phase = Flight::Phase::kQueued;
    queue_.push_back(flight);
    DREAMGATE_FAILPOINT("submit.queued");
    FillSlots();
  }
}

// SUBMITTING must be durable before the POST: after a crash a QUEUED
// prediction counts as never sent.
void Submitter::LeaveQueue(const std::shared_ptr<Flight>& flight) {
  flight->phase = Flight::Phase::kLeavingQueue;
  DREAMGATE_FAILPOINT("submit.leaving_queue");
  Observation observation;
  observation.transition.state = State::kSubmitting;
  observation.transition.source = TransitionSource::kGateway;
  observation.insist = false;
  observation.done = [this, flight](Recorded recorded) {
    if (recorded.end != Recorded::End::kCommitted) {
      WithdrawUnsent(flight, "the ledger could not record the start", LedgerInTrouble());
    } else if (ports_.clock.Now() >= flight->start + options_.submit_soft_timeout) {
      WithdrawUnsent(flight, "soft timeout", QueueTimeout());
    } else {
      DREAMGATE_FAILPOINT("submit.left_queue");
      flight->prediction = std::move(recorded.prediction);
      Send(flight);
    }
  };
  tracker_.Record(KeyOf(*flight->prediction), std::move(observation));
}

void Submitter::Send(const std::shared_ptr<Flight>& flight) {
  StopWaiting(flight);
  // The last time that cancellation is asked about. From here on the work goes on whatever the callers do.
  const bool all_gone =
      !flight->known &&
      std::all_of(flight->callers.begin(), flight->callers.end(),
                  [](Flight::Caller& caller) { return caller.cancelled && caller.cancelled(); });
  if (all_gone) {
    WithdrawUnsent(flight, "cancelled by the caller", CancelledByCaller());
    return;
  }
  // Its account is on record; another one's history says nothing of it.
  if (ports_.upstream.KeyFingerprint() != flight->prediction->key_fingerprint) {
    OnKeyChanged(flight);
    return;
  }
  // What was queued, or is to be tried again, meets the circuit here. A further attempt after
  // evidence of absence is rare and not its callers' to repeat: it goes, and is a probe.
  const absl::Time now = ports_.clock.Now();
  if (!flight->known && !circuit_.MayCall(now)) {
    TurnAway(flight);
    return;
  }
  flight->call = circuit_.Begin(now);
  flight->phase = Flight::Phase::kSending;
  CreateTaskRequest task;
  task.prompt = flight->prediction->input.prompt;
  task.aspect_ratio = flight->prediction->input.aspect_ratio;
  task.seed = flight->prediction->seed;
  task.attempt_token = flight->attempt.token;
  ++posts_in_flight_;
  flight->on_the_wire = true;
  on_the_wire_.insert(KeyOf(*flight->prediction));
  DREAMGATE_FAILPOINT("submit.before_post");
  ports_.upstream.CreateTask(task, lifeline_.Guard([this, flight](CreateOutcome outcome) {
    --posts_in_flight_;
    flight->on_the_wire = false;
    on_the_wire_.erase(KeyOf(*flight->prediction));
    circuit_.OnOutcome(flight->call, outcome, ports_.clock.Now());
    OnOutcome(flight, std::move(outcome));
    FreeSlot(*flight);  // if the callers have been answered already
  }));
  DREAMGATE_FAILPOINT("submit.post_handed_over");
}

void Submitter::OnSoftTimeout(const std::shared_ptr<Flight>& flight) {
  constexpr absl::string_view kNoAnswer = "no answer within the soft timeout";
  switch (flight->phase) {
    case Flight::Phase::kQueued:
      queue_.remove(flight);
      WithdrawUnsent(flight, "soft timeout", QueueTimeout());
      return;
    case Flight::Phase::kWaiting:
      if (flight->known) {  // the clock was set back: OnNotSent waits for no later than this
        StopWaiting(flight);
        RecordNotCreated(flight, "upstream could not be reached in time");
      } else {
        WithdrawUnsent(flight, "soft timeout", UpstreamNotReachedInTime());
      }
      return;
    case Flight::Phase::kSending:
      DREAMGATE_FAILPOINT("submit.soft_timeout");
      circuit_.OnTimeout(flight->call, kNoAnswer, ports_.clock.Now());
      flight->known = true;
      flight->unresolved = true;
      RecordUnresolved(flight, TransitionSource::kGateway, kNoAnswer);
      return;
    case Flight::Phase::kLeavingQueue:  // which looks at the time itself
    case Flight::Phase::kReserving:
    case Flight::Phase::kSettling: return;  // the ledger answers soon, and with it the caller
  }
}

void Submitter::OnOutcome(const std::shared_ptr<Flight>& flight, CreateOutcome outcome) {
  DREAMGATE_FAILPOINT("submit.answer_known");
  if (auto* accepted = std::get_if<CreateAccepted>(&outcome)) {
    AttemptOutcome acceptance = OutcomeOf(*flight, AttemptResult::kAccepted, "");
    acceptance.upstream_id = accepted->task.upstream_id;
    acceptance.http_status = 200;
    Record(flight, TransitionFrom(accepted->task, TransitionSource::kSubmitAnswer),
           std::move(acceptance));
  } else if (auto* rejected = std::get_if<CreateRejected>(&outcome)) {
    OnRejected(flight, *rejected);
  } else if (auto* not_sent = std::get_if<CreateNotSent>(&outcome)) {
    OnNotSent(flight, *not_sent);
  } else if (!flight->unresolved) {
    DREAMGATE_FAILPOINT("submit.outcome_unknown");
    RecordUnresolved(flight, TransitionSource::kSubmitAnswer,
                     std::get<CreateUnknown>(outcome).message);
  }
}

void Submitter::TurnAway(const std::shared_ptr<Flight>& flight) {
  WithdrawUnsent(flight, "upstream fails every submission", circuit_.Refusal(ports_.clock.Now()));
}

void Submitter::OnRejected(const std::shared_ptr<Flight>& flight, const CreateRejected& rejected) {
  AttemptOutcome outcome = OutcomeOf(*flight, AttemptResult::kRejected, rejected.message);
  outcome.http_status = rejected.http_status;
  // A webhook may have shown the task already, and evidence wins over a refusal.
  if (flight->known || !tracker_.TaskOf(KeyOf(*flight->prediction)).empty()) {
    // The caller has the prediction already, so the late refusal is how it ends.
    RecordFailed(flight, FailureFrom(rejected), std::move(outcome));
    return;
  }
  ports_.events.Log(LogLevel::kWarning, "upstream rejected a submission",
                    {{"reason", std::string(ReasonName(rejected.reason))},
                     {"http_status", absl::StrCat(rejected.http_status)},
                     {"upstream_code", absl::StrCat(rejected.upstream_code)}});
  DREAMGATE_FAILPOINT("submit.rejected");
  const Rejection rejection = RejectionFrom(rejected);
  // A verdict on the input stays true; all the others may be different next time.
  const bool remember = rejected.reason == Reason::kUpstreamRejected &&
                        (rejected.http_status == 400 || rejected.http_status == 422);
  Withdraw(flight, std::move(outcome), remember ? std::optional(rejection) : std::nullopt,
           ErrorFrom(rejection, RetryAfterOf(rejected)));
}

void Submitter::OnNotSent(const std::shared_ptr<Flight>& flight, const CreateNotSent& not_sent) {
  const absl::Duration delay = FullJitter(kConnectBackoff, flight->not_sent++, ports_.random);
  absl::Time last_caller_leaves = absl::InfinitePast();
  for (const Flight::Caller& caller : flight->callers) {
    last_caller_leaves = std::max(last_caller_leaves, caller.deadline);
  }
  absl::Time deadline = flight->start + options_.submit_soft_timeout;
  if (!flight->known) deadline = std::min(deadline, last_caller_leaves - kAnswerMargin);
  const bool too_late = ports_.clock.Now() + delay >= deadline;
  if (flight->known && (too_late || flight->unresolved)) {
    RecordNotCreated(flight, not_sent.message);
    return;
  }
  if (too_late) {
    ports_.events.Log(LogLevel::kWarning, "upstream cannot be reached, a submission is withdrawn",
                      {{"problem", not_sent.message}});
    WithdrawUnsent(
        flight, not_sent.message,
        UpstreamUnreachable(not_sent.message, circuit_.UntilNextCall(ports_.clock.Now())));
    return;
  }
  flight->phase = Flight::Phase::kWaiting;
  waiting_.insert(flight);
  flight->resend = ports_.timers.After(delay, [this, flight] { Send(flight); });
}

void Submitter::StopWaiting(const std::shared_ptr<Flight>& flight) {
  flight->resend.reset();
  waiting_.erase(flight);
}

void Submitter::OnKeyChanged(const std::shared_ptr<Flight>& flight) {
  constexpr absl::string_view kProblem = "the API key was changed before anything was sent";
  if (flight->known) {
    RecordNotCreated(flight, kProblem);
    return;
  }
  WithdrawUnsent(flight, kProblem,
                 MakeError(Reason::kUpstreamUnreachable, absl::StrCat(kProblem, "; try again"),
                           {.retry_after = absl::Seconds(1)}));
}

AttemptOutcome Submitter::OutcomeOf(const Flight& flight, AttemptResult result,
                                    absl::string_view message) const {
  return {flight.attempt.number, result, ports_.clock.Now(), "", 0, std::string(message)};
}

void Submitter::RecordUnresolved(const std::shared_ptr<Flight>& flight, TransitionSource source,
                                 absl::string_view problem) {
  ports_.events.Log(LogLevel::kWarning, "the outcome of a submission is unknown",
                    {{"prediction", flight->prediction->id}, {"problem", std::string(problem)}});
  Transition unresolved;
  unresolved.state = State::kUnresolved;
  unresolved.source = source;
  Record(flight, std::move(unresolved), OutcomeOf(*flight, AttemptResult::kUnknown, problem),
         /*unless_bound=*/true);
}

void Submitter::RecordFailed(const std::shared_ptr<Flight>& flight, Failure failure,
                             AttemptOutcome outcome) {
  Transition failed;
  failed.state = State::kFailed;
  failed.source = TransitionSource::kSubmitAnswer;
  failed.failure = std::move(failure);
  Record(flight, std::move(failed), std::move(outcome), /*unless_bound=*/true);
}

void Submitter::RecordNotCreated(const std::shared_ptr<Flight>& flight, absl::string_view problem) {
  RecordFailed(flight,
               Failure{FailureCode::kSubmitNotCreated,
                       absl::StrCat("nothing was sent upstream: ", problem), 0, true},
               OutcomeOf(*flight, AttemptResult::kNotSent, problem));
}

void Submitter::Record(const std::shared_ptr<Flight>& flight, Transition transition,
                       AttemptOutcome outcome, bool unless_bound) {
  flight->phase = Flight::Phase::kSettling;
  Observation observation;
  observation.transition = std::move(transition);
  observation.attempt_outcome = std::move(outcome);
  observation.unless_bound = unless_bound;
  observation.done = [this, flight](Recorded recorded) {
    DREAMGATE_FAILPOINT("submit.recorded");
    Land(flight);
    AnswerCallers(flight, std::move(recorded.prediction));
  };
  tracker_.Record(KeyOf(*flight->prediction), std::move(observation));
}

void Submitter::Withdraw(const std::shared_ptr<Flight>& flight, AttemptOutcome outcome,
                         std::optional<Rejection> remember, absl::Status error) {
  flight->withdrawing = true;
  flight->soft_timeout.reset();
  StopWaiting(flight);
  // In ledger trouble there is nothing to wait for: the error is true however the withdrawal goes.
  if (IsLedgerTrouble(error)) AnswerCallers(flight, error);
  // An error that will be remembered is not told before it is: a crash would
  // make a prediction of it.
  absl::Status unrecorded = remember ? AnswerUnrecorded() : error;
  DREAMGATE_FAILPOINT("submit.withdrawing");
  RejectRequest request;
  request.tenant = flight->prediction->tenant;
  request.prediction_id = flight->prediction->id;
  request.attempt_outcome = std::move(outcome);
  request.remember = std::move(remember);
  withdrawals_.Call(std::move(request),
                    [this, flight, error = std::move(error),
                     unrecorded = std::move(unrecorded)](const absl::StatusOr<Done>& written) {
                      if (IsLedgerTrouble(written.status())) {  // it is tried again
                        AnswerCallers(flight, unrecorded);
                        for (Flight::Successor& successor : std::exchange(flight->successors, {})) {
                          Refuse(std::move(successor.done), EarlierSubmissionBeingWithdrawn());
                        }
                        return;
                      }
                      DREAMGATE_FAILPOINT("submit.rejection_recorded");
                      const PredictionKey key = KeyOf(*flight->prediction);
                      Land(flight);
                      if (!written.ok() && !tracker_.TaskOf(key).empty()) {
                        // A webhook was faster: the task exists, and evidence wins over a refusal.
                        AnswerCallers(flight, tracker_.Find(key));
                      } else {
                        tracker_.Forget(key);
                        AnswerCallers(flight, error);
                      }
                      SubmitSuccessors(*flight);
                    });
}

void Submitter::WithdrawUnsent(const std::shared_ptr<Flight>& flight, absl::string_view why,
                               absl::Status error) {
  Withdraw(flight, OutcomeOf(*flight, AttemptResult::kNotSent, why), std::nullopt,
           std::move(error));
}

void Submitter::SubmitSuccessors(Flight& flight) {
  for (Flight::Successor& successor : std::exchange(flight.successors, {})) {
    Submit(std::move(successor.request), std::move(successor.done));
  }
}

void Submitter::Refuse(Completion<absl::StatusOr<SubmitAnswer>> done, absl::Status error) {
  ports_.events.SubmissionFinished("refused", absl::ZeroDuration());
  ports_.executor.Post([done = std::move(done), error = std::move(error)]() mutable {
    std::move(done)(std::move(error));
  });
}

void Submitter::AnswerCallers(const std::shared_ptr<Flight>& flight,
                              absl::StatusOr<std::shared_ptr<const Prediction>> result) {
  flight->soft_timeout.reset();
  std::vector<Flight::Caller> callers;
  callers.swap(flight->callers);
  for (Flight::Caller& caller : callers) {
    ports_.events.SubmissionFinished(OutcomeName(result, caller.joined),
                                     ports_.clock.Now() - flight->start);
    if (result.ok()) {
      std::move(caller.done)(SubmitAnswer{*result, caller.joined});
    } else {
      std::move(caller.done)(result.status());
    }
  }
}

void Submitter::Land(const std::shared_ptr<Flight>& flight) {
  const auto found = flights_.find({flight->request.tenant, flight->request.request_id});
  if (found != flights_.end() && found->second == flight) flights_.erase(found);
  flight->landed = true;
  FreeSlot(*flight);
}

void Submitter::FreeSlot(Flight& flight) {
  if (!flight.holds_slot || !flight.landed || flight.on_the_wire) return;
  flight.holds_slot = false;
  --slots_used_;
  FillSlots();
}

void Submitter::FillSlots() {
  while (!queue_.empty() && slots_used_ < options_.max_submits_in_flight) {
    const std::shared_ptr<Flight> flight = std::move(queue_.front());
    queue_.pop_front();
    flight->holds_slot = true;
    ++slots_used_;
    LeaveQueue(flight);
  }
}

void Submitter::SendAgain(std::shared_ptr<const Prediction> prediction, Attempt attempt) {
  ports_.events.Log(LogLevel::kWarning, "sending a submission again after evidence of absence",
                    {{"prediction", prediction->id}, {"attempt", absl::StrCat(attempt.number)}});
  auto flight = std::make_shared<Flight>();
  flight->request.tenant = prediction->tenant;
  flight->request.request_id = prediction->request_id;
  flight->start = ports_.clock.Now();
  flight->prediction = std::move(prediction);
  flight->attempt = std::move(attempt);
  flight->known = true;
  flight->landed = true;  // the request_id is the ledger's
  // Only the POST's completion, or waiting for the next try, keeps it alive: it is not in flights_.
  flight->soft_timeout =
      ports_.timers.After(options_.submit_soft_timeout,
                          lifeline_.Guard([this, waiting = std::weak_ptr<Flight>(flight)] {
                            if (const auto still_there = waiting.lock()) OnSoftTimeout(still_there);
                          }));
  Send(flight);
}

void Submitter::Recover(const Unfinished& left_behind) {
  const Prediction& prediction = *left_behind.prediction;
  const Recovery recovery = RecoveryOf(prediction.state);
  AttemptOutcome outcome{
      left_behind.last_attempt.number,       AttemptResult::kNotSent, ports_.clock.Now(), "", 0,
      "the process ended before it was sent"};
  if (recovery == Recovery::kWithdraw) {
    RejectRequest request;
    request.tenant = prediction.tenant;
    request.prediction_id = prediction.id;
    request.attempt_outcome = std::move(outcome);
    withdrawals_.Call(std::move(request), [](const absl::StatusOr<Done>&) {});
    return;
  }
  tracker_.Adopt(left_behind.prediction);
  DREAMGATE_FAILPOINT("recover.one_recovered");
  if (recovery != Recovery::kReconcile || prediction.state == State::kUnresolved) return;
  // Nothing takes it back any more, and the earlier process may have told its caller OK.
  tracker_.MarkAcknowledged(KeyOf(prediction));
  outcome.result = AttemptResult::kUnknown;
  outcome.message = "the process ended before the answer arrived";
  Observation observation;
  observation.transition.state = State::kUnresolved;
  observation.transition.source = TransitionSource::kGateway;
  observation.attempt_outcome = std::move(outcome);
  tracker_.Record(KeyOf(prediction), std::move(observation));
}

}  // namespace dreamgate::core
