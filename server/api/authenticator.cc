#include "server/api/authenticator.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/core/errors.h"
#include "server/crypto/crypto.h"

namespace dreamgate::api {
namespace {

constexpr char kDefaultTenant[] = "default";
constexpr size_t kMinTokenLength = 16;
constexpr size_t kMaxTenantLength = 64;

bool IsTenant(absl::string_view name) {
  return name.size() <= kMaxTenantLength && std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' ||
                  c == '-';
         });
}

absl::Status BadLine(size_t number, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", problem));
}

absl::Status CredentialsInvalid() {
  return core::MakeError(
      core::Reason::kCredentialsInvalid,
      "the credentials are not known here; send \"authorization: Bearer <token>\" "
      "with the token your operator gave you");
}

}  // namespace

absl::StatusOr<std::vector<Caller>> ParseTokens(absl::string_view content) {
  std::vector<Caller> callers;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() != 2) return BadLine(number, "expected `tenant token`");
    if (!IsTenant(words[0])) {
      return BadLine(number, "a tenant is 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    }
    if (words[1].size() < kMinTokenLength)
      return BadLine(number, "a token has at least 16 characters");
    Caller caller{std::string(words[0]), crypto::Sha256Hex(words[1])};
    const bool repeated = std::any_of(
        callers.begin(), callers.end(),
        [&caller](const Caller& other) { return other.token_sha256 == caller.token_sha256; });
    if (repeated) return BadLine(number, "the token is there twice");
    callers.push_back(std::move(caller));
  }
  if (callers.empty()) return absl::InvalidArgumentError("no line `tenant token`");
  return callers;
}

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(Options options,
                                                                     core::Events& events) {
  auto authenticator = absl::WrapUnique(new Authenticator(std::move(options), events));
  const std::string& path = authenticator->options_.token_file;
  if (path.empty()) return authenticator;
  const std::lock_guard<std::mutex> lock(authenticator->mutex_);
  authenticator->version_ = VersionOf(path);
  absl::StatusOr<std::vector<Caller>> callers = ReadFile(path);
  if (!callers.ok()) return callers.status();
  authenticator->callers_ = std::make_shared<const std::vector<Caller>>(*std::move(callers));
  return authenticator;
}

Authenticator::Authenticator(Options options, core::Events& events)
    : options_(std::move(options)),
      events_(events),
      next_look_(std::chrono::steady_clock::now() +
                 absl::ToChronoNanoseconds(options_.reread_interval)) {}

absl::StatusOr<std::string> Authenticator::Authenticate(
    std::optional<absl::string_view> authorization) {
  if (options_.token_file.empty()) return std::string(kDefaultTenant);
  if (!authorization) {
    return core::MakeError(core::Reason::kCredentialsMissing,
                           "no credentials; send \"authorization: Bearer <token>\"");
  }
  constexpr absl::string_view kScheme = "Bearer ";
  if (!absl::StartsWithIgnoreCase(*authorization, kScheme)) return CredentialsInvalid();
  const std::string hash =
      crypto::Sha256Hex(absl::StripAsciiWhitespace(authorization->substr(kScheme.size())));
  const Callers callers = CurrentCallers();
  // All are compared, so the time tells nothing about who matched. A file has tens of lines.
  const Caller* match = nullptr;
  for (const Caller& caller : *callers) {
    if (crypto::ConstantTimeEquals(caller.token_sha256, hash)) match = &caller;
  }
  if (match == nullptr) return CredentialsInvalid();
  return match->tenant;
}

std::optional<Authenticator::FileVersion> Authenticator::VersionOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  FileVersion version;
  version.device = info.st_dev;
  version.inode = info.st_ino;
  version.size = info.st_size;
  version.modified_nanos = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return version;
}

absl::StatusOr<std::vector<Caller>> Authenticator::ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(absl::StrCat("token file ", path, ": cannot be read"));
  }
  absl::StatusOr<std::vector<Caller>> callers = ParseTokens(content);
  if (callers.ok()) return callers;
  return absl::Status(callers.status().code(),
                      absl::StrCat("token file ", path, ": ", callers.status().message()));
}

Authenticator::Callers Authenticator::CurrentCallers() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now < next_look_) return callers_;
  next_look_ = now + absl::ToChronoNanoseconds(options_.reread_interval);
  const std::optional<FileVersion> version = VersionOf(options_.token_file);
  if (version == version_) return callers_;
  version_ = version;  // a bad content is reported once, not every second
  absl::StatusOr<std::vector<Caller>> callers = ReadFile(options_.token_file);
  if (callers.ok()) {
    callers_ = std::make_shared<const std::vector<Caller>>(*std::move(callers));
    events_.Log(core::LogLevel::kInfo, "callers reread",
                {{"file", options_.token_file}, {"callers", absl::StrCat(callers_->size())}});
  } else {
    events_.Log(core::LogLevel::kError, "callers stay as they were: the token file is bad",
                {{"problem", std::string(callers.status().message())}});
  }
  return callers_;
}

}  // namespace dreamgate::api
