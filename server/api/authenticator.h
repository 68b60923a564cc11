// Tells which tenant calls. Reads the callers from a token file; without one, every caller is the same
// tenant. Owned by GrpcServer; entered on gRPC's threads.
//
// The file has lines `tenant token`, separated by blanks, and `#` comments. A file that has changed is
// read again, at most once a second; if the new content is bad, the callers stay as they were.
#ifndef DREAMGATE_SERVER_API_AUTHENTICATOR_H_
#define DREAMGATE_SERVER_API_AUTHENTICATOR_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::api {

// One caller. Tokens are kept as hashes only.
struct Caller {
  std::string tenant;
  std::string token_sha256;  // 64 hex digits
};

// The content of a token file. Errors: InvalidArgument, naming the line but never a token.
absl::StatusOr<std::vector<Caller>> ParseTokens(absl::string_view content);

class Authenticator {
 public:
  struct Options {
    std::string token_file;  // empty: every caller is the tenant "default"
    absl::Duration reread_interval = absl::Seconds(1);
  };

  // Errors: the file cannot be read or is bad; the message names the file.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(Options options,
                                                               core::Events& events);

  // The tenant of the caller who sent `authorization` (nullopt: no such header).
  // Errors: CREDENTIALS_MISSING, CREDENTIALS_INVALID.
  absl::StatusOr<std::string> Authenticate(std::optional<absl::string_view> authorization);

 private:
  using Callers = std::shared_ptr<const std::vector<Caller>>;

  // Tells one content of the file from another without reading it.
  struct FileVersion {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    int64_t modified_nanos = 0;
    friend bool operator==(const FileVersion&, const FileVersion&) = default;
  };

  Authenticator(Options options, core::Events& events);
  static std::optional<FileVersion> VersionOf(const std::string& path);
  static absl::StatusOr<std::vector<Caller>> ReadFile(const std::string& path);
  Callers CurrentCallers();

  const Options options_;
  core::Events& events_;
  std::mutex mutex_;
  Callers callers_ ABSL_GUARDED_BY(mutex_);
  std::optional<FileVersion> version_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point next_look_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_AUTHENTICATOR_H_
