#include "server/web/backup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::web {
namespace {

namespace ip = boost::asio::ip;

bool IsLoopback(absl::string_view literal) {
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(literal), error);
  if (error) return false;
  // A listener on [::] sees IPv4 peers in IPv6's clothes.
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
}

// A Host header without its port, an IPv6 literal without its brackets; empty if it is malformed.
std::string NameOf(absl::string_view host) {
  absl::string_view name = host;
  absl::string_view port;
  if (absl::StartsWith(host, "[")) {
    const size_t end = host.find(']');
    if (end == absl::string_view::npos) return "";
    name = host.substr(1, end - 1);
    port = host.substr(end + 1);
  } else if (const size_t colon = host.find(':'); colon != absl::string_view::npos) {
    name = host.substr(0, colon);
    port = host.substr(colon);
  }
  int number = 0;
  if (!port.empty() && (port.front() != ':' || !absl::SimpleAtoi(port.substr(1), &number))) {
    return "";
  }
  return absl::AsciiStrToLower(name);
}

}  // namespace

absl::StatusOr<BackupCopy> BackupCopy::FromDescriptor(int descriptor) {
  BackupCopy copy(descriptor, 0);
  struct stat file = {};
  if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode)) {
    return absl::UnavailableError("the copy of the ledger cannot be read");
  }
  copy.size_ = static_cast<uint64_t>(file.st_size);
  return copy;
}

BackupCopy::~BackupCopy() {
  if (descriptor_ >= 0) close(descriptor_);
}

BackupCopy::BackupCopy(BackupCopy&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

BackupCopy& BackupCopy::operator=(BackupCopy&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

absl::StatusOr<size_t> BackupCopy::Read(absl::Span<char> buffer) {
  ssize_t count = 0;
  do {
    count = read(descriptor_, buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot read the copy of the ledger: ", std::strerror(errno)));
  }
  return static_cast<size_t>(count);
}

// The ledger holds every prompt and every video's address, and whoever can reach loopback is not yet
// whoever may read it:
// - A web page open in a browser on this machine can send requests to 127.0.0.1. Browsers keep the
//   answer from it unless page and answer have one origin, and DNS rebinding gives them one: the page's
//   own name is made to point at 127.0.0.1. Then Host holds that name. So Host must be a loopback
//   address or localhost, which no page from elsewhere can have. A page that does without rebinding
//   learns nothing, but could keep the disk busy or have a copy dropped among somebody's downloads:
//   browsers name themselves in every such POST, and are refused.
// - A proxy or a service mesh's sidecar on this machine makes everybody a loopback peer. It keeps the
//   Host that its client asked for, or says that it forwards.
// A tunnel made for it (ssh -L, kubectl port-forward) passes, as it should: it has been authorized.
std::optional<std::string> WhyNoBackup(const BackupRequester& requester) {
  if (!IsLoopback(requester.peer)) {
    return "a backup is only given to this machine: ask from there, by 127.0.0.1, ::1 or localhost";
  }
  const std::string name = NameOf(requester.host);
  if (name != "localhost" && !IsLoopback(name)) {
    return "a backup is only given where Host is 127.0.0.1, [::1] or localhost";
  }
  if (requester.browser) return "a backup is not given to browsers: use curl or the like";
  if (requester.forwarded) return "a backup is not given through a proxy";
  return std::nullopt;
}

}  // namespace dreamgate::web
