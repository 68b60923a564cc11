#include "tests/simulator/request_log.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dreamgate::simulator {
namespace {

std::string Route(const std::string& method, const std::string& path) {
  absl::string_view id = path;
  if (absl::ConsumePrefix(&id, "/api/v3/predictions/") && absl::ConsumeSuffix(&id, "/result")) {
    return absl::StrCat(method, " /api/v3/predictions/{id}/result");
  }
  if (absl::StartsWith(path, "/outputs/")) return absl::StrCat(method, " /outputs/{id}.mp4");
  return absl::StrCat(method, " ", path);
}

}  // namespace

void RequestLog::Add(LoggedRequest request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  ++counts_[request.method][path];
  ++by_route_[Route(request.method, path)];
  entries_.push_back(std::move(request));
  if (entries_.size() > limit_) entries_.pop_front();
}

std::size_t RequestLog::Count(const std::string& method, const std::string& path_prefix) const {
  std::size_t count = 0;
  for (const auto& [counted_method, paths] : counts_) {
    if (!method.empty() && method != counted_method) continue;
    for (auto at = paths.lower_bound(path_prefix);
         at != paths.end() && absl::StartsWith(at->first, path_prefix); ++at) {
      count += at->second;
    }
  }
  return count;
}

}  // namespace dreamgate::simulator
