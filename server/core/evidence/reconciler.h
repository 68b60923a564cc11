// Finds out what became of POSTs whose outcome is unknown, by evidence and never by a guess. Owned
// by Gateway, loop only. The evidence, best first:
//
//   1. the late answer: the submitter's; here only if the prediction has ended meanwhile
//   2. a webhook that carries the attempt's token
//   3. upstream's history shows a task with exactly our input that nobody has
//   4. upstream's history shows consistently that there is no such task: absence
//
// One question serves all: while predictions are UNRESOLVED, history is read a few times per settle
// time, and only then the ledger is asked which of its tasks are bound (a task that history shows
// was created by a POST whose attempt is durable by then). Once an hour the question goes back as
// far as upstream's retention, for attempts that have been given up.
//
// A task that turns up for a prediction which has ended, or goes on with
// another attempt, is an orphan.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/core/evidence/evidence.h"
#include "server/core/evidence/orphans.h"
#include "server/core/gateway.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/submission/submitter.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class Reconciler final : public EvidenceSink {
 public:
  Reconciler(const Ports& ports, const Options& options, Tracker& tracker, Submitter& submitter);
  ~Reconciler() override;

  // After what an earlier process left behind has been taken over.
  void Start();

  // See Gateway::OnWebhook.
  void OnWebhook(std::string attempt_token, std::string upstream_id, Completion<absl::Status> done);

  void OnUnresolved(const std::shared_ptr<const Prediction>& prediction) override;
  void OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) override;

  // Followed orphans that have not ended.
  int64_t orphans() const { return orphans_.followed(); }

 private:
  // One reading of history, page by page.
  struct Question {
    bool whole = false;  // as far back as upstream keeps tasks
    HistoryReading reading;
    std::set<std::string> seen;
    int page = 1;
    absl::Duration tolerance;  // it was asked with
  };

  // Unless a question is under way or due earlier.
  void AskAfter(absl::Duration delay);
  void Ask();
  void ReadPage();
  void OnPage(HistoryOutcome outcome);
  void OnUnreadable(const HistoryFailed& failed);
  void Review();
  void Conclude(bool answered);

  void LeaveOutDecided(AttemptReview& review) const;
  void Judge(const HistoryReading& reading, const AttemptReview& review, bool whole);
  // Gives the task to the prediction or, if that has no use for it, to the orphans. `done` receives OK
  // once either is durable.
  void Bind(const StoredAttempt& attempt, const HistoryItem& task, TransitionSource source,
            Completion<absl::Status> done);
  void ConcludeAbsence(const StoredAttempt& attempt);

  const Ports ports_;
  const Options options_;
  Tracker& tracker_;
  Submitter& submitter_;

  std::optional<Question> question_;  // under way
  std::unique_ptr<Timers::Timer> next_;
  absl::Time next_due_;
  std::unique_ptr<Timers::Timer> next_whole_;
  bool whole_due_ = false;
  int failures_ = 0;
  absl::Duration retry_after_;     // as upstream has asked for
  std::optional<int> unreadable_;  // HTTP status of what has been complained of
  int ambiguous_ = 0;
  std::optional<absl::Duration> clock_offset_;
  AbsenceEvidence absences_;
  Orphans orphans_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_RECONCILER_H_
