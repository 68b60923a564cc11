// The WaveSpeed API key, from a text or from a file that may be replaced while we run (a mounted
// secret). Owned by app, used on the loop only. The key never appears in a Status or a log.
#ifndef DREAMGATE_SERVER_UPSTREAM_API_KEY_H_
#define DREAMGATE_SERVER_UPSTREAM_API_KEY_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/watched_files.h"

namespace dreamgate::upstream {

class ApiKey {
 public:
  // InvalidArgument if the text, trimmed, is empty or holds anything but printable ASCII (a line
  // break in a header would be an injection).
  static absl::StatusOr<std::unique_ptr<ApiKey>> FromText(const std::string& text);

  // The same rules, and the file must be readable; the Status names the file. `events` outlives this.
  // `now` is a monotonic clock, the system's if empty.
  static absl::StatusOr<std::unique_ptr<ApiKey>> FromFile(
      const std::string& file, core::Events& events,
      absl::AnyInvocable<absl::Time()> now = nullptr);

  // The key to use now. Looks at the file at most once a second and rereads it if it has changed. A
  // file that has become unusable leaves the last good key in place and is logged.
  const std::string& Current();

  // Rereads the file at once: upstream has refused the key.
  void Reread();

  // 16 hex digits that tell keys apart; follows Current().
  std::string Fingerprint();

 private:
  // A file, how it is watched, and who is told of trouble with it.
  struct Source {
    std::string file;
    net::WatchedFiles watched;
    core::Events& events;
  };

  ApiKey() = default;
  // Reads the key from the file; the former key stays if the file holds none.
  absl::Status ReadSource();
  void RereadSource();

  std::string key_;
  std::optional<Source> source_;  // unset: the key is fixed
};

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_API_KEY_H_
