// The ledger port over the real `ledger::Store`, without its thread: chance chooses how many
// operations share a commit, how long the disk takes and when the results arrive, within the rules
// that LedgerThread keeps (first in first out, a batch at a time, the commit observer before the
// completion, never inline). Owned by Simulation; lives and dies with the simulated process.
#ifndef DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_
#define DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/ledger/store.h"
#include "tests/simulation/chance.h"
#include "tests/simulation/process.h"

namespace dreamgate::simulation {

class SimulatedLedger final : public core::Ledger {
 public:
  // What the simulation is told of.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnBatchBegins() = 0;
    // The batch is applied (or its process has died in the middle: then the results go nowhere).
    virtual void OnBatchApplied(absl::Span<const ledger::Operation> batch,
                                const ledger::BatchResult& done) = 0;
    // True: the process is over, post nothing.
    virtual bool ProcessIsOver() const = 0;
  };

  SimulatedLedger(ledger::Store& store, Process& process, Chance& chance, Observer& observer)
      : store_(store), process_(process), chance_(chance), observer_(observer) {}

  void set_commit_observer(core::CommitObserver* observer) override { commit_observer_ = observer; }
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
  void ReviewAttempts(core::AttemptReviewQuery query,
                      core::Completion<absl::StatusOr<core::AttemptReview>> done) override;
  void FindAttempt(std::string token,
                   core::Completion<absl::StatusOr<core::StoredAttempt>> done) override;
  void RecordOrphan(core::OrphanRecord record,
                    core::Completion<absl::StatusOr<core::OrphanResult>> done) override;
  void ListOrphans(core::Completion<absl::StatusOr<std::vector<core::Orphan>>> done) override;
  void Prune(absl::Time ended_before, int most,
             core::Completion<absl::StatusOr<int>> done) override;
  void LoadLearned(std::string model, core::Completion<absl::StatusOr<std::string>> done) override;
  void SaveLearned(std::string model, std::string bytes,
                   core::Completion<absl::Status> done) override;

  // As LedgerThread::Stop: everything queued is applied now, its results are posted, and what is
  // called later is refused.
  void Stop();

  // Slow disks and fast ones.
  void set_slowest_commit(absl::Duration slowest) { slowest_commit_ = slowest; }

 private:
  struct Pending {
    ledger::Operation operation;
    absl::AnyInvocable<void(ledger::Result) &&> done;
  };

  struct Answered {
    absl::AnyInvocable<void(ledger::Result) &&> done;
    ledger::Result result;
  };

  template <typename T>
  void Enqueue(ledger::Operation operation, core::Completion<T> done);
  void ScheduleBatch();
  void RunBatch(size_t size);
  void Deliver(Pending pending, ledger::Result result);
  void DeliverNext();

  ledger::Store& store_;
  Process& process_;
  Chance& chance_;
  Observer& observer_;
  core::CommitObserver* commit_observer_ = nullptr;
  std::deque<Pending> queue_;
  bool batch_scheduled_ = false;
  bool stopped_ = false;
  absl::Duration slowest_commit_ = absl::Milliseconds(20);
  std::deque<Answered> results_;  // on their way to the loop
  absl::Time last_delivery_ = absl::InfinitePast();
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_
