#include "server/ledger/attempt_records.h"

#include "absl/strings/str_cat.h"
#include "server/ledger/columns.h"
#include "server/ledger/encoding.h"

namespace dreamgate::ledger {
namespace {

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

AttemptRecords::AttemptRecords(Database& database) : database_(database) {
  const std::pair<Statement*, std::string> statements[] = {
      {&insert_attempt_,
       "INSERT INTO attempts (tenant, prediction_id, number, token, start_time) "
       "VALUES (?, ?, ?, ?, ?)"},
      {&record_outcome_,
       "UPDATE attempts SET outcome = ?, outcome_time = ?, upstream_id = ?, http_status = ?, "
       "message = ? WHERE tenant = ? AND prediction_id = ? AND number = ? "
       "AND (? >> coalesce(outcome, 0)) & 1"},
      {&last_attempt_,
       "SELECT number, token, start_time FROM attempts "
       "WHERE tenant = ? AND prediction_id = ? ORDER BY number DESC LIMIT 1"},
      {&has_attempt_,
       "SELECT 1 FROM attempts WHERE tenant = ? AND prediction_id = ? AND number = ?"},
      {&find_attempt_, absl::StrCat(kSelectAttempt, "WHERE a.token = ? LIMIT 1")},
      // Word for word the condition of the index attempts_open.
      {&open_attempts_,
       absl::StrCat(kSelectAttempt,
                    "WHERE (a.outcome IS NULL OR a.outcome IN (4, 5)) AND a.start_time >= ? "
                    "AND p.rejected = 0 "
                    "ORDER BY a.start_time, a.tenant, a.prediction_id, a.number")},
      {&accepted_tasks_,
       "SELECT a.prediction_id, a.upstream_id, a.start_time, a.outcome_time, p.key_fingerprint "
       "FROM attempts AS a JOIN predictions AS p USING (tenant, prediction_id) "
       "WHERE a.outcome = 1 AND a.start_time >= ? ORDER BY a.start_time"},
      {&is_accepted_,
       "SELECT EXISTS (SELECT 1 FROM attempts WHERE upstream_id = ?1 AND outcome = 1)"},
      {&is_bound_,
       "SELECT EXISTS (SELECT 1 FROM attempts WHERE upstream_id = ?1) "
       "OR EXISTS (SELECT 1 FROM orphans WHERE upstream_id = ?1)"},

      {&find_orphan_,
       "SELECT tenant, prediction_id, attempt_number, upstream_id, found_time, end_time, "
       "outputs_json FROM orphans WHERE upstream_id = ?"},
      {&insert_orphan_,
       "INSERT INTO orphans (tenant, prediction_id, attempt_number, upstream_id, found_time, "
       "end_time, outputs_json) VALUES (?, ?, ?, ?, ?, ?, ?)"},
      {&update_orphan_,
       "UPDATE orphans SET end_time = ?, outputs_json = ? "
       "WHERE tenant = ? AND prediction_id = ? AND upstream_id = ?"},
      // The answer to its POST stays as evidence.
      {&orphan_attempt_,
       "UPDATE attempts SET outcome = ?, outcome_time = ?, upstream_id = ? "
       "WHERE tenant = ? AND prediction_id = ? AND number = ? "
       "AND (? >> coalesce(outcome, 0)) & 1"},
      {&list_orphans_,
       "SELECT tenant, prediction_id, attempt_number, upstream_id, found_time FROM orphans "
       "WHERE end_time IS NULL ORDER BY found_time, upstream_id"},
  };
  for (const auto& [statement, sql] : statements) *statement = database.Prepare(sql);
}

// ------------------------------------------------------------------------------------------ attempts

absl::Status AttemptRecords::InsertAttempt(const PredictionKey& key, const core::Attempt& attempt) {
  Cursor cursor(insert_attempt_);
  BindKey(cursor, key).Bind(ToInteger(attempt.number)).Bind(attempt.token).Bind(attempt.start_time);
  return cursor.Run();
}

absl::StatusOr<bool> AttemptRecords::RecordOutcome(const PredictionKey& key,
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

absl::StatusOr<std::optional<core::Attempt>> AttemptRecords::LastAttempt(const PredictionKey& key) {
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

absl::StatusOr<bool> AttemptRecords::HasAttempt(const PredictionKey& key, int number) {
  Cursor cursor(has_attempt_);
  BindKey(cursor, key).Bind(ToInteger(number));
  const bool found = cursor.Next();
  if (!cursor.status().ok()) return cursor.status();
  return found;
}

absl::StatusOr<std::optional<core::StoredAttempt>> AttemptRecords::FindAttempt(
    const std::string& token) {
  Cursor cursor(find_attempt_);
  cursor.Bind(token);
  std::optional<core::StoredAttempt> found;
  if (cursor.Next()) found = ReadAttempt(cursor);
  if (!cursor.status().ok()) return cursor.status();
  return found;
}

absl::StatusOr<std::vector<core::StoredAttempt>> AttemptRecords::OpenAttempts(
    absl::Time started_after) {
  std::vector<core::StoredAttempt> attempts;
  Cursor cursor(open_attempts_);
  cursor.Bind(started_after);
  while (cursor.Next()) {
    core::StoredAttempt attempt = ReadAttempt(cursor);
    if (!cursor.SkipIfDamaged()) attempts.push_back(std::move(attempt));
  }
  if (!cursor.status().ok()) return cursor.status();
  return attempts;
}

absl::StatusOr<std::vector<core::AttemptReview::Accepted>> AttemptRecords::AcceptedTasks(
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
    if (!cursor.SkipIfDamaged()) tasks.push_back(std::move(task));
  }
  if (!cursor.status().ok()) return cursor.status();
  return tasks;
}

absl::StatusOr<bool> AttemptRecords::Exists(Statement& statement, const std::string& upstream_id) {
  Cursor cursor(statement);
  cursor.Bind(upstream_id);
  const bool exists = cursor.Next() && cursor.Integer() != 0;
  if (!cursor.status().ok()) return cursor.status();
  return exists;
}

absl::StatusOr<bool> AttemptRecords::IsAccepted(const std::string& upstream_id) {
  return Exists(is_accepted_, upstream_id);
}

absl::StatusOr<bool> AttemptRecords::IsBound(const std::string& upstream_id) {
  return Exists(is_bound_, upstream_id);
}

// ------------------------------------------------------------------------------------------- orphans

absl::StatusOr<std::optional<StoredOrphan>> AttemptRecords::FindOrphan(
    const std::string& upstream_id) {
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

absl::Status AttemptRecords::InsertOrphan(const StoredOrphan& stored) {
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

absl::Status AttemptRecords::UpdateOrphan(const StoredOrphan& stored) {
  Cursor cursor(update_orphan_);
  cursor.Bind(stored.end_time);
  BindText(cursor, EncodedUnlessEmpty(stored.outputs))
      .Bind(stored.orphan.tenant)
      .Bind(stored.orphan.prediction_id)
      .Bind(stored.orphan.upstream_id);
  return cursor.Run();
}

absl::Status AttemptRecords::OrphanAttempt(const core::Orphan& orphan,
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

absl::StatusOr<std::vector<core::Orphan>> AttemptRecords::ListOrphans() {
  std::vector<core::Orphan> orphans;
  Cursor cursor(list_orphans_);
  while (cursor.Next()) {
    core::Orphan orphan = ReadOrphan(cursor);
    if (!cursor.SkipIfDamaged()) orphans.push_back(std::move(orphan));
  }
  if (!cursor.status().ok()) return cursor.status();
  return orphans;
}

}  // namespace dreamgate::ledger
