// Follows every prediction in flight until it is terminal, whether anybody watches or not.
//
// All that is learned of a prediction (the answer to its POST, polls, deadlines) arrives here as an
// observation, becomes at most one outstanding proposal to the ledger, and is dropped where the
// transition table says so. Owned by Gateway, loop only.
#ifndef DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_
#define DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/gateway.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/poller.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// Something learned about one prediction.
struct Observation {
  Transition transition;  // `sequence` and `time` are filled in by the tracker
  std::optional<AttemptOutcome> attempt_outcome;
  std::optional<Attempt> new_attempt = std::nullopt;  // that the transition begins
  // Called once with the committed state that resulted: this observation's, or the one that made it
  // obsolete. If the ledger is in trouble, at once with the last committed state. May be empty.
  Completion<std::shared_ptr<const Prediction>> done;
  // In ledger trouble: true, it is written as soon as the ledger can, and whoever `done` has told
  // may rely on it; false, it is dropped.
  bool insist = true;
  // The only state it holds in, for what was concluded from that state.
  // Unset: wherever it is legal.
  std::optional<State> only_in = std::nullopt;
  // It does not hold once the prediction has a task.
  bool unless_bound = false;
};

// A transition that carries everything `task` shows.
Transition TransitionFrom(const TaskObservation& task, TransitionSource source);

// Told of what only further evidence can settle. Implemented by Reconciler.
class EvidenceSink {
 public:
  virtual ~EvidenceSink() = default;
  // The prediction is durably UNRESOLVED.
  virtual void OnUnresolved(const std::shared_ptr<const Prediction>& prediction) = 0;
  // Upstream has created a task (`acceptance` names it) that the prediction does not follow.
  virtual void OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) = 0;
};

class Tracker final : public PollObserver {
 public:
  // `outlet` is told of transitions that turn out to be durable although their commit had failed.
  Tracker(const Ports& ports, const Options& options, CommitObserver& outlet);
  ~Tracker() override;

  // Must be called first; the two refer to one another.
  void set_evidence_sink(EvidenceSink* sink) { evidence_sink_ = sink; }

  // Begins to follow a prediction that is not terminal.
  void Adopt(std::shared_ptr<const Prediction> prediction);
  // Observations of predictions that are not followed (any more) are dropped and counted.
  void Record(const PredictionKey& key, Observation observation);
  // What somebody has just read from the ledger. It is news if a write that had failed is durable
  // all the same; without it, a reader of the ledger would be ahead of a reader of this tracker.
  void Learn(const std::shared_ptr<const Prediction>& durable);
  // The same state with more known about it (recovered outputs).
  void Refresh(const std::shared_ptr<const Prediction>& richer);
  // Stops following: the prediction was rejected.
  void Forget(const PredictionKey& key);

  // The last committed state of a followed prediction, else null.
  std::shared_ptr<const Prediction> Find(const PredictionKey& key) const;
  // True while a caller has been told OK although the ledger could not yet write why; or may have
  // been told so by the process that left the prediction behind.
  bool AcknowledgedEarly(const PredictionKey& key) const;
  void MarkAcknowledgedEarly(const PredictionKey& key);

  // Of the followed ones: when and how their tasks are polled.
  Poller& poller() { return poller_; }
  const Poller& poller() const { return poller_; }

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
    bool acknowledged_early = false;

    // Writing.
    bool write_outstanding = false;
    int64_t write_expects = 0;  // the sequence that the last proposal was to follow
    int write_failures = 0;
    std::vector<Observation> pending;  // legal in a row; the first is being written
    std::unique_ptr<Timers::Timer> write_retry;

    std::unique_ptr<Timers::Timer> deadline;  // of UNRESOLVED, or upstream's retention
  };

  // What will be true once everything that waits is written.
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
  void OnWritten(const PredictionKey& key, absl::StatusOr<ProposeResult> result);
  void RetryWrite(const PredictionKey& key);
  // Counts an observation that changes nothing and settles it with `current`, null if not followed.
  // `upstream_id`: the task that the prediction has, or will have once all that waits is written.
  void Drop(const PredictionKey& key, Observation observation, absl::string_view why,
            const std::shared_ptr<const Prediction>& current, absl::string_view upstream_id);
  // Calls `done` with what the ledger has, as soon as it can be read.
  void Settle(const PredictionKey& key, Completion<std::shared_ptr<const Prediction>> done,
              int failures);
  void OnAdvanced(const PredictionKey& key);
  void CountUnresolved(const Prediction* was, const Prediction* is);

  void ArmDeadline(const PredictionKey& key);
  void OnTaskSeen(const PredictionKey& key, const TaskObservation& task) override;
  void OnTaskLost(const PredictionKey& key) override;

  const Ports ports_;
  const Options options_;
  CommitObserver& outlet_;
  EvidenceSink* evidence_sink_ = nullptr;
  // Ordered by tenant and time of creation, so that nothing depends on hash order.
  std::map<PredictionKey, Entry> entries_;
  absl::flat_hash_map<std::string, int64_t> in_flight_of_tenant_;
  int64_t unresolved_ = 0;
  Poller poller_;
  uint64_t next_settle_ = 0;
  std::map<uint64_t, std::unique_ptr<Timers::Timer>> settle_retries_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_TRACKING_TRACKER_H_
