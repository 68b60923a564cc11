#include "server/net/watched_files.h"

#include <sys/stat.h>

#include <fstream>
#include <ios>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/net/monotonic_clock.h"

namespace dreamgate::net {

namespace {
constexpr absl::Duration kLookInterval = absl::Seconds(1);
}  // namespace

WatchedFiles::WatchedFiles(std::vector<std::string> files, absl::AnyInvocable<absl::Time()> now)
    : files_(std::move(files)), now_(now ? std::move(now) : MonotonicNow) {
  Look();
}

bool WatchedFiles::HaveChanged() {
  if (now_() < next_look_) return false;
  Look();
  return seen_ != accepted_;
}

void WatchedFiles::Look() {
  next_look_ = now_() + kLookInterval;
  seen_.clear();
  for (const std::string& file : files_) seen_.push_back(VersionOf(file));
}

void WatchedFiles::Accept() {
  accepted_ = seen_;
  problem_.clear();
}

bool WatchedFiles::Refuse(const absl::Status& problem) {
  return std::exchange(problem_, std::string(problem.message())) != problem.message();
}

WatchedFiles::Version WatchedFiles::VersionOf(const std::string& file) {
  struct stat facts {};
  if (stat(file.c_str(), &facts) != 0) return {};
  return {facts.st_dev, facts.st_ino, facts.st_size, absl::TimeFromTimespec(facts.st_mtim)};
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& file, size_t longest) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(longest + 1, '\0');
  if (stream) stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (!stream.is_open() || stream.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read \"", file, "\""));
  }
  content.resize(static_cast<size_t>(stream.gcount()));
  if (content.size() > longest) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", file, "\" is longer than ", longest, " bytes"));
  }
  return content;
}

}  // namespace dreamgate::net
