// A ledger whose rows hold what no ledger wrote, read back through the store: every answer is either
// what the rows say or an error that says they are damaged; never a value that is none, never a crash,
// and never harm to the other predictions. Input: up to eight lines, each a column, a row, a kind of
// value (n null, i integer, r real, b blob, h huge text, d delete the row, all else text), and a value.
#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/ledger/store.h"
#include "tests/fakes/memory_vfs.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

using ledger::Store;

constexpr char kPath[] = "ledger.db";
constexpr size_t kMostMutations = 8;

struct Column {
  const char* table;
  const char* name;
};
// All but the tenant and the prediction's id, which say whose row it is.
constexpr Column kColumns[] = {
    {"predictions", "state"},
    {"predictions", "sequence"},
    {"predictions", "visible"},
    {"predictions", "rejected"},
    {"predictions", "request_id_taken"},
    {"predictions", "owner_epoch"},
    {"predictions", "lease_until"},
    {"predictions", "end_time"},
    {"predictions", "request_id"},
    {"predictions", "create_time"},
    {"predictions", "model"},
    {"predictions", "aspect_ratio"},
    {"predictions", "asked_seed"},
    {"predictions", "seed"},
    {"predictions", "key_fingerprint"},
    {"predictions", "rejection_reason"},
    {"predictions", "rejection_message"},
    {"predictions", "rejection_metadata_json"},
    {"predictions", "labels_json"},
    {"predictions", "prompt"},
    {"predictions", "canonical"},
    {"transitions", "sequence"},
    {"transitions", "state"},
    {"transitions", "time"},
    {"transitions", "source"},
    {"transitions", "upstream_id"},
    {"transitions", "upstream_status"},
    {"transitions", "outputs_json"},
    {"transitions", "failure_json"},
    {"transitions", "inference_time"},
    {"transitions", "upstream_create_time"},
    {"attempts", "number"},
    {"attempts", "token"},
    {"attempts", "start_time"},
    {"attempts", "outcome"},
    {"attempts", "outcome_time"},
    {"attempts", "upstream_id"},
    {"orphans", "upstream_id"},
    {"orphans", "attempt_number"},
    {"orphans", "found_time"},
    {"orphans", "end_time"},
    {"orphans", "outputs_json"},
    {"owner", "epoch"},
};
constexpr const char* kTables[] = {"predictions", "transitions", "attempts", "orphans", "owner"};

// Plain SQL on the ledger's file while no store has it open.
class Sql {
 public:
  explicit Sql(const std::string& vfs) {
    Check(sqlite3_open_v2(kPath, &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                          vfs.c_str()) == SQLITE_OK,
          "the ledger's file opens");
    Run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF");
  }
  ~Sql() { sqlite3_close(database_); }
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;

  void Run(const std::string& sql) {
    Check(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK,
          "plain SQL works", sqlite3_errmsg(database_));
  }

