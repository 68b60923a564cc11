// Whether an HTTP request is a webhook of upstream, and of what it is evidence then: all of the
// receiver's judgement and none of its sockets. Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WEB_WEBHOOK_REQUEST_H_
#define DREAMGATE_SERVER_WEB_WEBHOOK_REQUEST_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/web/http_message.h"

namespace dreamgate::web {

// What became of a request, as it is counted (core::Events::WebhookReceived).
namespace webhook_outcome {
inline constexpr absl::string_view kAccepted = "accepted";
inline constexpr absl::string_view kForged = "forged";            // not signed with our secret
inline constexpr absl::string_view kStale = "stale";              // signed, at another time
inline constexpr absl::string_view kMalformed = "malformed";      // no webhook at all
inline constexpr absl::string_view kOversize = "oversize";        // body or header
inline constexpr absl::string_view kUnknown = "unknown";          // genuine, for no attempt of ours
inline constexpr absl::string_view kUnavailable = "unavailable";  // not recorded: come again
inline constexpr absl::string_view kIncomplete = "incomplete";    // too slow, or gone in the middle
inline constexpr absl::string_view kBusy = "busy";                // too many connections
}  // namespace webhook_outcome

struct WebhookRefusal {
  absl::string_view outcome;  // one of the above
  int http_status = 400;
  absl::string_view text;  // for people, one line
};

// Upstream says that it has created this task for the attempt with this token.
struct WebhookEvidence {
  std::string attempt_token;
  std::string upstream_id;
  std::string raw_status;  // for people
};

struct WebhookContext {
  absl::string_view path;  // of the public URL, without a slash at its end
  const std::vector<std::string>& secrets;
  absl::Time now;
};

// What can be refused before the body has come. `path` as in WebhookContext.
std::optional<WebhookRefusal> JudgeWebhookHead(const HttpRequest& head, absl::string_view path);

// The whole request. A webhook carries evidence, not state: of its body the task's id is all that
// goes on, and one GET brings the truth. That makes a replay of a genuine webhook, within the
// tolerance or as one of upstream's own redeliveries, harmless without a memory of what was seen:
// binding the same task to the same attempt again changes nothing.
std::variant<WebhookRefusal, WebhookEvidence> JudgeWebhook(const HttpRequest& request,
                                                           const WebhookContext& context);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_WEBHOOK_REQUEST_H_
