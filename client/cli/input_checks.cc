#include "client/cli/input_checks.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace dreamgate::client {
namespace {

constexpr char kExpected[] = "give HOST:PORT, for example localhost:50051";

bool IsVisibleAscii(unsigned char c) { return c > ' ' && c < 0x7f; }

bool IsPort(const std::string& text) {
  const bool digits = !text.empty() && text.size() <= 5 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  return digits && std::stoi(text) >= 1 && std::stoi(text) <= 65535;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.rfind(prefix, 0) == 0;
}

// gRPC's names for what is not resolved as HOST:PORT.
bool HasOtherScheme(const std::string& server) {
  constexpr std::array kSchemes = {"unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "xds:"};
  return std::any_of(kSchemes.begin(), kSchemes.end(),
                     [&server](const char* scheme) { return StartsWith(server, scheme); });
}

// The bytes of the code point that begins at `at`; 0 if it is malformed.
size_t CodePointSize(const std::string& text, size_t at) {
  const auto byte = [&text, at](size_t offset) {
    return at + offset < text.size() ? static_cast<unsigned char>(text[at + offset]) : 0u;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t offset = 2; offset < size; ++offset) {
    if (byte(offset) < 0x80 || byte(offset) > 0xbf) return 0;
  }
  return size;
}

}  // namespace

std::string CheckServer(const std::string& server) {
  if (server.empty()) return std::string("is empty; ") + kExpected;
  if (!std::all_of(server.begin(), server.end(), IsVisibleAscii))
    return std::string("has a character that no address has; ") + kExpected;
  if (HasOtherScheme(server)) return "";
  std::string address = server;
  if (StartsWith(server, "dns:")) {
    address = server.substr(server.rfind('/') == std::string::npos ? 4 : server.rfind('/') + 1);
  } else if (server.find('/') != std::string::npos) {
    return server + " is a URL or a path; " + kExpected;
  }
  if (address.empty()) return server + " names no host; " + kExpected;
  const size_t colon = address.rfind(':');
  const bool bare = colon == std::string::npos || address.back() == ']' ||
                    (address.front() != '[' && address.find(':') != colon);  // IPv6
  if (bare || IsPort(address.substr(colon + 1))) return "";
  return "the port of " + server + " is not a number from 1 to 65535";
}

std::string CheckRequestId(const std::string& request_id) {
  const bool good = !request_id.empty() && request_id.size() <= 128 &&
                    std::all_of(request_id.begin(), request_id.end(), IsVisibleAscii);
  return good ? "" : "give 1 to 128 printable ASCII characters without spaces";
}

std::string CheckUtf8(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = CodePointSize(text, at);
    if (size == 0) return "is not valid UTF-8 (byte " + std::to_string(at + 1) + ")";
    at += size;
  }
  return "";
}

}  // namespace dreamgate::client
