// The secrets that upstream signs callbacks with, from a file that may be replaced while we run (a
// mounted secret). Owned by WebhookReceiver, used on the loop only. No secret ever appears in a Status
// or a log.
#ifndef DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_
#define DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::web {

// One secret a line, or two while the one takes the other's place; empty lines do not count.
// InvalidArgument if there are none or more, if one holds anything but printable ASCII, or if nothing
// but "whsec_" is left of it: an empty key would let everybody sign.
absl::StatusOr<std::vector<std::string>> ParseWebhookSecrets(absl::string_view content);

class WebhookSecrets {
 public:
  // The rules above, and the file must be readable; the Status names the file. `events` outlives this.
  // `now` is a monotonic clock, the system's if empty.
  static absl::StatusOr<std::unique_ptr<WebhookSecrets>> FromFile(
      const std::string& file, core::Events& events,
      absl::AnyInvocable<absl::Time()> now = nullptr);

  // The secrets to use now, one or two. Looks at the file at most once a second and rereads it if it has
  // changed. A file that has become unusable leaves the last good secrets in place and is logged.
  const std::vector<std::string>& Current();

 private:
  // Tells one version of the file from another without reading it.
  struct FileVersion {
    ino_t inode = 0;
    off_t size = -1;
    absl::Time modified;
    friend bool operator==(const FileVersion&, const FileVersion&) = default;
  };

  explicit WebhookSecrets(core::Events& events) : events_(events) {}
  static FileVersion VersionOf(const std::string& file);

  core::Events& events_;
  std::string file_;
  std::vector<std::string> secrets_;
  FileVersion version_;
  std::string problem_;  // of the last look, if there was one
  absl::Time next_look_;
  absl::AnyInvocable<absl::Time()> now_;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_
