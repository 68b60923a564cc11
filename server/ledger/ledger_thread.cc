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

// Pages that a backup copies between two batches, 1 MiB: as long as a few commits take, and synced as
// they are.
constexpr int kBackupPages = 256;

}  // namespace

LedgerThread::LedgerThread(std::unique_ptr<Store> store, core::Executor& executor,
                           core::Events& events)
    : executor_(executor),
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

void LedgerThread::Enqueue(std::unique_ptr<core::LedgerCall> call) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      queue_.push_back(std::move(call));
      has_work_.notify_one();
      return;
    }
  }
  core::AnswerWithError(*call, ClosedLedger());
  Post(std::move(call));
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
  Post(std::move(backup), ClosedLedger());
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

std::optional<Batch> LedgerThread::TakeBatch() {
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
  Batch batch(std::make_move_iterator(first),
              std::make_move_iterator(first + static_cast<std::ptrdiff_t>(size)));
  taken_next_ += size;
  return batch;
}

void LedgerThread::RunBatch(Batch batch) {
  const auto writes = std::count_if(batch.begin(), batch.end(),
                                    [](const auto& call) { return core::IsWrite(*call); });

  const auto begin = std::chrono::steady_clock::now();
  const BatchResult done = store_->Apply(batch);
  const auto took = absl::FromChrono(std::chrono::steady_clock::now() - begin);

  DREAMGATE_FAILPOINT("ledger.committed");
  if (writes > 0) events_.LedgerCommit(took, static_cast<int>(writes), done.commit.ok());
  // Reads may go on in trouble, so only a write shows that it is over.
  if (writes > 0 || !done.commit.ok()) ReportTrouble(done.commit);
  ReportDamage(done.damage);
  for (auto& call : batch) Post(std::move(call));
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

void LedgerThread::Post(std::unique_ptr<core::LedgerCall> call) {
  executor_.Post([outlet = outlet_, call = std::move(call)] { outlet->Complete(*call); });
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
  for (BackupRequest& backup : waiting) Post(std::move(backup), ClosedLedger());
}

void LedgerThread::Post(BackupRequest backup, absl::Status status) {
  executor_.Post([done = std::move(backup.done), status = std::move(status)]() mutable {
    std::move(done)(std::move(status));
  });
}

}  // namespace dreamgate::ledger
