#include "server/web/webhook_secrets.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace dreamgate::web {
namespace {

constexpr size_t kMostSecrets = 2;
constexpr size_t kLongestFile = 8192;

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
  std::unique_ptr<WebhookSecrets> result(new WebhookSecrets(file, events, std::move(now)));
  if (absl::Status status = result->ReadFile(); !status.ok()) return status;
  return result;
}

absl::Status WebhookSecrets::ReadFile() {
  const absl::StatusOr<std::string> content = net::ReadSmallFile(file_, kLongestFile);
  if (!content.ok()) return content.status();
  absl::StatusOr<std::vector<std::string>> secrets = ParseWebhookSecrets(*content);
  if (!secrets.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": ", secrets.status().message()));
  }
  secrets_ = *std::move(secrets);
  watched_.Accept();
  return absl::OkStatus();
}

const std::vector<std::string>& WebhookSecrets::Current() {
  if (!watched_.HaveChanged()) return secrets_;
  const absl::Status status = ReadFile();
  if (!status.ok() && watched_.Refuse(status)) {
    events_.Log(core::LogLevel::kWarning, "the webhook secrets stay as they were",
                {{"error", std::string(status.message())}});
  }
  return secrets_;
}

}  // namespace dreamgate::web
