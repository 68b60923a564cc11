// The WaveSpeed API key, from a text or from a file that may be replaced while we run (a mounted
// secret). Owned by app, used on the loop only. The key never appears in a Status or a log.
#ifndef DREAMGATE_SERVER_UPSTREAM_API_KEY_H_
#define DREAMGATE_SERVER_UPSTREAM_API_KEY_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace dreamgate::upstream {

class ApiKey {
 public:
  // InvalidArgument if the text, trimmed, is empty or holds anything but printable ASCII (a line
  // break in a header would be an injection).
  static absl::StatusOr<std::unique_ptr<ApiKey>> FromText(const std::string& text);

  // The same rules, and the file must be readable; the Status names the file. `now` is a monotonic
  // clock, the system's if empty.
  static absl::StatusOr<std::unique_ptr<ApiKey>> FromFile(
      const std::string& file, absl::AnyInvocable<absl::Time()> now = nullptr);

  // The key to use now. Looks at the file at most once a second and rereads it if it has changed. A
  // file that has become unusable leaves the last good key in place.
  const std::string& Current();

  // Rereads the file at once: upstream has refused the key.
  void Reread();

  // 16 hex digits that tell keys apart; follows Current().
  std::string Fingerprint();

 private:
  // Tells one version of the file from another without reading it.
  struct FileVersion {
    ino_t inode = 0;
    off_t size = -1;
    absl::Time modified;
    friend bool operator==(const FileVersion&, const FileVersion&) = default;
  };

  ApiKey() = default;
  static FileVersion VersionOf(const std::string& file);

  std::string key_;
  std::string file_;  // empty: the key is fixed
  FileVersion version_;
  absl::Time next_look_ = absl::InfinitePast();
  absl::AnyInvocable<absl::Time()> now_;
};

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_API_KEY_H_
