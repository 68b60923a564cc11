// How an observation becomes a transition: what holds is proposed to the ledger, one proposal of a
// prediction at a time, until it is answered.
#include <utility>
#include <variant>

#include "server/core/failpoint.h"
#include "server/core/invariant.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {
namespace {

// The evidence that decided an UNRESOLVED prediction.
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

void Tracker::Record(const PredictionKey& key, Observation observation) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) {
    Drop(key, std::move(observation), "unbound", Recorded::End::kObsolete, nullptr, "");
    return;
  }
  const Prospect prospect = ProspectOf(*entry);
  if (!Holds(observation, prospect)) {
    if (!entry->pending.empty() && observation.done) {
      // The observation that makes it obsolete is not written yet.
      Observation& last = entry->pending.back();
      last.done = [first = std::move(last.done),
                   then = std::exchange(observation.done, nullptr)](Recorded recorded) mutable {
        if (first) std::move(first)(recorded);
        if (recorded.end == Recorded::End::kCommitted) recorded.end = Recorded::End::kObsolete;
        std::move(then)(std::move(recorded));
      };
    }
    const bool repeated = prospect.state == observation.transition.state;
    Drop(key, std::move(observation), repeated ? "repeated" : "illegal", Recorded::End::kObsolete,
         entry->current, prospect.upstream_id);
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
  // An attempt that a further one has replaced decides nothing any more.
  const bool replaced =
      observation.attempt_outcome && observation.attempt_outcome->number < prospect.attempt;
  return IsLegalTransition(prospect.state, observation.transition.state) && !replaced &&
         observation.only_in.value_or(prospect.state) == prospect.state &&
         (!observation.unless_bound || prospect.upstream_id.empty());
}

void Tracker::Drop(const PredictionKey& key, Observation observation, absl::string_view why,
                   Recorded::End end, const std::shared_ptr<const Prediction>& current,
                   absl::string_view upstream_id) {
  ports_.events.ObservationDropped(why);
  const auto& outcome = observation.attempt_outcome;
  if (outcome && outcome->result == AttemptResult::kAccepted &&
      outcome->upstream_id != upstream_id) {
    observer_.OnUnboundTask(key, *outcome);
  }
  if (!observation.done) return;
  if (current != nullptr) {
    ports_.executor.Post(
        lifeline_.Guard([done = std::move(observation.done), end, current]() mutable {
          std::move(done)({end, current});
        }));
    return;
  }
  // The prediction has ended meanwhile: how, the ledger knows.
  durable_.Call(
      LoadRequest{key.first, key.second}, [this, key, end, done = std::move(observation.done)](
                                              absl::StatusOr<StoredPrediction> stored) mutable {
        if (IsLedgerTrouble(stored.status())) return;  // it is asked again
        if (!stored.ok()) {
          ports_.events.Log(LogLevel::kError, "prediction vanished from the ledger",
                            {{"prediction", key.second}});
          std::move(done)({end, nullptr});
          return;
        }
        std::move(done)({end, std::make_shared<const Prediction>(Fold(*std::move(stored)))});
      });
}

// --------------------------------------------------------------------------------------- writing

void Tracker::Write(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr || entry->writing || entry->pending.empty()) return;
  entry->writing = true;
  durable_.Repeat<Proposal>([this, key] { return NextProposal(key); },
                            [this, key](absl::StatusOr<ProposeResult> result) {
                              return OnAnswered(key, std::move(result));
                            });
}

std::optional<Proposal> Tracker::NextProposal(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return std::nullopt;
  DREAMGATE_INVARIANT(entry->writing, "a prediction is written by its one write under way");
  const Prospect now{entry->current->state, entry->current->upstream_id};
  while (!entry->pending.empty() && !Holds(entry->pending.front(), now)) {
    Observation obsolete = std::move(entry->pending.front());
    entry->pending.erase(entry->pending.begin());
    Drop(key, std::move(obsolete), "repeated", Recorded::End::kObsolete, entry->current,
         entry->current->upstream_id);
  }
  if (entry->pending.empty()) {
    entry->writing = false;
    return std::nullopt;
  }
  const Observation& next = entry->pending.front();
  Proposal proposal;
  proposal.tenant = key.first;
  proposal.prediction_id = key.second;
  proposal.expected_sequence = entry->current->sequence;
  proposal.transition = next.transition;
  proposal.transition.sequence = entry->current->sequence + 1;
  proposal.attempt_outcome = next.attempt_outcome;
  proposal.new_attempt = next.new_attempt;
  entry->write_expects = proposal.expected_sequence;
  DREAMGATE_FAILPOINT("track.before_writing");
  return proposal;
}

