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

bool FakeLedger::IsLegal(const Row& row, const core::AttemptOutcome& outcome) {
  const auto number = static_cast<size_t>(outcome.number);
  return number >= 1 && number <= row.attempts.size() &&
         core::IsLegalAttemptResult(row.attempts[number - 1].result, outcome.result);
}

void FakeLedger::Record(Row& row, const core::AttemptOutcome& outcome) {
  core::StoredAttempt& attempt = row.attempts[static_cast<size_t>(outcome.number) - 1];
  attempt.result = outcome.result;
  attempt.result_time = outcome.time;
  attempt.upstream_id = outcome.upstream_id;
  attempt_outcomes_.push_back(outcome);
}

std::vector<core::StoredAttempt> FakeLedger::Attempts() const {
  std::vector<core::StoredAttempt> attempts;
  for (const auto& [key, row] : rows_) {
    for (core::StoredAttempt attempt : row.attempts) {
      attempt.tenant = key.first;
      attempt.prediction_id = key.second;
      attempt.latest = attempt.attempt.number == static_cast<int>(row.attempts.size());
      attempt.state = row.current->state;
      attempt.input = {row.current->input.prompt,
                       std::string(core::AspectRatioText(row.current->input.aspect_ratio)),
                       row.current->seed};
      attempt.seed_drawn = !row.current->input.seed.has_value();
      attempt.model = row.current->model;
      attempt.key_fingerprint = row.current->key_fingerprint;
      attempts.push_back(std::move(attempt));
    }
  }
  return attempts;
}

bool FakeLedger::IsBound(const std::string& upstream_id) const {
  const std::vector<core::StoredAttempt> attempts = Attempts();
  return orphans_.contains(upstream_id) ||
         std::any_of(attempts.begin(), attempts.end(), [&](const core::StoredAttempt& attempt) {
           return attempt.upstream_id == upstream_id;
         });
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
  row.attempts.emplace_back().attempt = reservation.attempt;
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
  if (proposal.attempt_outcome && !IsLegal(row, *proposal.attempt_outcome)) {
    return {core::MakeError(core::Reason::kInternal, "the attempt has another result")};
  }
  Commit(row, proposal.transition);
  if (proposal.attempt_outcome) Record(row, *proposal.attempt_outcome);
  if (proposal.new_attempt) row.attempts.emplace_back().attempt = *proposal.new_attempt;
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
      return core::MakeError(core::Reason::kInternal, "what has been shown cannot be withdrawn");
    }
    if (!IsLegal(row, request.attempt_outcome)) {
      return core::MakeError(core::Reason::kInternal, "the attempt has another result");
    }
    row.rejected = true;
    const Key request_key(request.tenant, row.current->request_id);
    if (request.remember) {
      requests_[request_key].remembered = request.remember;
    } else {
      requests_.erase(request_key);
    }
    Record(row, request.attempt_outcome);
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
          unfinished.push_back({row.current, row.attempts.back().attempt});
        }
        return {std::move(unfinished)};
      },
      std::move(done));
}

// ---------------------------------------------------------------------------------------- evidence

void FakeLedger::ReviewAttempts(core::AttemptReviewQuery query,
                                core::Completion<absl::StatusOr<core::AttemptReview>> done) {
  using Answer = absl::StatusOr<core::AttemptReview>;
  Run<Answer>(
      [this, query = std::move(query)]() -> Executed<Answer> {
        if (!reads_work_) return {Unavailable()};
        return {RunReviewAttempts(query)};
      },
      std::move(done));
}

core::AttemptReview FakeLedger::RunReviewAttempts(const core::AttemptReviewQuery& query) const {
  core::AttemptReview review;
  for (core::StoredAttempt& attempt : Attempts()) {
    if (attempt.attempt.start_time <= query.started_after) continue;
    const bool open = !attempt.result || attempt.result == core::AttemptResult::kUnknown ||
                      attempt.result == core::AttemptResult::kAbsent;
    if (attempt.result == core::AttemptResult::kAccepted && query.with_accepted) {
      review.accepted.push_back({attempt.upstream_id, attempt.attempt.start_time,
                                 *attempt.result_time, attempt.key_fingerprint});
    } else if (open && !rows_.at({attempt.tenant, attempt.prediction_id}).rejected) {
      review.open.push_back(std::move(attempt));
    }
  }
  std::stable_sort(review.open.begin(), review.open.end(), [](const auto& a, const auto& b) {
    return a.attempt.start_time < b.attempt.start_time;
  });
  for (const std::string& id : query.upstream_ids) {
    if (IsBound(id)) review.bound.push_back(id);
  }
  std::sort(review.bound.begin(), review.bound.end());
  return review;
}

void FakeLedger::FindAttempt(std::string token,
                             core::Completion<absl::StatusOr<core::StoredAttempt>> done) {
  using Answer = absl::StatusOr<core::StoredAttempt>;
  Run<Answer>(
      [this, token = std::move(token)]() -> Executed<Answer> {
        if (!reads_work_) return {Unavailable()};
        for (core::StoredAttempt& attempt : Attempts()) {
          if (attempt.attempt.token == token) return {std::move(attempt)};
        }
        return {absl::NotFoundError("no such attempt")};
      },
      std::move(done));
}

