// HTTP requests and answers as values, which is all that a service sees of HTTP. No sockets; plain data,
// any thread.
#ifndef DREAMGATE_SERVER_WEB_HTTP_MESSAGE_H_
#define DREAMGATE_SERVER_WEB_HTTP_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace dreamgate::web {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string target;   // as sent: nothing is decoded
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string peer;  // the client's address, an IP literal

  size_t CountOf(absl::string_view name) const;
  // Empty unless the header is there exactly once: of two, nobody knows which one others believe.
  absl::string_view ValueOf(absl::string_view name) const;
  // Whether the header is absent, or there once with the one value that can be dealt with.
  bool HasAtMost(absl::string_view name, absl::string_view value) const;
};

// A body that goes out in pieces, so that it costs as much memory whatever its size.
struct HttpStream {
  uint64_t size = 0;
  // Fills the span with what follows and returns how many bytes. An error or 0 before the end closes
  // the connection: the body is shorter than announced then, which clients notice.
  absl::AnyInvocable<absl::StatusOr<size_t>(absl::Span<char>)> read;
};

struct HttpResponse {
  int status = 200;  // an error (400 and above) ends its connection; 204 has no body
  std::string body = {};
  std::string content_type = "text/plain; charset=utf-8";
  HttpHeaders headers = {};               // further ones
  std::optional<HttpStream> stream = {};  // instead of `body`
};

// One line for people.
HttpResponse TextResponse(int status, absl::string_view line);

// Everything of an answer but its body.
std::string HeadText(const HttpResponse& response, bool keep_alive);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_HTTP_MESSAGE_H_
