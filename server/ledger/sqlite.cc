#include "server/ledger/sqlite.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::ledger {
namespace {

constexpr size_t kLongestShownId = 64;

}  // namespace

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

// ------------------------------------------------------------------------------------------ Database

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode,
                                                         const std::string& vfs) {
  // Nobody reads SQLite's account of its memory, which costs every allocation a lock. Refused, and
  // harmless, once SQLite is in use.
  [[maybe_unused]] static const int no_account = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (mode == Mode::kCreate) flags |= SQLITE_OPEN_CREATE;
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (code != SQLITE_OK) {
    const std::string message = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
    sqlite3_close(handle);
    return absl::UnavailableError(message);
  }
  return std::unique_ptr<Database>(new Database(handle));
}

Database::~Database() {
  if (failed_) SkipCheckpointOnClose();  // it would copy back what may not be durable
  sqlite3_close(handle_);
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Failure(code);
}

absl::StatusOr<int64_t> Database::QueryInteger(const std::string& sql) {
  Statement statement = Prepare(sql);
  Cursor cursor(statement);
  if (cursor.Next()) return cursor.Integer();
  return cursor.status().ok() ? absl::NotFoundError("no row") : cursor.status();
}

absl::StatusOr<std::string> Database::QueryText(const std::string& sql) {
  Statement statement = Prepare(sql);
  Cursor cursor(statement);
  if (cursor.Next()) return cursor.Text();
  return cursor.status().ok() ? absl::NotFoundError("no row") : cursor.status();
}

int64_t Database::changes() const { return sqlite3_changes64(handle_); }

int64_t Database::total_changes() const { return sqlite3_total_changes64(handle_); }

bool Database::read_only() const { return sqlite3_db_readonly(handle_, "main") == 1; }

bool Database::busy() const {
  return (failure_code_ & 0xff) == SQLITE_BUSY || (failure_code_ & 0xff) == SQLITE_LOCKED;
}

bool Database::not_a_database() const { return (failure_code_ & 0xff) == SQLITE_NOTADB; }

bool Database::corrupt() const { return (failure_code_ & 0xff) == SQLITE_CORRUPT; }

void Database::NoteDamage(const absl::Status& status) {
  if (absl::IsDataLoss(status)) damage_.emplace_back(status.message());
}

