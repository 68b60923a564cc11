#include "server/net/url.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dreamgate::net {

namespace {

absl::Status Refuse(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a usable http(s) URL: ", why));
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
}

bool IsPathOrQuery(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '%') {
      if (i + 2 >= text.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) ||
          !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]))) {
        return false;
      }
    } else if (!absl::ascii_isalnum(c) &&
               !absl::StrContains("-._~!$&'()*+,;=:@/?", static_cast<char>(c))) {
      return false;
    }
  }
  return true;
}

bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

// Names of up to 253 characters whose labels are not empty; a last dot is allowed.
bool IsHostName(absl::string_view host) {
  absl::ConsumeSuffix(&host, ".");
  if (host.empty() || host.size() > 253 || host.front() == '.' || absl::StrContains(host, "..")) {
    return false;
  }
  for (char c : host) {
    if (!IsNameCharacter(c)) return false;
  }
  return true;
}

}  // namespace

bool IsIpLiteral(const std::string& host) {
  in_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 || IsIpv6(host);
}

std::string Url::Authority() const {
  const std::string name = absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
  if (port == (https ? 443 : 80)) return name;
  return absl::StrCat(name, ":", port);
}

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  // First, because the readers of numbers and addresses below overlook some of them.
  if (!std::all_of(text.begin(), text.end(),
                   [](char c) { return absl::ascii_isgraph(static_cast<unsigned char>(c)); })) {
    return Refuse("it contains spaces or other characters that need encoding");
  }
  Url url;
  const size_t scheme_end = text.find("://");
  if (scheme_end == absl::string_view::npos)
    return Refuse("it must begin with http:// or https://");
  const std::string scheme = absl::AsciiStrToLower(text.substr(0, scheme_end));
  if (scheme != "http" && scheme != "https") {
    return Refuse("its scheme must be http or https");
  }
  url.https = scheme == "https";
  text.remove_prefix(scheme_end + 3);

  const size_t authority_end = text.find_first_of("/?#");
  absl::string_view authority = text.substr(0, authority_end);
  text.remove_prefix(authority.size());
  if (absl::StrContains(authority, '@')) return Refuse("it must not contain a user name");

  absl::string_view port;
  bool has_port = false;
  if (absl::StartsWith(authority, "[")) {
    const size_t bracket = authority.find(']');
    if (bracket == absl::string_view::npos) return Refuse("\"]\" is missing");
    url.host = absl::AsciiStrToLower(authority.substr(1, bracket - 1));
    if (!IsIpv6(url.host)) return Refuse("the brackets do not hold an IPv6 address");
    absl::string_view rest = authority.substr(bracket + 1);
    has_port = absl::ConsumePrefix(&rest, ":");
    if (!has_port && !rest.empty()) return Refuse("unexpected text after \"]\"");
    port = rest;
  } else {
    const size_t colon = authority.find(':');
    url.host = absl::AsciiStrToLower(authority.substr(0, colon));
    if (!IsHostName(url.host)) return Refuse("its host is missing or malformed");
    has_port = colon != absl::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
  }

  url.port = url.https ? 443 : 80;
  if (has_port) {
    uint32_t number = 0;
    if (port.empty() || port.size() > 5 ||
        !absl::ascii_isdigit(static_cast<unsigned char>(port[0])) ||
        !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
      return Refuse("its port must be 1 to 65535");
    }
    url.port = static_cast<uint16_t>(number);
  }

  if (absl::StrContains(text, '#')) return Refuse("it must not contain a fragment (\"#\")");
  if (!IsPathOrQuery(text))
    return Refuse("its path or query contains characters that need encoding");
  const size_t question = text.find('?');
  url.path = std::string(text.substr(0, question));
  if (question != absl::string_view::npos) url.query = std::string(text.substr(question + 1));
  return url;
}

}  // namespace dreamgate::net
