#include "tests/simulation/simulated_ledger.h"

#include <algorithm>
#include <utility>

namespace dreamgate::simulation {

void SimulatedLedger::Enqueue(std::unique_ptr<core::LedgerCall> call) {
  if (stopped_) {
    core::AnswerWithError(*call, ledger::ClosedLedger());
    process_.Post([this, call = std::move(call)] { outlet_.Complete(*call); });
    return;
  }
  queue_.push_back(std::move(call));
  ScheduleBatch();
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
  ledger::Batch batch;
  for (size_t i = 0; i < size; ++i) {
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  observer_.OnBatchBegins();
  const ledger::BatchResult done = store_.Apply(batch);
  observer_.OnBatchApplied(batch, done);
  if (observer_.ProcessIsOver()) return;
  for (auto& call : batch) Deliver(std::move(call));
}

// Each answer is a piece of work of its own on the loop, which may be late, but keeps the order.
void SimulatedLedger::Deliver(std::unique_ptr<core::LedgerCall> call) {
  absl::Duration delay;
  if (chance_.Percent(25)) delay = chance_.Spread(absl::Microseconds(10), slowest_commit_);
  last_delivery_ = std::max(last_delivery_, process_.Now() + delay);
  answered_.push_back(std::move(call));
  process_.agenda().Later(last_delivery_ - process_.Now(), [this] {
    const std::unique_ptr<core::LedgerCall> next = std::move(answered_.front());
    answered_.pop_front();
    outlet_.Complete(*next);
  });
}

}  // namespace dreamgate::simulation
