// The thin layer over SQLite's C interface: a connection, a cached statement, one use of it. Private
// to this room. Owned by `Store`; entered by one thread at a time.
#ifndef DREAMGATE_SERVER_LEDGER_SQLITE_H_
#define DREAMGATE_SERVER_LEDGER_SQLITE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/ledger/known_values.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dreamgate::ledger {

class Database;

// Compiled when it is first used, because opening a ledger would take most of its time for statements
// that are seldom needed; then run often. Must be destroyed before its Database.
class Statement {
 public:
  Statement() = default;

 private:
  friend class Database;
  friend class Cursor;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(Database& database, std::string sql) : database_(&database), sql_(std::move(sql)) {}

  Database* database_ = nullptr;
  std::string sql_;
  std::unique_ptr<sqlite3_stmt, Finalizer> compiled_;  // on the first use
};

class Database {
 public:
  enum class Mode { kCreate, kExisting };

  // `vfs`: name of a registered VFS, empty: the default one.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode,
                                                        const std::string& vfs);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement Prepare(std::string sql) { return Statement(*this, std::move(sql)); }
  // One or more statements without results.
  absl::Status Execute(const std::string& sql);
  // The first column of the first row.
  absl::StatusOr<int64_t> QueryInteger(const std::string& sql);
  absl::StatusOr<std::string> QueryText(const std::string& sql);

  int64_t changes() const;        // rows touched by the last write statement
  int64_t total_changes() const;  // rows touched so far, those rolled back included
  bool read_only() const;

  // True once anything but a too large value or a constraint went wrong: the outcome of the running
  // transaction is unknown, and the connection must be replaced. Stays true.
  bool failed() const { return failed_; }
  // The first such failure, and whether it says that somebody else holds the file's lock, or that the
  // contents are not (or no longer) a database.
  const absl::Status& failure() const { return failure_; }
  bool busy() const;
  bool not_a_database() const;
  bool corrupt() const;

  // Damaged rows, one line each, for whoever can tell the operator: those that were skipped, and those
  // of the statuses noted that are DataLossErrors.
  void NoteDamage(const absl::Status& status);
  std::vector<std::string> TakeDamage() { return std::exchange(damage_, {}); }

  // Writes the write-ahead log over itself and syncs it. A sync that has failed, perhaps in an earlier
  // process, may leave pages of it that can be read and yet will never reach the disk: syncing again
  // does not write them again, and whatever is appended behind them is lost with them.
  absl::Status RewriteLog();
  // True if the failure left nothing in the write-ahead log that could be taken for a commit: a commit
  // is the last thing written, and it was not.
  bool failed_before_commit() const;

  // Closing will leave the write-ahead log as it is, for the next connection to recover.
  void SkipCheckpointOnClose();

 private:
  friend class Cursor;
  friend class OnlineCopy;
  explicit Database(sqlite3* handle) : handle_(handle) {}
  // Classifies the result `code` of a call on this connection.
  absl::Status Failure(int code);

  sqlite3* handle_;
  bool failed_ = false;
  absl::Status failure_;
  int failure_code_ = 0;  // SQLite's extended result code
  std::vector<std::string> damage_;
};

// One use of a Statement: bind the parameters in order, step through the rows, read the columns in
// order. Resets the statement when it goes.
class Cursor {
 public:
  explicit Cursor(Statement& statement);
  ~Cursor();
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  Cursor& Bind(int64_t value);
  Cursor& Bind(absl::string_view text);
  Cursor& Bind(absl::Time time);
  Cursor& Bind(absl::Duration duration);
  Cursor& BindBlob(absl::string_view bytes);
  Cursor& BindNull();
  template <typename T>
  Cursor& Bind(const std::optional<T>& value) {
    return value.has_value() ? Bind(*value) : BindNull();
  }

  // True: stands on a row. False: there are no more, or it failed; see status().
  bool Next();
  // Runs a statement that gives no rows.
  absl::Status Run();
  const absl::Status& status() const { return status_; }

  // The next column of the row. One that holds nothing of the kind (a damaged row) makes status() a
  // DataLossError that names it, and reads as zero or empty: look at status() before using the row.
  // Next() stops there, unless it is skipped.
  int64_t Integer();
  int32_t Integer32();
  std::string Text();  // and blobs
  absl::Time Time();
  template <typename Enum>
  Enum Enumerator() {
    return AsEnumerator<Enum>(Integer());
  }
  template <typename Enum>
  std::optional<Enum> OptionalEnumerator() {
    if (TakeNull()) return std::nullopt;
    return Enumerator<Enum>();
  }
  std::optional<int64_t> OptionalInteger();
  std::optional<int32_t> OptionalInteger32();
  std::optional<std::string> OptionalText();
  std::optional<absl::Time> OptionalTime();
  std::optional<absl::Duration> OptionalDuration();
  // Says of the column read last that it cannot be what it holds.
  void RefuseColumn(absl::string_view why);
  // Which prediction the rows, from here on, are about: damage is told with it.
  void Concerns(absl::string_view prediction_id);
  // Whether the row just read is damaged. Then that is noted with the database, and Next() goes on.
  bool SkipIfDamaged();

 private:
  template <typename Enum>
  Enum AsEnumerator(int64_t number) {
    const std::optional<Enum> value = KnownValue<Enum>(number);
    if (!value.has_value()) RefuseColumn("has no such value");
    return value.value_or(Enum());
  }
  bool TakeNull();
  void CheckBind(int code);

  Database& database_;
  sqlite3_stmt* statement_;
  int parameter_ = 0;
  int column_ = 0;
  absl::Status status_;
  std::string prediction_id_;  // empty: not known
};

// DataLossError of rows that do not fit together, told as RefuseColumn does.
absl::Status DamageError(absl::string_view what, absl::string_view prediction_id);

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_SQLITE_H_
