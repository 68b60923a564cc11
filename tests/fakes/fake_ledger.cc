#include "tests/fakes/fake_ledger.h"

#include <algorithm>

namespace dreamgate::fakes {
namespace {

absl::Status Unavailable() {
  return core::MakeError(core::Reason::kLedgerUnavailable, "durable storage is in trouble",
                         {.retry_after = absl::Seconds(5)});
}

}  // namespace

template <typename T, typename Operation>
void FakeLedger::Run(Operation operation, core::Completion<T> done) {
  absl::AnyInvocable<void()&&> run = [this, operation = std::move(operation),
                                      done = std::move(done)]() mutable {
    Executed<T> executed = operation();
    executor_.Post([this, executed = std::move(executed), done = std::move(done)]() mutable {
      if (executed.committed != nullptr && observer_ != nullptr) {
        observer_->OnCommitted(executed.committed);
      }
      std::move(done)(std::move(executed.answer));
    });
  };
  if (held_) {
    waiting_.push_back(std::move(run));
  } else {
    executor_.Post(std::move(run));
  }
}

void FakeLedger::Release() {
  held_ = false;
  for (auto& operation : std::exchange(waiting_, {})) executor_.Post(std::move(operation));
}

void FakeLedger::DropHeld() {
  held_ = false;
  waiting_.clear();
  proposals_outstanding_.clear();
}

std::shared_ptr<const core::Prediction> FakeLedger::Find(const std::string& tenant,
                                                         const std::string& id) const {
  const auto found = rows_.find({tenant, id});
  return found == rows_.end() || found->second.rejected ? nullptr : found->second.current;
}

std::vector<std::shared_ptr<const core::Prediction>> FakeLedger::All() const {
  std::vector<std::shared_ptr<const core::Prediction>> all;
  for (const auto& [key, row] : rows_) {
    if (!row.rejected) all.push_back(row.current);
  }
  return all;
}

FakeLedger::Writes FakeLedger::NextWrites() {
  ++writes_tried_;
  return choose_writes ? choose_writes() : writes_;
}

void FakeLedger::Commit(Row& row, const core::Transition& transition) {
  row.stored.transitions.push_back(transition);
  row.current = std::make_shared<const core::Prediction>(core::Apply(*row.current, transition));
}

// ------------------------------------------------------------------------------------------- writes

void FakeLedger::Reserve(core::Reservation reservation,
                         core::Completion<absl::StatusOr<core::ReserveResult>> done) {
  Run<absl::StatusOr<core::ReserveResult>>(
      [this, reservation = std::move(reservation)] { return RunReserve(reservation); },
      std::move(done));
}

FakeLedger::Executed<absl::StatusOr<core::ReserveResult>> FakeLedger::RunReserve(
    const core::Reservation& reservation) {
  const Writes writes = NextWrites();
  if (writes == Writes::kFail) return {Unavailable()};
  const core::Prediction& prediction = reservation.prediction;
  const Key request_key(prediction.tenant, prediction.request_id);
  if (const auto known = requests_.find(request_key); known != requests_.end()) {
    if (known->second.canonical != reservation.canonical) return {core::ReserveConflict{}};
    if (known->second.remembered) return {core::ReserveRemembered{*known->second.remembered}};
    const Row& row = rows_.at({prediction.tenant, known->second.prediction_id});
    return {core::ReserveExisting{row.current}};
  }
  requests_[request_key] = {prediction.id, reservation.canonical, std::nullopt};
  Row& row = rows_[{prediction.tenant, prediction.id}];
  row.stored.initial = prediction;
  row.current = std::make_shared<const core::Prediction>(prediction);
  row.attempt = reservation.attempt;
  Commit(row, reservation.first_transition);
  if (writes == Writes::kWorkButReportFailure) return {Unavailable()};
  return {core::Reserved{row.current}, row.current};
}

void FakeLedger::Propose(core::Proposal proposal,
                         core::Completion<absl::StatusOr<core::ProposeResult>> done) {
  const Key key(proposal.tenant, proposal.prediction_id);
  most_proposals_outstanding_ =
      std::max(most_proposals_outstanding_, ++proposals_outstanding_[key]);
  Run<absl::StatusOr<core::ProposeResult>>(
      [this, proposal = std::move(proposal)] { return RunPropose(proposal); },
      [this, key, done = std::move(done)](absl::StatusOr<core::ProposeResult> result) mutable {
        --proposals_outstanding_[key];
        std::move(done)(std::move(result));
      });
}

FakeLedger::Executed<absl::StatusOr<core::ProposeResult>> FakeLedger::RunPropose(
    const core::Proposal& proposal) {
  const Writes writes = NextWrites();
  if (writes == Writes::kFail) return {Unavailable()};
  const auto found = rows_.find({proposal.tenant, proposal.prediction_id});
  if (found == rows_.end()) return {core::ProposalConflict{nullptr}};
  Row& row = found->second;
  if (writes == Writes::kRefuse || row.rejected ||
      row.current->sequence != proposal.expected_sequence ||
      !core::IsLegalTransition(row.current->state, proposal.transition.state)) {
    return {core::ProposalConflict{row.current}};
  }
  Commit(row, proposal.transition);
  if (proposal.attempt_outcome) attempt_outcomes_.push_back(*proposal.attempt_outcome);
  if (proposal.new_attempt) row.attempt = *proposal.new_attempt;
  if (writes == Writes::kWorkButReportFailure) return {Unavailable()};
  return {core::Committed{row.current}, row.current};
}

void FakeLedger::Reject(core::RejectRequest request, core::Completion<absl::Status> done) {
  Run<absl::Status>(
      [this, request = std::move(request)] { return Executed<absl::Status>{RunReject(request)}; },
      std::move(done));
}

absl::Status FakeLedger::RunReject(const core::RejectRequest& request) {
  const Writes writes = NextWrites();
  if (writes == Writes::kFail) return Unavailable();
  const auto found = rows_.find({request.tenant, request.prediction_id});
  if (found == rows_.end()) return core::MakeError(core::Reason::kInternal, "nothing to reject");
  Row& row = found->second;
  if (!row.rejected) {
    if (core::IsVisible(*row.current)) {
      return core::MakeError(core::Reason::kInternal, "what has been shown cannot be taken back");
    }
    row.rejected = true;
    const Key request_key(request.tenant, row.current->request_id);
    if (request.remember) {
      requests_[request_key].remembered = request.remember;
    } else {
      requests_.erase(request_key);
    }
    attempt_outcomes_.push_back(request.attempt_outcome);
  }
  return writes == Writes::kWorkButReportFailure ? Unavailable() : absl::OkStatus();
}

// -------------------------------------------------------------------------------------------- reads

void FakeLedger::Load(std::string tenant, std::string prediction_id,
                      core::Completion<absl::StatusOr<core::StoredPrediction>> done) {
  using Answer = absl::StatusOr<core::StoredPrediction>;
  Run<Answer>(
      [this, key = Key(std::move(tenant), std::move(prediction_id))] {
        return Executed<Answer>{RunLoad(key)};
      },
      std::move(done));
}

absl::StatusOr<core::StoredPrediction> FakeLedger::RunLoad(const Key& key) {
  ++loads_;
  if (!reads_work_) return Unavailable();
  const auto found = rows_.find(key);
  if (found == rows_.end()) return absl::NotFoundError("no such prediction");
  return found->second.stored;
}

void FakeLedger::List(core::ListQuery query,
                      core::Completion<absl::StatusOr<core::ListPage>> done) {
  using Answer = absl::StatusOr<core::ListPage>;
  Run<Answer>([this, query = std::move(query)] { return Executed<Answer>{RunList(query)}; },
              std::move(done));
}

absl::StatusOr<core::ListPage> FakeLedger::RunList(const core::ListQuery& query) const {
  if (!reads_work_) return Unavailable();
  core::ListPage page;
  for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
    const core::Prediction& prediction = *row->second.current;
    if (row->first.first != query.tenant || row->second.rejected) continue;
    if (!query.before_id.empty() && prediction.id >= query.before_id) continue;
    if (!core::IsVisible(prediction)) continue;
    if (!query.states.empty() && std::find(query.states.begin(), query.states.end(),
                                           prediction.state) == query.states.end()) {
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
  return page;
}

void FakeLedger::TakeOverUnfinished(
    core::Completion<absl::StatusOr<std::vector<core::Unfinished>>> done) {
  using Answer = absl::StatusOr<std::vector<core::Unfinished>>;
  Run<Answer>(
      [this]() -> Executed<Answer> {
        if (!reads_work_) return {Unavailable()};
        std::vector<core::Unfinished> unfinished;
        for (const auto& [key, row] : rows_) {
          if (row.rejected || core::IsTerminal(row.current->state)) continue;
          unfinished.push_back({row.current, row.attempt});
        }
        return {std::move(unfinished)};
      },
      std::move(done));
}

}  // namespace dreamgate::fakes
