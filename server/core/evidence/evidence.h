// The proofs that upstream's history and the ledger, laid side by side, give about attempts whose
// outcome is unknown: that a task is ours, or that there is none. Pure values, no ports; used by
// Reconciler.
#ifndef DREAMGATE_SERVER_CORE_EVIDENCE_EVIDENCE_H_
#define DREAMGATE_SERVER_CORE_EVIDENCE_EVIDENCE_H_

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "server/core/ledger_requests.h"
#include "server/core/options.h"

namespace dreamgate::core {

// One reading of upstream's history.
struct HistoryReading {
  absl::Time begun;                // our clock
  absl::Time since;                // our clock: attempts that began later can be judged by it
  bool complete = false;           // it shows every task since then that upstream lists
  bool cut_short = false;          // a later page could not be read; never if complete
  std::vector<HistoryItem> items;  // each task once
  std::optional<absl::Duration> clock_offset;  // upstream's clock minus ours
  std::string key_fingerprint;                 // whose account it is
};

// By how much upstream's times may differ from ours. Both clocks are granted the
// benefit of the doubt: the task's time may come from the one that gave the offset, or
// from one that agrees with ours.
absl::Duration ClockTolerance(std::optional<absl::Duration> clock_offset);

// Whether the task may have been created by this attempt, judged by time and model alone.
bool MayBeOf(const HistoryItem& item, const StoredAttempt& attempt, absl::Duration tolerance);

// The first attempts whose tasks such a reading can show among others: older ones cannot have
// created a task since then.
absl::Time EarliestStart(const HistoryReading& reading);

// Tells of an attempt whether its POST may still be answered.
using OnTheWire = std::function<bool(const StoredAttempt& attempt)>;

struct Match {
  const StoredAttempt* attempt;
  const HistoryItem* item;
};
struct Matching {
  std::vector<Match> matches;
  // Tasks with the input of open attempts, where nobody can tell which is whose.
  int ambiguous = 0;
};

// Tasks that nobody has, and that have exactly the input of open attempts. Several with the same
// input are matched oldest first if there are as many tasks as attempts, or if all the attempts are
// of one prediction; otherwise not at all. An attempt that had been called ABSENT before the task
// was created comes after those that had not. While the ledger knows nothing of one of the attempts
// yet, or the answer of one of several may still come, that decides. Points into the arguments.
Matching MatchTasks(
    const HistoryReading& reading, const AttemptReview& review,
    const OnTheWire& on_the_wire = [](const StoredAttempt&) { return false; });

// Collects, over several readings, that upstream shows no task for an attempt.
class AbsenceEvidence {
 public:
  // `settle_time`: how long history must have shown it.
  explicit AbsenceEvidence(absl::Duration settle_time) : settle_time_(settle_time) {}

  // Takes a reading in and returns those of `attempts` that are proven to have created no task: at
  // least three complete readings of the account they were made with, over at least the settle
  // time, showed no task that may be theirs, everything that the ledger knows to exist, and nothing
  // less than the reading before. `attempts` are the ones of interest, all off the wire; what was
  // known of others is forgotten.
  std::vector<const StoredAttempt*> Add(const HistoryReading& reading, const AttemptReview& review,
                                        const std::vector<const StoredAttempt*>& attempts);

 private:
  using Key = std::tuple<std::string, std::string, int>;  // tenant, prediction id, attempt
  struct Shown {
    absl::Time first;
    int readings = 0;
  };

  static Key KeyOf(const StoredAttempt& attempt);
  bool IsConsistent(const HistoryReading& reading, const AttemptReview& review);

  const absl::Duration settle_time_;
  std::map<Key, Shown> shown_;
  // Of the latest complete reading and incomplete ones since: what a later one must show as well.
  std::map<std::string, std::optional<absl::Time>> latest_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_EVIDENCE_EVIDENCE_H_
