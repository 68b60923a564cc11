// The ledger as the core sees it: a queue in front of a Store on a thread of its own. Whatever has
// queued up while a batch was committing becomes the next batch (group commit). Owned by app; called
// on the loop, except Stop, which is for the main thread.
#ifndef DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_
#define DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/core/ports.h"
#include "server/ledger/store.h"

namespace dreamgate::ledger {

class LedgerThread final : public core::Ledger {
 public:
  // Borrows `executor`, `clock` and `events`. `clock` is read on the loop.
  LedgerThread(std::unique_ptr<Store> store, core::Executor& executor, const core::Clock& clock,
               core::Events& events);
  ~LedgerThread() override;  // stops

  void set_commit_observer(core::CommitObserver* observer) override;
  void Reserve(core::Reservation reservation,
               core::Completion<absl::StatusOr<core::ReserveResult>> done) override;
  void Propose(core::Proposal proposal,
               core::Completion<absl::StatusOr<core::ProposeResult>> done) override;
  void Reject(core::RejectRequest request, core::Completion<absl::Status> done) override;
  void Load(std::string tenant, std::string prediction_id,
            core::Completion<absl::StatusOr<core::StoredPrediction>> done) override;
  void List(core::ListQuery query, core::Completion<absl::StatusOr<core::ListPage>> done) override;
  void TakeOverUnfinished(
      core::Completion<absl::StatusOr<std::vector<core::Unfinished>>> done) override;

  // Finishes everything queued, posts the results, closes the file (which frees its lock) and joins
  // the thread. What is called afterwards completes with LEDGER_UNAVAILABLE. Idempotent. Not from the
  // ledger thread; blocks for as long as the disk takes.
  void Stop();

 private:
  struct Pending {
    Operation operation;
    absl::AnyInvocable<void(Result) &&> done;
  };
  // Read and written on the loop only. Shared with posted work, which may outlive this object.
  struct Outlet {
    core::CommitObserver* observer = nullptr;
  };

  template <typename T>
  void Enqueue(Operation operation, core::Completion<T> done);
  std::vector<Pending> TakeBatch();  // empty: stopping and all done
  void RunOnLedgerThread();
  void RunBatch(std::vector<Pending> batch);
  void ReportTrouble(const absl::Status& commit);
  void Post(Pending pending, Result result);

  core::Executor& executor_;
  const core::Clock& clock_;
  core::Events& events_;
  const std::shared_ptr<Outlet> outlet_ = std::make_shared<Outlet>();

  // Guards the next two; a leaf: nothing is called under it. Not absl::Mutex, whose packaged library
  // ThreadSanitizer cannot see into.
  std::mutex mutex_;
  std::vector<Pending> queue_;
  bool stopping_ = false;
  std::condition_variable has_work_;  // or is stopping

  // The ledger thread's.
  std::unique_ptr<Store> store_;
  std::vector<Pending> taken_;  // the queue as taken, newest last
  size_t taken_next_ = 0;
  bool in_trouble_ = false;

  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_LEDGER_THREAD_H_
