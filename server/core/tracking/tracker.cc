#include "server/core/tracking/tracker.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kWriteBackoff = {absl::Milliseconds(200), absl::Seconds(10)};

// What decided an UNRESOLVED prediction.
absl::string_view EvidenceName(const Transition& decided) {
  switch (decided.source) {
    case TransitionSource::kSubmitAnswer: return "answer";
    case TransitionSource::kWebhook: return "webhook";
    case TransitionSource::kReconciliation: return decided.upstream_id ? "history" : "absence";
    case TransitionSource::kPoll:
    case TransitionSource::kGateway: break;
  }
  return "none";
}

bool IsPolled(State state) { return state == State::kCreated || state == State::kProcessing; }

}  // namespace

Transition TransitionFrom(const TaskObservation& task, TransitionSource source) {
  Transition transition;
  transition.state = task.state;
  transition.source = source;
  transition.upstream_id = task.upstream_id;
  transition.upstream_status = task.raw_status;
  if (!task.outputs.empty()) transition.outputs = task.outputs;
  transition.failure = task.failure;
  transition.inference_time = task.inference_time;
  transition.upstream_create_time = task.create_time;
  return transition;
}

Tracker::Tracker(const Ports& ports, const Options& options, CommitObserver& outlet)
    : ports_(ports), options_(options), outlet_(outlet), poller_(ports_, options_, *this) {}

Tracker::~Tracker() = default;

void Tracker::Adopt(std::shared_ptr<const Prediction> prediction) {
  const PredictionKey key = KeyOf(*prediction);
  const auto [position, inserted] = entries_.try_emplace(key);
  if (!inserted) return;
  position->second.current = std::move(prediction);
  CountUnresolved(nullptr, position->second.current.get());
  ++in_flight_of_tenant_[key.first];
  ports_.events.PredictionsInFlight(in_flight());
  OnAdvanced(key);
}

void Tracker::Record(const PredictionKey& key, Observation observation) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) {
    Drop(key, std::move(observation), "unbound", nullptr, "");
    return;
  }
  const Prospect prospect = ProspectOf(*entry);
  if (!Holds(observation, prospect)) {
    if (!entry->pending.empty() && observation.done) {
      // What makes it obsolete is not written yet.
      Observation& last = entry->pending.back();
      last.done = [first = std::move(last.done), then = std::exchange(observation.done, nullptr)](
                      std::shared_ptr<const Prediction> committed) mutable {
        if (first) std::move(first)(committed);
        std::move(then)(std::move(committed));
      };
    }
    const bool repeated = prospect.state == observation.transition.state;
    Drop(key, std::move(observation), repeated ? "repeated" : "illegal", entry->current,
         prospect.upstream_id);
    return;
  }
  // A webhook, and then the answer, may accept the same task.
  const auto& outcome = observation.attempt_outcome;
  if (outcome && outcome->result == AttemptResult::kAccepted &&
      outcome->upstream_id == prospect.upstream_id) {
    observation.attempt_outcome.reset();
  }
  observation.transition.time = ports_.clock.Now();
  entry->pending.push_back(std::move(observation));
  Write(key);
}

void Tracker::Learn(const std::shared_ptr<const Prediction>& durable) {
  const PredictionKey key = KeyOf(*durable);
  Entry* entry = EntryOf(key);
  if (entry == nullptr || durable->sequence <= entry->current->sequence) return;
  CountUnresolved(entry->current.get(), durable.get());
  entry->current = durable;
  outlet_.OnCommitted(durable);
  OnAdvanced(key);
}

void Tracker::Refresh(const std::shared_ptr<const Prediction>& richer) {
  Entry* entry = EntryOf(KeyOf(*richer));
  if (entry != nullptr && richer->sequence == entry->current->sequence) entry->current = richer;
}

void Tracker::OnTaskSeen(const PredictionKey& key, const TaskObservation& task) {
  const Entry* entry = EntryOf(key);
  if (entry == nullptr || task.state == entry->current->state) return;  // nothing new
  Observation observation;
  observation.transition = TransitionFrom(task, TransitionSource::kPoll);
  Record(key, std::move(observation));
}

