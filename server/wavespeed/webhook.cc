#include "server/wavespeed/webhook.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/crypto/crypto.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/request.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;

namespace {

constexpr size_t kLongestId = 256;
constexpr size_t kLongestTimestamp = 12;  // digits: tens of thousands of years

// Digits alone: a number parser also takes signs and spaces, but upstream signs no such text.
std::optional<absl::Time> TimestampOf(absl::string_view text) {
  const bool digits = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  int64_t seconds = 0;
  if (!digits || text.size() > kLongestTimestamp || !absl::SimpleAtoi(text, &seconds)) {
    return std::nullopt;
  }
  return absl::FromUnixSeconds(seconds);
}

// In hex, lower case.
std::string SignatureUnder(absl::string_view secret, const SignedWebhook& webhook) {
  return crypto::HmacSha256Hex(absl::StripPrefix(secret, "whsec_"),
                               absl::StrCat(webhook.id, ".", webhook.timestamp, ".", webhook.body));
}

// Looks at every entry under every secret, whatever fits first.
bool IsSigned(const SignedWebhook& webhook, const std::vector<std::string>& secrets) {
  bool fits = false;
  for (const std::string& secret : secrets) {
    const std::string right = SignatureUnder(secret, webhook);
    for (absl::string_view entry : absl::StrSplit(webhook.signatures, ' ', absl::SkipEmpty())) {
      if (!absl::ConsumePrefix(&entry, "v3,")) continue;
      fits |= crypto::ConstantTimeEquals(absl::AsciiStrToLower(entry), right);
    }
  }
  return fits;
}

}  // namespace

WebhookVerdict JudgeWebhook(const SignedWebhook& webhook, const std::vector<std::string>& secrets,
                            absl::Time now) {
  const std::optional<absl::Time> timestamp = TimestampOf(webhook.timestamp);
  if (webhook.id.empty() || webhook.id.size() > kLongestId || !timestamp.has_value()) {
    return WebhookVerdict::kMalformed;
  }
  // The signature before the age: "stale" then means that upstream did say this, so that it tells of a
  // clock that is wrong or of a replay, and not of a stranger.
  if (!IsSigned(webhook, secrets)) return WebhookVerdict::kForged;
  const bool in_time = absl::AbsDuration(now - *timestamp) <= kWebhookTolerance;
  return in_time ? WebhookVerdict::kGenuine : WebhookVerdict::kStale;
}

absl::StatusOr<Webhook> ParseWebhook(absl::string_view body) {
  const absl::StatusOr<json::value> document = ParseJson(body);
  if (!document.ok()) return document.status();
  const json::object* object = ObjectOf(*document);
  if (object == nullptr) return absl::InvalidArgumentError("not a JSON object");
  // Bare is what upstream documents; its answers come in envelopes.
  const bool bare = Member(object, "id") != nullptr;
  const json::object* task = bare ? object : ObjectMember(object, "data");
  const absl::string_view id = TextMember(task, "id");
  if (!IsSafeTaskId(id)) return absl::InvalidArgumentError("no task with a usable id");
  return Webhook{std::string(id), RawStatusOf(*task, {})};
}

}  // namespace dreamgate::wavespeed
