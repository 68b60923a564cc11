#include "server/ledger/records.h"

#include <map>

#include "server/ledger/encoding.h"

namespace dreamgate::ledger {
namespace {

template <typename Enum>
Enum ToEnum(int64_t number) {
  return static_cast<Enum>(number);
}

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
  return cursor.Bind(key.tenant).Bind(key.prediction_id);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Records>> Records::Prepare(Database& database) {
  std::unique_ptr<Records> records(new Records(database));
  const std::pair<Statement*, const char*> statements[] = {
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
       "upstream_status, outputs_json, recovered_outputs_json, failure_json, inference_time, "
       "upstream_create_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&records->insert_attempt_,
       "INSERT INTO attempts (tenant, prediction_id, number, token, start_time) "
       "VALUES (?, ?, ?, ?, ?)"},

      {&records->update_prediction_,
       "UPDATE predictions SET state = ?, sequence = ?, visible = ?, owner_epoch = ?, "
       "lease_until = ?, end_time = coalesce(end_time, ?) "
       "WHERE tenant = ? AND prediction_id = ? AND sequence = ? AND owner_epoch IN (0, ?)"},
      {&records->record_outcome_,
       "UPDATE attempts SET outcome = ?, outcome_time = ?, upstream_id = ?, http_status = ?, "
       "message = ? WHERE tenant = ? AND prediction_id = ? AND number = ?"},
      {&records->mark_rejected_,
       "UPDATE predictions SET rejected = 1, request_id_taken = ?, owner_epoch = 0, "
       "lease_until = NULL, end_time = ?, rejection_reason = ?, rejection_message = ?, "
       "rejection_metadata_json = ? WHERE tenant = ? AND prediction_id = ?"},

      {&records->find_by_request_id_,
       "SELECT prediction_id, canonical, rejection_reason, rejection_message, "
       "rejection_metadata_json FROM predictions "
       "WHERE tenant = ? AND request_id = ? AND request_id_taken = 1"},
      {&records->load_prediction_,
       "SELECT rejected, owner_epoch, request_id, create_time, model, aspect_ratio, asked_seed, "
       "seed, key_fingerprint, labels_json, prompt FROM predictions "
       "WHERE tenant = ? AND prediction_id = ?"},
      {&records->load_transitions_,
       "SELECT sequence, state, time, source, upstream_id, upstream_status, outputs_json, "
       "recovered_outputs_json, failure_json, inference_time, upstream_create_time "
       "FROM transitions WHERE tenant = ? AND prediction_id = ? ORDER BY sequence"},
      {&records->last_attempt_,
       "SELECT number, token, start_time FROM attempts "
       "WHERE tenant = ? AND prediction_id = ? ORDER BY number DESC LIMIT 1"},
      {&records->list_,
       "SELECT prediction_id, labels_json FROM predictions "
       "WHERE tenant = ? AND prediction_id < ? AND visible = 1 AND rejected = 0 "
       "AND (? >> state) & 1 ORDER BY prediction_id DESC"},

      {&records->take_over_,
       "UPDATE predictions SET owner_epoch = ?, lease_until = ? WHERE end_time IS NULL"},
      {&records->find_unfinished_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time IS NULL "
       "ORDER BY tenant, prediction_id"},

      {&records->find_ended_,
       "SELECT tenant, prediction_id FROM predictions WHERE end_time < ? "
       "ORDER BY end_time LIMIT ?"},
      {&records->delete_prediction_,
       "DELETE FROM predictions WHERE tenant = ? AND prediction_id = ?"},
      {&records->delete_transitions_,
       "DELETE FROM transitions WHERE tenant = ? AND prediction_id = ?"},
      {&records->delete_attempts_, "DELETE FROM attempts WHERE tenant = ? AND prediction_id = ?"},
  };
  for (const auto& [statement, sql] : statements) {
    absl::StatusOr<Statement> prepared = database.Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = *std::move(prepared);
  }
  return records;
}

absl::Status Records::Run(Statement& statement) { return Cursor(statement).Run(); }

absl::StatusOr<int64_t> Records::OwnerEpoch() {
  Cursor cursor(owner_epoch_);
  if (cursor.Next()) return cursor.Integer();
  return cursor.status().ok() ? absl::DataLossError("the owner's row is gone") : cursor.status();
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
  BindText(cursor, Encoded(transition.recovered_outputs, EncodeOutputs));
  BindText(cursor, Encoded(transition.failure, EncodeFailure));
  cursor.Bind(transition.inference_time).Bind(transition.upstream_create_time);
  return cursor.Run();
}

absl::Status Records::InsertAttempt(const PredictionKey& key, const core::Attempt& attempt) {
  Cursor cursor(insert_attempt_);
  BindKey(cursor, key).Bind(ToInteger(attempt.number)).Bind(attempt.token).Bind(attempt.start_time);
  return cursor.Run();
}

absl::StatusOr<bool> Records::UpdatePrediction(const core::Prediction& prediction, bool rejected,
                                               int64_t expected_sequence, int64_t epoch,
                                               const Ownership& owner) {
  Cursor cursor(update_prediction_);
  cursor.Bind(ToInteger(prediction.state))
      .Bind(prediction.sequence)
      .Bind(ToInteger(!rejected && core::IsVisible(prediction)))
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
                                            const core::AttemptOutcome& outcome) {
  Cursor cursor(record_outcome_);
  cursor.Bind(ToInteger(outcome.result)).Bind(outcome.time);
  if (outcome.upstream_id.empty()) {
    cursor.BindNull();
  } else {
    cursor.Bind(outcome.upstream_id);
  }
  cursor.Bind(ToInteger(outcome.http_status)).Bind(outcome.message);
  BindKey(cursor, key).Bind(ToInteger(outcome.number));
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
  holder.canonical = cursor.Text();
  if (const std::optional<int64_t> reason = cursor.OptionalInteger(); reason.has_value()) {
    holder.rejection.emplace();
    holder.rejection->reason = ToEnum<core::Reason>(*reason);
    holder.rejection->message = cursor.Text();
    absl::StatusOr<StringMap> metadata = DecodeStringMap(cursor.Text());
    if (!metadata.ok()) return metadata.status();
    holder.rejection->metadata = *std::move(metadata);
  }
  return holder;
}

absl::StatusOr<std::optional<LoadedPrediction>> Records::Load(const PredictionKey& key) {
  LoadedPrediction loaded;
  {
    Cursor cursor(load_prediction_);
    BindKey(cursor, key);
    if (!cursor.Next()) {
      if (!cursor.status().ok()) return cursor.status();
      return std::optional<LoadedPrediction>();
    }
    loaded.rejected = cursor.Integer() != 0;
    loaded.owner_epoch = cursor.Integer();
    core::Prediction& initial = loaded.stored.initial;
    initial.tenant = key.tenant;
    initial.id = key.prediction_id;
    initial.request_id = cursor.Text();
    initial.create_time = cursor.Time();
    initial.model = cursor.Text();
    initial.input.aspect_ratio = ToEnum<core::AspectRatio>(cursor.Integer());
    if (const std::optional<int64_t> seed = cursor.OptionalInteger(); seed.has_value()) {
      initial.input.seed = static_cast<int32_t>(*seed);
    }
    initial.seed = static_cast<int32_t>(cursor.Integer());
    initial.key_fingerprint = cursor.Text();
    if (const std::optional<std::string> labels = cursor.OptionalText(); labels.has_value()) {
      absl::StatusOr<StringMap> decoded = DecodeStringMap(*labels);
      if (!decoded.ok()) return decoded.status();
      initial.input.labels = *std::move(decoded);
    }
    initial.input.prompt = cursor.Text();
  }
  absl::StatusOr<std::vector<core::Transition>> transitions = LoadTransitions(key);
  if (!transitions.ok()) return transitions.status();
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
    transition.state = ToEnum<core::State>(cursor.Integer());
    transition.time = cursor.Time();
    transition.source = ToEnum<core::TransitionSource>(cursor.Integer());
    transition.upstream_id = cursor.OptionalText();
    transition.upstream_status = cursor.OptionalText();
    for (std::optional<std::vector<core::Output>>* outputs :
         {&transition.outputs, &transition.recovered_outputs}) {
      const std::optional<std::string> json = cursor.OptionalText();
      if (!json.has_value()) continue;
      absl::StatusOr<std::vector<core::Output>> decoded = DecodeOutputs(*json);
      if (!decoded.ok()) return decoded.status();
      *outputs = *std::move(decoded);
    }
    if (const std::optional<std::string> json = cursor.OptionalText(); json.has_value()) {
      absl::StatusOr<core::Failure> decoded = DecodeFailure(*json);
      if (!decoded.ok()) return decoded.status();
      transition.failure = *std::move(decoded);
    }
    transition.inference_time = cursor.OptionalDuration();
    transition.upstream_create_time = cursor.OptionalTime();
    if (transition.sequence != static_cast<int64_t>(transitions.size()) + 1) {
      return absl::DataLossError("a stored transition is missing");
    }
    transitions.push_back(std::move(transition));
  }
  if (!cursor.status().ok()) return cursor.status();
  return transitions;
}

