// Rows to values and back: the SQL statements that touch attempts and orphans, prepared once a
// connection. Knows no rules. Owned by `Records`, private to this room. Runs inside whatever
// transaction is open. A row that cannot be what it holds is a DataLossError that names the
// prediction and the column; where all rows of a kind are read, it is left out and noted
// (Database::TakeDamage), so that it holds up no other.
#ifndef DREAMGATE_SERVER_LEDGER_ATTEMPT_RECORDS_H_
#define DREAMGATE_SERVER_LEDGER_ATTEMPT_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ledger_requests.h"
#include "server/ledger/columns.h"
#include "server/ledger/sqlite.h"

namespace dreamgate::ledger {

// An orphan's row.
struct StoredOrphan {
  core::Orphan orphan;
  std::optional<absl::Time> end_time;  // set: it need not be polled any more
  std::vector<core::Output> outputs;
};

// A set of attempt results, open ones too.
class AttemptResults {
 public:
  void AddOpen() { bits_ |= 1; }
  void Add(core::AttemptResult result) { bits_ |= int64_t{1} << static_cast<int64_t>(result); }
  int64_t bits() const { return bits_; }  // 0: open, n: the result with that number

 private:
  int64_t bits_ = 0;
};

class AttemptRecords {
 public:
  explicit AttemptRecords(Database& database);

  absl::Status InsertAttempt(const PredictionKey& key, const core::Attempt& attempt);
  // False: there is no such attempt, or what is known of it already is not one of `predecessors`.
  absl::StatusOr<bool> RecordOutcome(const PredictionKey& key, const core::AttemptOutcome& outcome,
                                     const AttemptResults& predecessors);
  absl::StatusOr<std::optional<core::Attempt>> LastAttempt(const PredictionKey& key);
  absl::StatusOr<bool> HasAttempt(const PredictionKey& key, int number);
  absl::StatusOr<std::optional<core::StoredAttempt>> FindAttempt(const std::string& token);
  // Attempts that may have created a task which nobody has, of predictions that were not rejected.
  // Oldest first.
  absl::StatusOr<std::vector<core::StoredAttempt>> OpenAttempts(absl::Time started_after);
  absl::StatusOr<std::vector<core::AttemptReview::Accepted>> AcceptedTasks(
      absl::Time started_after);
  // Whether an attempt was accepted with this task; whether an attempt or orphan has it.
  absl::StatusOr<bool> IsAccepted(const std::string& upstream_id);
  absl::StatusOr<bool> IsBound(const std::string& upstream_id);

  absl::StatusOr<std::optional<StoredOrphan>> FindOrphan(const std::string& upstream_id);
  absl::Status InsertOrphan(const StoredOrphan& orphan);
  // Its end and its outputs.
  absl::Status UpdateOrphan(const StoredOrphan& orphan);
  // Makes its attempt ORPHANED if what is known of it is one of `predecessors`.
  absl::Status OrphanAttempt(const core::Orphan& orphan, const AttemptResults& predecessors);
  // Orphans that have not ended, oldest first.
  absl::StatusOr<std::vector<core::Orphan>> ListOrphans();

 private:
  absl::StatusOr<bool> Exists(Statement& statement, const std::string& upstream_id);

  Database& database_;
  Statement insert_attempt_, record_outcome_, last_attempt_, has_attempt_, find_attempt_;
  Statement open_attempts_, accepted_tasks_, is_accepted_, is_bound_;
  Statement find_orphan_, insert_orphan_, update_orphan_, orphan_attempt_, list_orphans_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_ATTEMPT_RECORDS_H_
