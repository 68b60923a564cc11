#include "server/core/tracking/tracker.h"

#include <algorithm>
#include <utility>

#include "server/core/failpoint.h"
#include "server/core/invariant.h"

namespace dreamgate::core {
namespace {

bool HasRunningTask(const Prediction& prediction) {
  return prediction.state == State::kCreated || prediction.state == State::kProcessing;
}

}  // namespace

Tracker::Tracker(const Ports& ports, const Options& options, Poller& poller,
                 TrackingObserver& observer)
    : ports_(ports), options_(options), poller_(poller), observer_(observer), durable_(ports) {}

Tracker::~Tracker() = default;

// ------------------------------------------------------------------------------- what is followed

void Tracker::Adopt(std::shared_ptr<const Prediction> prediction) {
  DREAMGATE_INVARIANT(!IsTerminal(prediction->state), "what has ended is not followed");
  const PredictionKey key = KeyOf(*prediction);
  const auto [position, inserted] = entries_.try_emplace(key);
  if (!inserted) return;
  position->second.current = std::move(prediction);
  CountUnresolved(nullptr, position->second.current.get());
  ++in_flight_of_tenant_[key.first];
  ports_.events.PredictionsInFlight(in_flight());
  OnAdvanced(key);
}

void Tracker::Forget(const PredictionKey& key) { Erase(key); }

void Tracker::Erase(const PredictionKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const auto tenant = in_flight_of_tenant_.find(key.first);
  DREAMGATE_INVARIANT(tenant != in_flight_of_tenant_.end() && tenant->second > 0,
                      "a tenant's predictions in flight are counted");
  if (--tenant->second == 0) in_flight_of_tenant_.erase(tenant);
  Entry entry = std::move(found->second);
  entries_.erase(found);
  CountUnresolved(entry.current.get(), nullptr);
  if (!entry.current->upstream_id.empty()) poller_.Leave(TaskKeyOf(*entry.current));
  for (Observation& late : entry.pending) {
    Drop(key, std::move(late), "unbound", Recorded::End::kObsolete, entry.current,
         entry.current->upstream_id);
  }
  ports_.events.PredictionsInFlight(in_flight());
}

std::shared_ptr<const Prediction> Tracker::Find(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  return entry == nullptr ? nullptr : entry->current;
}

bool Tracker::IsShown(const Prediction& prediction) const {
  if (IsVisible(prediction)) return true;
  const Entry* entry = EntryOf(KeyOf(prediction));
  return entry != nullptr && entry->acknowledged;
}

void Tracker::MarkAcknowledged(const PredictionKey& key) {
  if (Entry* entry = EntryOf(key)) entry->acknowledged = true;
}

int64_t Tracker::InFlightOf(const std::string& tenant) const {
  const auto found = in_flight_of_tenant_.find(tenant);
  return found == in_flight_of_tenant_.end() ? 0 : found->second;
}

std::vector<InFlight> Tracker::Oldest(size_t limit) const {
  std::vector<InFlight> all;
  all.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) all.push_back({entry.current, {}, {}, 0});
  const auto older = [](const InFlight& a, const InFlight& b) {
    return a.prediction->id < b.prediction->id;
  };
  const size_t kept = std::min(limit, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept), all.end(), older);
  all.resize(kept);
  for (InFlight& line : all) {
    const Heartbeat polls = HeartbeatFor(KeyOf(*line.prediction));
    line.last_observed = polls.last_observed;
    line.next_poll = polls.next_poll;
  }
  return all;
}

std::string Tracker::TaskOf(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  return entry == nullptr ? "" : std::string(ProspectOf(*entry).upstream_id);
}

std::vector<std::shared_ptr<const Prediction>> Tracker::Unresolved() const {
  std::vector<std::shared_ptr<const Prediction>> unresolved;
  if (unresolved_ == 0) return unresolved;
  for (const auto& [key, entry] : entries_) {
    if (entry.current->state == State::kUnresolved) unresolved.push_back(entry.current);
  }
  return unresolved;
}

void Tracker::CountUnresolved(const Prediction* was, const Prediction* is) {
  const int64_t change = static_cast<int64_t>(is != nullptr && is->state == State::kUnresolved) -
                         static_cast<int64_t>(was != nullptr && was->state == State::kUnresolved);
  if (change == 0) return;
  unresolved_ += change;
  DREAMGATE_INVARIANT(unresolved_ >= 0, "UNRESOLVED predictions are counted");
  ports_.events.PredictionsUnresolved(unresolved_);
}