bool Tracker::OnAnswered(const PredictionKey& key, absl::StatusOr<ProposeResult> result) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return false;
  DREAMGATE_INVARIANT(entry->writing && !entry->pending.empty(),
                      "the ledger answers the one write under way");
  if (IsLedgerTrouble(result.status())) return OnTrouble(*entry);
  if (result.ok()) {
    if (const auto* conflict = std::get_if<ProposalConflict>(&*result)) {
      return OnConflict(key, *entry, conflict->current);
    }
    OnCommitted(key, *entry, std::get<Committed>(*std::move(result)).prediction);
    return false;
  }
  OnRefused(key, *entry, result.status());
  return false;
}

// The transition may or may not be durable. The compare-and-set makes a second try harmless either
// way.
bool Tracker::OnTrouble(Entry& entry) {
  Observation& failed = entry.pending.front();
  auto done = std::exchange(failed.done, nullptr);
  const Recorded recorded{failed.insist ? Recorded::End::kKept : Recorded::End::kDropped,
                          entry.current};
  if (!failed.insist) {
    entry.pending.erase(entry.pending.begin());
  } else if (done) {
    entry.acknowledged = true;
  }
  if (done) std::move(done)(recorded);
  return true;
}

// Final, and a defect: it would break a rule of the ledger's. What it knows of a task is kept.
void Tracker::OnRefused(const PredictionKey& key, Entry& entry, const absl::Status& error) {
  ports_.events.Log(LogLevel::kError, "the ledger refuses a transition",
                    {{"prediction", key.second}, {"problem", std::string(error.message())}});
  Observation refused = std::move(entry.pending.front());
  entry.pending.erase(entry.pending.begin());
  entry.writing = false;
  FollowTask(entry);
  Drop(key, std::move(refused), "illegal", Recorded::End::kDropped, entry.current,
       entry.current->upstream_id);
  Write(key);
}

bool Tracker::OnConflict(const PredictionKey& key, Entry& entry,
                         const std::shared_ptr<const Prediction>& found) {
  ports_.events.ObservationDropped("conflict");
  if (found == nullptr) {
    ports_.events.Log(LogLevel::kError, "prediction vanished from the ledger",
                      {{"prediction", key.second}});
    Erase(key);
    return false;
  }
  if (found->sequence <= entry.write_expects) {
    // Refused without news, as if somebody else owned it. Asking again at once would never end.
    ports_.events.Log(LogLevel::kError, "the ledger refuses a transition",
                      {{"prediction", key.second}});
    return true;
  }
  entry.writing = false;
  if (found->sequence > entry.current->sequence) CatchUp(entry, found);
  OnAdvanced(key);
  return false;
}

void Tracker::OnCommitted(const PredictionKey& key, Entry& entry,
                          std::shared_ptr<const Prediction> committed) {
  DREAMGATE_FAILPOINT("track.written");
  DREAMGATE_INVARIANT(committed->sequence == entry.write_expects + 1,
                      "what is committed follows what was expected");
  DREAMGATE_INVARIANT(committed->sequence >= entry.current->sequence,
                      "a prediction does not go backwards");
  const bool was_unresolved = entry.current->state == State::kUnresolved;
  CountUnresolved(entry.current.get(), committed.get());
  entry.current = committed;
  entry.acknowledged = false;
  entry.writing = false;
  Observation written = std::move(entry.pending.front());
  entry.pending.erase(entry.pending.begin());
  ports_.events.TransitionCommitted(committed->state, written.transition.source);
  if (was_unresolved) ports_.events.Reconciled(EvidenceName(written.transition));
  OnAdvanced(key);
  if (written.done) std::move(written.done)({Recorded::End::kCommitted, std::move(committed)});
}

// The committed state has changed: adjust deadline and polling, write what waits, or stop.
void Tracker::OnAdvanced(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return;
  if (IsTerminal(entry->current->state)) {
    Erase(key);
    return;
  }
  ArmDeadline(key, *entry);
  FollowTask(*entry);
  if (entry->current->state == State::kUnresolved) observer_.OnUnresolved(entry->current);
  Write(key);
}

}  // namespace dreamgate::core
