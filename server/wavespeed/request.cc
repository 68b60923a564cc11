#include "server/wavespeed/request.h"

#include <boost/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/crypto/crypto.h"

namespace dreamgate::wavespeed {

namespace {

constexpr size_t kLongestTaskId = 128;

bool IsUnreserved(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-._~", c);
}

}  // namespace

std::string CreateBody(const core::CreateTaskRequest& request) {
  const absl::string_view ratio = core::AspectRatioText(request.aspect_ratio);
  boost::json::object body;
  body["prompt"] = request.prompt;
  body["aspect_ratio"] = boost::json::string(ratio.data(), ratio.size());
  body["seed"] = request.seed;
  return boost::json::serialize(body);
}

std::string CreateTarget(absl::string_view model, absl::string_view webhook_url) {
  std::string target = absl::StrCat("/api/v3/", model);
  if (!webhook_url.empty()) absl::StrAppend(&target, "?webhook=", PercentEncode(webhook_url));
  return target;
}

std::string ResultTarget(absl::string_view task_id) {
  return absl::StrCat("/api/v3/predictions/", task_id, "/result");
}

bool IsSafeTaskId(absl::string_view task_id) {
  if (task_id.empty() || task_id.size() > kLongestTaskId) return false;
  if (task_id == "." || task_id == "..") return false;
  for (char c : task_id) {
    if (!IsUnreserved(c)) return false;
  }
  return true;
}

bool IsSafeModelPath(absl::string_view model) {
  for (absl::string_view segment : absl::StrSplit(model, '/')) {
    if (!IsSafeTaskId(segment)) return false;
  }
  return true;
}

std::string PercentEncode(absl::string_view text) {
  std::string encoded;
  for (char c : text) {
    if (IsUnreserved(c)) {
      encoded.push_back(c);
    } else {
      absl::StrAppend(&encoded, "%",
                      absl::AsciiStrToUpper(
                          absl::StrCat(absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2))));
    }
  }
  return encoded;
}

std::string KeyFingerprint(absl::string_view api_key) {
  return crypto::Sha256Hex(api_key).substr(0, 16);
}

}  // namespace dreamgate::wavespeed
