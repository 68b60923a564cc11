// The ledger port over the real `ledger::Store`, without its thread: chance chooses how many
// operations share a commit, how long the disk takes and when the results arrive, within the rules
// that LedgerThread keeps (first in first out, a batch at a time, the commit observer before the
// completion, never inline). Owned by Simulation; lives and dies with the simulated process.
#ifndef DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_
#define DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_

#include <cstddef>
#include <deque>
#include <memory>

#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/ledger/outlet.h"
#include "server/ledger/store.h"
#include "tests/fakes/chance.h"
#include "tests/simulation/process.h"

namespace dreamgate::simulation {

using fakes::Chance;

class SimulatedLedger final : public core::Ledger {
 public:
  // What the simulation is told of.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnBatchBegins() = 0;
    // The batch is applied (or its process has died in the middle: then the results go nowhere).
    virtual void OnBatchApplied(const ledger::Batch& batch, const ledger::BatchResult& done) = 0;
    // True: the process is over, post nothing.
    virtual bool ProcessIsOver() const = 0;
  };

  SimulatedLedger(ledger::Store& store, Process& process, Chance& chance, Observer& observer)
      : store_(store), process_(process), chance_(chance), observer_(observer) {}

  void set_commit_observer(core::CommitObserver* observer) override {
    outlet_.set_observer(observer);
  }

  // As LedgerThread::Stop: everything queued is applied now, its results are posted, and what is
  // called later is refused.
  void Stop();

  // Slow disks and fast ones.
  void set_slowest_commit(absl::Duration slowest) { slowest_commit_ = slowest; }

 private:
  void Enqueue(std::unique_ptr<core::LedgerCall> call) override;
  void ScheduleBatch();
  void RunBatch(size_t size);
  void Deliver(std::unique_ptr<core::LedgerCall> call);

  ledger::Store& store_;
  Process& process_;
  Chance& chance_;
  Observer& observer_;
  ledger::Outlet outlet_;
  std::deque<std::unique_ptr<core::LedgerCall>> queue_;
  bool batch_scheduled_ = false;
  bool stopped_ = false;
  absl::Duration slowest_commit_ = absl::Milliseconds(20);
  std::deque<std::unique_ptr<core::LedgerCall>> answered_;  // on their way to the loop
  absl::Time last_delivery_ = absl::InfinitePast();
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_SIMULATED_LEDGER_H_
