// The orphans: tasks that upstream has created, and was paid for, for a prediction that has ended
// or that goes on with another attempt. Each is recorded and alarmed, and polled until it ends;
// its videos are kept as the prediction's `recovered_outputs`. Owned by Reconciler, loop only.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/gateway.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class Orphans {
 public:
  Orphans(const Ports& ports, const Options& options, Tracker& tracker);

  // Goes on polling those that an earlier process has recorded.
  void Start();

  // Upstream has created a task, named by `acceptance`, that the prediction has no use for.
  // Repeated until the ledger has it; `done` is told of the first try.
  void Record(const PredictionKey& key, const AttemptOutcome& acceptance,
              Completion<absl::Status> done);

  // A webhook has come for the attempt's task. If that is an orphan, it is polled now.
  void OnAnnounced(const StoredAttempt& attempt);

  // How many are polled, because they have not ended.
  int64_t followed() const { return static_cast<int64_t>(followed_.size()); }

 private:
  struct Followed {
    Orphan orphan;
    int polls = 0;
    std::unique_ptr<Timers::Timer> timer;
  };

  // Tries until the ledger has it; `done` is told of the first try.
  void Write(OrphanRecord record, int failures, Completion<absl::Status> done);
  void OnWritten(const OrphanRecord& record, const absl::StatusOr<OrphanResult>& written);
  // Counts and alarms, then follows.
  void Announce(const Orphan& orphan);
  // Those that the ledger has and that are not followed yet. `news`: nobody has been told of them.
  void FollowRecorded(bool news);
  void Follow(Orphan orphan);
  void PollAfter(absl::Duration delay, const std::string& upstream_id);
  void OnPolled(const std::string& upstream_id, PollOutcome outcome);

  // Runs `work` later; forgotten when this object dies.
  void Later(absl::Duration delay, absl::AnyInvocable<void() &&> work);

  const Ports ports_;
  const Options options_;
  Tracker& tracker_;
  std::map<std::string, Followed> followed_;  // by upstream id
  uint64_t next_later_ = 0;
  std::map<uint64_t, std::unique_ptr<Timers::Timer>> later_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_ORPHANS_H_
