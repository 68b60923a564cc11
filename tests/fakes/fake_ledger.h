// The ledger port in memory, with the same compare-and-set rules, completions posted to an executor,
// and trouble on demand. A restart of the process is a new Gateway over the same FakeLedger.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
#define DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/core/ports.h"

namespace dreamgate::fakes {

class FakeLedger final : public core::Ledger {
 public:
  // What happens to writes: they take effect; or fail without effect; or take effect and are reported
  // as failed (a COMMIT whose outcome was lost).
  enum class Writes { kWork, kFail, kWorkButReportFailure };

  explicit FakeLedger(core::Executor& executor) : executor_(executor) {}

  void set_writes(Writes writes) { writes_ = writes; }
  void set_reads_work(bool work) { reads_work_ = work; }
  // While held, operations queue up; releasing runs them in order.
  void Hold() { held_ = true; }
  void Release();

  // Facts for tests.
  size_t reservations() const { return rows_.size(); }
  size_t writes_tried() const { return writes_tried_; }
  size_t loads() const { return loads_; }
  std::shared_ptr<const core::Prediction> Find(const std::string& tenant, const std::string& id) const;
  const std::vector<core::AttemptOutcome>& attempt_outcomes() const { return attempt_outcomes_; }

  void set_commit_observer(core::CommitObserver* observer) override { observer_ = observer; }
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

 private:
  using Key = std::pair<std::string, std::string>;
  struct Row {
    core::StoredPrediction stored;
    std::shared_ptr<const core::Prediction> current;
    std::string canonical;
    core::Attempt attempt;
    bool rejected = false;
  };
  struct RequestRow {
    std::string prediction_id;
    std::string canonical;
    std::optional<core::Rejection> remembered;
  };

  void Run(absl::AnyInvocable<void() &&> operation);
  void Commit(Row& row, const core::Transition& transition);

  core::Executor& executor_;
  core::CommitObserver* observer_ = nullptr;
  Writes writes_ = Writes::kWork;
  bool reads_work_ = true;
  bool held_ = false;
  size_t writes_tried_ = 0;
  size_t loads_ = 0;
  std::vector<absl::AnyInvocable<void() &&>> waiting_;
  std::map<Key, Row> rows_;          // by tenant and id
  std::map<Key, RequestRow> requests_;  // by tenant and request_id
  std::vector<core::AttemptOutcome> attempt_outcomes_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
