// http and https addresses, split up as a download needs them. Pure.
#ifndef DREAMGATE_CLIENT_CLI_URL_H_
#define DREAMGATE_CLIENT_CLI_URL_H_

#include <optional>
#include <string>

namespace dreamgate::client {

struct Url {
  bool secure = false;  // https
  std::string host;     // without brackets
  std::string port;     // never empty
  std::string target;   // path and query; begins with /

  // As the Host header wants it: brackets for IPv6, the port unless it is the scheme's own.
  std::string Authority() const;

  friend bool operator==(const Url&, const Url&) = default;
};

// Unset: not an absolute http(s) address, or one with credentials, blanks or control characters in it.
std::optional<Url> ParseUrl(const std::string& text);

// The address that a Location header `location` means in the answer to `base`.
std::optional<Url> ResolveRedirect(const Url& base, const std::string& location);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_URL_H_
