// The orphans: tasks that upstream has created, and was paid for, for a prediction that has ended
// or that goes on with another attempt. Each is recorded and alarmed, and polled until it ends; its
// videos are kept as the prediction's `recovered_outputs`. Owned by Reconciler, loop only.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/durable.h"
#include "server/core/options.h"
#include "server/core/polling/poller.h"
#include "server/core/ports.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class Orphans final : private TaskObserver {
 public:
  // Borrows all four.
  Orphans(const Ports& ports, const Options& options, Tracker& tracker, Poller& poller);

  // Goes on polling those that an earlier process has recorded.
  void Start();

  // Upstream has created a task, named by `acceptance`, that the prediction has no use for.
  // Repeated until the ledger has it; `done` is told of the first try.
  void Record(const PredictionKey& key, const AttemptOutcome& acceptance,
              Completion<absl::Status> done);

  // The attempt's task is an orphan, as a webhook for it shows. It is followed if it is not yet.
  void OnWebhook(const StoredAttempt& attempt);

  // How many are polled, because they have not ended.
  int64_t followed() const { return static_cast<int64_t>(followed_.size()); }

 private:
  struct Followed {
    Orphan orphan;
    std::unique_ptr<Timers::Timer> expiry;  // upstream forgets its tasks
  };

  void Write(OrphanRecord record, Completion<absl::Status> done);
  void OnWritten(const OrphanRecord& record, bool tried_before, const OrphanResult& written);
  // Counts and alarms, then follows.
  void Announce(const Orphan& orphan);
  // Follows the orphans that the ledger has and that are not followed yet. `news`: nobody has been
  // told of them.
  void FollowRecorded(bool news);
  void Follow(Orphan orphan);
  void End(const TaskKey& key, std::vector<Output> outputs);

  void OnTaskSeen(const TaskKey& key, const TaskObservation& task) override;
  void OnTaskLost(const TaskKey& key) override { End(key, {}); }

  const Ports& ports_;
  const Options& options_;
  Tracker& tracker_;
  Poller& poller_;
  std::map<TaskKey, Followed> followed_;
  Durable durable_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_
