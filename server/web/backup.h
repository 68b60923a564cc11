// What POST /backup hands out, and to whom: a copy of the ledger that somebody else has made, for
// programs on this machine alone. No sockets. Used on the loop.
#ifndef DREAMGATE_SERVER_WEB_BACKUP_H_
#define DREAMGATE_SERVER_WEB_BACKUP_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dreamgate::web {

// A finished copy as an open file, closed when this goes. The file may have no name any more.
class BackupCopy {
 public:
  // Takes `descriptor` over: a regular file, open for reading, at its beginning. Unavailable if its
  // size cannot be told.
  static absl::StatusOr<BackupCopy> FromDescriptor(int descriptor);
  ~BackupCopy();
  BackupCopy(BackupCopy&& other) noexcept;
  BackupCopy& operator=(BackupCopy&& other) noexcept;

  uint64_t size() const { return size_; }

  // Fills `buffer` with what follows; returns how many bytes, 0 at the end. Blocks no longer than a
  // disk does, and what has just been written is in memory.
  absl::StatusOr<size_t> Read(absl::Span<char> buffer);

 private:
  BackupCopy(int descriptor, uint64_t size) : descriptor_(descriptor), size_(size) {}

  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// What a request says about who sent it.
struct BackupRequester {
  std::string peer;        // its address, an IP literal
  std::string host;        // the Host header; empty if there is none, or more than one
  bool browser = false;    // has a header that only browsers send: Origin, Sec-Fetch-...
  bool forwarded = false;  // has a header that only proxies send: Forwarded, X-Forwarded-..., Via
};

// Why this requester gets no backup, one line; nullopt: it may have it.
std::optional<std::string> WhyNoBackup(const BackupRequester& requester);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_BACKUP_H_
