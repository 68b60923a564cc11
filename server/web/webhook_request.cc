#include "server/web/webhook_request.h"

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "server/wavespeed/webhook.h"

namespace dreamgate::web {
namespace {

constexpr size_t kTokenDigits = 32;

constexpr absl::string_view kId = "webhook-id";
constexpr absl::string_view kTimestamp = "webhook-timestamp";
constexpr absl::string_view kSignature = "webhook-signature";

bool IsToken(absl::string_view text) {
  return text.size() == kTokenDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

// The attempt's token, if the target is what was registered to the byte: nothing is decoded,
// normalized or ignored, because upstream was given exactly one spelling.
std::optional<absl::string_view> TokenIn(absl::string_view target, absl::string_view path) {
  if (!absl::ConsumePrefix(&target, path) || !absl::ConsumePrefix(&target, "/")) {
    return std::nullopt;
  }
  if (!IsToken(target)) return std::nullopt;
  return target;
}

WebhookRefusal Malformed(int http_status, absl::string_view text) {
  return {webhook_outcome::kMalformed, http_status, text};
}

}  // namespace

std::optional<WebhookRefusal> JudgeWebhookHead(const HttpRequest& head, absl::string_view path) {
  if (!TokenIn(head.target, path).has_value()) return Malformed(404, "nothing is served here");
  if (head.method != "POST") return Malformed(405, "only POST is allowed here");
  if (!head.HasAtMost("content-encoding", "identity")) {
    return Malformed(415, "unsupported Content-Encoding");
  }
  for (const absl::string_view name : {kId, kTimestamp, kSignature}) {
    // Of two, nobody knows which one others believe.
    if (head.CountOf(name) != 1) {
      return Malformed(400,
                       "webhook-id, webhook-timestamp and webhook-signature are needed, once each");
    }
  }
  return std::nullopt;
}

std::variant<WebhookRefusal, WebhookEvidence> JudgeWebhook(const HttpRequest& request,
                                                           const WebhookContext& context) {
  if (const auto refusal = JudgeWebhookHead(request, context.path)) return *refusal;
  const wavespeed::SignedWebhook signed_webhook{request.ValueOf(kId), request.ValueOf(kTimestamp),
                                                request.ValueOf(kSignature), request.body};
  switch (wavespeed::JudgeWebhook(signed_webhook, context.secrets, context.now)) {
    case wavespeed::WebhookVerdict::kGenuine: break;
    case wavespeed::WebhookVerdict::kMalformed:
      return Malformed(400, "bad webhook-id or webhook-timestamp");
    case wavespeed::WebhookVerdict::kForged:
      return WebhookRefusal{webhook_outcome::kForged, 403, "the signature does not fit"};
    case wavespeed::WebhookVerdict::kStale:
      return WebhookRefusal{webhook_outcome::kStale, 403,
                            "the timestamp is too far from this server's clock"};
  }
  absl::StatusOr<wavespeed::Webhook> webhook = wavespeed::ParseWebhook(request.body);
  if (!webhook.ok()) return Malformed(400, "the body is no task");
  return WebhookEvidence{std::string(*TokenIn(request.target, context.path)),
                         std::move(webhook->upstream_id), std::move(webhook->raw_status)};
}

}  // namespace dreamgate::web