Tracker::Entry* Tracker::EntryOf(const PredictionKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

const Tracker::Entry* Tracker::EntryOf(const PredictionKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

// --------------------------------------------------------------------- reading through the tracker

void Tracker::Read(LoadRequest request, Completion<absl::StatusOr<StoredPrediction>> done) {
  ports_.ledger.Call(std::move(request),
                     lifeline_.Guard([this, done = std::move(done)](
                                         absl::StatusOr<StoredPrediction> stored) mutable {
                       if (stored.ok() && EntryOf(KeyOf(stored->initial)) != nullptr) {
                         Learn(std::make_shared<const Prediction>(Fold(*stored)));
                       }
                       std::move(done)(std::move(stored));
                     }));
}

void Tracker::Read(ListQuery query, Completion<absl::StatusOr<ListPage>> done) {
  ports_.ledger.Call(
      std::move(query),
      lifeline_.Guard([this, done = std::move(done)](absl::StatusOr<ListPage> page) mutable {
        if (page.ok()) {
          for (const auto& shown : page->predictions) Learn(shown);
        }
        std::move(done)(std::move(page));
      }));
}

void Tracker::Learn(const std::shared_ptr<const Prediction>& durable) {
  Entry* entry = EntryOf(KeyOf(*durable));
  if (entry == nullptr || durable->sequence <= entry->current->sequence) return;
  CatchUp(*entry, durable);
  OnAdvanced(KeyOf(*durable));
}

void Tracker::CatchUp(Entry& entry, const std::shared_ptr<const Prediction>& durable) {
  CountUnresolved(entry.current.get(), durable.get());
  entry.current = durable;
  observer_.OnCommitted(durable);
}

void Tracker::Refresh(const std::shared_ptr<const Prediction>& richer) {
  Entry* entry = EntryOf(KeyOf(*richer));
  if (entry != nullptr && richer->sequence == entry->current->sequence) entry->current = richer;
}

// --------------------------------------------------------------------------- polls and deadlines

void Tracker::FollowTask(Entry& entry) {
  const Prediction& current = *entry.current;
  if (!HasRunningTask(current)) return;
  const auto accepted = std::find_if(
      current.history.begin(), current.history.end(),
      [](const HistoryEntry& transition) { return transition.state >= State::kCreated; });
  poller_.Follow(TaskKeyOf(current),
                 {.accepted = accepted->time,
                  .typical = accepted->source == TransitionSource::kSubmitAnswer,
                  .started = current.state == State::kProcessing,
                  .observed = current.update_time,
                  .account_key = current.key_fingerprint,
                  .interest = entry.interest},
                 *this);
}

void Tracker::OnTaskSeen(const TaskKey& key, const TaskObservation& task) {
  const Entry* entry = EntryOf(key.prediction);
  if (entry == nullptr || task.state == entry->current->state) return;  // nothing new
  Observation observation;
  observation.transition = TransitionFrom(task, TransitionSource::kPoll);
  Record(key.prediction, std::move(observation));
}

void Tracker::OnTaskLost(const TaskKey& key) {
  Observation lost;
  lost.transition.state = State::kFailed;
  lost.transition.source = TransitionSource::kPoll;
  lost.transition.failure =
      Failure{FailureCode::kUpstreamNotFound, "Upstream no longer knows this task.", 0, true};
  Record(key.prediction, std::move(lost));
}

void Tracker::SetWatched(const PredictionKey& key, bool watched) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return;
  entry->interest.watched = watched;
  poller_.SetInterest(TaskKeyOf(*entry->current), entry->interest);
}

void Tracker::Touch(const PredictionKey& key) {
  Entry* entry = EntryOf(key);
  if (entry == nullptr) return;
  entry->interest.asked_for = ports_.clock.Now();
  poller_.SetInterest(TaskKeyOf(*entry->current), entry->interest);
}

Heartbeat Tracker::HeartbeatFor(const PredictionKey& key) const {
  const Entry* entry = EntryOf(key);
  Heartbeat heartbeat;
  if (entry != nullptr) heartbeat = poller_.HeartbeatFor(TaskKeyOf(*entry->current));
  heartbeat.prediction_id = key.second;
  return heartbeat;
}

void Tracker::ArmDeadline(const PredictionKey& key, Entry& entry) {
  const Prediction& current = *entry.current;
  Failure failure;
  absl::Time due;
  std::optional<State> only_in;
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
    only_in = current.state;  // an acceptance that only waits for the ledger is no silence
  } else if (HasRunningTask(current)) {
    due = current.create_time + options_.upstream_retention;
    failure.code = FailureCode::kUpstreamExpired;
    failure.message = "The task did not end within upstream's retention.";
  } else {
    entry.deadline.reset();  // the submitter minds QUEUED and SUBMITTING
    return;
  }
  const absl::Duration delay = std::max(absl::ZeroDuration(), due - ports_.clock.Now());
  entry.deadline = ports_.timers.After(delay, [this, key, only_in, failure = std::move(failure)] {
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
