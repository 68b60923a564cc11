#include "server/ledger/online_copy.h"

#include <sqlite3.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/ledger/ledger_file.h"

namespace dreamgate::ledger {

absl::StatusOr<std::unique_ptr<OnlineCopy>> OnlineCopy::Begin(Database& source,
                                                              const std::string& path) {
  if (absl::Status status = CreatePrivateFile(path); !status.ok()) return status;
  std::unique_ptr<OnlineCopy> copy(new OnlineCopy(path));  // removes the file from here on
  absl::StatusOr<std::unique_ptr<Database>> target =
      Database::Open(path, Database::Mode::kExisting, /*vfs=*/"");
  if (!target.ok()) return target.status();
  copy->target_ = *std::move(target);
  // A copy that is not whole is removed, so nothing need be rolled back, and no second file is left behind.
  if (absl::Status status = copy->target_->Execute("PRAGMA journal_mode = OFF"); !status.ok()) {
    return status;
  }
  sqlite3* const handle = copy->target_->handle_;
  copy->backup_ = sqlite3_backup_init(handle, "main", source.handle_, "main");
  if (copy->backup_ == nullptr) return copy->Failure(sqlite3_extended_errcode(handle));
  return copy;
}

OnlineCopy::~OnlineCopy() {
  if (backup_ != nullptr) sqlite3_backup_finish(backup_);
  target_.reset();
  if (!finished_) ::unlink(path_.c_str());
}

absl::StatusOr<bool> OnlineCopy::Step(int pages) {
  int code = sqlite3_backup_step(backup_, pages);
  if (code == SQLITE_OK) {
    // Otherwise the last step would wait until the disk has taken all of it.
    sqlite3_file* file = nullptr;
    code = sqlite3_file_control(target_->handle_, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK) code = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (code == SQLITE_OK) return false;
  }
  if (code != SQLITE_DONE) return Failure(code);
  DREAMGATE_FAILPOINT("ledger.backup_copied");
  code = sqlite3_backup_finish(backup_);
  backup_ = nullptr;
  target_.reset();
  if (code != SQLITE_OK) return Failure(code);
  finished_ = true;
  return true;
}

absl::Status OnlineCopy::Failure(int code) const {
  return absl::UnavailableError(absl::StrCat("the ledger's copy ", path_,
                                             " failed: ", sqlite3_errstr(code & 0xff),
                                             " (SQLite result ", code, ")"));
}

}  // namespace dreamgate::ledger
