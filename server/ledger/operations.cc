#include "server/ledger/operations.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/ledger/known_values.h"

namespace dreamgate::ledger {
namespace {

absl::Status RuleBroken(absl::string_view what) {
  return core::MakeError(core::Reason::kInternal, what);
}

// An ended prediction changes no more, and a rejected one never lives after all.
bool MayFollow(const CurrentRow& row, const core::Transition& transition) {
  return !row.rejected && core::IsLegalTransition(row.prediction->state, transition.state);
}

// The results whose place `result` may take.
AttemptResults PredecessorsOf(core::AttemptResult result) {
  AttemptResults predecessors;
  if (core::IsLegalAttemptResult(std::nullopt, result)) predecessors.AddOpen();
  for (int64_t number = 1;; ++number) {
    const auto from = KnownValue<core::AttemptResult>(number);
    if (!from.has_value()) return predecessors;
    if (core::IsLegalAttemptResult(*from, result)) predecessors.Add(*from);
  }
}

}  // namespace

absl::StatusOr<std::optional<CurrentRow>> Operations::FindCurrent(const PredictionKey& key) {
  if (const CurrentRow* cached = cache_.Find(key.tenant, key.prediction_id); cached != nullptr) {
    return std::optional<CurrentRow>(*cached);
  }
  absl::StatusOr<std::optional<LoadedPrediction>> loaded = records_.Load(key);
  if (!loaded.ok()) return loaded.status();
  if (!loaded->has_value()) return std::optional<CurrentRow>();
  return std::optional<CurrentRow>(CurrentRow{
      .prediction = std::make_shared<const core::Prediction>(core::Fold((*loaded)->stored)),
      .rejected = (*loaded)->rejected,
      .owner_epoch = (*loaded)->owner_epoch});
}

absl::Status Operations::RecordOutcome(const PredictionKey& key,
                                       const core::AttemptOutcome& outcome) {
  const absl::StatusOr<bool> recorded =
      records_.attempts().RecordOutcome(key, outcome, PredecessorsOf(outcome.result));
  if (!recorded.ok()) return recorded.status();
  if (!*recorded) {
    return RuleBroken(absl::StrCat("prediction ", key.prediction_id, " has no attempt number ",
                                   outcome.number, " that could be ",
                                   core::AttemptResultName(outcome.result)));
  }
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------- reserve

absl::StatusOr<core::ReserveResult> Operations::Run(const core::Reservation& reservation) {
  const core::Transition& first = reservation.first_transition;
  if (reservation.prediction.sequence != 0 || first.sequence != 1 ||
      (first.state != core::State::kQueued && first.state != core::State::kSubmitting)) {
    return RuleBroken("a reservation begins with sequence 1, QUEUED or SUBMITTING");
  }
  auto prediction =
      std::make_shared<const core::Prediction>(core::Apply(reservation.prediction, first));
  const PredictionKey key{.tenant = prediction->tenant, .prediction_id = prediction->id};

  // Inserting first saves a look-up for each new prediction; the unique index decides.
  const absl::StatusOr<bool> inserted =
      records_.InsertPrediction(*prediction, reservation.canonical, owner_epoch_);
  if (!inserted.ok()) return inserted.status();
  if (!*inserted) return AnswerKnownRequestId(reservation);

  if (absl::Status status = records_.InsertTransition(key, first); !status.ok()) return status;
  if (absl::Status status = records_.attempts().InsertAttempt(key, reservation.attempt);
      !status.ok()) {
    return status;
  }
  cache_.Put({.prediction = prediction, .rejected = false, .owner_epoch = owner_epoch_});
  return core::Reserved{std::move(prediction)};
}

absl::StatusOr<core::ReserveResult> Operations::AnswerKnownRequestId(
    const core::Reservation& reservation) {
  const core::Prediction& wanted = reservation.prediction;
  absl::StatusOr<std::optional<RequestIdHolder>> holder =
      records_.FindByRequestId(wanted.tenant, wanted.request_id);
  if (!holder.ok()) return holder.status();
  if (!holder->has_value()) {
    return RuleBroken(absl::StrCat("prediction id ", wanted.id, " is taken"));
  }
  if ((*holder)->canonical != reservation.canonical) return core::ReserveConflict{};
  if ((*holder)->rejection.has_value()) {
    return core::ReserveRemembered{*std::move((*holder)->rejection)};
  }
  const absl::StatusOr<std::optional<CurrentRow>> row =
      FindCurrent({.tenant = wanted.tenant, .prediction_id = (*holder)->prediction_id});
  if (!row.ok()) return row.status();
  if (!row->has_value()) {
    return DamageError("an index points at a row that is gone", (*holder)->prediction_id);
  }
  return core::ReserveExisting{(*row)->prediction};
}

// ------------------------------------------------------------------------------------------- propose

absl::StatusOr<core::ProposeResult> Operations::Run(const core::Proposal& proposal) {
  if (proposal.transition.sequence != proposal.expected_sequence + 1) {
    return RuleBroken("a proposed transition carries the sequence after the expected one");
  }
  const PredictionKey key{.tenant = proposal.tenant, .prediction_id = proposal.prediction_id};
  const absl::StatusOr<std::optional<CurrentRow>> found = FindCurrent(key);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return core::ProposalConflict{nullptr};
  const CurrentRow& row = **found;
  if (row.prediction->sequence != proposal.expected_sequence ||
      (row.owner_epoch != kNobody && row.owner_epoch != owner_epoch_) ||
      !MayFollow(row, proposal.transition)) {
    return core::ProposalConflict{row.prediction};
  }

  auto next =
      std::make_shared<const core::Prediction>(core::Apply(*row.prediction, proposal.transition));
  const int64_t owner = core::IsTerminal(next->state) ? kNobody : owner_epoch_;
  const absl::StatusOr<bool> updated =
      records_.UpdatePrediction(*next, proposal.expected_sequence, owner_epoch_, owner);
  if (!updated.ok()) return updated.status();
  if (!*updated) {
    return DamageError("a stored prediction and its transitions disagree", key.prediction_id);
  }

  if (absl::Status status = records_.InsertTransition(key, proposal.transition); !status.ok()) {
    return status;
  }
  if (proposal.attempt_outcome.has_value()) {
    absl::Status status = RecordOutcome(key, *proposal.attempt_outcome);
    if (!status.ok()) return status;
  }
  if (proposal.new_attempt.has_value()) {
    absl::Status status = records_.attempts().InsertAttempt(key, *proposal.new_attempt);
    if (!status.ok()) return status;
  }
  cache_.Put({.prediction = next, .rejected = false, .owner_epoch = owner});
  return core::Committed{std::move(next)};
}

// -------------------------------------------------------------------------------------------- reject

absl::StatusOr<core::Done> Operations::Run(const core::RejectRequest& request) {
  const PredictionKey key{.tenant = request.tenant, .prediction_id = request.prediction_id};
  const absl::StatusOr<std::optional<CurrentRow>> found = FindCurrent(key);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    return RuleBroken(absl::StrCat("there is no prediction ", key.prediction_id, " to reject"));
  }
  const CurrentRow& row = **found;
  // Asking again after an unknown outcome must be safe.
  if (row.rejected) return core::Done();
  if (core::IsVisible(*row.prediction)) {
    return RuleBroken(
        absl::StrCat("prediction ", key.prediction_id, " has been shown and cannot be withdrawn"));
  }
  if (row.owner_epoch != owner_epoch_) {
    return RuleBroken(absl::StrCat("prediction ", key.prediction_id, " has not been taken over"));
  }
  if (absl::Status status = records_.MarkRejected(request); !status.ok()) return status;
  if (absl::Status status = RecordOutcome(key, request.attempt_outcome); !status.ok()) {
    return status;
  }
  cache_.Put({.prediction = row.prediction, .rejected = true, .owner_epoch = kNobody});
  return core::Done();
}

// --------------------------------------------------------------------------------------------- reads

absl::StatusOr<core::StoredPrediction> Operations::Run(const core::LoadRequest& request) {
  absl::StatusOr<std::optional<LoadedPrediction>> loaded =
      records_.Load({.tenant = request.tenant, .prediction_id = request.prediction_id});
  if (!loaded.ok()) return loaded.status();
  if (!loaded->has_value()) {
    return absl::NotFoundError(absl::StrCat("no prediction ", request.prediction_id));
  }
  return (*std::move(*loaded)).stored;
}

absl::StatusOr<core::ListPage> Operations::Run(const core::ListQuery& query) {
  const int page_size = std::clamp(query.page_size, 1, 1000);
  absl::StatusOr<std::vector<std::string>> ids = records_.ListIds(query, page_size + 1);
  if (!ids.ok()) return ids.status();
  core::ListPage page;
  page.more = static_cast<int>(ids->size()) > page_size;
  if (page.more) ids->pop_back();
  for (std::string& id : *ids) {
    const absl::StatusOr<std::optional<CurrentRow>> row =
        FindCurrent({.tenant = query.tenant, .prediction_id = std::move(id)});
    if (!row.ok()) return row.status();
    if (row->has_value()) page.predictions.push_back((*row)->prediction);
  }
  return page;
}

// ----------------------------------------------------------------------------------------- ownership

absl::StatusOr<std::vector<core::Unfinished>> Operations::Run(const core::TakeOverRequest&) {
  cache_.Clear();  // its owner epochs are about to be wrong
  const absl::StatusOr<std::vector<PredictionKey>> keys = records_.TakeOverUnfinished(owner_epoch_);
  if (!keys.ok()) return keys.status();
  std::vector<core::Unfinished> unfinished;
  unfinished.reserve(keys->size());
  for (const PredictionKey& key : *keys) {
    absl::StatusOr<core::Unfinished> loaded = LoadUnfinished(key);
    if (loaded.ok()) {
      unfinished.push_back(*std::move(loaded));
    } else if (absl::IsDataLoss(loaded.status())) {
      database_.NoteDamage(loaded.status());  // the others need not wait until somebody repairs it
    } else {
      return loaded.status();
    }
  }
  return unfinished;
}

absl::StatusOr<core::Unfinished> Operations::LoadUnfinished(const PredictionKey& key) {
  const absl::StatusOr<std::optional<CurrentRow>> row = FindCurrent(key);
  if (!row.ok()) return row.status();
  absl::StatusOr<std::optional<core::Attempt>> attempt = records_.attempts().LastAttempt(key);
  if (!attempt.ok()) return attempt.status();
  if (!row->has_value() || !attempt->has_value()) {
    return DamageError("a prediction in flight has lost its attempt", key.prediction_id);
  }
  cache_.Put(**row);
  return core::Unfinished{.prediction = (*row)->prediction, .last_attempt = **std::move(attempt)};
}

// ----------------------------------------------------------------------------- attempts and orphans

absl::StatusOr<core::AttemptReview> Operations::Run(const core::AttemptReviewQuery& query) {
  core::AttemptReview review;
  absl::StatusOr<std::vector<core::StoredAttempt>> open =
      records_.attempts().OpenAttempts(query.started_after);
  if (!open.ok()) return open.status();
  review.open = *std::move(open);
  if (query.with_accepted) {
    auto accepted = records_.attempts().AcceptedTasks(query.started_after);
    if (!accepted.ok()) return accepted.status();
    review.accepted = *std::move(accepted);
  }

  std::vector<std::string> asked = query.upstream_ids;
  std::sort(asked.begin(), asked.end());
  asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
  for (std::string& upstream_id : asked) {
    const absl::StatusOr<bool> bound = records_.attempts().IsBound(upstream_id);
    if (!bound.ok()) return bound.status();
    if (*bound) review.bound.push_back(std::move(upstream_id));
  }
  return review;
}

absl::StatusOr<core::StoredAttempt> Operations::Run(const core::AttemptQuery& request) {
  absl::StatusOr<std::optional<core::StoredAttempt>> found =
      records_.attempts().FindAttempt(request.token);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return absl::NotFoundError("no attempt has this token");
  return **std::move(found);
}

absl::StatusOr<core::OrphanResult> Operations::Run(const core::OrphanRecord& record) {
  const core::Orphan& orphan = record.orphan;
  const PredictionKey key{.tenant = orphan.tenant, .prediction_id = orphan.prediction_id};
  const absl::StatusOr<bool> has_attempt =
      records_.attempts().HasAttempt(key, orphan.attempt_number);
  if (!has_attempt.ok()) return has_attempt.status();
  if (!*has_attempt) {
    return absl::NotFoundError(absl::StrCat("prediction ", orphan.prediction_id,
                                            " has no attempt number ", orphan.attempt_number));
  }
  const absl::StatusOr<bool> news = KeepOrphan(record);
  if (!news.ok()) return news.status();
  if (*news) cache_.Erase(key.tenant, key.prediction_id);  // its recovered outputs are older
  const absl::StatusOr<std::optional<CurrentRow>> row = FindCurrent(key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return DamageError("an attempt's prediction is gone", key.prediction_id);
  return core::OrphanResult{.news = *news, .prediction = (*row)->prediction};
}

absl::StatusOr<bool> Operations::KeepOrphan(const core::OrphanRecord& record) {
  const core::Orphan& orphan = record.orphan;
  const absl::StatusOr<bool> accepted = records_.attempts().IsAccepted(orphan.upstream_id);
  if (!accepted.ok()) return accepted.status();
  if (*accepted) return false;
  const absl::StatusOr<std::optional<StoredOrphan>> found =
      records_.attempts().FindOrphan(orphan.upstream_id);
  if (!found.ok()) return found.status();

  if (!found->has_value()) {
    StoredOrphan fresh{.orphan = orphan, .end_time = std::nullopt, .outputs = record.outputs};
    if (record.ended) fresh.end_time = orphan.found_time;
    if (absl::Status status = records_.attempts().InsertOrphan(fresh); !status.ok()) return status;
    absl::Status status =
        records_.attempts().OrphanAttempt(orphan, PredecessorsOf(core::AttemptResult::kOrphaned));
    if (!status.ok()) return status;
    return true;
  }

  const StoredOrphan& known = **found;
  // A task belongs to one prediction, the first that was found to have it.
  if (known.orphan.tenant != orphan.tenant || known.orphan.prediction_id != orphan.prediction_id) {
    return false;
  }
  // Knowledge of it only grows: its end stays, and so do its videos.
  StoredOrphan next = known;
  if (record.ended && !next.end_time.has_value()) next.end_time = orphan.found_time;
  if (!record.outputs.empty()) next.outputs = record.outputs;
  if (next.end_time == known.end_time && next.outputs == known.outputs) return false;
  if (absl::Status status = records_.attempts().UpdateOrphan(next); !status.ok()) return status;
  return true;
}

absl::StatusOr<std::vector<core::Orphan>> Operations::Run(const core::OpenOrphansQuery&) {
  return records_.attempts().ListOrphans();
}

// ------------------------------------------------------------------------------------------- pruning

absl::StatusOr<int> Operations::Run(const core::PruneRequest& request) {
  const absl::StatusOr<std::vector<PredictionKey>> keys =
      records_.FindEndedBefore(request.ended_before, std::max(request.most, 0));
  if (!keys.ok()) return keys.status();
  for (const PredictionKey& key : *keys) {
    if (absl::Status status = records_.Delete(key); !status.ok()) return status;
    cache_.Erase(key.tenant, key.prediction_id);
  }
  DREAMGATE_FAILPOINT("ledger.prune_before_commit");
  return static_cast<int>(keys->size());
}

// ----------------------------------------------------------------------------------- what was learned

absl::StatusOr<std::string> Operations::Run(const core::LoadLearnedRequest& request) {
  absl::StatusOr<std::optional<std::string>> bytes = records_.FindLearned(request.model);
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) {
    return absl::NotFoundError(absl::StrCat("nothing is known of model ", request.model));
  }
  return **std::move(bytes);
}

absl::StatusOr<core::Done> Operations::Run(const core::SaveLearnedRequest& request) {
  if (absl::Status status = records_.PutLearned(request.model, request.bytes); !status.ok()) {
    return status;
  }
  return core::Done();
}

}  // namespace dreamgate::ledger
