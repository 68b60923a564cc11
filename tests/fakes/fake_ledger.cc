#include "tests/fakes/fake_ledger.h"

#include <algorithm>
#include <optional>

namespace dreamgate::fakes {
namespace {

absl::Status Unavailable() {
  return core::MakeError(core::Reason::kLedgerUnavailable, "durable storage is in trouble",
                         {.retry_after = absl::Seconds(5)});
}

}  // namespace

void FakeLedger::Run(absl::AnyInvocable<void() &&> operation) {
  if (held_) {
    waiting_.push_back(std::move(operation));
  } else {
    executor_.Post(std::move(operation));
  }
}

void FakeLedger::Release() {
  held_ = false;
  for (auto& operation : std::exchange(waiting_, {})) executor_.Post(std::move(operation));
}

std::shared_ptr<const core::Prediction> FakeLedger::Find(const std::string& tenant,
                                                         const std::string& id) const {
  const auto found = rows_.find({tenant, id});
  return found == rows_.end() || found->second.rejected ? nullptr : found->second.current;
}

void FakeLedger::Commit(Row& row, const core::Transition& transition) {
  row.stored.transitions.push_back(transition);
  row.current = std::make_shared<const core::Prediction>(core::Apply(*row.current, transition));
  if (observer_ != nullptr && writes_ == Writes::kWork) observer_->OnCommitted(row.current);
}

void FakeLedger::Reserve(core::Reservation reservation,
                         core::Completion<absl::StatusOr<core::ReserveResult>> done) {
  Run([this, reservation = std::move(reservation), done = std::move(done)]() mutable {
    ++writes_tried_;
    if (writes_ == Writes::kFail) return std::move(done)(Unavailable());
    const core::Prediction& prediction = reservation.prediction;
    const Key request_key(prediction.tenant, prediction.request_id);
    if (const auto known = requests_.find(request_key); known != requests_.end()) {
      if (known->second.canonical != reservation.canonical) {
        return std::move(done)(core::ReserveResult(core::ReserveConflict{}));
      }
      if (known->second.remembered) {
        return std::move(done)(core::ReserveResult(core::ReserveRemembered{*known->second.remembered}));
      }
      const Row& row = rows_.at({prediction.tenant, known->second.prediction_id});
      return std::move(done)(core::ReserveResult(core::ReserveExisting{row.current}));
    }
    requests_[request_key] = {prediction.id, reservation.canonical, std::nullopt};
    Row& row = rows_[{prediction.tenant, prediction.id}];
    row.stored.initial = prediction;
    row.current = std::make_shared<const core::Prediction>(prediction);
    row.canonical = reservation.canonical;
    row.attempt = reservation.attempt;
    Commit(row, reservation.first_transition);
    if (writes_ != Writes::kWork) return std::move(done)(Unavailable());
    std::move(done)(core::ReserveResult(core::Reserved{row.current}));
  });
}

void FakeLedger::Propose(core::Proposal proposal,
                         core::Completion<absl::StatusOr<core::ProposeResult>> done) {
  Run([this, proposal = std::move(proposal), done = std::move(done)]() mutable {
    ++writes_tried_;
    if (writes_ == Writes::kFail) return std::move(done)(Unavailable());
    const auto found = rows_.find({proposal.tenant, proposal.prediction_id});
    if (found == rows_.end()) {
      return std::move(done)(core::ProposeResult(core::ProposalConflict{nullptr}));
    }
    Row& row = found->second;
    if (row.rejected || row.current->sequence != proposal.expected_sequence) {
      return std::move(done)(core::ProposeResult(core::ProposalConflict{row.current}));
    }
    Commit(row, proposal.transition);
    if (proposal.attempt_outcome) attempt_outcomes_.push_back(*proposal.attempt_outcome);
    if (writes_ != Writes::kWork) return std::move(done)(Unavailable());
    std::move(done)(core::ProposeResult(core::Committed{row.current}));
  });
}

void FakeLedger::Reject(core::RejectRequest request, core::Completion<absl::Status> done) {
  Run([this, request = std::move(request), done = std::move(done)]() mutable {
    ++writes_tried_;
    if (writes_ == Writes::kFail) return std::move(done)(Unavailable());
    const auto found = rows_.find({request.tenant, request.prediction_id});
    if (found != rows_.end()) {
      Row& row = found->second;
      row.rejected = true;
      const Key request_key(request.tenant, row.current->request_id);
      if (request.remember) {
        requests_[request_key].remembered = request.remember;
      } else {
        requests_.erase(request_key);
      }
      attempt_outcomes_.push_back(request.attempt_outcome);
    }
    if (writes_ != Writes::kWork) return std::move(done)(Unavailable());
    std::move(done)(absl::OkStatus());
  });
}

void FakeLedger::Load(std::string tenant, std::string prediction_id,
                      core::Completion<absl::StatusOr<core::StoredPrediction>> done) {
  Run([this, tenant = std::move(tenant), prediction_id = std::move(prediction_id),
       done = std::move(done)]() mutable {
    ++loads_;
    if (!reads_work_) return std::move(done)(Unavailable());
    const auto found = rows_.find({tenant, prediction_id});
    if (found == rows_.end() || found->second.rejected) {
      return std::move(done)(absl::NotFoundError("no such prediction"));
    }
    std::move(done)(found->second.stored);
  });
}

void FakeLedger::List(core::ListQuery query, core::Completion<absl::StatusOr<core::ListPage>> done) {
  Run([this, query = std::move(query), done = std::move(done)]() mutable {
    if (!reads_work_) return std::move(done)(Unavailable());
    core::ListPage page;
    for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
      const core::Prediction& prediction = *row->second.current;
      if (row->first.first != query.tenant || row->second.rejected) continue;
      if (!query.before_id.empty() && prediction.id >= query.before_id) continue;
      if (!core::IsVisible(prediction)) continue;
      if (!query.states.empty() &&
          std::find(query.states.begin(), query.states.end(), prediction.state) == query.states.end()) {
        continue;
      }
      const auto& labels = prediction.input.labels;
      if (!std::all_of(query.labels.begin(), query.labels.end(), [&labels](const auto& wanted) {
            const auto label = labels.find(wanted.first);
            return label != labels.end() && label->second == wanted.second;
          })) {
        continue;
      }
      if (page.predictions.size() == static_cast<size_t>(query.page_size)) {
        page.more = true;
        break;
      }
      page.predictions.push_back(row->second.current);
    }
    std::move(done)(std::move(page));
  });
}

void FakeLedger::TakeOverUnfinished(
    core::Completion<absl::StatusOr<std::vector<core::Unfinished>>> done) {
  Run([this, done = std::move(done)]() mutable {
    if (!reads_work_) return std::move(done)(Unavailable());
    std::vector<core::Unfinished> unfinished;
    for (const auto& [key, row] : rows_) {
      if (row.rejected || core::IsTerminal(row.current->state)) continue;
      unfinished.push_back({row.current, row.attempt});
    }
    std::move(done)(std::move(unfinished));
  });
}

}  // namespace dreamgate::fakes
