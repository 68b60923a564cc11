// The rules of the port: each of its requests, inside an open transaction. Transactions, trouble and
// reopening are in `Store`, which owns what is borrowed here. Private to this room.
#ifndef DREAMGATE_SERVER_LEDGER_OPERATIONS_H_
#define DREAMGATE_SERVER_LEDGER_OPERATIONS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ledger_requests.h"
#include "server/ledger/prediction_cache.h"
#include "server/ledger/records.h"

namespace dreamgate::ledger {

class Operations {
 public:
  Operations(Database& database, Records& records, PredictionCache& cache, int64_t owner_epoch)
      : database_(database), records_(records), cache_(cache), owner_epoch_(owner_epoch) {}

  // Errors with a reason (core::ReasonOf) say that the request breaks the port's rules; all others
  // come from the file. After an error the caller rolls back to where it began.
  absl::StatusOr<core::ReserveResult> Run(const core::Reservation& reservation);
  absl::StatusOr<core::ProposeResult> Run(const core::Proposal& proposal);
  absl::StatusOr<core::Done> Run(const core::RejectRequest& request);
  absl::StatusOr<core::StoredPrediction> Run(const core::LoadRequest& request);
  absl::StatusOr<core::ListPage> Run(const core::ListQuery& query);
  absl::StatusOr<std::vector<core::Unfinished>> Run(const core::TakeOverRequest& request);
  absl::StatusOr<core::AttemptReview> Run(const core::AttemptReviewQuery& query);
  absl::StatusOr<core::StoredAttempt> Run(const core::AttemptQuery& request);
  absl::StatusOr<core::OrphanResult> Run(const core::OrphanRecord& record);
  absl::StatusOr<std::vector<core::Orphan>> Run(const core::OpenOrphansQuery& query);
  absl::StatusOr<int> Run(const core::PruneRequest& request);
  absl::StatusOr<std::string> Run(const core::LoadLearnedRequest& request);
  absl::StatusOr<core::Done> Run(const core::SaveLearnedRequest& request);

 private:
  absl::StatusOr<core::ReserveResult> AnswerKnownRequestId(const core::Reservation& reservation);
  // From the cache, or read and folded; nullopt if there is none.
  absl::StatusOr<std::optional<CurrentRow>> FindCurrent(const PredictionKey& key);
  absl::StatusOr<core::Unfinished> LoadUnfinished(const PredictionKey& key);
  absl::Status RecordOutcome(const PredictionKey& key, const core::AttemptOutcome& outcome);
  // True: there was something new to keep.
  absl::StatusOr<bool> KeepOrphan(const core::OrphanRecord& record);

  Database& database_;
  Records& records_;
  PredictionCache& cache_;
  const int64_t owner_epoch_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_OPERATIONS_H_
