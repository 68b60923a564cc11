#include "server/upstream/api_key.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/net/monotonic_clock.h"
#include "server/wavespeed/request.h"

namespace dreamgate::upstream {

namespace {

constexpr std::streamsize kLongestKey = 4096;

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
  std::ifstream stream(file, std::ios::binary);
  std::string text(static_cast<size_t>(kLongestKey) + 1, '\0');
  if (stream) stream.read(text.data(), kLongestKey + 1);
  if (!stream.is_open() || stream.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read the API key file \"", file, "\""));
  }
  const std::streamsize got = stream.gcount();
  if (got > kLongestKey) {
    return absl::InvalidArgumentError(
        absl::StrCat("the API key file \"", file, "\" is longer than any key"));
  }
  text.resize(static_cast<size_t>(got));
  absl::StatusOr<std::string> key = KeyIn(text);
  if (!key.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot use the API key file \"", file, "\": ", key.status().message()));
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
                                                         absl::AnyInvocable<absl::Time()> now) {
  std::unique_ptr<ApiKey> result(new ApiKey());
  result->file_ = file;
  result->now_ = now ? std::move(now) : net::MonotonicNow;
  result->version_ = VersionOf(file);  // before reading: a change in between is seen later
  absl::StatusOr<std::string> key = ReadKeyFile(file);
  if (!key.ok()) return key.status();
  result->key_ = *std::move(key);
  result->next_look_ = result->now_() + absl::Seconds(1);
  return result;
}

const std::string& ApiKey::Current() {
  if (file_.empty()) return key_;
  const absl::Time now = now_();
  if (now < next_look_) return key_;
  next_look_ = now + absl::Seconds(1);
  if (VersionOf(file_) != version_) Reread();
  return key_;
}

void ApiKey::Reread() {
  if (file_.empty()) return;
  const FileVersion version = VersionOf(file_);
  absl::StatusOr<std::string> key = ReadKeyFile(file_);
  if (!key.ok()) return;  // the version stays the old one, so the next look tries again
  key_ = *std::move(key);
  version_ = version;
}

std::string ApiKey::Fingerprint() { return wavespeed::KeyFingerprint(Current()); }

ApiKey::FileVersion ApiKey::VersionOf(const std::string& file) {
  struct stat facts {};
  if (stat(file.c_str(), &facts) != 0) return {};
  return {facts.st_ino, facts.st_size, absl::TimeFromTimespec(facts.st_mtim)};
}

}  // namespace dreamgate::upstream
