// Reads upstream's history, page by page, and lays the ledger beside it. While predictions are
// UNRESOLVED it is read a few times per settle time, and only then the ledger is asked which of its
// tasks are bound: a task that history shows was created by a POST whose attempt is durable by
// then. Once an hour it is read as far back as upstream keeps tasks, for attempts that have been
// given up. Owned by Reconciler, which judges. Loop only.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_HISTORY_READER_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_HISTORY_READER_H_

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/core/durable.h"
#include "server/core/evidence/evidence.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class HistoryReader {
 public:
  // `whole`: the reading goes as far back as upstream keeps tasks, and has no accepted ones beside
  // it.
  using Judge = absl::AnyInvocable<void(const HistoryReading&, AttemptReview, bool whole)>;

  // Borrows the first three.
  HistoryReader(const Ports& ports, const Options& options, const Tracker& tracker, Judge judge);

  // Begins with the whole history.
  void Start();
  // Something is UNRESOLVED.
  void AskSoon();

 private:
  // One reading under way.
  struct Question {
    bool whole = false;
    HistoryReading reading;
    std::set<std::string> seen;
    int page = 1;
    absl::Duration tolerance;  // it was asked with
  };

  // Unless a question is under way or due earlier.
  void AskAfter(absl::Duration delay);
  void Ask();
  // The whole history is long: is there anything to look for in it, and since when?
  void AskTheLedgerFirst();
  void ReadPage();
  void OnPage(HistoryOutcome outcome);
  void OnUnreadable(const HistoryFailed& failed);
  void Review();
  void Conclude(bool answered);

  const Ports& ports_;
  const Options& options_;
  const Tracker& tracker_;
  Judge judge_;

  std::optional<Question> question_;  // under way
  std::unique_ptr<Timers::Timer> next_;
  absl::Time next_due_;
  std::unique_ptr<Timers::Timer> next_whole_;
  bool whole_due_ = false;
  int failures_ = 0;
  absl::Duration retry_after_;     // as upstream has asked for
  std::optional<int> unreadable_;  // HTTP status of what has been complained of
  std::optional<absl::Duration> clock_offset_;
  Durable durable_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_HISTORY_READER_H_
