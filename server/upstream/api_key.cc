#include "server/upstream/api_key.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/wavespeed/request.h"

namespace dreamgate::upstream {

namespace {

constexpr size_t kLongestFile = 4096;

absl::StatusOr<std::string> KeyIn(const std::string& text) {
  const std::string key(absl::StripAsciiWhitespace(text));
  if (key.empty()) return absl::InvalidArgumentError("the API key is empty");
  const bool printable = std::all_of(key.begin(), key.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (!printable) {
    return absl::InvalidArgumentError(
        "the API key contains a space, a line break or another character that no key has");
  }
  return key;
}

absl::StatusOr<std::string> ReadKeyFile(const std::string& file) {
  const absl::StatusOr<std::string> text = net::ReadSmallFile(file, kLongestFile);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::string> key = KeyIn(*text);
  if (!key.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot use \"", file, "\": ", key.status().message()));
  }
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ApiKey>> ApiKey::FromText(const std::string& text) {
  absl::StatusOr<std::string> key = KeyIn(text);
  if (!key.ok()) return key.status();
  std::unique_ptr<ApiKey> result(new ApiKey());
  result->key_ = *std::move(key);
  return result;
}

absl::StatusOr<std::unique_ptr<ApiKey>> ApiKey::FromFile(const std::string& file,
                                                         core::Events& events,
                                                         absl::AnyInvocable<absl::Time()> now) {
  std::unique_ptr<ApiKey> result(new ApiKey());
  result->source_.emplace(Source{file, net::WatchedFiles({file}, std::move(now)), events});
  if (absl::Status status = result->ReadSource(); !status.ok()) return status;
  return result;
}

absl::Status ApiKey::ReadSource() {
  absl::StatusOr<std::string> key = ReadKeyFile(source_->file);
  if (!key.ok()) return key.status();
  key_ = *std::move(key);
  source_->watched.Accept();
  return absl::OkStatus();
}

const std::string& ApiKey::Current() {
  if (source_.has_value() && source_->watched.HaveChanged()) RereadSource();
  return key_;
}

void ApiKey::Reread() {
  if (!source_.has_value()) return;
  source_->watched.Look();
  RereadSource();
}

void ApiKey::RereadSource() {
  const absl::Status status = ReadSource();
  if (status.ok() || !source_->watched.Refuse(status)) return;
  source_->events.Log(core::LogLevel::kWarning, "the API key stays as it was",
                      {{"error", std::string(status.message())}});
}

std::string ApiKey::Fingerprint() { return wavespeed::KeyFingerprint(Current()); }

}  // namespace dreamgate::upstream
