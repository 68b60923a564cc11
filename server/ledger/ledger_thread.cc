#include "server/ledger/ledger_thread.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/time/time.h"
#include "server/core/failpoint.h"

namespace dreamgate::ledger {
namespace {

// A batch is one fsync however large it is; beyond this the fsync no longer counts, and the first in
// the batch would wait for the last.
constexpr size_t kLargestBatch = 256;

// What a backup copies between two batches, 1 MiB: as long as a few commits, and it is synced as they
// are.
constexpr int kBackupPages = 256;

// The prediction as of the transition that `result` committed; null if it committed none.
std::shared_ptr<const core::Prediction> CommittedBy(const Result& result) {
  if (const auto* reserve = std::get_if<0>(&result); reserve != nullptr && reserve->ok()) {
    const auto* reserved = std::get_if<core::Reserved>(&**reserve);
    return reserved == nullptr ? nullptr : reserved->prediction;
  }
  if (const auto* propose = std::get_if<1>(&result); propose != nullptr && propose->ok()) {
    const auto* committed = std::get_if<core::Committed>(&**propose);
    return committed == nullptr ? nullptr : committed->prediction;
  }
  return nullptr;
}

template <typename T>
T Stopped() {
  return core::MakeError(core::Reason::kLedgerUnavailable,
                         "the ledger is closed: this server stops",
                         core::ErrorDetails{.retry_after = absl::Seconds(5),
                                            .quota_subject = {},
                                            .resource_type = {},
                                            .resource_name = {},
                                            .metadata = {}});
}

}  // namespace

LedgerThread::LedgerThread(std::unique_ptr<Store> store, core::Executor& executor,
                           const core::Clock& clock, core::Events& events)
    : executor_(executor),
      clock_(clock),
      events_(events),
      store_(std::move(store)),
      thread_([this] { RunOnLedgerThread(); }) {}

LedgerThread::~LedgerThread() { Stop(); }

void LedgerThread::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

// --------------------------------------------------------------------------------------- on the loop

void LedgerThread::set_commit_observer(core::CommitObserver* observer) {
  outlet_->observer = observer;
}

template <typename T>
void LedgerThread::Enqueue(Operation operation, core::Completion<T> done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      queue_.push_back({std::move(operation), [done = std::move(done)](Result result) mutable {
                          std::move(done)(std::get<T>(std::move(result)));
                        }});
      has_work_.notify_one();
      return;
    }
  }
  executor_.Post([done = std::move(done)]() mutable { std::move(done)(Stopped<T>()); });
}

void LedgerThread::Reserve(core::Reservation reservation,
                           core::Completion<absl::StatusOr<core::ReserveResult>> done) {
  Enqueue(std::move(reservation), std::move(done));
}

void LedgerThread::Propose(core::Proposal proposal,
                           core::Completion<absl::StatusOr<core::ProposeResult>> done) {
  Enqueue(std::move(proposal), std::move(done));
}

void LedgerThread::Reject(core::RejectRequest request, core::Completion<absl::Status> done) {
  Enqueue(std::move(request), std::move(done));
}

void LedgerThread::Load(std::string tenant, std::string prediction_id,
                        core::Completion<absl::StatusOr<core::StoredPrediction>> done) {
  Enqueue(LoadRequest{.tenant = std::move(tenant), .prediction_id = std::move(prediction_id)},
          std::move(done));
}

void LedgerThread::List(core::ListQuery query,
                        core::Completion<absl::StatusOr<core::ListPage>> done) {
  Enqueue(std::move(query), std::move(done));
}

void LedgerThread::TakeOverUnfinished(
    core::Completion<absl::StatusOr<std::vector<core::Unfinished>>> done) {
  Enqueue(TakeOverRequest{.now = clock_.Now()}, std::move(done));
}

void LedgerThread::ReviewAttempts(core::AttemptReviewQuery query,
                                  core::Completion<absl::StatusOr<core::AttemptReview>> done) {
  Enqueue(std::move(query), std::move(done));
}

void LedgerThread::FindAttempt(std::string token,
                               core::Completion<absl::StatusOr<core::StoredAttempt>> done) {
  Enqueue(FindAttemptRequest{.token = std::move(token)}, std::move(done));
}

void LedgerThread::RecordOrphan(core::OrphanRecord record,
                                core::Completion<absl::StatusOr<core::OrphanResult>> done) {
  Enqueue(std::move(record), std::move(done));
}

void LedgerThread::ListOrphans(core::Completion<absl::StatusOr<std::vector<core::Orphan>>> done) {
  Enqueue(ListOrphansRequest(), std::move(done));
}

void LedgerThread::Prune(absl::Time ended_before, int most,
                         core::Completion<absl::StatusOr<int>> done) {
  Enqueue(PruneRequest{.ended_before = ended_before, .most = most}, std::move(done));
}

void LedgerThread::LoadLearned(std::string model,
                               core::Completion<absl::StatusOr<std::string>> done) {
  Enqueue(LoadLearnedRequest{.model = std::move(model)}, std::move(done));
}

