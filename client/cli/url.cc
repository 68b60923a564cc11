#include "client/cli/url.h"

#include <algorithm>
#include <cctype>

namespace dreamgate::client {
namespace {

const char* SchemePort(bool secure) { return secure ? "443" : "80"; }

bool IsPort(const std::string& text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; }) &&
         std::stoi(text) <= 65535;
}

bool HasScheme(const std::string& text) {
  const size_t colon = text.find(':');
  return colon != std::string::npos && colon < text.find_first_of("/?#");
}

}  // namespace

std::string Url::Authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == SchemePort(secure) ? name : name + ":" + port;
}

std::optional<Url> ParseUrl(const std::string& text) {
  const bool clean =
      std::none_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; });
  if (!clean) return std::nullopt;
  const size_t colon = text.find("://");
  if (colon == std::string::npos) return std::nullopt;
  std::string scheme = text.substr(0, colon);
  std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  Url url;
  if (scheme != "http" && scheme != "https") return std::nullopt;
  url.secure = scheme == "https";

  const std::string rest = text.substr(colon + 3, text.find('#') - (colon + 3));
  const size_t path = std::min(rest.find_first_of("/?"), rest.size());
  const std::string authority = rest.substr(0, path);
  url.target = rest.substr(path);
  if (url.target.empty() || url.target[0] != '/') url.target.insert(0, "/");
  if (authority.find('@') != std::string::npos) return std::nullopt;  // credentials are never sent

  size_t host_end = authority.rfind(':');
  if (!authority.empty() && authority[0] == '[') {
    const size_t bracket = authority.find(']');
    if (bracket == std::string::npos) return std::nullopt;
    url.host = authority.substr(1, bracket - 1);
    host_end = bracket + 1;
    if (host_end < authority.size() && authority[host_end] != ':') return std::nullopt;
  } else {
    host_end = std::min(host_end, authority.size());
    url.host = authority.substr(0, host_end);
    if (url.host.find(':') != std::string::npos) return std::nullopt;
  }
  url.port = host_end < authority.size() ? authority.substr(host_end + 1) : SchemePort(url.secure);
  if (url.host.empty() || !IsPort(url.port)) return std::nullopt;
  return url;
}

std::optional<Url> ResolveRedirect(const Url& base, const std::string& location) {
  const std::string scheme = base.secure ? "https:" : "http:";
  const std::string origin = scheme + "//" + base.Authority();
  if (location.empty()) return std::nullopt;
  if (HasScheme(location)) return ParseUrl(location);
  if (location.rfind("//", 0) == 0) return ParseUrl(scheme + location);
  if (location[0] == '/') return ParseUrl(origin + location);
  const std::string path = base.target.substr(0, base.target.find('?'));
  if (location[0] == '?') return ParseUrl(origin + path + location);
  return ParseUrl(origin + path.substr(0, path.rfind('/') + 1) + location);
}

}  // namespace dreamgate::client