  // Every row's columns as text with their types.
  std::vector<std::vector<std::string>> Rows(const std::string& sql) {
    sqlite3_stmt* statement = Prepare(sql);
    std::vector<std::vector<std::string>> rows;
    while (sqlite3_step(statement) == SQLITE_ROW) {
      std::vector<std::string>& row = rows.emplace_back();
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        const int type = sqlite3_column_type(statement, i);
        const unsigned char* text = sqlite3_column_text(statement, i);
        row.push_back(
            type == SQLITE_NULL ? "null"
            : type == SQLITE_INTEGER
                ? reinterpret_cast<const char*>(text)
                : absl::StrCat("no integer: ",
                               text == nullptr ? "" : reinterpret_cast<const char*>(text)));
      }
    }
    sqlite3_finalize(statement);
    return rows;
  }

  // A change that breaks a constraint changes nothing.
  void Mutate(absl::string_view line) {
    if (line.size() < 3) return;
    const Column& column = kColumns[static_cast<unsigned char>(line[0]) % std::size(kColumns)];
    const int row = static_cast<unsigned char>(line[1]);
    const char kind = line[2];
    const std::string value(line.substr(3));
    const std::string where = absl::StrCat(" WHERE ", absl::string_view(column.table) == "owner"
                                                          ? "one = 1"
                                                          : KeyOf(column.table, row));
    if (kind == 'd') {
      Run(absl::StrCat("DELETE FROM ", column.table, where));
      return;
    }
    sqlite3_stmt* statement = Prepare(
        absl::StrCat("UPDATE OR IGNORE ", column.table, " SET ", column.name, " = ?", where));
    BindValue(statement, kind, value);
    sqlite3_step(statement);
    sqlite3_finalize(statement);
  }

 private:
  sqlite3_stmt* Prepare(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    Check(sqlite3_prepare_v2(database_, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK,
          "plain SQL is read", sqlite3_errmsg(database_));
    return statement;
  }

  // Names one row of a table without row ids.
  static std::string KeyOf(absl::string_view table, int row) {
    const char* rest = table == "transitions" ? ", sequence"
                       : table == "attempts"  ? ", number"
                       : table == "orphans"   ? ", upstream_id"
                                              : "";
    return absl::StrCat("(tenant, prediction_id", rest, ") IN (SELECT tenant, prediction_id", rest,
                        " FROM ", table, " LIMIT 1 OFFSET ", row, " % (SELECT count(*) FROM ",
                        table, "))");
  }

  static void BindValue(sqlite3_stmt* statement, char kind, const std::string& value) {
    switch (kind) {
      case 'n': sqlite3_bind_null(statement, 1); break;
      case 'i': {
        int64_t number = 0;
        if (!absl::SimpleAtoi(value, &number)) number = static_cast<int64_t>(value.size());
        sqlite3_bind_int64(statement, 1, number);
        break;
      }
      case 'r': {
        double number = 0.5;
        if (!absl::SimpleAtod(value, &number)) number = 0.5;
        sqlite3_bind_double(statement, 1, number);
        break;
      }
      case 'b':
        sqlite3_bind_blob64(statement, 1, value.data(), value.size(), SQLITE_TRANSIENT);
        break;
      case 'h': {
        std::string huge;
        while (!value.empty() && huge.size() < 200'000) huge += value;
        sqlite3_bind_text64(statement, 1, huge.data(), huge.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
        break;
      }
      default:
        sqlite3_bind_text64(statement, 1, value.data(), value.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8);
    }
  }

  sqlite3* database_ = nullptr;
};

using Key = std::pair<std::string, std::string>;  // tenant, prediction id

// ----------------------------------------------------------------------------------- what must hold

void CheckError(const absl::Status& status) {
  const std::optional<core::Reason> reason = core::ReasonOf(status);
  Check(absl::IsNotFound(status) || reason == core::Reason::kLedgerUnavailable ||
            reason == core::Reason::kInternal,
        "an error is one of the port's", status.ToString());
  Check(status.message().size() < 1000, "an error shows no stored value", status.message());
}

void CheckOutputs(const std::vector<core::Output>& outputs) {
  for (const core::Output& output : outputs) Check(output.url.size() < 300'000, "a URL is stored");
}

void CheckPrediction(const core::Prediction& prediction) {
  Check(core::StateName(prediction.state) != "UNKNOWN", "a state is one");
  const int ratio = static_cast<int>(prediction.input.aspect_ratio);
  Check(ratio >= 1 && ratio <= 7, "an aspect ratio is one");
  for (const core::HistoryEntry& entry : prediction.history) {
    Check(core::StateName(entry.state) != "UNKNOWN", "a state of the past is one");
    const int source = static_cast<int>(entry.source);
    Check(source >= 1 && source <= 5, "a source is one");
  }
  if (prediction.failure.has_value()) {
    const int code = static_cast<int>(prediction.failure->code);
    Check(code >= 1 && code <= 11, "a failure code is one");
  }
  CheckOutputs(prediction.outputs);
  CheckOutputs(prediction.recovered_outputs);
}

void CheckAttempt(const core::StoredAttempt& stored) {
  Check(core::StateName(stored.state) != "UNKNOWN", "an attempt's prediction has a state");
  const int result = stored.result.has_value() ? static_cast<int>(*stored.result) : 1;
  Check(result >= 1 && result <= 6, "an attempt's result is one");
  Check(!stored.input.aspect_ratio.empty(), "an attempt's aspect ratio is one");
}

// One transaction, which is what takes the time.
template <typename Request>
std::vector<core::AnswerTo<Request>> AskAll(Store& store, const std::vector<Request>& requests) {
  ledger::Batch batch;
  for (const Request& request : requests) batch.push_back(core::MakeLedgerCall(request));
  store.Apply(batch);
  std::vector<core::AnswerTo<Request>> answers;
  for (const auto& call : batch) {
    answers.push_back(core::CallAs<Request>(*call)->answer);
    if (!answers.back().ok()) CheckError(answers.back().status());
  }
  return answers;
}

template <typename Request>
core::AnswerTo<Request> Ask(Store& store, Request request) {
  return std::move(AskAll<Request>(store, {std::move(request)})[0]);
}

// The same request once more, under a new id.
core::Reservation Again(const Key& key) {
  core::Reservation again;
  again.prediction.tenant = key.first;
  again.prediction.id = "z" + key.second;
  again.prediction.request_id = absl::StrCat("request-", std::atoi(key.second.c_str() + 1));
  again.prediction.create_time = absl::FromUnixSeconds(1);
  again.first_transition.sequence = 1;
  again.first_transition.state = core::State::kSubmitting;
  again.first_transition.time = absl::FromUnixSeconds(1);
  again.attempt.token = "z" + key.second;
  return again;
}

core::Proposal GivenUp(const Key& key) {
  core::Proposal proposal;
  proposal.tenant = key.first;
  proposal.prediction_id = key.second;
  proposal.expected_sequence = 1;
  proposal.transition.sequence = 2;
  proposal.transition.state = core::State::kFailed;
  proposal.transition.time = absl::FromUnixSeconds(2);
  proposal.attempt_outcome = core::AttemptOutcome();
  return proposal;
}

// -------------------------------------------------------------------------------------- the ledger

class Ledger {
 public:
  Ledger() {
    std::ifstream file(LEDGER_DATA "/schema_1.sql");
    std::string sql((std::istreambuf_iterator<char>(file)), {});
    Check(!sql.empty(), "the stored ledger is there", LEDGER_DATA);
    Sql(vfs_.name()).Run(sql);
    {
      const std::unique_ptr<Store> store = Open();
      Check(store != nullptr, "the stored ledger opens");
      for (const char* number : {"03", "07", "12"}) {
        core::OrphanRecord record;
        record.orphan = {"tenant", absl::StrCat("p0000", number), 1, absl::StrCat("late-", number),
                         absl::FromUnixSeconds(1)};
        record.outputs = {{"https://cdn.example/late.mp4", true}};
        Check(Ask(*store, record).ok(), "an orphan is kept");
      }
    }
    Sql raw(vfs_.name());
    // A stored value may be anything, also NULL.
    raw.Run(
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table';"
        "PRAGMA writable_schema = OFF");
    for (const char* table : kTables) {
      raw.Run(absl::StrCat("CREATE TABLE saved_", table, " AS SELECT * FROM ", table));
    }
    for (const auto& row : raw.Rows("SELECT tenant, prediction_id FROM predictions")) {
      keys_.emplace_back(absl::StripPrefix(row[0], "no integer: "),
                         absl::StripPrefix(row[1], "no integer: "));
    }
    for (const auto& row : raw.Rows("SELECT token FROM attempts")) {
      tokens_.emplace_back(absl::StripPrefix(row[0], "no integer: "));
    }
  }

  std::unique_ptr<Store> Open() {
    ledger::StoreOptions options;
    options.path = kPath;
    options.vfs = vfs_.name();
    auto store = Store::Open(options);
    if (store.ok()) return *std::move(store);
    Check(absl::IsDataLoss(store.status()) || absl::IsUnavailable(store.status()),
          "what cannot be opened is damaged", store.status().ToString());
    return nullptr;
  }

  // As it was, and then changed.
  void Damage(absl::string_view input) {
    Sql raw(vfs_.name());
    std::string restore = "BEGIN;";
    for (const char* table : kTables) {
      absl::StrAppend(&restore, "DELETE FROM ", table, "; INSERT INTO ", table,
                      " SELECT * FROM saved_", table, ";");
    }
    raw.Run(restore);
    for (size_t i = 0; i < kMostMutations && !input.empty(); ++i) raw.Mutate(TakeLine(input));
    raw.Run("COMMIT");
    // The numbers that must come back, and nothing else.
    numbers_.clear();
    damaged_.clear();
    for (const auto& row : raw.Rows("SELECT tenant, prediction_id, state, sequence, aspect_ratio, "
                                    "asked_seed, seed FROM predictions")) {
      numbers_[{std::string(absl::StripPrefix(row[0], "no integer: ")),
                std::string(absl::StripPrefix(row[1], "no integer: "))}] = {row.begin() + 2,
                                                                            row.end()};
    }
    for (const char* table : {"predictions", "transitions", "orphans"}) {
      // Rows that differ from what they were, either way round.
      for (const char* order : {"", "saved_"}) {
        for (const auto& row : raw.Rows(absl::StrCat(
                 "SELECT DISTINCT tenant, prediction_id FROM (SELECT * FROM ", order, table,
                 " EXCEPT SELECT * FROM ", *order == '\0' ? "saved_" : "", table, ")"))) {
          damaged_.emplace(absl::StripPrefix(row[0], "no integer: "),
                           absl::StripPrefix(row[1], "no integer: "));
        }
      }
    }
  }

  void CheckReads(Store& store) {
    for (const Key& key : keys_) {
      const auto stored = Ask(store, core::LoadRequest{key.first, key.second});
      Check(stored.ok() || damaged_.count(key) > 0, "what is not damaged is there", key.second);
      if (!stored.ok()) continue;
      const core::Prediction prediction = core::Fold(*stored);
      CheckPrediction(prediction);
      const std::vector<std::string>& numbers = numbers_.at(key);
      const std::optional<int32_t> asked = prediction.input.seed;
      const std::vector<std::string> read = {
          absl::StrCat(static_cast<int>(prediction.state)), absl::StrCat(prediction.sequence),
          absl::StrCat(static_cast<int>(prediction.input.aspect_ratio)),
          asked.has_value() ? absl::StrCat(*asked) : "null", absl::StrCat(prediction.seed)};
      Check(read == numbers, "what is read is what is stored", key.second);
    }
    for (const char* tenant : {"tenant", "other"}) {
      core::ListQuery query;
      query.tenant = tenant;
      query.page_size = 1000;
      const auto page = Ask(store, query);
      if (!page.ok()) continue;
      for (const auto& prediction : page->predictions) CheckPrediction(*prediction);
    }
    core::AttemptReviewQuery query;
    query.started_after = absl::InfinitePast();
    query.upstream_ids = {"upstream-4", "late-03", "nobody's"};
    if (const auto review = Ask(store, query); review.ok()) {
      for (const core::StoredAttempt& open : review->open) {
        CheckAttempt(open);
        Check(!open.result.has_value() || *open.result == core::AttemptResult::kUnknown ||
                  *open.result == core::AttemptResult::kAbsent,
              "an open attempt is open");
      }
    }
    for (const std::string& token : tokens_) {
      const auto attempt = Ask(store, core::AttemptQuery{.token = token});
      if (!attempt.ok()) continue;
      CheckAttempt(*attempt);
      Check(attempt->attempt.token == token, "a token finds its attempt");
    }
    Ask(store, core::OpenOrphansQuery()).IgnoreError();
  }

  void CheckWrites(Store& store) {
    std::vector<core::Reservation> reservations;
    for (const Key& key : keys_) reservations.push_back(Again(key));
    AskAll(store, reservations);
    if (const auto unfinished = Ask(store, core::TakeOverRequest()); unfinished.ok()) {
      for (const core::Unfinished& entry : *unfinished) CheckPrediction(*entry.prediction);
    }
    std::vector<core::Proposal> proposals;
    for (const Key& key : keys_) proposals.push_back(GivenUp(key));
    for (const auto& result : AskAll(store, proposals)) {
      if (!result.ok()) continue;
      if (const auto* committed = std::get_if<core::Committed>(&*result)) {
        CheckPrediction(*committed->prediction);
      } else if (const auto& current = std::get<core::ProposalConflict>(*result).current) {
        CheckPrediction(*current);
      }
    }
    core::OrphanRecord record;
    record.orphan = {"tenant", "p000003", 1, "late-03", absl::FromUnixSeconds(3)};
    record.ended = true;
    if (const auto orphan = Ask(store, record); orphan.ok()) {
      CheckPrediction(*orphan->prediction);
    }
    Ask(store, core::PruneRequest{absl::InfiniteFuture(), 100}).IgnoreError();
  }

 private:
  fakes::MemoryVfs vfs_;
  std::vector<Key> keys_;
  std::vector<std::string> tokens_;
  std::map<Key, std::vector<std::string>> numbers_;
  std::set<Key> damaged_;
};

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate::fuzz;
  static Ledger& ledger = *new Ledger();
  ledger.Damage(absl::string_view(reinterpret_cast<const char*>(data), size));
  const std::unique_ptr<Store> store = ledger.Open();
  if (store == nullptr) return 0;
  ledger.CheckReads(*store);
  ledger.CheckWrites(*store);
  return 0;
}