void FakeLedger::RecordOrphan(core::OrphanRecord record,
                              core::Completion<absl::StatusOr<core::OrphanResult>> done) {
  using Answer = absl::StatusOr<core::OrphanResult>;
  Run<Answer>(
      [this, record = std::move(record)]() -> Executed<Answer> {
        const Writes writes = NextWrites();
        if (writes == Writes::kFail) return {Unavailable()};
        Answer answer = RunRecordOrphan(record);
        if (writes == Writes::kWorkButReportFailure) return {Unavailable()};
        return {std::move(answer)};
      },
      std::move(done));
}

absl::StatusOr<core::OrphanResult> FakeLedger::RunRecordOrphan(const core::OrphanRecord& record) {
  const core::Orphan& orphan = record.orphan;
  const auto found = rows_.find({orphan.tenant, orphan.prediction_id});
  if (found == rows_.end() ||
      orphan.attempt_number > static_cast<int>(found->second.attempts.size())) {
    return absl::NotFoundError("no such attempt");
  }
  Row& row = found->second;
  const auto known = orphans_.find(orphan.upstream_id);
  if (known == orphans_.end()) {
    if (IsBound(orphan.upstream_id)) return core::OrphanResult{false, row.current};
    orphans_[orphan.upstream_id] = record;
  } else {  // what is known only grows
    core::OrphanRecord& kept = known->second;
    const bool ends = record.ended && !kept.ended;
    const bool shows = !record.outputs.empty() && record.outputs != kept.outputs;
    if (!ends && !shows) return core::OrphanResult{false, row.current};
    kept.ended = kept.ended || record.ended;
    if (shows) kept.outputs = record.outputs;
  }
  const core::AttemptOutcome outcome{orphan.attempt_number,
                                     core::AttemptResult::kOrphaned,
                                     orphan.found_time,
                                     orphan.upstream_id,
                                     0,
                                     ""};
  if (IsLegal(row, outcome)) Record(row, outcome);
  core::Prediction now = *row.current;
  now.recovered_outputs.clear();
  for (const auto& [id, kept] : orphans_) {
    if (kept.orphan.prediction_id != orphan.prediction_id) continue;
    now.recovered_outputs.insert(now.recovered_outputs.end(), kept.outputs.begin(),
                                 kept.outputs.end());
  }
  row.stored.initial.recovered_outputs = now.recovered_outputs;
  row.current = std::make_shared<const core::Prediction>(std::move(now));
  return core::OrphanResult{true, row.current};
}

void FakeLedger::ListOrphans(core::Completion<absl::StatusOr<std::vector<core::Orphan>>> done) {
  using Answer = absl::StatusOr<std::vector<core::Orphan>>;
  Run<Answer>(
      [this]() -> Executed<Answer> {
        if (!reads_work_) return {Unavailable()};
        std::vector<core::Orphan> orphans;
        for (const auto& [id, record] : orphans_) {
          if (!record.ended) orphans.push_back(record.orphan);
        }
        return {std::move(orphans)};
      },
      std::move(done));
}

void FakeLedger::Prune(absl::Time ended_before, int most,
                       core::Completion<absl::StatusOr<int>> done) {
  using Answer = absl::StatusOr<int>;
  Run<Answer>(
      [this, ended_before, most]() -> Executed<Answer> {
        const Writes writes = NextWrites();
        if (writes == Writes::kFail) return {Unavailable()};
        const int pruned = RunPrune(ended_before, most);
        if (writes == Writes::kWorkButReportFailure) return {Unavailable()};
        return {pruned};
      },
      std::move(done));
}

int FakeLedger::RunPrune(absl::Time ended_before, int most) {
  int pruned = 0;
  for (auto row = rows_.begin(); row != rows_.end() && pruned < most;) {
    const core::Prediction& prediction = *row->second.current;
    const auto ended =
        row->second.rejected ? row->second.attempts.back().result_time : prediction.end_time;
    if (!ended || *ended >= ended_before) {
      ++row;
      continue;
    }
    const auto request = requests_.find({prediction.tenant, prediction.request_id});
    if (request != requests_.end() && request->second.prediction_id == prediction.id) {
      requests_.erase(request);
    }
    row = rows_.erase(row);
    ++pruned;
  }
  return pruned;
}

void FakeLedger::LoadLearned(std::string model,
                             core::Completion<absl::StatusOr<std::string>> done) {
  using Answer = absl::StatusOr<std::string>;
  Run<Answer>(
      [this, model = std::move(model)]() -> Executed<Answer> {
        if (!reads_work_) return {Unavailable()};
        const auto found = learned_.find(model);
        if (found == learned_.end()) return {absl::NotFoundError("nothing learned")};
        return {found->second};
      },
      std::move(done));
}

void FakeLedger::SaveLearned(std::string model, std::string bytes,
                             core::Completion<absl::Status> done) {
  Run<absl::Status>(
      [this, model = std::move(model), bytes = std::move(bytes)]() -> Executed<absl::Status> {
        const Writes writes = NextWrites();
        if (writes == Writes::kFail) return {Unavailable()};
        learned_[model] = bytes;
        return {writes == Writes::kWorkButReportFailure ? Unavailable() : absl::OkStatus()};
      },
      std::move(done));
}

}  // namespace dreamgate::fakes