absl::Status Database::RewriteLog() {
  sqlite3_file* log = nullptr;
  int code = sqlite3_file_control(handle_, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (code != SQLITE_OK) return Failure(code);
  if (log == nullptr || log->pMethods == nullptr) return absl::OkStatus();  // there is none yet
  sqlite3_int64 size = 0;
  code = log->pMethods->xFileSize(log, &size);
  std::vector<char> bytes(size_t{1}
                          << 16);  // a VFS need not take more at once than a page can have
  for (sqlite3_int64 offset = 0; code == SQLITE_OK && offset < size;) {
    const auto part = std::min(size - offset, static_cast<sqlite3_int64>(bytes.size()));
    code = log->pMethods->xRead(log, bytes.data(), static_cast<int>(part), offset);
    if (code != SQLITE_OK) break;
    code = log->pMethods->xWrite(log, bytes.data(), static_cast<int>(part), offset);
    offset += part;
  }
  if (code == SQLITE_OK && size > 0) code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
  return code == SQLITE_OK ? absl::OkStatus() : Failure(code);
}

bool Database::failed_before_commit() const {
  return (failure_code_ & 0xff) == SQLITE_FULL || failure_code_ == SQLITE_IOERR_WRITE;
}

void Database::SkipCheckpointOnClose() {
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

absl::Status Database::Failure(int code) {
  // SQLite's texts name no bound values, so prompts stay out of them. The number tells apart what
  // the text does not: 778 is a failed write, 1034 a failed sync.
  const std::string message =
      absl::StrCat(sqlite3_errstr(code & 0xff), " (SQLite result ", code, ")");
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG: return absl::InternalError(message);
    default: break;
  }
  absl::Status failure = absl::UnavailableError(message);
  if (!failed_) {
    failure_ = failure;
    failure_code_ = code;
  }
  failed_ = true;
  return failure;
}

// -------------------------------------------------------------------------------------------- Cursor

Cursor::Cursor(Statement& statement) : database_(*statement.database_) {
  if (statement.compiled_ == nullptr) {
    sqlite3_stmt* compiled = nullptr;
    const std::string& sql = statement.sql_;
    const int code =
        sqlite3_prepare_v3(database_.handle_, sql.c_str(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &compiled, nullptr);
    if (code != SQLITE_OK) status_ = database_.Failure(code);
    statement.compiled_.reset(compiled);
  }
  statement_ = statement.compiled_.get();
}

Cursor::~Cursor() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Cursor::CheckBind(int code) {
  if (code != SQLITE_OK && status_.ok()) status_ = database_.Failure(code);
}

Cursor& Cursor::Bind(int64_t value) {
  CheckBind(sqlite3_bind_int64(statement_, ++parameter_, value));
  return *this;
}

Cursor& Cursor::Bind(absl::string_view text) {
  // A null pointer would bind NULL.
  const char* data = text.empty() ? "" : text.data();
  CheckBind(sqlite3_bind_text64(statement_, ++parameter_, data, text.size(), SQLITE_TRANSIENT,
                                SQLITE_UTF8));
  return *this;
}

Cursor& Cursor::Bind(absl::Time time) { return Bind(absl::ToUnixNanos(time)); }

Cursor& Cursor::Bind(absl::Duration duration) { return Bind(absl::ToInt64Nanoseconds(duration)); }

Cursor& Cursor::BindBlob(absl::string_view bytes) {
  const char* data = bytes.empty() ? "" : bytes.data();
  CheckBind(sqlite3_bind_blob64(statement_, ++parameter_, data, bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

Cursor& Cursor::BindNull() {
  CheckBind(sqlite3_bind_null(statement_, ++parameter_));
  return *this;
}

bool Cursor::Next() {
  if (!status_.ok()) return false;
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = database_.Failure(code);
  return false;
}

absl::Status Cursor::Run() {
  while (Next()) {}
  return status_;
}

void Cursor::RefuseColumn(absl::string_view why) {
  if (!status_.ok()) return;
  const char* name = sqlite3_column_name(statement_, column_ - 1);
  status_ = DamageError(
      absl::StrCat("a stored row is damaged: column ", name == nullptr ? "?" : name, " ", why),
      prediction_id_);
}

void Cursor::Concerns(absl::string_view prediction_id) {
  prediction_id_.assign(prediction_id.data(), prediction_id.size());
}

bool Cursor::SkipIfDamaged() {
  if (!absl::IsDataLoss(status_)) return false;
  database_.NoteDamage(std::exchange(status_, absl::OkStatus()));
  return true;
}

int64_t Cursor::Integer() {
  const int column = column_++;
  if (sqlite3_column_type(statement_, column) != SQLITE_INTEGER) {
    RefuseColumn("holds no integer");
    return 0;
  }
  return sqlite3_column_int64(statement_, column);
}

int32_t Cursor::Integer32() {
  const int64_t value = Integer();
  if (value >= std::numeric_limits<int32_t>::min() &&
      value <= std::numeric_limits<int32_t>::max()) {
    return static_cast<int32_t>(value);
  }
  RefuseColumn("holds too large a number");
  return 0;
}

std::string Cursor::Text() {
  const int column = column_++;
  const int type = sqlite3_column_type(statement_, column);
  if (type != SQLITE_TEXT && type != SQLITE_BLOB) {
    RefuseColumn("holds no text");
    return "";
  }
  const void* const data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (data == nullptr || size == 0) return "";
  return std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

absl::Time Cursor::Time() { return absl::FromUnixNanos(Integer()); }

bool Cursor::TakeNull() {
  if (sqlite3_column_type(statement_, column_) != SQLITE_NULL) return false;
  ++column_;
  return true;
}

std::optional<int64_t> Cursor::OptionalInteger() {
  if (TakeNull()) return std::nullopt;
  return Integer();
}

std::optional<int32_t> Cursor::OptionalInteger32() {
  if (TakeNull()) return std::nullopt;
  return Integer32();
}

std::optional<std::string> Cursor::OptionalText() {
  if (TakeNull()) return std::nullopt;
  return Text();
}

std::optional<absl::Time> Cursor::OptionalTime() {
  if (TakeNull()) return std::nullopt;
  return Time();
}

std::optional<absl::Duration> Cursor::OptionalDuration() {
  if (TakeNull()) return std::nullopt;
  return absl::Nanoseconds(Integer());
}

absl::Status DamageError(absl::string_view what, absl::string_view prediction_id) {
  if (prediction_id.empty()) return absl::DataLossError(what);
  // The id may be what is damaged.
  return absl::DataLossError(absl::StrCat(
      what, " (prediction ", absl::CHexEscape(prediction_id.substr(0, kLongestShownId)), ")"));
}

}  // namespace dreamgate::ledger
