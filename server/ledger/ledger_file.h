// Opening the ledger's file: is it ours, is it new, does anybody else hold it, which schema does it
// have. Private to this room; called by `Store` on its caller's thread.
#ifndef DREAMGATE_SERVER_LEDGER_LEDGER_FILE_H_
#define DREAMGATE_SERVER_LEDGER_LEDGER_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ledger/sqlite.h"
#include "server/ledger/store.h"

namespace dreamgate::ledger {

// Opens `options.path` under an exclusive lock, creates it (mode 0600) if it is absent, and brings
// its schema up to date. Errors are one line that names the file:
//   FAILED_PRECONDITION  another process holds it, it is not a ledger, it has a newer schema than
//                        this program knows, or it may not be written
//   DATA_LOSS            it is damaged
//   UNAVAILABLE          anything else
absl::StatusOr<std::unique_ptr<Database>> OpenLedgerFile(const StoreOptions& options);

// Opens the same file again after trouble. Writes nothing, so that it works while the disk is full.
absl::StatusOr<std::unique_ptr<Database>> ReopenLedgerFile(const StoreOptions& options);

// Creates the empty file `path` with mode 0600. AlreadyExistsError if there is one.
absl::Status CreatePrivateFile(const std::string& path);

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_LEDGER_FILE_H_
