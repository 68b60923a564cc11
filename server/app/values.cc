#include "server/app/values.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/net/url.h"

namespace dreamgate::app {
namespace {

absl::Status Bad(const std::string& what_is_allowed) {
  return absl::InvalidArgumentError(what_is_allowed);
}

bool IsHostCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_' ||
         c == ':' || c == '%';
}

}  // namespace

std::string HostPort::Text() const {
  return absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(const std::string& text) {
  const absl::Status bad = Bad("must be HOST:PORT, for example 0.0.0.0:50051 or [::1]:50051");
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return bad;
  std::string host = text.substr(0, colon);
  const std::string port_text = text.substr(colon + 1);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
    if (!net::IsIpLiteral(host) || !absl::StrContains(host, ":")) return bad;
  } else if (absl::StrContains(host, ":")) {
    return bad;  // whose colon is the last one?
  }
  if (host.empty() || host.size() > 255) return bad;
  for (const char c : host) {
    if (!IsHostCharacter(c)) return bad;
  }
  uint32_t port = 0;
  if (port_text.empty() || port_text.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(port_text, &port) || port > 65535) {
    return Bad("the port must be a number from 0 to 65535");
  }
  return HostPort{host, static_cast<uint16_t>(port)};
}

absl::StatusOr<absl::Duration> ParseDuration(const std::string& text, absl::Duration least,
                                             absl::Duration most) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) {
    return Bad("must be a duration with a unit, for example 1m30s or 500ms");
  }
  if (duration < least || duration > most) {
    return Bad(absl::StrCat("must be from ", ShowDuration(least), " to ", ShowDuration(most)));
  }
  return duration;
}

std::string ShowDuration(absl::Duration duration) { return absl::FormatDuration(duration); }

absl::StatusOr<int64_t> ParseInteger(const std::string& text, int64_t least, int64_t most) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < least || number > most) {
    return Bad(absl::StrCat("must be a whole number from ", least, " to ", most));
  }
  return number;
}

absl::StatusOr<double> ParseNumber(const std::string& text, double least, double most) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, number);
  // The comparison is written so that NaN fails it.
  if (read.ec != std::errc() || read.ptr != end || !(number >= least && number <= most)) {
    return Bad(absl::StrCat("must be a number from ", ShowNumber(least), " to ", ShowNumber(most)));
  }
  return number;
}

std::string ShowNumber(double number) {
  char text[32];
  const std::to_chars_result written = std::to_chars(text, text + sizeof text, number);
  return std::string(text, written.ptr);
}

absl::StatusOr<bool> ParseBool(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Bad("must be true or false");
}

absl::StatusOr<core::LogLevel> ParseLogLevel(const std::string& text) {
  for (const core::LogLevel level : {core::LogLevel::kDebug, core::LogLevel::kInfo,
                                     core::LogLevel::kWarning, core::LogLevel::kError}) {
    if (text == telemetry::LogLevelName(level)) return level;
  }
  return Bad("must be debug, info, warning or error");
}

absl::StatusOr<telemetry::LogFormat> ParseLogFormat(const std::string& text) {
  if (text == "logfmt") return telemetry::LogFormat::kLogfmt;
  if (text == "json") return telemetry::LogFormat::kJson;
  return Bad("must be logfmt or json");
}

absl::StatusOr<std::string> ParseBaseUrl(const std::string& text) {
  const absl::StatusOr<net::Url> url = net::ParseUrl(text);
  if (!url.ok()) return Bad(std::string(url.status().message()));
  if (!url->query.empty()) return Bad("must not contain a query");
  return text;
}

absl::StatusOr<std::string> ParseWebhookUrl(const std::string& text) {
  if (text.empty()) return text;
  const absl::StatusOr<net::Url> url = net::ParseUrl(text);
  if (!url.ok()) return Bad(std::string(url.status().message()));
  if (!url->https) return Bad("must be https: WaveSpeed calls no other");
  if (!url->query.empty()) return Bad("must not contain a query");
  return text;
}

absl::StatusOr<std::string> ParseModel(const std::string& text) {
  const absl::Status bad =
      Bad("must be segments of letters, digits, '.', '_' and '-', joined by '/'");
  if (text.size() > 255) return bad;
  for (const absl::string_view segment : absl::StrSplit(text, '/')) {
    if (segment.empty() || segment == "." || segment == "..") return bad;
    for (const char c : segment) {
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') {
        return bad;
      }
    }
  }
  return text;
}

absl::Status CheckReadable(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  // Opening a folder succeeds, reading from it does not; an empty file is readable.
  if (file.is_open()) file.peek();
  if (!file.is_open() || file.bad()) {
    return Bad(absl::StrCat("cannot read the file", errno == 0 ? "" : ": ",
                            errno == 0 ? "" : std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace dreamgate::app
