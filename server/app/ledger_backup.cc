#include "server/app/ledger_backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace dreamgate::app {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTokenLength = 32;  // of Random::UnguessableToken

// Beside the file itself, also where `ledger_path` is a symbolic link.
fs::path RealPath(const std::string& ledger_path) {
  std::error_code error;
  fs::path real = fs::canonical(ledger_path, error);
  return error ? fs::path(ledger_path) : real;
}

// Whether `text` ends the name of a copy, or of a file that SQLite keeps beside one while it writes.
bool IsCopysEnding(absl::string_view text) {
  if (text.size() < kTokenLength) return false;
  const absl::string_view token = text.substr(0, kTokenLength);
  const absl::string_view rest = text.substr(kTokenLength);
  const auto is_hex = [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); };
  return std::all_of(token.begin(), token.end(), is_hex) &&
         (rest.empty() || rest == "-journal" || rest == "-wal" || rest == "-shm");
}

absl::StatusOr<web::BackupCopy> OpenAndUnlink(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  const int failure = errno;
  unlink(path.c_str());
  if (descriptor < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot read the copy of the ledger: ", std::strerror(failure)));
  }
  return web::BackupCopy::FromDescriptor(descriptor);
}

}  // namespace

LedgerBackup::LedgerBackup(const std::string& ledger_path, CopyLedger copy_ledger,
                           core::Random& random)
    : prefix_(RealPath(ledger_path).string() + ".backup-"),
      copy_ledger_(std::move(copy_ledger)),
      random_(random) {}

void LedgerBackup::RemoveLeftovers() const {
  const fs::path prefix(prefix_);
  const fs::path folder = prefix.has_parent_path() ? prefix.parent_path() : fs::path(".");
  const std::string name_prefix = prefix.filename().string();
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (absl::StartsWith(name, name_prefix) && IsCopysEnding(name.substr(name_prefix.size()))) {
      leftovers.push_back(entry->path());
    }
  }
  for (const fs::path& leftover : leftovers) unlink(leftover.c_str());
}

void LedgerBackup::Make(core::Completion<absl::StatusOr<web::BackupCopy>> done) {
  const std::string path = prefix_ + random_.UnguessableToken();
  copy_ledger_(path, [path, done = std::move(done)](absl::Status status) mutable {
    if (!status.ok()) {
      unlink(path.c_str());
      return std::move(done)(std::move(status));
    }
    std::move(done)(OpenAndUnlink(path));
  });
}

}  // namespace dreamgate::app
