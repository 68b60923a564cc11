// Rows to values and back: the SQL statements that touch predictions, transitions and what was learned,
// prepared once a connection; those of attempts and orphans are in attempt_records.h. Knows no rules.
// Owned by `Store`, private to this room. Runs inside whatever transaction is open. A row that cannot
// be what it holds is a DataLossError that names the prediction and the column.
#ifndef DREAMGATE_SERVER_LEDGER_RECORDS_H_
#define DREAMGATE_SERVER_LEDGER_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ledger_requests.h"
#include "server/ledger/attempt_records.h"
#include "server/ledger/columns.h"
#include "server/ledger/sqlite.h"

namespace dreamgate::ledger {

// The owner epoch of what is nobody's: it has ended, or waits to be taken over.
constexpr int64_t kNobody = 0;

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

class Records {
 public:
  explicit Records(Database& database);

  // Transactions and savepoints, prepared like the rest.
  absl::Status Begin() { return Run(begin_); }
  absl::Status Commit() { return Run(commit_); }
  absl::Status Rollback() { return Run(rollback_); }
  absl::Status SetSavepoint() { return Run(set_savepoint_); }
  absl::Status RollbackToSavepoint() { return Run(rollback_to_savepoint_); }
  absl::Status ReleaseSavepoint() { return Run(release_savepoint_); }

  AttemptRecords& attempts() { return attempts_; }

  absl::StatusOr<int64_t> OwnerEpoch();
  absl::Status RaiseOwnerEpoch() { return Run(raise_owner_epoch_); }

  // `prediction` is the reservation's, as of its first transition. False: the request id or the
  // prediction id is taken, nothing was written.
  absl::StatusOr<bool> InsertPrediction(const core::Prediction& prediction,
                                        const std::string& canonical, int64_t owner_epoch);
  absl::Status InsertTransition(const PredictionKey& key, const core::Transition& transition);

  // Compare and set: false if the row is not at `expected_sequence` or is owned by an epoch other
  // than `epoch`. `next_epoch` owns it from now on.
  absl::StatusOr<bool> UpdatePrediction(const core::Prediction& prediction,
                                        int64_t expected_sequence, int64_t epoch,
                                        int64_t next_epoch);
  absl::Status MarkRejected(const core::RejectRequest& request);

  absl::StatusOr<std::optional<RequestIdHolder>> FindByRequestId(const std::string& tenant,
                                                                 const std::string& request_id);
  absl::StatusOr<std::optional<LoadedPrediction>> Load(const PredictionKey& key);
  // At most `limit` ids that match, newest first.
  absl::StatusOr<std::vector<std::string>> ListIds(const core::ListQuery& query, int limit);

  // Gives everything unfinished to `owner_epoch`; returns the keys, oldest first within a tenant.
  absl::StatusOr<std::vector<PredictionKey>> TakeOverUnfinished(int64_t owner_epoch);

  // The terminal and rejected ones that ended before `time`, the longest ended first.
  absl::StatusOr<std::vector<PredictionKey>> FindEndedBefore(absl::Time time, int limit);
  absl::Status Delete(const PredictionKey& key);

  // The bytes learned of a model.
  absl::StatusOr<std::optional<std::string>> FindLearned(const std::string& model);
  absl::Status PutLearned(const std::string& model, const std::string& bytes);

 private:
  static absl::Status Run(Statement& statement);
  absl::StatusOr<std::vector<core::Transition>> LoadTransitions(const PredictionKey& key);
  absl::StatusOr<std::vector<core::Output>> LoadRecoveredOutputs(const PredictionKey& key);

  Database& database_;
  AttemptRecords attempts_;
  Statement begin_, commit_, rollback_;
  Statement set_savepoint_, rollback_to_savepoint_, release_savepoint_;
  Statement owner_epoch_, raise_owner_epoch_;
  Statement insert_prediction_, insert_transition_, update_prediction_, end_prediction_,
      mark_rejected_;
  Statement find_by_request_id_, load_prediction_, load_transitions_, load_recovered_outputs_;
  Statement list_;
  Statement take_over_, find_unfinished_;
  Statement find_ended_, delete_prediction_, delete_transitions_, delete_attempts_;
  Statement delete_orphans_;
  Statement find_learned_, put_learned_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_RECORDS_H_
