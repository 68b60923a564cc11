// The real ledger store on a disk in memory, one request a transaction, with trouble on demand. A
// restart of the process is a new Gateway over the same FakeLedger.
//
// Every request is two steps on the executor, as with a real ledger: first it takes effect, then its
// answer arrives. A test that steps through virtual time can look, or end the process, in between.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
#define DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/core/ports.h"
#include "server/ledger/outlet.h"
#include "server/ledger/store.h"
#include "tests/fakes/memory_vfs.h"

namespace dreamgate::fakes {

class FakeLedger final : public core::Ledger {
 public:
  // What happens to writes: they take effect; or fail without effect; or take effect and are reported
  // as failed (a COMMIT whose outcome was lost); or proposals are refused as if another process owned
  // the prediction.
  enum class Writes { kWork, kFail, kWorkButReportFailure, kRefuse };

  explicit FakeLedger(core::Executor& executor);

  void set_writes(Writes writes) { writes_ = writes; }
  // Asked for every write. Empty: as `set_writes` says.
  absl::AnyInvocable<Writes()> choose_writes;
  // False: reads fail, and so does taking over what is unfinished.
  void set_reads_work(bool work) { reads_work_ = work; }
  // While held, requests queue up; releasing runs them in order.
  void Hold() { held_ = true; }
  void Release();
  // The process is gone: what is held never happens, and the next one opens the file.
  void DropHeld();

  // Facts for tests.
  size_t reservations() const { return known_.size() - pruned_; }  // rejected ones included
  size_t writes_tried() const { return writes_tried_; }
  size_t loads() const { return loads_; }
  // The most proposals for one prediction that waited for their answers at the same time.
  int most_proposals_outstanding() const { return most_proposals_outstanding_; }
  // Null if there is none, or it was rejected.
  std::shared_ptr<const core::Prediction> Find(const std::string& tenant,
                                               const std::string& id) const;
  // All that are not rejected, by tenant and id.
  std::vector<std::shared_ptr<const core::Prediction>> All() const;
  const std::vector<core::AttemptOutcome>& attempt_outcomes() const { return attempt_outcomes_; }
  // Every attempt of every prediction, as it is now.
  std::vector<core::StoredAttempt> Attempts() const;
  // Every orphan as recorded so far, by upstream id.
  const std::map<std::string, core::OrphanRecord>& orphans() const { return orphans_; }
  const std::map<std::string, std::string>& learned() const { return learned_; }

  void set_commit_observer(core::CommitObserver* observer) override {
    outlet_.set_observer(observer);
  }

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, prediction id
  // What was reserved under a key.
  struct Known {
    std::vector<std::string> tokens;  // of its attempts
    bool rejected = false;
  };

  void Enqueue(std::unique_ptr<core::LedgerCall> call) override;
  void Run(std::unique_ptr<core::LedgerCall> call);
  void Apply(std::unique_ptr<core::LedgerCall>& call);
  void Open();
  Writes NextWrites();
  void CountProposal(const core::LedgerCall& call, int change);

  // Notes what a successful request shows. False: it was answered without changing anything.
  template <typename Request>
  bool Note(const core::LedgerCallOf<Request>&) {
    return true;
  }
  bool Note(const core::LedgerCallOf<core::Reservation>& reserve);
  bool Note(const core::LedgerCallOf<core::Proposal>& propose);
  bool Note(const core::LedgerCallOf<core::RejectRequest>& reject);
  bool Note(const core::LedgerCallOf<core::OrphanRecord>& record);
  bool Note(const core::LedgerCallOf<core::PruneRequest>& prune);
  bool Note(const core::LedgerCallOf<core::SaveLearnedRequest>& save);

  core::Executor& executor_;
  MemoryVfs disk_;
  std::unique_ptr<ledger::Store> store_;
  ledger::Outlet outlet_;
  Writes writes_ = Writes::kWork;
  bool reads_work_ = true;
  bool held_ = false;
  std::vector<std::unique_ptr<core::LedgerCall>> waiting_;

  size_t writes_tried_ = 0;
  size_t loads_ = 0;
  std::map<Key, int> proposals_outstanding_;
  int most_proposals_outstanding_ = 0;
  std::map<Key, Known> known_;
  size_t pruned_ = 0;  // of them
  std::vector<core::AttemptOutcome> attempt_outcomes_;
  std::map<std::string, core::OrphanRecord> orphans_;
  std::map<std::string, std::string> learned_;  // by model
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
