// The ledger port in memory, with the same rules as the real one, and trouble on demand. A restart of
// the process is a new Gateway over the same FakeLedger.
//
// Every operation is two steps on the executor, as with a real ledger: first it takes effect, then its
// answer arrives. A test that steps through virtual time can look, or end the process, in between.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
#define DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/core/ports.h"

namespace dreamgate::fakes {

class FakeLedger final : public core::Ledger {
 public:
  // What happens to writes: they take effect; or fail without effect; or take effect and are reported
  // as failed (a COMMIT whose outcome was lost); or proposals are refused as if another process owned
  // the prediction.
  enum class Writes { kWork, kFail, kWorkButReportFailure, kRefuse };

  explicit FakeLedger(core::Executor& executor) : executor_(executor) {}

  void set_writes(Writes writes) { writes_ = writes; }
  // Asked for every write. Empty: as `set_writes` says.
  absl::AnyInvocable<Writes()> choose_writes;
  void set_reads_work(bool work) { reads_work_ = work; }
  // While held, operations queue up; releasing runs them in order.
  void Hold() { held_ = true; }
  void Release();
  // The process is gone: what is held never happens.
  void DropHeld();

  // Facts for tests.
  size_t reservations() const { return rows_.size(); }
  size_t writes_tried() const { return writes_tried_; }
  size_t loads() const { return loads_; }
  // The most proposals for one prediction that waited for their answers at the same time.
  int most_proposals_outstanding() const { return most_proposals_outstanding_; }
  std::shared_ptr<const core::Prediction> Find(const std::string& tenant,
                                               const std::string& id) const;
  // All that are not rejected, by tenant and id.
  std::vector<std::shared_ptr<const core::Prediction>> All() const;
  const std::vector<core::AttemptOutcome>& attempt_outcomes() const { return attempt_outcomes_; }
  // Every attempt of every prediction, as it is now.
  std::vector<core::StoredAttempt> Attempts() const;
  // Every orphan as last recorded, by upstream id.
  const std::map<std::string, core::OrphanRecord>& orphans() const { return orphans_; }
  const std::map<std::string, std::string>& learned() const { return learned_; }

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

 private:
  using Key = std::pair<std::string, std::string>;
  struct Row {
    core::StoredPrediction stored;
    std::shared_ptr<const core::Prediction> current;
    std::vector<core::StoredAttempt> attempts;  // what is the prediction's is filled in when asked
    bool rejected = false;
  };
  struct RequestRow {
    std::string prediction_id;
    std::string canonical;
    std::optional<core::Rejection> remembered;
  };
  // An answer, and what the commit observer is told before it.
  template <typename T>
  struct Executed {
    T answer;
    std::shared_ptr<const core::Prediction> committed = nullptr;
  };

  template <typename T, typename Operation>
  void Run(Operation operation, core::Completion<T> done);
  Writes NextWrites();
  void Commit(Row& row, const core::Transition& transition);
  static bool IsLegal(const Row& row, const core::AttemptOutcome& outcome);
  void Record(Row& row, const core::AttemptOutcome& outcome);
  bool IsBound(const std::string& upstream_id) const;

  Executed<absl::StatusOr<core::ReserveResult>> RunReserve(const core::Reservation& reservation);
  Executed<absl::StatusOr<core::ProposeResult>> RunPropose(const core::Proposal& proposal);
  absl::Status RunReject(const core::RejectRequest& request);
  absl::StatusOr<core::StoredPrediction> RunLoad(const Key& key);
  absl::StatusOr<core::ListPage> RunList(const core::ListQuery& query) const;
  core::AttemptReview RunReviewAttempts(const core::AttemptReviewQuery& query) const;
  absl::StatusOr<core::OrphanResult> RunRecordOrphan(const core::OrphanRecord& record);
  int RunPrune(absl::Time ended_before, int most);

  core::Executor& executor_;
  core::CommitObserver* observer_ = nullptr;
  Writes writes_ = Writes::kWork;
  bool reads_work_ = true;
  bool held_ = false;
  size_t writes_tried_ = 0;
  size_t loads_ = 0;
  std::map<Key, int> proposals_outstanding_;
  int most_proposals_outstanding_ = 0;
  std::vector<absl::AnyInvocable<void() &&>> waiting_;
  std::map<Key, Row> rows_;             // by tenant and id
  std::map<Key, RequestRow> requests_;  // by tenant and request_id
  std::vector<core::AttemptOutcome> attempt_outcomes_;
  std::map<std::string, core::OrphanRecord> orphans_;
  std::map<std::string, std::string> learned_;  // by model
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_LEDGER_H_
