// Finds out what became of POSTs whose outcome is unknown, by evidence and never by a guess. Owned
// by Gateway, loop only. The evidence, best first:
//
//   1. the late answer: the submitter's; here only if the prediction has ended meanwhile
//   2. a webhook that carries the attempt's token
//   3. upstream's history shows a task with exactly our input that nobody has
//   4. upstream's history shows consistently that there is no such task: absence
//
// A task that turns up for a prediction which has ended, or goes on with
// another attempt, is an orphan.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/core/evidence/evidence.h"
#include "server/core/evidence/history_reader.h"
#include "server/core/evidence/orphans.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/poller.h"
#include "server/core/ports.h"
#include "server/core/submission/submitter.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class Reconciler {
 public:
  // Borrows all five.
  Reconciler(const Ports& ports, const Options& options, Tracker& tracker, Submitter& submitter,
             Poller& poller);
  ~Reconciler();

  // After what an earlier process left behind has been taken over.
  void Start();

  // See Gateway::OnWebhook.
  void OnWebhook(std::string attempt_token, std::string upstream_id, Completion<absl::Status> done);

  // See TrackingObserver.
  void OnUnresolved() { history_.AskSoon(); }
  void OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance);

  // Followed orphans that have not ended.
  int64_t orphans() const { return orphans_.followed(); }

 private:
  void LeaveOutDecided(AttemptReview& review) const;
  void Judge(const HistoryReading& reading, const AttemptReview& review, bool whole);
  // Gives the task to the prediction or, if that has no use for it, to the orphans. `done` receives
  // OK once either is durable.
  void Bind(const StoredAttempt& attempt, const HistoryItem& task, TransitionSource source,
            Completion<absl::Status> done);
  void ConcludeAbsence(const StoredAttempt& attempt);

  const Ports& ports_;
  const Options& options_;
  Tracker& tracker_;
  Submitter& submitter_;
  Poller& poller_;
  HistoryReader history_;
  int ambiguous_ = 0;
  AbsenceEvidence absences_;
  Orphans orphans_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_
