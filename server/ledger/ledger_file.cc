#include "server/ledger/ledger_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/ledger/schema.h"

namespace dreamgate::ledger {
namespace {

int64_t LatestSchema() { return static_cast<int64_t>(SchemaSteps().size()); }

// Says in the operator's words why a statement failed while opening.
absl::Status Explain(const StoreOptions& options, const Database& database,
                     const absl::Status& status) {
  if (database.busy()) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", options.path, " is in use by another process"));
  }
  if (database.not_a_database()) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", options.path, " is not a dreamgate ledger: not a SQLite database"));
  }
  if (database.corrupt()) {
    return absl::DataLossError(
        absl::StrCat("ledger ", options.path, " is damaged, restore a backup: ", status.message()));
  }
  return absl::UnavailableError(
      absl::StrCat("ledger ", options.path, " cannot be opened: ", status.message()));
}

struct Identity {
  int64_t application_id = 0;
  int64_t schema = 0;  // steps applied
  int64_t objects = 0;
};

absl::StatusOr<Identity> ReadIdentity(Database& database) {
  Identity identity;
  const std::pair<const char*, int64_t*> questions[] = {
      {"PRAGMA application_id", &identity.application_id},
      {"PRAGMA user_version", &identity.schema},
      {"SELECT count(*) FROM sqlite_schema", &identity.objects}};
  for (const auto& [sql, answer] : questions) {
    const absl::StatusOr<int64_t> value = database.QueryInteger(sql);
    if (!value.ok()) return value.status();
    *answer = *value;
  }
  return identity;
}

absl::Status CheckIdentity(const StoreOptions& options, const Identity& identity) {
  const bool empty = identity.application_id == 0 && identity.schema == 0 && identity.objects == 0;
  if (identity.application_id != kApplicationId && !empty) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", options.path,
                     " is not a dreamgate ledger: the SQLite database of another program"));
  }
  if (identity.schema > LatestSchema()) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", options.path, " has schema ", identity.schema,
                     ", this program knows up to ", LatestSchema(), ": use a newer dreamgated"));
  }
  return absl::OkStatus();
}

absl::Status ApplySchemaSteps(Database& database, int64_t from) {
  for (int64_t step = from; step < LatestSchema(); ++step) {
    DREAMGATE_FAILPOINT("ledger.before_schema_step");
    // One transaction with its number, so that a crash leaves a whole step or none.
    const absl::Status status =
        database.Execute(absl::StrCat("BEGIN IMMEDIATE;", SchemaSteps()[static_cast<size_t>(step)],
                                      "PRAGMA application_id = ", kApplicationId, ";",
                                      "PRAGMA user_version = ", step + 1, ";", "COMMIT;"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Settings of a connection, before the file is touched. Exclusive locking must come before the first
// access: the lock is then held until the connection closes, and no shared-memory file is needed.
absl::Status PrepareConnection(const StoreOptions& options, Database& database) {
  return database.Execute(
      absl::StrCat("PRAGMA busy_timeout = ", absl::ToInt64Milliseconds(options.lock_wait), ";",
                   "PRAGMA locking_mode = EXCLUSIVE;", "PRAGMA temp_store = MEMORY;"));
}

absl::Status UseWriteAheadLog(const StoreOptions& options, Database& database) {
  const absl::StatusOr<std::string> mode = database.QueryText("PRAGMA journal_mode = WAL");
  if (!mode.ok()) return mode.status();
  if (*mode != "wal") return absl::UnavailableError("the file system offers no write-ahead log");
  // FULL: NORMAL may lose the last commits when the power fails.
  return database.Execute(absl::StrCat(
      "PRAGMA synchronous = FULL;", "PRAGMA wal_autocheckpoint = ", options.checkpoint_pages, ";"));
}

}  // namespace

absl::Status CreatePrivateFile(const std::string& path) {
  // O_EXCL also because of POSIX locks: closing a descriptor of a file that this process has locked
  // elsewhere would drop those locks.
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file >= 0) {
    ::close(file);
    return absl::OkStatus();
  }
  const int error = errno;
  if (error == EEXIST) return absl::AlreadyExistsError(absl::StrCat(path, " exists already"));
  return absl::UnavailableError(absl::StrCat(path, " cannot be created: ", std::strerror(error)));
}

absl::StatusOr<std::unique_ptr<Database>> OpenLedgerFile(const StoreOptions& options) {
  if (options.vfs.empty()) {
    const absl::Status created = CreatePrivateFile(options.path);
    if (!created.ok() && !absl::IsAlreadyExists(created)) {
      return absl::UnavailableError(absl::StrCat("ledger ", created.message()));
    }
  }
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(options.path, Database::Mode::kCreate, options.vfs);
  if (!database.ok()) {
    return absl::UnavailableError(
        absl::StrCat("ledger ", options.path, " cannot be opened: ", database.status().message()));
  }
  if (const absl::Status status = PrepareConnection(options, **database); !status.ok()) {
    return Explain(options, **database, status);
  }
  const absl::StatusOr<Identity> identity = ReadIdentity(**database);
  if (!identity.ok()) return Explain(options, **database, identity.status());
  if (const absl::Status status = CheckIdentity(options, *identity); !status.ok()) {
    (*database)->SkipCheckpointOnClose();  // it is not ours to write
    return status;
  }
  if ((*database)->read_only()) {
    return absl::FailedPreconditionError(
        absl::StrCat("ledger ", options.path, " may not be written by this process"));
  }
  if (const absl::Status status = UseWriteAheadLog(options, **database); !status.ok()) {
    return Explain(options, **database, status);
  }
  if (const absl::Status status = (*database)->RewriteLog(); !status.ok()) {
    return Explain(options, **database, status);
  }
  if (const absl::Status status = ApplySchemaSteps(**database, identity->schema); !status.ok()) {
    return Explain(options, **database, status);
  }
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> ReopenLedgerFile(const StoreOptions& options) {
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(options.path, Database::Mode::kExisting, options.vfs);
  if (!database.ok()) return database.status();
  if (const absl::Status status = PrepareConnection(options, **database); !status.ok()) {
    return status;
  }
  const absl::StatusOr<Identity> identity = ReadIdentity(**database);
  if (!identity.ok()) return identity.status();
  if (identity->application_id != kApplicationId || identity->schema != LatestSchema()) {
    return absl::UnavailableError("another file has taken the ledger's place");
  }
  if (const absl::Status status = UseWriteAheadLog(options, **database); !status.ok()) {
    return status;
  }
  return database;
}

}  // namespace dreamgate::ledger
