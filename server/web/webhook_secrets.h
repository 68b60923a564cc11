// The secrets that upstream signs webhooks with, from a file that may be replaced while we run (a
// mounted secret). Owned by the webhook receiver, used on the loop only. No secret ever appears in a
// Status or a log.
#ifndef DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_
#define DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/watched_files.h"

namespace dreamgate::web {

// One secret a line, or two while the one takes the other's place; empty lines do not count.
// InvalidArgument if there are none or more, if one holds anything but printable ASCII, or if
// nothing but "whsec_" is left of it: an empty key would let everybody sign.
absl::StatusOr<std::vector<std::string>> ParseWebhookSecrets(absl::string_view content);

class WebhookSecrets {
 public:
  // The rules above, and the file must be readable; the Status names the file. `events` outlives
  // this. `now` is a monotonic clock, the system's if empty.
  static absl::StatusOr<std::unique_ptr<WebhookSecrets>> FromFile(
      const std::string& file, core::Events& events,
      absl::AnyInvocable<absl::Time()> now = nullptr);

  // The secrets to use now, one or two. Looks at the file at most once a second and rereads it if
  // it has changed. A file that has become unusable leaves the last good secrets in place and is
  // logged.
  const std::vector<std::string>& Current();

 private:
  WebhookSecrets(const std::string& file, core::Events& events,
                 absl::AnyInvocable<absl::Time()> now)
      : file_(file), events_(events), watched_({file}, std::move(now)) {}
  // What is in the file now becomes the secrets, if it is any.
  absl::Status ReadFile();

  const std::string file_;
  core::Events& events_;
  net::WatchedFiles watched_;
  std::vector<std::string> secrets_;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_WEBHOOK_SECRETS_H_
