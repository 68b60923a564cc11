#include "tests/fakes/fake_ledger.h"

#include <algorithm>
#include <cstdlib>
#include <variant>

namespace dreamgate::fakes {
namespace {

absl::Status Unavailable() {
  return core::MakeError(core::Reason::kLedgerUnavailable, "durable storage is in trouble",
                         {.retry_after = absl::Seconds(5)});
}

}  // namespace

FakeLedger::FakeLedger(core::Executor& executor) : executor_(executor) { Open(); }

void FakeLedger::Open() {
  store_.reset();
  ledger::StoreOptions options;
  options.path = "ledger.db";
  options.vfs = disk_.name();
  auto store = ledger::Store::Open(options);
  if (!store.ok()) std::abort();  // a disk in memory has no reason to fail
  store_ = *std::move(store);
}

// ------------------------------------------------------------------------------------------ running

void FakeLedger::Enqueue(std::unique_ptr<core::LedgerCall> call) {
  CountProposal(*call, +1);
  if (held_) {
    waiting_.push_back(std::move(call));
  } else {
    executor_.Post([this, call = std::move(call)]() mutable { Run(std::move(call)); });
  }
}

void FakeLedger::Release() {
  held_ = false;
  for (auto& call : std::exchange(waiting_, {})) {
    executor_.Post([this, call = std::move(call)]() mutable { Run(std::move(call)); });
  }
}

void FakeLedger::DropHeld() {
  held_ = false;
  waiting_.clear();
  proposals_outstanding_.clear();
  Open();
}

void FakeLedger::Run(std::unique_ptr<core::LedgerCall> call) {
  Apply(call);
  executor_.Post([this, call = std::move(call)] {
    CountProposal(*call, -1);
    outlet_.Complete(*call);
  });
}

void FakeLedger::Apply(std::unique_ptr<core::LedgerCall>& call) {
  if (core::CallAs<core::LoadRequest>(*call) != nullptr) ++loads_;
  const bool takes_over = core::CallAs<core::TakeOverRequest>(*call) != nullptr;
  if (!core::IsWrite(*call) || takes_over) {
    if (reads_work_) {
      store_->Apply({&call, 1});
    } else {
      core::AnswerWithError(*call, Unavailable());
    }
    return;
  }
  const Writes writes = NextWrites();
  if (writes == Writes::kFail) {
    core::AnswerWithError(*call, Unavailable());
    return;
  }
  if (auto* propose = std::get_if<core::LedgerCallOf<core::Proposal>>(call.get());
      propose != nullptr && writes == Writes::kRefuse) {
    propose->answer =
        core::ProposalConflict{Find(propose->request.tenant, propose->request.prediction_id)};
    return;
  }
  store_->Apply({&call, 1});
  const bool changed =
      std::visit([this](const auto& any) { return !any.answer.ok() || Note(any); }, *call);
  if (changed && writes == Writes::kWorkButReportFailure) {
    core::AnswerWithError(*call, Unavailable());
  }
}

FakeLedger::Writes FakeLedger::NextWrites() {
  ++writes_tried_;
  return choose_writes ? choose_writes() : writes_;
}

// -------------------------------------------------------------------------------------------- facts

void FakeLedger::CountProposal(const core::LedgerCall& call, int change) {
  const auto* propose = core::CallAs<core::Proposal>(call);
  if (propose == nullptr) return;
  int& outstanding =
      proposals_outstanding_[{propose->request.tenant, propose->request.prediction_id}];
  outstanding += change;
  most_proposals_outstanding_ = std::max(most_proposals_outstanding_, outstanding);
}

bool FakeLedger::Note(const core::LedgerCallOf<core::Reservation>& reserve) {
  if (!std::holds_alternative<core::Reserved>(*reserve.answer)) return false;
  const core::Prediction& prediction = reserve.request.prediction;
  known_[{prediction.tenant, prediction.id}].tokens = {reserve.request.attempt.token};
  return true;
}

bool FakeLedger::Note(const core::LedgerCallOf<core::Proposal>& propose) {
  if (!std::holds_alternative<core::Committed>(*propose.answer)) return false;
  const core::Proposal& proposal = propose.request;
  if (proposal.attempt_outcome) attempt_outcomes_.push_back(*proposal.attempt_outcome);
  if (proposal.new_attempt) {
    known_[{proposal.tenant, proposal.prediction_id}].tokens.push_back(proposal.new_attempt->token);
  }
  return true;
}

bool FakeLedger::Note(const core::LedgerCallOf<core::RejectRequest>& reject) {
  Known& known = known_[{reject.request.tenant, reject.request.prediction_id}];
  if (!std::exchange(known.rejected, true)) {
    attempt_outcomes_.push_back(reject.request.attempt_outcome);
  }
  return true;
}

bool FakeLedger::Note(const core::LedgerCallOf<core::OrphanRecord>& record) {
  if (!record.answer->news) return true;
  core::OrphanRecord& kept =
      orphans_.try_emplace(record.request.orphan.upstream_id, record.request).first->second;
  kept.ended |= record.request.ended;
  if (!record.request.outputs.empty()) kept.outputs = record.request.outputs;
  return true;
}

bool FakeLedger::Note(const core::LedgerCallOf<core::PruneRequest>& prune) {
  pruned_ += static_cast<size_t>(*prune.answer);
  return true;
}

bool FakeLedger::Note(const core::LedgerCallOf<core::SaveLearnedRequest>& save) {
  learned_[save.request.model] = save.request.bytes;
  return true;
}

std::shared_ptr<const core::Prediction> FakeLedger::Find(const std::string& tenant,
                                                         const std::string& id) const {
  const auto known = known_.find({tenant, id});
  if (known == known_.end() || known->second.rejected) return nullptr;
  auto stored = store_->Run(core::LoadRequest{tenant, id});
  if (!stored.ok()) return nullptr;
  return std::make_shared<const core::Prediction>(core::Fold(*std::move(stored)));
}

std::vector<std::shared_ptr<const core::Prediction>> FakeLedger::All() const {
  std::vector<std::shared_ptr<const core::Prediction>> all;
  for (const auto& [key, known] : known_) {
    if (auto found = Find(key.first, key.second)) all.push_back(std::move(found));
  }
  return all;
}

std::vector<core::StoredAttempt> FakeLedger::Attempts() const {
  std::vector<core::StoredAttempt> attempts;
  for (const auto& [key, known] : known_) {
    for (const std::string& token : known.tokens) {
      auto attempt = store_->Run(core::AttemptQuery{token});
      if (attempt.ok()) attempts.push_back(*std::move(attempt));
    }
  }
  return attempts;
}

}  // namespace dreamgate::fakes
