#include "tests/simulation/simulated_ledger.h"

#include <algorithm>
#include <utility>

namespace dreamgate::simulation {
namespace {

// As in ledger_thread.cc: the prediction as of the transition that `result` committed, else null.
std::shared_ptr<const core::Prediction> CommittedBy(const ledger::Result& result) {
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

}  // namespace

template <typename T>
void SimulatedLedger::Enqueue(ledger::Operation operation, core::Completion<T> done) {
  if (stopped_) {
    process_.Post([done = std::move(done)]() mutable {
      std::move(done)(core::MakeError(core::Reason::kLedgerUnavailable,
                                      "the ledger is closed: this server stops",
                                      {.retry_after = absl::Seconds(5)}));
    });
    return;
  }
  queue_.push_back({std::move(operation), [done = std::move(done)](ledger::Result result) mutable {
                      std::move(done)(std::get<T>(std::move(result)));
                    }});
  ScheduleBatch();
}

void SimulatedLedger::Reserve(core::Reservation reservation,
                              core::Completion<absl::StatusOr<core::ReserveResult>> done) {
  Enqueue(std::move(reservation), std::move(done));
}

void SimulatedLedger::Propose(core::Proposal proposal,
                              core::Completion<absl::StatusOr<core::ProposeResult>> done) {
  Enqueue(std::move(proposal), std::move(done));
}

void SimulatedLedger::Reject(core::RejectRequest request, core::Completion<absl::Status> done) {
  Enqueue(std::move(request), std::move(done));
}

void SimulatedLedger::Load(std::string tenant, std::string prediction_id,
                           core::Completion<absl::StatusOr<core::StoredPrediction>> done) {
  Enqueue(ledger::LoadRequest{std::move(tenant), std::move(prediction_id)}, std::move(done));
}

void SimulatedLedger::List(core::ListQuery query,
                           core::Completion<absl::StatusOr<core::ListPage>> done) {
  Enqueue(std::move(query), std::move(done));
}

void SimulatedLedger::TakeOverUnfinished(
    core::Completion<absl::StatusOr<std::vector<core::Unfinished>>> done) {
  Enqueue(ledger::TakeOverRequest{.now = process_.Now()}, std::move(done));
}

void SimulatedLedger::ReviewAttempts(core::AttemptReviewQuery query,
                                     core::Completion<absl::StatusOr<core::AttemptReview>> done) {
  Enqueue(std::move(query), std::move(done));
}

void SimulatedLedger::FindAttempt(std::string token,
                                  core::Completion<absl::StatusOr<core::StoredAttempt>> done) {
  Enqueue(ledger::FindAttemptRequest{std::move(token)}, std::move(done));
}

void SimulatedLedger::RecordOrphan(core::OrphanRecord record,
                                   core::Completion<absl::StatusOr<core::OrphanResult>> done) {
  Enqueue(std::move(record), std::move(done));
}

void SimulatedLedger::ListOrphans(
    core::Completion<absl::StatusOr<std::vector<core::Orphan>>> done) {
  Enqueue(ledger::ListOrphansRequest{}, std::move(done));
}

void SimulatedLedger::Prune(absl::Time ended_before, int most,
                            core::Completion<absl::StatusOr<int>> done) {
  Enqueue(ledger::PruneRequest{.ended_before = ended_before, .most = most}, std::move(done));
}

void SimulatedLedger::LoadLearned(std::string model,
                                  core::Completion<absl::StatusOr<std::string>> done) {
  Enqueue(ledger::LoadLearnedRequest{.model = std::move(model)}, std::move(done));
}

void SimulatedLedger::SaveLearned(std::string model, std::string bytes,
                                  core::Completion<absl::Status> done) {
  Enqueue<absl::StatusOr<ledger::LearnedSaved>>(
      ledger::SaveLearnedRequest{.model = std::move(model), .bytes = std::move(bytes)},
      [done = std::move(done)](absl::StatusOr<ledger::LearnedSaved> saved) mutable {
        std::move(done)(saved.status());
      });
}

void SimulatedLedger::Stop() {
  while (!queue_.empty()) {
    RunBatch(queue_.size());
    if (observer_.ProcessIsOver()) return;
  }
  stopped_ = true;
}

void SimulatedLedger::ScheduleBatch() {
  if (batch_scheduled_ || queue_.empty()) return;
  batch_scheduled_ = true;
  process_.agenda().Later(chance_.Spread(absl::Microseconds(50), slowest_commit_), [this] {
    batch_scheduled_ = false;
    if (queue_.empty()) return;
    // Whatever has queued up while the last batch was committing; or any part of it.
    RunBatch(chance_.Percent(60) ? queue_.size() : 1 + chance_.Index(queue_.size()));
    ScheduleBatch();
  });
}

void SimulatedLedger::RunBatch(size_t size) {
  std::vector<Pending> batch;
  std::vector<ledger::Operation> operations;
  for (size_t i = 0; i < size; ++i) {
    operations.push_back(std::move(queue_.front().operation));
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  observer_.OnBatchBegins();
  ledger::BatchResult done = store_.Apply(operations);
  observer_.OnBatchApplied(operations, done);
  if (observer_.ProcessIsOver()) return;
  for (size_t i = 0; i < size; ++i) Deliver(std::move(batch[i]), std::move(done.results[i]));
}

// Each result is a piece of work of its own on the loop, which may be late, but keeps the order.
void SimulatedLedger::Deliver(Pending pending, ledger::Result result) {
  absl::Duration delay;
  if (chance_.Percent(25)) delay = chance_.Spread(absl::Microseconds(10), slowest_commit_);
  last_delivery_ = std::max(last_delivery_, process_.Now() + delay);
  results_.push_back({std::move(pending.done), std::move(result)});
  process_.agenda().Later(last_delivery_ - process_.Now(), [this] { DeliverNext(); });
}

void SimulatedLedger::DeliverNext() {
  Answered next = std::move(results_.front());
  results_.pop_front();
  const std::shared_ptr<const core::Prediction> committed = CommittedBy(next.result);
  if (committed != nullptr && commit_observer_ != nullptr) {
    commit_observer_->OnCommitted(committed);
  }
  std::move(next.done)(std::move(next.result));
}

}  // namespace dreamgate::simulation
