#include "server/web/webhook_secrets.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/net/monotonic_clock.h"

namespace dreamgate::web {
namespace {

constexpr size_t kMostSecrets = 2;
constexpr std::streamsize kLongestFile = 8192;
constexpr absl::Duration kLookInterval = absl::Seconds(1);

absl::StatusOr<std::vector<std::string>> ReadSecrets(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(static_cast<size_t>(kLongestFile) + 1, '\0');
  if (stream) stream.read(content.data(), kLongestFile + 1);
  if (!stream.is_open() || stream.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", file));
  }
  if (stream.gcount() > kLongestFile) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": longer than any two secrets"));
  }
  content.resize(static_cast<size_t>(stream.gcount()));
  absl::StatusOr<std::vector<std::string>> secrets = ParseWebhookSecrets(content);
  if (!secrets.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", secrets.status().message()));
  }
  return secrets;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseWebhookSecrets(absl::string_view content) {
  std::vector<std::string> secrets;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    const bool printable = std::all_of(line.begin(), line.end(), [](char c) {
      return absl::ascii_isgraph(static_cast<unsigned char>(c));
    });
    if (!printable || absl::StripPrefix(line, "whsec_").empty()) {
      return absl::InvalidArgumentError(absl::StrCat("secret ", secrets.size() + 1,
                                                     " is none: it must be whsec_ and printable "
                                                     "ASCII without spaces"));
    }
    secrets.emplace_back(line);
  }
  if (secrets.empty() || secrets.size() > kMostSecrets) {
    return absl::InvalidArgumentError("there must be one secret, or two, on a line each");
  }
  return secrets;
}

absl::StatusOr<std::unique_ptr<WebhookSecrets>> WebhookSecrets::FromFile(
    const std::string& file, core::Events& events, absl::AnyInvocable<absl::Time()> now) {
  std::unique_ptr<WebhookSecrets> result(new WebhookSecrets(events));
  result->file_ = file;
  result->now_ = now ? std::move(now) : net::MonotonicNow;
  result->version_ = VersionOf(file);  // before reading: a change in between is seen later
  absl::StatusOr<std::vector<std::string>> secrets = ReadSecrets(file);
  if (!secrets.ok()) return secrets.status();
  result->secrets_ = *std::move(secrets);
  result->next_look_ = result->now_() + kLookInterval;
  return result;
}

const std::vector<std::string>& WebhookSecrets::Current() {
  const absl::Time now = now_();
  if (now < next_look_) return secrets_;
  next_look_ = now + kLookInterval;
  const FileVersion version = VersionOf(file_);
  if (version == version_) return secrets_;
  absl::StatusOr<std::vector<std::string>> secrets = ReadSecrets(file_);
  if (secrets.ok()) {
    secrets_ = *std::move(secrets);
    version_ = version;
    problem_.clear();
    return secrets_;
  }
  // The version stays the old one, so the next look tries again.
  std::string problem(secrets.status().message());
  if (problem != problem_) {
    events_.Log(core::LogLevel::kWarning, "the webhook secrets stay as they were",
                {{"error", problem}});
  }
  problem_ = std::move(problem);
  return secrets_;
}

WebhookSecrets::FileVersion WebhookSecrets::VersionOf(const std::string& file) {
  struct stat facts {};
  if (stat(file.c_str(), &facts) != 0) return {};
  return {facts.st_ino, facts.st_size, absl::TimeFromTimespec(facts.st_mtim)};
}

}  // namespace dreamgate::web
