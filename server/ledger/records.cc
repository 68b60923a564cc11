#include "server/ledger/records.h"

#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "server/ledger/encoding.h"

namespace dreamgate::ledger {
namespace {

template <typename T>
int64_t ToInteger(T value) {
  return static_cast<int64_t>(value);
}

// Keeps the columns of absent values NULL.
template <typename T, typename Encode>
std::optional<std::string> Encoded(const std::optional<T>& value, Encode encode) {
  if (!value.has_value()) return std::nullopt;
  return encode(*value);
}

Cursor& BindText(Cursor& cursor, const std::optional<std::string>& text) {
  return text.has_value() ? cursor.Bind(absl::string_view(*text)) : cursor.BindNull();
}

Cursor& BindKey(Cursor& cursor, const PredictionKey& key) {
  cursor.Concerns(key.prediction_id);
  return cursor.Bind(key.tenant).Bind(key.prediction_id);
}

// The next column, decoded; nullopt if it is NULL or, see the cursor's status, damaged.
template <typename T>
std::optional<T> ReadJson(Cursor& cursor, absl::StatusOr<T> (*decode)(absl::string_view)) {
  const std::optional<std::string> text = cursor.OptionalText();
  if (!text.has_value() || !cursor.status().ok()) return std::nullopt;
  absl::StatusOr<T> value = decode(*text);
  if (value.ok()) return *std::move(value);
  cursor.RefuseColumn(value.status().message());
  return std::nullopt;
}

// Columns of an attempt `a` and its prediction `p`, in the order that ReadAttempt takes them.
constexpr char kSelectAttempt[] =
    "SELECT a.tenant, a.prediction_id, a.number, a.token, a.start_time, a.outcome, a.outcome_time, "
    "a.upstream_id, NOT EXISTS (SELECT 1 FROM attempts AS later WHERE later.tenant = a.tenant "
    "AND later.prediction_id = a.prediction_id AND later.number > a.number), "
    "p.state, p.prompt, p.aspect_ratio, p.seed, p.asked_seed IS NULL, p.model, p.key_fingerprint "
    "FROM attempts AS a JOIN predictions AS p USING (tenant, prediction_id) ";

core::StoredAttempt ReadAttempt(Cursor& cursor) {
  core::StoredAttempt stored;
  stored.tenant = cursor.Text();
  stored.prediction_id = cursor.Text();
  cursor.Concerns(stored.prediction_id);
  stored.attempt.number = cursor.Integer32();
  stored.attempt.token = cursor.Text();
  stored.attempt.start_time = cursor.Time();
  stored.result = cursor.OptionalEnumerator<core::AttemptResult>();
  stored.result_time = cursor.OptionalTime();
  stored.upstream_id = cursor.OptionalText().value_or("");
  stored.latest = cursor.Integer() != 0;
  stored.state = cursor.Enumerator<core::State>();
  stored.input.prompt = cursor.Text();
  const auto ratio = cursor.Enumerator<core::AspectRatio>();
  if (cursor.status().ok()) stored.input.aspect_ratio = std::string(core::AspectRatioText(ratio));
  stored.input.seed = cursor.Integer32();
  stored.seed_drawn = cursor.Integer() != 0;
  stored.model = cursor.Text();
  stored.key_fingerprint = cursor.Text();
  return stored;
}

core::Orphan ReadOrphan(Cursor& cursor) {
  core::Orphan orphan;
  orphan.tenant = cursor.Text();
  orphan.prediction_id = cursor.Text();
  cursor.Concerns(orphan.prediction_id);
  orphan.attempt_number = cursor.Integer32();
  orphan.upstream_id = cursor.Text();
  orphan.found_time = cursor.Time();
  return orphan;
}

std::optional<std::string> EncodedUnlessEmpty(const std::vector<core::Output>& outputs) {
  if (outputs.empty()) return std::nullopt;
  return EncodeOutputs(outputs);
}

}  // namespace

std::unique_ptr<Records> Records::Prepare(Database& database) {
  std::unique_ptr<Records> records(new Records(database));
  const std::pair<Statement*, std::string> statements[] = {
      {&records->begin_, "BEGIN"},
      {&records->commit_, "COMMIT"},
      {&records->rollback_, "ROLLBACK"},
      {&records->set_savepoint_, "SAVEPOINT operation"},
      {&records->rollback_to_savepoint_, "ROLLBACK TO operation"},
      {&records->release_savepoint_, "RELEASE operation"},

      {&records->owner_epoch_, "SELECT epoch FROM owner"},
      {&records->raise_owner_epoch_, "UPDATE owner SET epoch = epoch + 1"},

      {&records->insert_prediction_,
       "INSERT OR IGNORE INTO predictions (tenant, prediction_id, state, sequence, visible, "
       "rejected, "
       "request_id_taken, owner_epoch, lease_until, end_time, request_id, create_time, model, "
       "aspect_ratio, asked_seed, seed, key_fingerprint, labels_json, prompt, canonical) "
       "VALUES (?, ?, ?, ?, ?, 0, 1, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&records->insert_transition_,
       "INSERT INTO transitions (tenant, prediction_id, sequence, state, time, source, "
       "upstream_id, "
       "upstream_status, outputs_json, failure_json, inference_time, upstream_create_time) "
       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&records->insert_attempt_,
       "INSERT INTO attempts (tenant, prediction_id, number, token, start_time) "
       "VALUES (?, ?, ?, ?, ?)"},

      {&records->update_prediction_,
       "UPDATE predictions SET state = ?, sequence = ?, visible = ?, owner_epoch = ?, "
       "lease_until = ?, end_time = ? "
       "WHERE tenant = ? AND prediction_id = ? AND sequence = ? AND owner_epoch IN (0, ?)"},
      {&records->record_outcome_,
       "UPDATE attempts SET outcome = ?, outcome_time = ?, upstream_id = ?, http_status = ?, "
       "message = ? WHERE tenant = ? AND prediction_id = ? AND number = ? "
       "AND (? >> coalesce(outcome, 0)) & 1"},
      {&records->mark_rejected_,
       "UPDATE predictions SET rejected = 1, request_id_taken = ?, owner_epoch = 0, "
       "lease_until = NULL, end_time = ?, rejection_reason = ?, rejection_message = ?, "
       "rejection_metadata_json = ? WHERE tenant = ? AND prediction_id = ?"},

      {&records->find_by_request_id_,
       "SELECT prediction_id, canonical, rejection_reason, rejection_message, "
       "rejection_metadata_json FROM predictions "
       "WHERE tenant = ? AND request_id = ? AND request_id_taken = 1"},
      {&records->load_prediction_,
       "SELECT state, sequence, rejected, owner_epoch, request_id, create_time, model, "
       "aspect_ratio, asked_seed, "
       "seed, key_fingerprint, labels_json, prompt FROM predictions "
       "WHERE tenant = ? AND prediction_id = ?"},
      {&records->load_transitions_,
       "SELECT sequence, state, time, source, upstream_id, upstream_status, outputs_json, "
       "failure_json, inference_time, upstream_create_time "
       "FROM transitions WHERE tenant = ? AND prediction_id = ? ORDER BY sequence"},
      {&records->load_recovered_outputs_,
       "SELECT outputs_json FROM orphans WHERE tenant = ? AND prediction_id = ? "
       "AND outputs_json IS NOT NULL ORDER BY found_time, upstream_id"},
      {&records->last_attempt_,
       "SELECT number, token, start_time FROM attempts "
       "WHERE tenant = ? AND prediction_id = ? ORDER BY number DESC LIMIT 1"},
      {&records->list_,
       "SELECT prediction_id, labels_json FROM predictions "
       "WHERE tenant = ?1 AND prediction_id < ?2 AND visible = 1 AND rejected = 0 "
       "AND (?3 < 0 OR (?3 >> state) & 1) ORDER BY prediction_id DESC"},

      {&records->has_attempt_,
       "SELECT 1 FROM attempts WHERE tenant = ? AND prediction_id = ? AND number = ?"},
      {&records->find_attempt_, absl::StrCat(kSelectAttempt, "WHERE a.token = ? LIMIT 1")},
      // Word for word the condition of the index attempts_open.
      {&records->open_attempts_,
       absl::StrCat(kSelectAttempt,
                    "WHERE (a.outcome IS NULL OR a.outcome IN (4, 5)) AND a.start_time >= ? "
                    "AND p.rejected = 0 "
                    "ORDER BY a.start_time, a.tenant, a.prediction_id, a.number")},
      {&records->accepted_tasks_,
       "SELECT a.prediction_id, a.upstream_id, a.start_time, a.outcome_time, p.key_fingerprint "
       "FROM attempts AS a JOIN predictions AS p USING (tenant, prediction_id) "
       "WHERE a.outcome = 1 AND a.start_time >= ? ORDER BY a.start_time"},
      {&records->is_accepted_,
       "SELECT EXISTS (SELECT 1 FROM attempts WHERE upstream_id = ?1 AND outcome = 1)"},
      {&records->is_bound_,
       "SELECT EXISTS (SELECT 1 FROM attempts WHERE upstream_id = ?1) "
       "OR EXISTS (SELECT 1 FROM orphans WHERE upstream_id = ?1)"},

      {&records->find_orphan_,
       "SELECT tenant, prediction_id, attempt_number, upstream_id, found_time, end_time, "
       "outputs_json FROM orphans WHERE upstream_id = ?"},
      {&records->insert_orphan_,
       "INSERT INTO orphans (tenant, prediction_id, attempt_number, upstream_id, found_time, "
       "end_time, outputs_json) VALUES (?, ?, ?, ?, ?, ?, ?)"},
      {&records->update_orphan_,
       "UPDATE orphans SET end_time = ?, outputs_json = ? "
       "WHERE tenant = ? AND prediction_id = ? AND upstream_id = ?"},
      // The answer to its POST stays as evidence.
      {&records->orphan_attempt_,
       "UPDATE attempts SET outcome = ?, outcome_time = ?, upstream_id = ? "
       "WHERE tenant = ? AND prediction_id = ? AND number = ? "
       "AND (? >> coalesce(outcome, 0)) & 1"},
      {&records->list_orphans_,
       "SELECT tenant, prediction_id, attempt_number, upstream_id, found_time FROM orphans "
       "WHERE end_time IS NULL ORDER BY found_time, upstream_id"},

      {&records->take_over_,
       "UPDATE predictions SET owner_epoch = ?, lease_until = ? WHERE end_time IS NULL"},
      {&records->find_unfinished_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time IS NULL "
       "ORDER BY tenant, prediction_id"},

      {&records->find_ended_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time < ? "
       "AND (state >= ? OR rejected = 1) ORDER BY end_time LIMIT ?"},
      {&records->delete_prediction_,
       "DELETE FROM predictions WHERE tenant = ? AND prediction_id = ?"},
      {&records->delete_transitions_,
       "DELETE FROM transitions WHERE tenant = ? AND prediction_id = ?"},
      {&records->delete_attempts_, "DELETE FROM attempts WHERE tenant = ? AND prediction_id = ?"},
      {&records->delete_orphans_, "DELETE FROM orphans WHERE tenant = ? AND prediction_id = ?"},

      {&records->find_learned_, "SELECT bytes FROM learned WHERE model = ?"},
      {&records->put_learned_, "INSERT OR REPLACE INTO learned (model, bytes) VALUES (?, ?)"},
  };
  for (const auto& [statement, sql] : statements) *statement = database.Prepare(sql);
  return records;
}

absl::Status Records::Run(Statement& statement) { return Cursor(statement).Run(); }

bool Records::IsDamaged(Cursor& cursor) {
  const absl::Status damage = cursor.TakeDamage();
  NoteDamage(damage);
  return !damage.ok();
}

void Records::NoteDamage(const absl::Status& status) {
  if (absl::IsDataLoss(status)) damage_.emplace_back(status.message());
}

absl::StatusOr<int64_t> Records::OwnerEpoch() {
  Cursor cursor(owner_epoch_);
  if (!cursor.Next()) {
    return cursor.status().ok() ? absl::DataLossError("the owner's row is gone") : cursor.status();
  }
  const int64_t epoch = cursor.Integer();
  if (!cursor.status().ok()) return cursor.status();
  return epoch;
}

// -------------------------------------------------------------------------------------------- writes

absl::StatusOr<bool> Records::InsertPrediction(const core::Prediction& prediction,
                                               const std::string& canonical,
                                               const Ownership& owner) {
  std::optional<std::string> labels;
  if (!prediction.input.labels.empty()) labels = EncodeStringMap(prediction.input.labels);
  std::optional<int64_t> asked_seed;
  if (prediction.input.seed.has_value()) asked_seed = *prediction.input.seed;

  Cursor cursor(insert_prediction_);
  cursor.Bind(prediction.tenant)
      .Bind(prediction.id)
      .Bind(ToInteger(prediction.state))
      .Bind(prediction.sequence)
      .Bind(ToInteger(core::IsVisible(prediction)))
      .Bind(owner.epoch)
      .Bind(owner.lease_until)
      .Bind(prediction.request_id)
      .Bind(prediction.create_time)
      .Bind(prediction.model)
      .Bind(ToInteger(prediction.input.aspect_ratio))
      .Bind(asked_seed)
      .Bind(ToInteger(prediction.seed))
      .Bind(prediction.key_fingerprint);
  BindText(cursor, labels).Bind(prediction.input.prompt).BindBlob(canonical);
  if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  return database_.changes() == 1;
}

absl::Status Records::InsertTransition(const PredictionKey& key,
                                       const core::Transition& transition) {
  Cursor cursor(insert_transition_);
  BindKey(cursor, key)
      .Bind(transition.sequence)
      .Bind(ToInteger(transition.state))
      .Bind(transition.time)
      .Bind(ToInteger(transition.source));
  BindText(cursor, transition.upstream_id);
  BindText(cursor, transition.upstream_status);
  BindText(cursor, Encoded(transition.outputs, EncodeOutputs));
  BindText(cursor, Encoded(transition.failure, EncodeFailure));
  cursor.Bind(transition.inference_time).Bind(transition.upstream_create_time);
  return cursor.Run();
}

absl::Status Records::InsertAttempt(const PredictionKey& key, const core::Attempt& attempt) {
  Cursor cursor(insert_attempt_);
  BindKey(cursor, key).Bind(ToInteger(attempt.number)).Bind(attempt.token).Bind(attempt.start_time);
  return cursor.Run();
}

absl::StatusOr<bool> Records::UpdatePrediction(const core::Prediction& prediction,
                                               int64_t expected_sequence, int64_t epoch,
                                               const Ownership& owner) {
  Cursor cursor(update_prediction_);
  cursor.Bind(ToInteger(prediction.state))
      .Bind(prediction.sequence)
      .Bind(ToInteger(core::IsVisible(prediction)))
      .Bind(owner.epoch)
      .Bind(owner.lease_until)
      .Bind(prediction.end_time)
      .Bind(prediction.tenant)
      .Bind(prediction.id)
      .Bind(expected_sequence)
      .Bind(epoch);
  if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  return database_.changes() == 1;
}

absl::StatusOr<bool> Records::RecordOutcome(const PredictionKey& key,
                                            const core::AttemptOutcome& outcome,
                                            const AttemptResults& predecessors) {
  Cursor cursor(record_outcome_);
  cursor.Bind(ToInteger(outcome.result)).Bind(outcome.time);
  if (outcome.upstream_id.empty()) {
    cursor.BindNull();
  } else {
    cursor.Bind(outcome.upstream_id);
  }
  cursor.Bind(ToInteger(outcome.http_status)).Bind(outcome.message);
  BindKey(cursor, key).Bind(ToInteger(outcome.number)).Bind(predecessors.bits());
  if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  return database_.changes() == 1;
}

absl::Status Records::MarkRejected(const core::RejectRequest& request) {
  Cursor cursor(mark_rejected_);
  cursor.Bind(ToInteger(request.remember.has_value())).Bind(request.attempt_outcome.time);
  if (request.remember.has_value()) {
    cursor.Bind(ToInteger(request.remember->reason))
        .Bind(request.remember->message)
        .Bind(EncodeStringMap(request.remember->metadata));
  } else {
    cursor.BindNull().BindNull().BindNull();
  }
  cursor.Bind(request.tenant).Bind(request.prediction_id);
  return cursor.Run();
}

// --------------------------------------------------------------------------------------------- reads

absl::StatusOr<std::optional<RequestIdHolder>> Records::FindByRequestId(
    const std::string& tenant, const std::string& request_id) {
  Cursor cursor(find_by_request_id_);
  cursor.Bind(tenant).Bind(request_id);
  if (!cursor.Next()) {
    if (!cursor.status().ok()) return cursor.status();
    return std::optional<RequestIdHolder>();
  }
  RequestIdHolder holder;
  holder.prediction_id = cursor.Text();
  cursor.Concerns(holder.prediction_id);
  holder.canonical = cursor.Text();
  if (const auto reason = cursor.OptionalEnumerator<core::Reason>(); reason.has_value()) {
    holder.rejection.emplace();
    holder.rejection->reason = *reason;
    holder.rejection->message = cursor.Text();
    holder.rejection->metadata = ReadJson(cursor, DecodeStringMap).value_or(StringMap());
  }
  if (!cursor.status().ok()) return cursor.status();
  return holder;
}

absl::StatusOr<std::optional<LoadedPrediction>> Records::Load(const PredictionKey& key) {
  LoadedPrediction loaded;
  core::State state;
  int64_t sequence;
  {
    Cursor cursor(load_prediction_);
    BindKey(cursor, key);
    if (!cursor.Next()) {
      if (!cursor.status().ok()) return cursor.status();
      return std::optional<LoadedPrediction>();
    }
    state = cursor.Enumerator<core::State>();
    sequence = cursor.Integer();
    loaded.rejected = cursor.Integer() != 0;
    loaded.owner_epoch = cursor.Integer();
    core::Prediction& initial = loaded.stored.initial;
    initial.tenant = key.tenant;
    initial.id = key.prediction_id;
    initial.request_id = cursor.Text();
    initial.create_time = cursor.Time();
    initial.model = cursor.Text();
    initial.input.aspect_ratio = cursor.Enumerator<core::AspectRatio>();
    initial.input.seed = cursor.OptionalInteger32();
    initial.seed = cursor.Integer32();
    initial.key_fingerprint = cursor.Text();
    initial.input.labels = ReadJson(cursor, DecodeStringMap).value_or(StringMap());
    initial.input.prompt = cursor.Text();
    if (!cursor.status().ok()) return cursor.status();
  }
  absl::StatusOr<std::vector<core::Output>> recovered = LoadRecoveredOutputs(key);
  if (!recovered.ok()) return recovered.status();
  loaded.stored.initial.recovered_outputs = *std::move(recovered);
  absl::StatusOr<std::vector<core::Transition>> transitions = LoadTransitions(key);
  if (!transitions.ok()) return transitions.status();
  if (transitions->empty() || transitions->back().sequence != sequence ||
      transitions->back().state != state) {
    return DamageError("a stored prediction and its transitions disagree", key.prediction_id);
  }
  loaded.stored.transitions = *std::move(transitions);
  return loaded;
}

absl::StatusOr<std::vector<core::Transition>> Records::LoadTransitions(const PredictionKey& key) {
  std::vector<core::Transition> transitions;
  Cursor cursor(load_transitions_);
  BindKey(cursor, key);
  while (cursor.Next()) {
    core::Transition transition;
    transition.sequence = cursor.Integer();
    if (transition.sequence != static_cast<int64_t>(transitions.size()) + 1) {
      cursor.RefuseColumn("has a gap: a transition is missing");
    }
    transition.state = cursor.Enumerator<core::State>();
    transition.time = cursor.Time();
    transition.source = cursor.Enumerator<core::TransitionSource>();
    transition.upstream_id = cursor.OptionalText();
    transition.upstream_status = cursor.OptionalText();
    transition.outputs = ReadJson(cursor, DecodeOutputs);
    transition.failure = ReadJson(cursor, DecodeFailure);
    transition.inference_time = cursor.OptionalDuration();
    transition.upstream_create_time = cursor.OptionalTime();
    transitions.push_back(std::move(transition));
  }
  if (!cursor.status().ok()) return cursor.status();
  return transitions;
}

absl::StatusOr<std::vector<core::Output>> Records::LoadRecoveredOutputs(const PredictionKey& key) {
  std::vector<core::Output> recovered;
  Cursor cursor(load_recovered_outputs_);
  BindKey(cursor, key);
  while (cursor.Next()) {
    std::optional<std::vector<core::Output>> outputs = ReadJson(cursor, DecodeOutputs);
    if (!outputs.has_value()) continue;
    recovered.insert(recovered.end(), std::make_move_iterator(outputs->begin()),
                     std::make_move_iterator(outputs->end()));
  }
  if (!cursor.status().ok()) return cursor.status();
  return recovered;
}

absl::StatusOr<std::optional<core::Attempt>> Records::LastAttempt(const PredictionKey& key) {
  Cursor cursor(last_attempt_);
  BindKey(cursor, key);
  if (!cursor.Next()) {
    if (!cursor.status().ok()) return cursor.status();
    return std::optional<core::Attempt>();
  }
  core::Attempt attempt;
  attempt.number = cursor.Integer32();
  attempt.token = cursor.Text();
  attempt.start_time = cursor.Time();
  if (!cursor.status().ok()) return cursor.status();
  return attempt;
}

absl::StatusOr<std::vector<std::string>> Records::ListIds(const core::ListQuery& query, int limit) {
  int64_t states = 0;
  for (const core::State state : query.states) states |= int64_t{1} << ToInteger(state);
  if (query.states.empty()) states = -1;  // also a state that is none: it must not be overlooked

  Cursor cursor(list_);
  cursor.Bind(query.tenant);
  if (query.before_id.empty()) {
    cursor.BindBlob("");  // every text sorts before every blob
  } else {
    cursor.Bind(query.before_id);
  }
  cursor.Bind(states);

  std::vector<std::string> ids;
  while (static_cast<int>(ids.size()) < limit && cursor.Next()) {
    std::string id = cursor.Text();
    cursor.Concerns(id);
    // Labels are compared here, row by row: they are rare in lists, and an index on them would cost
    // every reservation.
    if (!query.labels.empty()) {
      const std::optional<StringMap> labels = ReadJson(cursor, DecodeStringMap);
      if (!labels.has_value()) continue;
      bool all_match = true;
      for (const auto& [key, value] : query.labels) {
        const auto found = labels->find(key);
        all_match = all_match && found != labels->end() && found->second == value;
      }
      if (!all_match) continue;
    }
    ids.push_back(std::move(id));
  }
  if (!cursor.status().ok()) return cursor.status();
  return ids;
}

// ----------------------------------------------------------------------------- attempts and orphans

absl::StatusOr<bool> Records::HasAttempt(const PredictionKey& key, int number) {
  Cursor cursor(has_attempt_);
  BindKey(cursor, key).Bind(ToInteger(number));
  const bool found = cursor.Next();
  if (!cursor.status().ok()) return cursor.status();
  return found;
}

absl::StatusOr<std::optional<core::StoredAttempt>> Records::FindAttempt(const std::string& token) {
  Cursor cursor(find_attempt_);
  cursor.Bind(token);
  std::optional<core::StoredAttempt> found;
  if (cursor.Next()) found = ReadAttempt(cursor);
  if (!cursor.status().ok()) return cursor.status();
  return found;
}

absl::StatusOr<std::vector<core::StoredAttempt>> Records::OpenAttempts(absl::Time started_after) {
  std::vector<core::StoredAttempt> attempts;
  Cursor cursor(open_attempts_);
  cursor.Bind(started_after);
  while (cursor.Next()) {
    core::StoredAttempt attempt = ReadAttempt(cursor);
    if (!IsDamaged(cursor)) attempts.push_back(std::move(attempt));
  }
  if (!cursor.status().ok()) return cursor.status();
  return attempts;
}

absl::StatusOr<std::vector<core::AttemptReview::Accepted>> Records::AcceptedTasks(
    absl::Time started_after) {
  std::vector<core::AttemptReview::Accepted> tasks;
  Cursor cursor(accepted_tasks_);
  cursor.Bind(started_after);
  while (cursor.Next()) {
    core::AttemptReview::Accepted task;
    cursor.Concerns(cursor.Text());
    task.upstream_id = cursor.Text();
    task.start_time = cursor.Time();
    task.result_time = cursor.Time();
    task.key_fingerprint = cursor.Text();
    if (!IsDamaged(cursor)) tasks.push_back(std::move(task));
  }
  if (!cursor.status().ok()) return cursor.status();
  return tasks;
}

absl::StatusOr<bool> Records::Exists(Statement& statement, const std::string& upstream_id) {
  Cursor cursor(statement);
  cursor.Bind(upstream_id);
  const bool exists = cursor.Next() && cursor.Integer() != 0;
  if (!cursor.status().ok()) return cursor.status();
  return exists;
}

absl::StatusOr<bool> Records::IsAccepted(const std::string& upstream_id) {
  return Exists(is_accepted_, upstream_id);
}

absl::StatusOr<bool> Records::IsBound(const std::string& upstream_id) {
  return Exists(is_bound_, upstream_id);
}

absl::StatusOr<std::optional<StoredOrphan>> Records::FindOrphan(const std::string& upstream_id) {
  Cursor cursor(find_orphan_);
  cursor.Bind(upstream_id);
  if (!cursor.Next()) {
    if (!cursor.status().ok()) return cursor.status();
    return std::optional<StoredOrphan>();
  }
  StoredOrphan stored;
  stored.orphan = ReadOrphan(cursor);
  stored.end_time = cursor.OptionalTime();
  stored.outputs = ReadJson(cursor, DecodeOutputs).value_or(std::vector<core::Output>());
  if (!cursor.status().ok()) return cursor.status();
  return stored;
}

absl::Status Records::InsertOrphan(const StoredOrphan& stored) {
  const core::Orphan& orphan = stored.orphan;
  Cursor cursor(insert_orphan_);
  cursor.Bind(orphan.tenant)
      .Bind(orphan.prediction_id)
      .Bind(ToInteger(orphan.attempt_number))
      .Bind(orphan.upstream_id)
      .Bind(orphan.found_time)
      .Bind(stored.end_time);
  BindText(cursor, EncodedUnlessEmpty(stored.outputs));
  return cursor.Run();
}

absl::Status Records::UpdateOrphan(const StoredOrphan& stored) {
  Cursor cursor(update_orphan_);
  cursor.Bind(stored.end_time);
  BindText(cursor, EncodedUnlessEmpty(stored.outputs))
      .Bind(stored.orphan.tenant)
      .Bind(stored.orphan.prediction_id)
      .Bind(stored.orphan.upstream_id);
  return cursor.Run();
}

absl::Status Records::OrphanAttempt(const core::Orphan& orphan,
                                    const AttemptResults& predecessors) {
  Cursor cursor(orphan_attempt_);
  cursor.Bind(ToInteger(core::AttemptResult::kOrphaned))
      .Bind(orphan.found_time)
      .Bind(orphan.upstream_id)
      .Bind(orphan.tenant)
      .Bind(orphan.prediction_id)
      .Bind(ToInteger(orphan.attempt_number))
      .Bind(predecessors.bits());
  return cursor.Run();
}

absl::StatusOr<std::vector<core::Orphan>> Records::ListOrphans() {
  std::vector<core::Orphan> orphans;
  Cursor cursor(list_orphans_);
  while (cursor.Next()) {
    core::Orphan orphan = ReadOrphan(cursor);
    if (!IsDamaged(cursor)) orphans.push_back(std::move(orphan));
  }
  if (!cursor.status().ok()) return cursor.status();
  return orphans;
}

// ------------------------------------------------------------------------------- ownership and pruning

absl::StatusOr<std::vector<PredictionKey>> Records::TakeOverUnfinished(const Ownership& owner) {
  {
    Cursor cursor(take_over_);
    cursor.Bind(owner.epoch).Bind(owner.lease_until);
    if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  }
  std::vector<PredictionKey> keys;
  Cursor cursor(find_unfinished_);
  while (cursor.Next()) {
    PredictionKey key;
    key.tenant = cursor.Text();
    key.prediction_id = cursor.Text();
    keys.push_back(std::move(key));
  }
  if (!cursor.status().ok()) return cursor.status();
  return keys;
}

absl::StatusOr<std::vector<PredictionKey>> Records::FindEndedBefore(absl::Time time, int limit) {
  std::vector<PredictionKey> keys;
  Cursor cursor(find_ended_);
  // Every state from the first terminal one on is terminal.
  cursor.Bind(time).Bind(ToInteger(core::State::kCompleted)).Bind(ToInteger(limit));
  while (cursor.Next()) {
    PredictionKey key;
    key.tenant = cursor.Text();
    key.prediction_id = cursor.Text();
    keys.push_back(std::move(key));
  }
  if (!cursor.status().ok()) return cursor.status();
  return keys;
}

absl::Status Records::Delete(const PredictionKey& key) {
  for (Statement* statement :
       {&delete_orphans_, &delete_attempts_, &delete_transitions_, &delete_prediction_}) {
    Cursor cursor(*statement);
    BindKey(cursor, key);
    if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// ----------------------------------------------------------------------------------- what was learned

absl::StatusOr<std::optional<std::string>> Records::FindLearned(const std::string& model) {
  Cursor cursor(find_learned_);
  cursor.Bind(model);
  std::optional<std::string> bytes;
  if (cursor.Next()) bytes = cursor.Text();
  if (!cursor.status().ok()) return cursor.status();
  return bytes;
}

absl::Status Records::PutLearned(const std::string& model, const std::string& bytes) {
  Cursor cursor(put_learned_);
  cursor.Bind(model).BindBlob(bytes);
  return cursor.Run();
}

}  // namespace dreamgate::ledger
