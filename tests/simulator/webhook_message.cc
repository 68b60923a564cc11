#include "tests/simulator/webhook_message.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dreamgate::simulator {

std::string WebhookSignature(const std::string& secret, const std::string& id, int64_t timestamp,
                             const std::string& body) {
  const absl::string_view key = absl::StripPrefix(secret, "whsec_");
  const std::string text = absl::StrCat(id, ".", timestamp, ".", body);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length);
  return absl::StrCat("v3,", absl::BytesToHexString(
                                 absl::string_view(reinterpret_cast<const char*>(digest), length)));
}

WebhookMessage MakeWebhookMessage(const std::string& task_id, const std::string& registered_url,
                                  const std::string& body, const Options& options, absl::Time now) {
  const WebhookBehavior& behavior = options.webhook;
  WebhookMessage message;
  message.task_id = task_id;
  message.url = options.webhook_origin.empty() ? registered_url
                                               : AtOrigin(registered_url, options.webhook_origin);
  message.body = body;
  message.behavior = behavior;
  const std::string id = absl::StrCat("msg_", task_id);
  const int64_t timestamp =
      absl::ToUnixSeconds(now + options.clock_offset + behavior.timestamp_offset);
  const std::string secret = behavior.forged ? "whsec_somebody-else" : options.webhook_secret;
  std::string signature = WebhookSignature(secret, id, timestamp, body);
  if (behavior.several_signatures) {
    signature =
        absl::StrCat(WebhookSignature("whsec_retired", id, timestamp, body), " ", signature);
  }
  message.headers = {{"webhook-id", id},
                     {"webhook-timestamp", absl::StrCat(timestamp)},
                     {"webhook-signature", signature}};
  return message;
}

HttpUrl ParseHttpUrl(const std::string& url) {
  HttpUrl parsed;
  constexpr char kScheme[] = "http://";
  if (!absl::StartsWith(url, kScheme)) return parsed;
  const std::size_t start = sizeof(kScheme) - 1;
  const std::size_t slash = url.find_first_of("/?", start);
  const std::string authority =
      url.substr(start, slash == std::string::npos ? slash : slash - start);
  const std::size_t colon = authority.rfind(':');
  parsed.host = authority.substr(0, colon);
  parsed.port = colon == std::string::npos ? "80" : authority.substr(colon + 1);
  parsed.target = slash == std::string::npos ? "/" : url.substr(slash);
  if (parsed.target[0] == '?') parsed.target.insert(0, "/");
  return parsed;
}

std::string AtOrigin(const std::string& url, const std::string& origin) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const std::size_t path = url.find_first_of("/?", scheme + 3);
  return origin + (path == std::string::npos ? "/" : url.substr(path));
}

}  // namespace dreamgate::simulator
