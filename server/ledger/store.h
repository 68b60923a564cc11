// The SQLite ledger as a synchronous store: one call of Apply is one transaction. No thread and no
// clock of its own, so that a simulation can choose batch edges and crash points. Owned by
// LedgerThread (or a test); one thread at a time may enter it.
//
// Why SQLite's C interface and not a C++ wrapper: in this room result codes are control flow. Whether
// a batch is refused, failed or unknown hangs on which call gave which code, and the wrapper at hand
// (SQLiteCpp) turns each code into an exception at every step, reset and destructor's edge, and runs
// savepoints as text instead of prepared statements. sqlite.h is what is needed instead, and since
// `core::Ledger` is the seam for a PostgreSQL ledger, no access library is shared with that anyway.
#ifndef DREAMGATE_SERVER_LEDGER_STORE_H_
#define DREAMGATE_SERVER_LEDGER_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/core/ports.h"

namespace dreamgate::ledger {

class Database;
class OnlineCopy;
class PredictionCache;
class Records;

struct StoreOptions {
  std::string path;
  // A registered SQLite VFS; empty: the operating system's files.
  std::string vfs;
  // How long opening waits for another process to let go of the file.
  absl::Duration lock_wait = absl::ZeroDuration();
  // Written beside the owner epoch of each prediction in flight. Here the file's lock and the epoch
  // decide alone; a ledger that is shared by many processes needs it.
  absl::Duration lease = absl::Seconds(60);
  // Pages in the write-ahead log before it is copied back (4 KiB each). SQLite's default of 1,000
  // makes the slowest commits of a busy ledger.
  int checkpoint_pages = 4000;
  // Predictions kept folded in memory.
  size_t cached_predictions = 4096;
};

struct LoadRequest {
  std::string tenant;
  std::string prediction_id;
};

struct TakeOverRequest {
  absl::Time now;  // leases run from here
};

struct FindAttemptRequest {
  std::string token;
};

struct ListOrphansRequest {};

struct PruneRequest {
  absl::Time ended_before;
  int most = 0;
};

struct LoadLearnedRequest {
  std::string model;
};

struct SaveLearnedRequest {
  std::string model;
  std::string bytes;
};
struct LearnedSaved {};  // an answer of its own kind: no two operations share one

// What the port `core::Ledger` offers, and what it answers: the n-th alternative answers the n-th.
using Operation = std::variant<core::Reservation, core::Proposal, core::RejectRequest, LoadRequest,
                               core::ListQuery, TakeOverRequest, core::AttemptReviewQuery,
                               FindAttemptRequest, core::OrphanRecord, ListOrphansRequest,
                               PruneRequest, LoadLearnedRequest, SaveLearnedRequest>;
using Result =
    std::variant<absl::StatusOr<core::ReserveResult>, absl::StatusOr<core::ProposeResult>,
                 absl::Status, absl::StatusOr<core::StoredPrediction>,
                 absl::StatusOr<core::ListPage>, absl::StatusOr<std::vector<core::Unfinished>>,
                 absl::StatusOr<core::AttemptReview>, absl::StatusOr<core::StoredAttempt>,
                 absl::StatusOr<core::OrphanResult>, absl::StatusOr<std::vector<core::Orphan>>,
                 absl::StatusOr<int>, absl::StatusOr<std::string>, absl::StatusOr<LearnedSaved>>;

// Whether it may change anything.
bool IsWrite(const Operation& operation);

struct BatchResult {
  std::vector<Result> results;  // one an operation, in order
  // Not OK: the transaction failed. All its writes have an error (LEDGER_UNAVAILABLE, retry after
  // 5 s) and may or may not be on disk; reads have been answered afresh where that shows nothing that
  // a crash could take back.
  absl::Status commit;
  // Damaged rows that were met, one line each: those that operations have failed for, and those that
  // TakeOverUnfinished, AttemptReviewQuery and ListOrphans have left out of their answers.
  std::vector<std::string> damage;
};

class Store {
 public:
  // Opens or creates the ledger; see ledger_file.h for the errors. Starts a new owner epoch: what
  // was in flight belongs to nobody until TakeOverUnfinished.
  static absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Runs the operations in order in one transaction, each under its own savepoint: one that fails
  // leaves no trace and does not hurt the others. Besides LEDGER_UNAVAILABLE (also for a damaged row,
  // which it names) an operation fails with INTERNAL if it breaks the port's rules (changes nothing),
  // and with NOT_FOUND where the port says so.
  // After a failed commit the file is closed, then reopened and reread before the next operation.
  BatchResult Apply(absl::Span<const Operation> batch);

  // A batch of one each.
  absl::StatusOr<core::StoredPrediction> Load(std::string tenant, std::string prediction_id);
  absl::StatusOr<core::ListPage> List(core::ListQuery query);
  absl::StatusOr<std::vector<core::Unfinished>> TakeOverUnfinished(absl::Time now);

  // Copies the whole ledger into the new file `path` (mode 0600) of the operating system's, a few
  // pages a step, between which Apply goes on; the copy has everything that was committed before its
  // last step. One at a time: an unfinished one is given up. Begin gives AlreadyExistsError if there is
  // such a file, UnavailableError if it cannot be made. Step gives true once the copy is whole. After
  // an error, trouble of the ledger's included, the file is gone and nothing is left to step or end.
  absl::Status BeginBackup(const std::string& path);
  absl::StatusOr<bool> StepBackup(int pages);
  void AbandonBackup();

  // Rises with each Open of the same file.
  int64_t owner_epoch() const { return owner_epoch_; }

 private:
  explicit Store(StoreOptions options);

  absl::Status StartEpoch();
  // Reopens the file if it had to be closed, and makes durable what a failed commit may have left in
  // the write-ahead log. What can be read is durable.
  absl::Status EnsureOpen();
  absl::Status Reopen();
  void Abandon();

  absl::Status RunTransaction(absl::Span<const Operation> batch, std::vector<Result>& results);
  BatchResult RunBatch(absl::Span<const Operation> batch);
  Result RunOperation(const Operation& operation);
  Result RunUnderSavepoint(const Operation& operation);
  BatchResult AnswerInTrouble(absl::Span<const Operation> batch, const absl::Status& trouble);

  const StoreOptions options_;
  std::unique_ptr<Database> database_;  // null: closed after trouble
  std::unique_ptr<Records> records_;    // this and the next die before the database
  std::unique_ptr<OnlineCopy> copy_;    // null: no backup is being made
  std::unique_ptr<PredictionCache> cache_;
  int64_t owner_epoch_ = 0;
  bool log_in_doubt_ = false;  // it may hold a commit that is not durable
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_STORE_H_
