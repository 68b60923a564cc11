#include "server/api/page_token.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/crypto/crypto.h"

namespace dreamgate::api {
namespace {

// Before base64: version, 16 hex digits of the filters' hash, the id, 8 hex digits of checksum.
constexpr absl::string_view kVersion = "1";
constexpr size_t kHashLength = 16;
constexpr size_t kChecksumLength = 8;
constexpr size_t kMaxTokenLength = 256;

std::string FilterHash(const core::ListQuery& query) {
  // Every part is preceded by its length, so that no two filters share an encoding.
  std::string filters = absl::StrCat(query.tenant.size(), ":", query.tenant);
  std::vector<core::State> states = query.states;
  std::sort(states.begin(), states.end());
  for (const core::State state : states) absl::StrAppend(&filters, "s", static_cast<int>(state));
  for (const auto& [key, value] : query.labels) {
    absl::StrAppend(&filters, "l", key.size(), ":", key, value.size(), ":", value);
  }
  return crypto::Sha256Hex(filters).substr(0, kHashLength);
}

std::string Checksum(absl::string_view body) {
  return crypto::Sha256Hex(absl::StrCat("dreamgate page token ", body)).substr(0, kChecksumLength);
}

}  // namespace

std::string MakePageToken(const core::ListQuery& query, absl::string_view before_id) {
  const std::string body = absl::StrCat(kVersion, FilterHash(query), before_id);
  return absl::WebSafeBase64Escape(absl::StrCat(body, Checksum(body)));
}

absl::StatusOr<std::string> ReadPageToken(const core::ListQuery& query, absl::string_view token) {
  const auto unknown = absl::InvalidArgumentError(
      "is not a token of this service; pass next_page_token on unchanged, or leave it empty");
  std::string decoded;
  if (token.size() > kMaxTokenLength || !absl::WebSafeBase64Unescape(token, &decoded))
    return unknown;
  if (decoded.size() <= kVersion.size() + kHashLength + kChecksumLength) return unknown;
  absl::string_view body = decoded;
  const absl::string_view checksum = body.substr(body.size() - kChecksumLength);
  body.remove_suffix(kChecksumLength);
  if (!absl::StartsWith(body, kVersion) || checksum != Checksum(body)) return unknown;
  body.remove_prefix(kVersion.size());
  if (body.substr(0, kHashLength) != FilterHash(query)) {
    return absl::InvalidArgumentError(
        "belongs to another filter; keep states and labels as they were, or start without a token");
  }
  return std::string(body.substr(kHashLength));
}

}  // namespace dreamgate::api
