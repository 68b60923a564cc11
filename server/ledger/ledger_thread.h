// The ledger as the core sees it: a queue in front of a Store on a thread of its own. Whatever has
// queued up while a batch was committing becomes the next batch (group commit). Owned by app;
// called on the loop, except Stop, which is for the main thread.
//
// A batch begins once the one before it is synced. To sync one while the next runs gained at most 8 %
// on two busy cores, and answers, those of reads included, would have to wait for later syncs.
#ifndef DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_
#define DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/core/ports.h"
#include "server/ledger/outlet.h"
#include "server/ledger/store.h"

namespace dreamgate::ledger {

class LedgerThread final : public core::Ledger {
 public:
  // Borrows `executor` and `events`.
  LedgerThread(std::unique_ptr<Store> store, core::Executor& executor, core::Events& events);
  ~LedgerThread() override;  // stops

  void set_commit_observer(core::CommitObserver* observer) override {
    outlet_->set_observer(observer);
  }

  // Copies the whole ledger into the new file `path` (mode 0600), a piece between any two batches,
  // one backup after the other. The copy opens as a ledger and has everything that was committed
  // before the call. AlreadyExistsError if there is such a file, UnavailableError if it cannot be
  // written, LEDGER_UNAVAILABLE if the ledger has trouble or stops meanwhile; then no file is left.
  void Backup(std::string path, core::Completion<absl::Status> done);

  // Finishes everything queued but backups, which it gives up, posts the results, closes the file
  // (which frees its lock) and joins the thread. What is called afterwards completes with
  // LEDGER_UNAVAILABLE. Idempotent. Not from the ledger thread; blocks for as long as the disk
  // takes.
  void Stop();

 private:
  struct BackupRequest {
    std::string path;
    core::Completion<absl::Status> done;
  };
  void Enqueue(std::unique_ptr<core::LedgerCall> call) override;
  // Waits for something to do. Empty: only a backup; nullopt: stopping, and all is done.
  std::optional<Batch> TakeBatch();
  void RunOnLedgerThread();
  void RunBatch(Batch batch);
  void ReportTrouble(const absl::Status& commit);
  void ReportDamage(const std::vector<std::string>& damage);
  void Post(std::unique_ptr<core::LedgerCall> call);
  // Does a piece of the backup in hand, or begins the next one.
  void ContinueBackup();
  void GiveUpBackups();
  void Post(BackupRequest backup, absl::Status status);

  core::Executor& executor_;
  core::Events& events_;
  const std::shared_ptr<Outlet> outlet_ = std::make_shared<Outlet>();

  // Guards the next three; a leaf: nothing is called under it. Not absl::Mutex, whose packaged
  // library ThreadSanitizer cannot see into.
  std::mutex mutex_;
  Batch queue_;
  std::deque<BackupRequest> backups_;  // that wait
  bool stopping_ = false;
  std::condition_variable has_work_;  // or is stopping

  // The ledger thread's.
  std::unique_ptr<Store> store_;
  Batch taken_;  // the queue as taken, newest last
  size_t taken_next_ = 0;
  std::optional<BackupRequest> backup_;  // in hand
  bool in_trouble_ = false;
  std::set<std::string> reported_damage_;

  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_