void Tracker::OnTaskLost(const PredictionKey& key) {
  Observation lost;
  lost.transition.state = State::kFailed;
  lost.transition.source = TransitionSource::kPoll;
  lost.transition.failure =
      Failure{FailureCode::kUpstreamNotFound, "Upstream no longer knows this task.", 0, true};
  Record(key, std::move(lost));
}

void Tracker::Forget(const PredictionKey& key) { Erase(key); }

std::shared_ptr<const Prediction> Tracker::Find(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  return entry == nullptr ? nullptr : entry->current;
}

bool Tracker::AcknowledgedEarly(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  return entry != nullptr && entry->acknowledged_early;
}

void Tracker::MarkAcknowledgedEarly(const PredictionKey& key) {
  if (Entry* entry = EntryOf(key)) entry->acknowledged_early = true;
}

int64_t Tracker::InFlightOf(const std::string& tenant) const {
  const auto found = in_flight_of_tenant_.find(tenant);
  return found == in_flight_of_tenant_.end() ? 0 : found->second;
}

std::vector<InFlight> Tracker::Oldest(size_t limit) const {
  std::vector<InFlight> all;
  all.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) {
    const Heartbeat polls = poller_.HeartbeatFor(key);
    all.push_back({entry.current, polls.last_observed, polls.next_poll, 0});
  }
  const auto older = [](const InFlight& a, const InFlight& b) {
    return a.prediction->id < b.prediction->id;
  };
  const size_t kept = std::min(limit, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept), all.end(), older);
  all.resize(kept);
  return all;
}

std::string Tracker::TaskOf(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  return entry == nullptr ? "" : std::string(ProspectOf(*entry).upstream_id);
}

Tracker::Prospect Tracker::ProspectOf(const Entry& entry) {
  Prospect prospect{entry.current->state, entry.current->upstream_id};
  for (const Observation& waiting : entry.pending) {
    prospect.state = waiting.transition.state;
    if (waiting.transition.upstream_id) prospect.upstream_id = *waiting.transition.upstream_id;
    if (waiting.new_attempt) prospect.attempt = waiting.new_attempt->number;
  }
  return prospect;
}

bool Tracker::Holds(const Observation& observation, const Prospect& prospect) {
  // What a further attempt has replaced decides nothing any more.
  const bool replaced =
      observation.attempt_outcome && observation.attempt_outcome->number < prospect.attempt;
  return IsLegalTransition(prospect.state, observation.transition.state) && !replaced &&
         observation.only_in.value_or(prospect.state) == prospect.state &&
         (!observation.unless_bound || prospect.upstream_id.empty());
}

std::vector<std::shared_ptr<const Prediction>> Tracker::Unresolved() const {
  std::vector<std::shared_ptr<const Prediction>> unresolved;
  if (unresolved_ == 0) return unresolved;
  for (const auto& [key, entry] : entries_) {
    if (entry.current->state == State::kUnresolved) unresolved.push_back(entry.current);
  }
  return unresolved;
}

