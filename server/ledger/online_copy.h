// A copy of the whole ledger in the making, a few pages at a time, while the ledger goes on being
// written: SQLite carries what its own connection commits meanwhile over to the copy. Owned by
// `Store`, private to this room.
#ifndef DREAMGATE_SERVER_LEDGER_ONLINE_COPY_H_
#define DREAMGATE_SERVER_LEDGER_ONLINE_COPY_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ledger/sqlite.h"

struct sqlite3_backup;

namespace dreamgate::ledger {

class OnlineCopy {
 public:
  // Into the new file `path` (mode 0600) of the operating system's. AlreadyExistsError if there is
  // one, UnavailableError if it cannot be made. `source` outlives the copy.
  static absl::StatusOr<std::unique_ptr<OnlineCopy>> Begin(Database& source,
                                                           const std::string& path);
  ~OnlineCopy();  // removes the file, unless it was finished
  OnlineCopy(const OnlineCopy&) = delete;
  OnlineCopy& operator=(const OnlineCopy&) = delete;

  // Copies `pages` (> 0) more, and brings them to the disk. True: that was all, the file is whole
  // and closed; not to be called again then, nor after an error.
  absl::StatusOr<bool> Step(int pages);

 private:
  explicit OnlineCopy(std::string path) : path_(std::move(path)) {}
  absl::Status Failure(int code) const;

  const std::string path_;
  std::unique_ptr<Database> target_;
  sqlite3_backup* backup_ = nullptr;
  bool finished_ = false;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_ONLINE_COPY_H_