absl::StatusOr<std::optional<core::Attempt>> Records::LastAttempt(const PredictionKey& key) {
  Cursor cursor(last_attempt_);
  BindKey(cursor, key);
  if (!cursor.Next()) {
    if (!cursor.status().ok()) return cursor.status();
    return std::optional<core::Attempt>();
  }
  core::Attempt attempt;
  attempt.number = static_cast<int>(cursor.Integer());
  attempt.token = cursor.Text();
  attempt.start_time = cursor.Time();
  return attempt;
}

absl::StatusOr<std::vector<std::string>> Records::ListIds(const core::ListQuery& query, int limit) {
  int64_t states = 0;
  for (const core::State state : query.states) states |= int64_t{1} << ToInteger(state);
  if (query.states.empty()) states = -1;

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
    // Labels are compared here, row by row: they are rare in lists, and an index on them would cost
    // every reservation.
    if (!query.labels.empty()) {
      const std::optional<std::string> json = cursor.OptionalText();
      if (!json.has_value()) continue;
      const absl::StatusOr<StringMap> labels = DecodeStringMap(*json);
      if (!labels.ok()) return labels.status();
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
  cursor.Bind(time).Bind(ToInteger(limit));
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
  for (Statement* statement : {&delete_attempts_, &delete_transitions_, &delete_prediction_}) {
    Cursor cursor(*statement);
    BindKey(cursor, key);
    if (const absl::Status status = cursor.Run(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace dreamgate::ledger
