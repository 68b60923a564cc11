#include "server/web/http_message.h"

#include <algorithm>
#include <boost/beast/http/status.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::web {
namespace {

namespace http = boost::beast::http;

constexpr char kRetryAfterSeconds[] = "5";

}  // namespace

size_t HttpRequest::CountOf(absl::string_view name) const {
  return static_cast<size_t>(std::count_if(
      headers.begin(), headers.end(), [name](const auto& header) { return header.first == name; }));
}

absl::string_view HttpRequest::ValueOf(absl::string_view name) const {
  if (CountOf(name) != 1) return {};
  return std::find_if(headers.begin(), headers.end(),
                      [name](const auto& header) { return header.first == name; })
      ->second;
}

bool HttpRequest::HasAtMost(absl::string_view name, absl::string_view value) const {
  return CountOf(name) == 0 || (CountOf(name) == 1 && absl::EqualsIgnoreCase(ValueOf(name), value));
}

HttpResponse TextResponse(int status, absl::string_view line) {
  return {.status = status, .body = absl::StrCat(line, "\n")};
}

std::string HeadText(const HttpResponse& response, bool keep_alive) {
  const auto reason =
      http::obsolete_reason(http::int_to_status(static_cast<unsigned>(response.status)));
  std::string text = absl::StrCat("HTTP/1.1 ", response.status, " ",
                                  absl::string_view(reason.data(), reason.size()), "\r\n");
  if (response.status != 204) {
    const uint64_t length = response.stream ? response.stream->size : response.body.size();
    absl::StrAppend(&text, "Content-Type: ", response.content_type, "\r\nContent-Length: ", length,
                    "\r\nX-Content-Type-Options: nosniff\r\n",
                    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n");
  }
  for (const auto& [name, value] : response.headers) {
    absl::StrAppend(&text, name, ": ", value, "\r\n");
  }
  if (response.status == 503) absl::StrAppend(&text, "Retry-After: ", kRetryAfterSeconds, "\r\n");
  return absl::StrCat(text, "Connection: ", keep_alive ? "keep-alive" : "close",
                      "\r\nCache-Control: no-store\r\n\r\n");
}

}  // namespace dreamgate::web
