// Copies of the ledger for the admin port's /backup: where they lie while they are made, and that none
// stays behind. Owned by app; on the loop, but for RemoveLeftovers.
#ifndef DREAMGATE_SERVER_APP_LEDGER_BACKUP_H_
#define DREAMGATE_SERVER_APP_LEDGER_BACKUP_H_

#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/ports.h"
#include "server/web/backup.h"

namespace dreamgate::app {

class LedgerBackup {
 public:
  // Copies the ledger into the new file `path`; calls `done` on the loop.
  using CopyLedger =
      absl::AnyInvocable<void(std::string path, core::Completion<absl::Status> done)>;

  // `ledger_path` exists. Borrows `random`.
  LedgerBackup(const std::string& ledger_path, CopyLedger copy_ledger, core::Random& random);

  // Removes the copies of a process that died while it was making them. Only for
  // whoever holds the ledger's lock: another process may be making one.
  void RemoveLeftovers() const;

  // Copies the ledger into a file beside it, on the same disk, which needs room for one more. The
  // file has lost its name when `done` gets it, so that however the process ends, it is gone when it
  // is no longer read. This object may be gone by then.
  void Make(core::Completion<absl::StatusOr<web::BackupCopy>> done);

 private:
  const std::string prefix_;  // of the copies' paths
  CopyLedger copy_ledger_;
  core::Random& random_;
};

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_LEDGER_BACKUP_H_
