// Absolute http and https URLs as an operator writes them into the configuration. Strict: what is
// not surely right is refused with a reason. Plain values, any thread.
#ifndef DREAMGATE_SERVER_NET_URL_H_
#define DREAMGATE_SERVER_NET_URL_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dreamgate::net {

struct Url {
  bool https = false;
  std::string host;   // lower case; an IPv6 literal without its brackets
  uint16_t port = 0;  // the scheme's default if none was given
  std::string path;   // as written: empty, or beginning with "/"
  std::string query;  // as written, without the "?"

  // "host" or "host:port" as it belongs into a Host header: the scheme's default port left out.
  std::string Authority() const;
};

// InvalidArgument with a reason for anything but an absolute http(s) URL. User names, fragments,
// control characters, spaces, incomplete percent triplets and ports outside 1 .. 65535 are refused.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

// Whether `host` is an IPv4 or IPv6 address (without brackets) and not a name.
bool IsIpLiteral(const std::string& host);

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_URL_H_
