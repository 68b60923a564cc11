#include "server/ledger/ledger_thread.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/time/time.h"

namespace dreamgate::ledger {
namespace {

// A batch is one fsync however large it is; beyond this the fsync no longer counts, and the first in
// the batch would wait for the last.
constexpr size_t kLargestBatch = 256;

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

// ------------------------------------------------------------------------------ on the ledger thread

void LedgerThread::RunOnLedgerThread() {
  for (std::vector<Pending> batch = TakeBatch(); !batch.empty(); batch = TakeBatch()) {
    RunBatch(std::move(batch));
  }
  store_.reset();  // frees the file's lock before Stop returns
}

std::vector<LedgerThread::Pending> LedgerThread::TakeBatch() {
  if (taken_next_ == taken_.size()) {
    taken_.clear();
    taken_next_ = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    has_work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    taken_.swap(queue_);
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

  if (writes > 0) events_.LedgerCommit(took, static_cast<int>(writes), done.commit.ok());
  // Reads may go on in trouble, so only a write shows that it is over.
  if (writes > 0 || !done.commit.ok()) ReportTrouble(done.commit);
  for (size_t i = 0; i < batch.size(); ++i) Post(std::move(batch[i]), std::move(done.results[i]));
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

}  // namespace dreamgate::ledger
