#include "tests/simulator/message.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::simulator {

std::string Request::Path() const { return target.substr(0, target.find('?')); }

std::string Request::Query(const std::string& name) const {
  std::size_t at = target.find('?');
  while (at != std::string::npos) {
    const std::size_t end = target.find('&', at + 1);
    const std::string pair = target.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    if (pair.compare(0, name.size() + 1, name + "=") == 0) {
      return PercentDecode(pair.substr(name.size() + 1));
    }
    at = end;
  }
  return {};
}

const std::string& Request::Header(const char* name) const {
  static const std::string& absent = *new std::string;
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return absent;
}

std::string Head(const Answer& answer, const std::string& framing, const std::string& date,
                 bool keep_alive) {
  std::string head = absl::StrCat("HTTP/1.1 ", answer.status, " ", ReasonPhrase(answer.status),
                                  "\r\nDate: ", date, "\r\nServer: wavespeed-simulator\r\n");
  if (!answer.content_type.empty()) {
    absl::StrAppend(&head, "Content-Type: ", answer.content_type, "\r\n");
  }
  for (const auto& [name, value] : answer.headers) {
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  absl::StrAppend(&head, framing, keep_alive ? "" : "Connection: close\r\n", "\r\n");
  return head;
}

WirePlan PlainPlan(const Answer& answer, const Request& request, const std::string& date) {
  const std::size_t length = answer.file ? answer.file_length : answer.body.size();
  WirePlan plan;
  plan.bytes =
      Head(answer, absl::StrCat("Content-Length: ", length, "\r\n"), date, request.keep_alive);
  plan.end = request.keep_alive ? WirePlan::End::kKeepAlive : WirePlan::End::kClose;
  if (request.method == "HEAD") return plan;
  plan.bytes += answer.body;
  plan.file = answer.file;
  plan.file_offset = answer.file_offset;
  plan.file_length = answer.file_length;
  return plan;
}

std::string HttpDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", time, absl::UTCTimeZone());
}

const char* ReasonPhrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 416: return "Range Not Satisfiable";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Status";
  }
}

std::string PercentDecode(const std::string& text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      return at < text.size() && absl::ascii_isxdigit(static_cast<unsigned char>(text[at]));
    };
    if (text[i] == '%' && digit(i + 1) && digit(i + 2)) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

}  // namespace dreamgate::simulator
