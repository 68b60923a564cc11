// Rows to values and back: every SQL statement that touches predictions, transitions, attempts,
// orphans and what was learned, prepared once a connection. Knows no rules. Owned by `Store`, private
// to this room. Runs inside whatever transaction is open. A row that cannot be what it holds is a
// DataLossError that names the prediction and the column. Where all rows of a kind are read for
// housekeeping, one that is damaged is left out and noted, so that it holds up no other.
#ifndef DREAMGATE_SERVER_LEDGER_RECORDS_H_
#define DREAMGATE_SERVER_LEDGER_RECORDS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/ledger/sqlite.h"

namespace dreamgate::ledger {

struct PredictionKey {
  std::string tenant;
  std::string prediction_id;
};

struct Ownership {
  int64_t epoch = 0;  // 0: nobody's
  std::optional<absl::Time> lease_until;
};

// Who has a request id.
struct RequestIdHolder {
  std::string prediction_id;
  std::string canonical;
  std::optional<core::Rejection> rejection;  // set: it was rejected, and that is remembered
};

struct LoadedPrediction {
  core::StoredPrediction stored;
  bool rejected = false;
  int64_t owner_epoch = 0;
};

// An orphan's row.
struct StoredOrphan {
  core::Orphan orphan;
  std::optional<absl::Time> end_time;  // set: it need not be looked at any more
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

class Records {
 public:
  static std::unique_ptr<Records> Prepare(Database& database);

  // Transactions and savepoints, prepared like the rest.
  absl::Status Begin() { return Run(begin_); }
  absl::Status Commit() { return Run(commit_); }
  absl::Status Rollback() { return Run(rollback_); }
  absl::Status SetSavepoint() { return Run(set_savepoint_); }
  absl::Status RollbackToSavepoint() { return Run(rollback_to_savepoint_); }
  absl::Status ReleaseSavepoint() { return Run(release_savepoint_); }

  // What is damaged, for whoever can tell the operator: rows that were left out, and what NoteDamage
  // was given, which is nothing but DataLossErrors.
  void NoteDamage(const absl::Status& status);
  std::vector<std::string> TakeDamage() { return std::exchange(damage_, {}); }

  absl::StatusOr<int64_t> OwnerEpoch();
  absl::Status RaiseOwnerEpoch() { return Run(raise_owner_epoch_); }

  // `prediction` is the reservation's, as of its first transition. False: the request id or the
  // prediction id is taken, nothing was written.
  absl::StatusOr<bool> InsertPrediction(const core::Prediction& prediction,
                                        const std::string& canonical, const Ownership& owner);
  absl::Status InsertTransition(const PredictionKey& key, const core::Transition& transition);
  absl::Status InsertAttempt(const PredictionKey& key, const core::Attempt& attempt);

  // Compare and set: false if the row is not at `expected_sequence` or is owned by an epoch other
  // than `epoch`.
  absl::StatusOr<bool> UpdatePrediction(const core::Prediction& prediction,
                                        int64_t expected_sequence, int64_t epoch,
                                        const Ownership& owner);
  // False: there is no such attempt, or what is known of it already is not one of `predecessors`.
  absl::StatusOr<bool> RecordOutcome(const PredictionKey& key, const core::AttemptOutcome& outcome,
                                     const AttemptResults& predecessors);
  absl::Status MarkRejected(const core::RejectRequest& request);

  absl::StatusOr<std::optional<RequestIdHolder>> FindByRequestId(const std::string& tenant,
                                                                 const std::string& request_id);
  absl::StatusOr<std::optional<LoadedPrediction>> Load(const PredictionKey& key);
  absl::StatusOr<std::optional<core::Attempt>> LastAttempt(const PredictionKey& key);
  // At most `limit` ids that match, newest first.
  absl::StatusOr<std::vector<std::string>> ListIds(const core::ListQuery& query, int limit);

  absl::StatusOr<bool> HasAttempt(const PredictionKey& key, int number);
  absl::StatusOr<std::optional<core::StoredAttempt>> FindAttempt(const std::string& token);
  // What may have created a task that nobody has, of predictions that were not rejected. Oldest
  // first; without damaged ones, as the next and ListOrphans.
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
  // Those that have not ended, oldest first.
  absl::StatusOr<std::vector<core::Orphan>> ListOrphans();

  // Gives everything unfinished to `owner`; returns the keys, oldest first within a tenant.
  absl::StatusOr<std::vector<PredictionKey>> TakeOverUnfinished(const Ownership& owner);

  // The terminal and rejected ones that ended before `time`, the longest ended first.
  absl::StatusOr<std::vector<PredictionKey>> FindEndedBefore(absl::Time time, int limit);
  absl::Status Delete(const PredictionKey& key);

  // What was learned of a model.
  absl::StatusOr<std::optional<std::string>> FindLearned(const std::string& model);
  absl::Status PutLearned(const std::string& model, const std::string& bytes);

 private:
  explicit Records(Database& database) : database_(database) {}
  static absl::Status Run(Statement& statement);
  // Whether the row just read is damaged, which is noted then and keeps no later row from being read.
  bool IsDamaged(Cursor& cursor);
  absl::StatusOr<std::vector<core::Transition>> LoadTransitions(const PredictionKey& key);
  absl::StatusOr<std::vector<core::Output>> LoadRecoveredOutputs(const PredictionKey& key);
  absl::StatusOr<bool> Exists(Statement& statement, const std::string& upstream_id);

  Database& database_;
  std::vector<std::string> damage_;
  Statement begin_, commit_, rollback_;
  Statement set_savepoint_, rollback_to_savepoint_, release_savepoint_;
  Statement owner_epoch_, raise_owner_epoch_;
  Statement insert_prediction_, insert_transition_, insert_attempt_;
  Statement update_prediction_, record_outcome_, mark_rejected_;
  Statement find_by_request_id_, load_prediction_, load_transitions_, last_attempt_, list_;
  Statement load_recovered_outputs_;
  Statement has_attempt_, find_attempt_, open_attempts_, accepted_tasks_, is_accepted_, is_bound_;
  Statement find_orphan_, insert_orphan_, update_orphan_, orphan_attempt_, list_orphans_;
  Statement take_over_, find_unfinished_;
  Statement find_ended_, delete_prediction_, delete_transitions_, delete_attempts_;
  Statement delete_orphans_;
  Statement find_learned_, put_learned_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_RECORDS_H_
