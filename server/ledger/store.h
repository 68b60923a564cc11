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
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/core/ledger_call.h"

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
  // Pages in the write-ahead log before it is copied back (4 KiB each). SQLite's default of 1,000
  // makes the slowest commits of a busy ledger.
  int checkpoint_pages = 4000;
  // Predictions kept folded in memory.
  size_t cached_predictions = 4096;
};

// Calls that share a transaction. Their answers are in them once they are applied.
using Batch = std::vector<std::unique_ptr<core::LedgerCall>>;

struct BatchResult {
  // Not OK: the transaction failed. All its writes have an error (LEDGER_UNAVAILABLE, retry after
  // 5 s) and may or may not be on disk; reads have been answered afresh where that shows nothing that
  // a crash could undo.
  absl::Status commit;
  // Damaged rows that were met, one line each: those that calls have failed for, and those that
  // TakeOverRequest, AttemptReviewQuery and OpenOrphansQuery have left out of their answers.
  std::vector<std::string> damage;
};

class Store {
 public:
  // Opens or creates the ledger; see ledger_file.h for the errors. Starts a new owner epoch: what
  // was in flight belongs to nobody until a TakeOverRequest.
  static absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Runs the calls in order in one transaction and puts their answers into them (`done` is not
  // called). A write that fails leaves no trace and does not hurt the others: if it has changed
  // anything, the batch is rolled back and runs once more, each write under a savepoint of its own. A
  // damaged row gives LEDGER_UNAVAILABLE and is named.
  // After a failed commit the file is closed, then reopened and reread before the next call.
  BatchResult Apply(absl::Span<const std::unique_ptr<core::LedgerCall>> batch);

  // A batch of one.
  template <typename Request>
  core::AnswerTo<Request> Run(Request request) {
    const std::unique_ptr<core::LedgerCall> call = core::MakeLedgerCall(std::move(request));
    Apply({&call, 1});
    return std::get<core::LedgerCallOf<Request>>(*std::move(call)).answer;
  }

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

  using Calls = absl::Span<const std::unique_ptr<core::LedgerCall>>;
  absl::Status RunTransaction(Calls batch);
  absl::Status RunBatch(Calls batch);
  void RunCall(core::LedgerCall& call);
  // False: one of them failed after it had changed something, or the file did.
  bool RunWithoutSavepoints(Calls batch);
  void RunUnderSavepoints(Calls batch);
  void RunUnderSavepoint(core::LedgerCall& call);
  void AnswerInTrouble(Calls batch, const absl::Status& trouble);

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
