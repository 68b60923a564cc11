#include "server/ledger/records.h"

#include <iterator>

#include "server/ledger/columns.h"
#include "server/ledger/encoding.h"

namespace dreamgate::ledger {

Records::Records(Database& database) : database_(database), attempts_(database) {
  const std::pair<Statement*, std::string> statements[] = {
      {&begin_, "BEGIN"},
      {&commit_, "COMMIT"},
      {&rollback_, "ROLLBACK"},
      {&set_savepoint_, "SAVEPOINT operation"},
      {&rollback_to_savepoint_, "ROLLBACK TO operation"},
      {&release_savepoint_, "RELEASE operation"},

      {&owner_epoch_, "SELECT epoch FROM owner"},
      {&raise_owner_epoch_, "UPDATE owner SET epoch = epoch + 1"},

      {&insert_prediction_,
       "INSERT OR IGNORE INTO predictions (tenant, prediction_id, state, sequence, visible, "
       "rejected, "
       "request_id_taken, owner_epoch, end_time, request_id, create_time, model, "
       "aspect_ratio, asked_seed, seed, key_fingerprint, labels_json, prompt, canonical) "
       "VALUES (?, ?, ?, ?, ?, 0, 1, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&insert_transition_,
       "INSERT INTO transitions (tenant, prediction_id, sequence, state, time, source, "
       "upstream_id, "
       "upstream_status, outputs_json, failure_json, inference_time, upstream_create_time) "
       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},

      {&update_prediction_,
       "UPDATE predictions SET state = ?, sequence = ?, visible = ?, owner_epoch = ? "
       "WHERE tenant = ? AND prediction_id = ? AND sequence = ? AND owner_epoch IN (0, ?)"},
      {&end_prediction_,
       "UPDATE predictions SET state = ?, sequence = ?, visible = ?, owner_epoch = ?, "
       "end_time = ? "
       "WHERE tenant = ? AND prediction_id = ? AND sequence = ? AND owner_epoch IN (0, ?)"},
      {&mark_rejected_,
       "UPDATE predictions SET rejected = 1, request_id_taken = ?, owner_epoch = 0, "
       "end_time = ?, rejection_reason = ?, rejection_message = ?, "
       "rejection_metadata_json = ? WHERE tenant = ? AND prediction_id = ?"},

      {&find_by_request_id_,
       "SELECT prediction_id, canonical, rejection_reason, rejection_message, "
       "rejection_metadata_json FROM predictions "
       "WHERE tenant = ? AND request_id = ? AND request_id_taken = 1"},
      {&load_prediction_,
       "SELECT state, sequence, rejected, owner_epoch, request_id, create_time, model, "
       "aspect_ratio, asked_seed, "
       "seed, key_fingerprint, labels_json, prompt FROM predictions "
       "WHERE tenant = ? AND prediction_id = ?"},
      {&load_transitions_,
       "SELECT sequence, state, time, source, upstream_id, upstream_status, outputs_json, "
       "failure_json, inference_time, upstream_create_time "
       "FROM transitions WHERE tenant = ? AND prediction_id = ? ORDER BY sequence"},
      {&load_recovered_outputs_,
       "SELECT outputs_json FROM orphans WHERE tenant = ? AND prediction_id = ? "
       "AND outputs_json IS NOT NULL ORDER BY found_time, upstream_id"},
      {&list_,
       "SELECT prediction_id, labels_json FROM predictions "
       "WHERE tenant = ?1 AND prediction_id < ?2 AND visible = 1 AND rejected = 0 "
       "AND (?3 < 0 OR (?3 >> state) & 1) ORDER BY prediction_id DESC"},

      {&take_over_, "UPDATE predictions SET owner_epoch = ? WHERE end_time IS NULL"},
      {&find_unfinished_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time IS NULL "
       "ORDER BY tenant, prediction_id"},

      {&find_ended_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time < ? "
       "AND (state >= ? OR rejected = 1) ORDER BY end_time LIMIT ?"},
      {&delete_prediction_, "DELETE FROM predictions WHERE tenant = ? AND prediction_id = ?"},
      {&delete_transitions_, "DELETE FROM transitions WHERE tenant = ? AND prediction_id = ?"},
      {&delete_attempts_, "DELETE FROM attempts WHERE tenant = ? AND prediction_id = ?"},
      {&delete_orphans_, "DELETE FROM orphans WHERE tenant = ? AND prediction_id = ?"},

      {&find_learned_, "SELECT bytes FROM learned WHERE model = ?"},
      {&put_learned_, "INSERT OR REPLACE INTO learned (model, bytes) VALUES (?, ?)"},
  };
  for (const auto& [statement, sql] : statements) *statement = database.Prepare(sql);
}

absl::Status Records::Run(Statement& statement) { return Cursor(statement).Run(); }

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
                                               const std::string& canonical, int64_t owner_epoch) {
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
      .Bind(owner_epoch)
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

absl::StatusOr<bool> Records::UpdatePrediction(const core::Prediction& prediction,
                                               int64_t expected_sequence, int64_t epoch,
                                               int64_t next_epoch) {
  // SQLite rewrites every index that reads a column which is set, changed or not. So what goes on leaves
  // the end alone, and with it the index of the unfinished.
  Cursor cursor(prediction.end_time.has_value() ? end_prediction_ : update_prediction_);
  cursor.Bind(ToInteger(prediction.state))
      .Bind(prediction.sequence)
      .Bind(ToInteger(core::IsVisible(prediction)))
      .Bind(next_epoch);
  if (prediction.end_time.has_value()) cursor.Bind(*prediction.end_time);
  cursor.Bind(prediction.tenant).Bind(prediction.id).Bind(expected_sequence).Bind(epoch);
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

// ------------------------------------------------------------------------------- ownership and pruning

absl::StatusOr<std::vector<PredictionKey>> Records::TakeOverUnfinished(int64_t owner_epoch) {
  {
    Cursor cursor(take_over_);
    cursor.Bind(owner_epoch);
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