Tracker::Entry* Tracker::EntryOf(const PredictionKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

const Tracker::Entry* Tracker::EntryOf(const PredictionKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void Tracker::Erase(const PredictionKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const auto tenant = in_flight_of_tenant_.find(key.first);
  if (--tenant->second == 0) in_flight_of_tenant_.erase(tenant);
  Entry entry = std::move(found->second);
  entries_.erase(found);
  CountUnresolved(entry.current.get(), nullptr);
  poller_.Leave(key);
  for (Observation& late : entry.pending) {
    Drop(key, std::move(late), "unbound", entry.current, entry.current->upstream_id);
  }
  ports_.events.PredictionsInFlight(in_flight());
}

// --------------------------------------------------------------------------------------- writing

void Tracker::Write(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr || entry->write_outstanding || entry->write_retry != nullptr) return;
  const Prospect now{entry->current->state, entry->current->upstream_id};
  while (!entry->pending.empty() && !Holds(entry->pending.front(), now)) {
    Drop(key, std::move(entry->pending.front()), "repeated", entry->current,
         entry->current->upstream_id);
    entry->pending.erase(entry->pending.begin());
  }
  if (entry->pending.empty()) return;

  const Observation& next = entry->pending.front();
  Proposal proposal;
  proposal.tenant = key.first;
  proposal.prediction_id = key.second;
  proposal.expected_sequence = entry->current->sequence;
  proposal.transition = next.transition;
  proposal.transition.sequence = entry->current->sequence + 1;
  proposal.attempt_outcome = next.attempt_outcome;
  proposal.new_attempt = next.new_attempt;
  entry->write_outstanding = true;
  entry->write_expects = proposal.expected_sequence;
  DREAMGATE_FAILPOINT("track.before_writing");
  ports_.ledger.Call(std::move(proposal),
                     lifeline_.Guard([this, key](absl::StatusOr<ProposeResult> result) {
                       OnWritten(key, std::move(result));
                     }));
}

void Tracker::OnWritten(const PredictionKey& key, absl::StatusOr<ProposeResult> result) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return;
  entry->write_outstanding = false;

  if (!result.ok() && ReasonOf(result.status()) != Reason::kLedgerUnavailable) {
    // Final, and a defect: it would break a rule of the ledger's. What it knows of a task is kept.
    ports_.events.Log(
        LogLevel::kError, "the ledger refuses a transition",
        {{"prediction", key.second}, {"problem", std::string(result.status().message())}});
    Observation refused = std::move(entry->pending.front());
    entry->pending.erase(entry->pending.begin());
    Drop(key, std::move(refused), "illegal", entry->current, entry->current->upstream_id);
    poller_.Follow(entry->current);
    Write(key);
    return;
  }
  if (!result.ok()) {
    // It may or may not be durable. The compare-and-set makes a second try harmless either way.
    Observation& failed = entry->pending.front();
    auto done = std::exchange(failed.done, nullptr);
    if (!failed.insist) {
      entry->pending.erase(entry->pending.begin());
    } else if (done) {
      entry->acknowledged_early = true;
    }
    RetryWrite(key);
    if (done) std::move(done)(std::shared_ptr<const Prediction>(entry->current));
    return;
  }

  if (auto* conflict = std::get_if<ProposalConflict>(&*result)) {
    ports_.events.ObservationDropped("conflict");
    if (conflict->current == nullptr) {
      ports_.events.Log(LogLevel::kError, "prediction vanished from the ledger",
                        {{"prediction", key.second}});
      Erase(key);
      return;
    }
    if (conflict->current->sequence <= entry->write_expects) {
      // Refused without news, as if somebody else owned it. Asking again at once would never end.
      ports_.events.Log(LogLevel::kError, "the ledger refuses a transition",
                        {{"prediction", key.second}});
      RetryWrite(key);
      return;
    }
    entry->write_failures = 0;
    if (conflict->current->sequence > entry->current->sequence) {
      CountUnresolved(entry->current.get(), conflict->current.get());
      entry->current = conflict->current;
      outlet_.OnCommitted(conflict->current);
    }
    OnAdvanced(key);
    return;
  }

  entry->write_failures = 0;
  DREAMGATE_FAILPOINT("track.written");
  const std::shared_ptr<const Prediction> before =
      std::exchange(entry->current, std::get<Committed>(*result).prediction);
  CountUnresolved(before.get(), entry->current.get());
  entry->acknowledged_early = false;
  Observation written = std::move(entry->pending.front());
  entry->pending.erase(entry->pending.begin());
  const std::shared_ptr<const Prediction> current = entry->current;
  ports_.events.TransitionCommitted(current->state, written.transition.source);
  if (before->state == State::kUnresolved) {
    ports_.events.Reconciled(EvidenceName(written.transition));
  }
  OnAdvanced(key);
  if (written.done) std::move(written.done)(current);
}

void Tracker::RetryWrite(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  entry->write_retry = ports_.timers.After(
      FullJitter(kWriteBackoff, entry->write_failures++, ports_.random), [this, key] {
        if (Entry* waiting = EntryOf(key)) waiting->write_retry.reset();
        Write(key);
      });
}