void LedgerThread::SaveLearned(std::string model, std::string bytes,
                               core::Completion<absl::Status> done) {
  Enqueue<absl::StatusOr<LearnedSaved>>(
      SaveLearnedRequest{.model = std::move(model), .bytes = std::move(bytes)},
      [done = std::move(done)](absl::StatusOr<LearnedSaved> saved) mutable {
        std::move(done)(saved.status());
      });
}

void LedgerThread::Backup(std::string path, core::Completion<absl::Status> done) {
  BackupRequest backup{.path = std::move(path), .done = std::move(done)};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      backups_.push_back(std::move(backup));
      has_work_.notify_one();
      return;
    }
  }
  Post(std::move(backup), Stopped<absl::Status>());
}

// ------------------------------------------------------------------------------ on the ledger thread

void LedgerThread::RunOnLedgerThread() {
  for (auto batch = TakeBatch(); batch.has_value(); batch = TakeBatch()) {
    if (!batch->empty()) RunBatch(*std::move(batch));
    ContinueBackup();
  }
  GiveUpBackups();
  store_.reset();  // frees the file's lock before Stop returns
}

std::optional<std::vector<LedgerThread::Pending>> LedgerThread::TakeBatch() {
  if (taken_next_ == taken_.size()) {
    taken_.clear();
    taken_next_ = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    has_work_.wait(lock, [this] {
      return stopping_ || !queue_.empty() || !backups_.empty() || backup_.has_value();
    });
    taken_.swap(queue_);
    if (stopping_ && taken_.empty()) return std::nullopt;
  }
  const size_t size = std::min(taken_.size() - taken_next_, kLargestBatch);
  const auto first = taken_.begin() + static_cast<std::ptrdiff_t>(taken_next_);
  std::vector<Pending> batch(std::make_move_iterator(first),
                             std::make_move_iterator(first + static_cast<std::ptrdiff_t>(size)));
  taken_next_ += size;
  return batch;
}

void LedgerThread::RunBatch(std::vector<Pending> batch) {
  std::vector<Operation> operations;
  operations.reserve(batch.size());
  for (Pending& pending : batch) operations.push_back(std::move(pending.operation));
  const auto writes = std::count_if(operations.begin(), operations.end(), IsWrite);

  const auto begin = std::chrono::steady_clock::now();
  BatchResult done = store_->Apply(operations);
  const auto took = absl::FromChrono(std::chrono::steady_clock::now() - begin);

  DREAMGATE_FAILPOINT("ledger.committed");
  if (writes > 0) events_.LedgerCommit(took, static_cast<int>(writes), done.commit.ok());
  // Reads may go on in trouble, so only a write shows that it is over.
  if (writes > 0 || !done.commit.ok()) ReportTrouble(done.commit);
  ReportDamage(done.damage);
  for (size_t i = 0; i < batch.size(); ++i) Post(std::move(batch[i]), std::move(done.results[i]));
  DREAMGATE_FAILPOINT("ledger.posted");
}

void LedgerThread::ReportTrouble(const absl::Status& commit) {
  if (commit.ok() == !in_trouble_) return;
  in_trouble_ = !commit.ok();
  if (in_trouble_) {
    events_.Log(core::LogLevel::kError, "ledger trouble: submissions are refused until it heals",
                {{"error", std::string(commit.message())}});
  } else {
    events_.Log(core::LogLevel::kInfo, "ledger works again");
  }
}

void LedgerThread::ReportDamage(const std::vector<std::string>& damage) {
  for (const std::string& row : damage) {
    if (!reported_damage_.insert(row).second) continue;  // told, however often it is asked for
    events_.Log(core::LogLevel::kError,
                "the ledger is damaged: what this row is about stands still until it is repaired",
                {{"problem", row}});
  }
}

void LedgerThread::Post(Pending pending, Result result) {
  executor_.Post(
      [outlet = outlet_, done = std::move(pending.done), result = std::move(result)]() mutable {
        const std::shared_ptr<const core::Prediction> committed = CommittedBy(result);
        if (committed != nullptr && outlet->observer != nullptr) {
          outlet->observer->OnCommitted(committed);
        }
        std::move(done)(std::move(result));
      });
}

// ------------------------------------------------------------------------------------------- backups

void LedgerThread::ContinueBackup() {
  if (backup_.has_value()) {
    const absl::StatusOr<bool> finished = store_->StepBackup(kBackupPages);
    if (finished.ok() && !*finished) return;
    Post(*std::exchange(backup_, std::nullopt), finished.status());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (backups_.empty()) return;
    backup_ = std::move(backups_.front());
    backups_.pop_front();
  }
  absl::Status begun = store_->BeginBackup(backup_->path);
  if (!begun.ok()) Post(*std::exchange(backup_, std::nullopt), std::move(begun));
}

void LedgerThread::GiveUpBackups() {
  store_->AbandonBackup();
  std::deque<BackupRequest> waiting;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting.swap(backups_);
  }
  if (backup_.has_value()) waiting.push_front(*std::exchange(backup_, std::nullopt));
  for (BackupRequest& backup : waiting) Post(std::move(backup), Stopped<absl::Status>());
}

void LedgerThread::Post(BackupRequest backup, absl::Status status) {
  executor_.Post([done = std::move(backup.done), status = std::move(status)]() mutable {
    std::move(done)(std::move(status));
  });
}

}  // namespace dreamgate::ledger
