// Follows every prediction in flight until it is terminal, whether anybody watches or not.
//
// All that is learned of a prediction (the answer to its POST, polls, deadlines) arrives here as an
// observation, becomes at most one outstanding proposal to the ledger, and is dropped where the
// transition table says so. Owned by Gateway, loop only.
#ifndef DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_
#define DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/durable.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/poller.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// How an observation has ended.
struct Recorded {
  enum class End {
    kCommitted,  // it is durable
    kObsolete,   // it does not hold: something else is durable, or will be
    kKept,       // the ledger is in trouble; it is written as soon as the ledger can
    kDropped,    // the ledger cannot write it, and it will not be written
  };
  End end = End::kDropped;
  // As last known to be durable. Null: the ledger has no such prediction (any more).
  std::shared_ptr<const Prediction> prediction;
};

// Something learned about one prediction.
struct Observation {
  Transition transition;  // `sequence` and `time` are filled in by the tracker
  std::optional<AttemptOutcome> attempt_outcome;
  std::optional<Attempt> new_attempt = std::nullopt;  // that the transition begins
  // Called once, in ledger trouble at once. May be empty.
  Completion<Recorded> done;
  // In ledger trouble: true, it is kept and whoever `done` has told may rely on it; false, it is
  // dropped.
  bool insist = true;
  // The only state it holds in, for what was concluded from that state.
  // Unset: wherever it is legal.
  std::optional<State> only_in = std::nullopt;
  // True: the observation does not hold once the prediction has a task.
  bool unless_bound = false;
};

// A transition that carries everything `task` shows.
Transition TransitionFrom(const TaskObservation& task, TransitionSource source);

// The prediction's own task, if it has one.
inline TaskKey TaskKeyOf(const Prediction& prediction) {
  return {KeyOf(prediction), prediction.upstream_id};
}

// A line of /statusz.
struct InFlight {
  std::shared_ptr<const Prediction> prediction;
  std::optional<absl::Time> last_observed;
  std::optional<absl::Time> next_poll;
  int64_t watchers = 0;
};

// Told of what others have to do something about. OnCommitted is told here only of transitions that
// turn out to be durable although their commit had failed; the rest the ledger tells.
class TrackingObserver : public CommitObserver {
 public:
  // The prediction is durably UNRESOLVED.
  virtual void OnUnresolved(const std::shared_ptr<const Prediction>& prediction) = 0;
  // Upstream has created a task (`acceptance` names it) that the prediction does not follow.
  virtual void OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) = 0;
};

class Tracker final : private TaskObserver {
 public:
  // Borrows all four. `observer` is told nothing before the first call.
  Tracker(const Ports& ports, const Options& options, Poller& poller, TrackingObserver& observer);
  ~Tracker() override;

  // Begins to follow a prediction that is not terminal.
  void Adopt(std::shared_ptr<const Prediction> prediction);
  // Observations of predictions that are not followed (any more) are dropped and counted.
  void Record(const PredictionKey& key, Observation observation);
  // The same state with more known about it (recovered outputs).
  void Refresh(const std::shared_ptr<const Prediction>& richer);
  // Stops following: the prediction was rejected.
  void Forget(const PredictionKey& key);

  // Reads the ledger. What is read may be news, if a write that had failed is durable all the same:
  // reading through here keeps a reader of the ledger from being ahead of a reader of this tracker.
  void Read(LoadRequest request, Completion<absl::StatusOr<StoredPrediction>> done);
  void Read(ListQuery query, Completion<absl::StatusOr<ListPage>> done);
  // For who has just read it with another request.
  void Learn(const std::shared_ptr<const Prediction>& durable);

  // The last committed state of a followed prediction, else null.
  std::shared_ptr<const Prediction> Find(const PredictionKey& key) const;
  // Whether callers may be shown it: it has been accepted or is UNRESOLVED, or its caller has been
  // told OK.
  bool IsShown(const Prediction& prediction) const;
  // Its caller may have been told OK by the process that left it behind.
  void MarkAcknowledged(const PredictionKey& key);

  // Somebody begins, or the last one ceases, to watch; somebody asks for the state.
  void SetWatched(const PredictionKey& key, bool watched);
  void Touch(const PredictionKey& key);
  Heartbeat HeartbeatFor(const PredictionKey& key) const;

  int64_t InFlightOf(const std::string& tenant) const;
  int64_t in_flight() const { return static_cast<int64_t>(entries_.size()); }
  // The upstream id of its task, be it written yet or not; empty: none is known.
  std::string TaskOf(const PredictionKey& key) const;
  // By tenant and id.
  std::vector<std::shared_ptr<const Prediction>> Unresolved() const;
  // The oldest `limit` followed predictions.
  std::vector<InFlight> Oldest(size_t limit) const;

 private:
  struct Entry {
    std::shared_ptr<const Prediction> current;
    // A caller has been told OK although the ledger could not yet write why.
    bool acknowledged = false;
    Interest interest;
    std::vector<Observation> pending;  // legal in a row; the first is being written
    bool writing = false;
    int64_t write_expects = 0;                // the sequence that the last proposal was to follow
    std::unique_ptr<Timers::Timer> deadline;  // of UNRESOLVED, or upstream's retention
  };

  // The prediction once everything that waits is written.
  struct Prospect {
    State state;
    absl::string_view upstream_id;
    int attempt = 0;  // the latest that waits to begin; 0: none does
  };
  static Prospect ProspectOf(const Entry& entry);
  static bool Holds(const Observation& observation, const Prospect& prospect);

  Entry* EntryOf(const PredictionKey& key);
  const Entry* EntryOf(const PredictionKey& key) const;
  void Erase(const PredictionKey& key);

  void Write(const PredictionKey& key);
  // The proposal to be written next; nullopt: nothing waits any more.
  std::optional<Proposal> NextProposal(const PredictionKey& key);
  // True: it must be tried again.
  bool OnAnswered(const PredictionKey& key, absl::StatusOr<ProposeResult> result);
  bool OnTrouble(Entry& entry);
  void OnRefused(const PredictionKey& key, Entry& entry, const absl::Status& error);
  bool OnConflict(const PredictionKey& key, Entry& entry,
                  const std::shared_ptr<const Prediction>& found);
  void OnCommitted(const PredictionKey& key, Entry& entry,
                   std::shared_ptr<const Prediction> committed);
  // Takes over a state that is durable although nobody here has been told that it was written.
  void CatchUp(Entry& entry, const std::shared_ptr<const Prediction>& durable);
  // Counts an observation that changes nothing. `current` is what its `done` is told, null: what
  // the ledger has. `upstream_id`: the task that the prediction has, or will have.
  void Drop(const PredictionKey& key, Observation observation, absl::string_view why,
            Recorded::End end, const std::shared_ptr<const Prediction>& current,
            absl::string_view upstream_id);
  void OnAdvanced(const PredictionKey& key);
  void CountUnresolved(const Prediction* was, const Prediction* is);

  void ArmDeadline(const PredictionKey& key, Entry& entry);
  void FollowTask(Entry& entry);
  void OnTaskSeen(const TaskKey& key, const TaskObservation& task) override;
  void OnTaskLost(const TaskKey& key) override;

  const Ports& ports_;
  const Options& options_;
  Poller& poller_;
  TrackingObserver& observer_;
  // Ordered by tenant and time of creation, so that nothing depends on hash order.
  std::map<PredictionKey, Entry> entries_;
  absl::flat_hash_map<std::string, int64_t> in_flight_of_tenant_;
  int64_t unresolved_ = 0;
  Durable durable_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_