void Tracker::Drop(const PredictionKey& key, Observation observation, absl::string_view why,
                   const std::shared_ptr<const Prediction>& current,
                   absl::string_view upstream_id) {
  ports_.events.ObservationDropped(why);
  const auto& outcome = observation.attempt_outcome;
  if (outcome && outcome->result == AttemptResult::kAccepted &&
      outcome->upstream_id != upstream_id) {
    evidence_sink_->OnUnboundTask(key, *outcome);
  }
  if (!observation.done) return;
  if (current == nullptr) {
    Settle(key, std::move(observation.done), 0);
    return;
  }
  ports_.executor.Post(lifeline_.Guard(
      [done = std::move(observation.done), current]() mutable { std::move(done)(current); }));
}

// It has ended meanwhile: how, the ledger knows.
void Tracker::Settle(const PredictionKey& key, Completion<std::shared_ptr<const Prediction>> done,
                     int failures) {
  ports_.ledger.Call(
      LoadRequest{key.first, key.second},
      lifeline_.Guard([this, key, done = std::move(done),
                       failures](absl::StatusOr<StoredPrediction> stored) mutable {
        if (stored.ok()) {
          std::move(done)(std::make_shared<const Prediction>(Fold(*std::move(stored))));
          return;
        }
        if (absl::IsNotFound(stored.status())) {
          ports_.events.Log(LogLevel::kError, "prediction vanished from the ledger",
                            {{"prediction", key.second}});
          return;
        }
        const uint64_t retry = next_settle_++;
        settle_retries_[retry] =
            ports_.timers.After(FullJitter(kWriteBackoff, failures, ports_.random),
                                [this, retry, key, done = std::move(done), failures]() mutable {
                                  settle_retries_.erase(retry);
                                  Settle(key, std::move(done), failures + 1);
                                });
      }));
}

void Tracker::CountUnresolved(const Prediction* was, const Prediction* is) {
  const int64_t change = static_cast<int64_t>(is != nullptr && is->state == State::kUnresolved) -
                         static_cast<int64_t>(was != nullptr && was->state == State::kUnresolved);
  if (change == 0) return;
  unresolved_ += change;
  ports_.events.PredictionsUnresolved(unresolved_);
}

// The committed state has changed: adjust deadline and polling, write what waits, or stop.
void Tracker::OnAdvanced(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return;
  const Prediction& current = *entry->current;
  if (IsTerminal(current.state)) {
    Erase(key);
    return;
  }
  ArmDeadline(key);
  if (current.state == State::kUnresolved) evidence_sink_->OnUnresolved(entry->current);
  poller_.Follow(entry->current);
  Write(key);
}

// -------------------------------------------------------------------------------------- deadlines

void Tracker::ArmDeadline(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  const Prediction& current = *entry->current;
  Failure failure;
  absl::Time due;
  if (current.state == State::kUnresolved) {
    // After a standstill, of the process or of the ledger, there is still time to ask for evidence.
    due = std::max(current.update_time + options_.unresolved_timeout,
                   ports_.clock.Now() +
                       std::min(options_.unresolved_timeout, 2 * options_.absence_settle_time));
    failure.code = FailureCode::kSubmitOutcomeUnknown;
    failure.message =
        "Whether upstream accepted this submission could not be found out in time. Before paying "
        "again, check the account's history for a task with this prompt and seed, created after "
        "this prediction. A video that is found later appears in recovered_outputs.";
  } else if (IsPolled(current.state)) {
    due = current.create_time + options_.upstream_retention;
    failure.code = FailureCode::kUpstreamExpired;
    failure.message = "The task did not end within upstream's retention.";
  } else {
    entry->deadline.reset();  // the submitter minds QUEUED and SUBMITTING
    return;
  }
  const absl::Duration delay = std::max(absl::ZeroDuration(), due - ports_.clock.Now());
  std::optional<State> only_in;  // an acceptance that only waits for the ledger is no silence
  if (current.state == State::kUnresolved) only_in = current.state;
  entry->deadline = ports_.timers.After(delay, [this, key, only_in, failure = std::move(failure)] {
    DREAMGATE_FAILPOINT("track.giving_up");
    Observation given_up;
    given_up.only_in = only_in;
    given_up.transition.state = State::kFailed;
    given_up.transition.source = TransitionSource::kGateway;
    given_up.transition.failure = failure;
    Record(key, std::move(given_up));
  });
}

}  // namespace dreamgate::core
