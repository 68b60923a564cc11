#include "server/wavespeed/text.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"

namespace dreamgate::wavespeed {

namespace {

// The length of the well-formed character at the start of `text`, 0 if it is broken (Unicode, table
// "well-formed UTF-8 byte sequences": no surrogates, no overlong forms, nothing above U+10FFFF).
size_t CharacterLength(absl::string_view text) {
  const auto byte = [text](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto continues = [&byte](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string ValidUtf8(absl::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 0) {
      valid += "\xEF\xBF\xBD";
      text.remove_prefix(1);
    } else {
      valid.append(text.data(), length);
      text.remove_prefix(length);
    }
  }
  return valid;
}

std::string MessageText(absl::string_view text, size_t longest) {
  // Looks at no more than can end up in the result.
  std::string message = ValidUtf8(absl::StripAsciiWhitespace(text).substr(0, longest + 4));
  for (char& c : message) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  if (message.size() > longest) {
    size_t end = longest;
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
    message.resize(end);
  }
  return std::string(absl::StripAsciiWhitespace(message));
}

std::string MessageWithoutSecrets(absl::string_view text, const std::vector<std::string>& secrets,
                                  size_t longest) {
  std::string clean = ValidUtf8(text);
  for (const std::string& secret : secrets) {
    if (!secret.empty()) clean = absl::StrReplaceAll(clean, {{secret, "[redacted]"}});
  }
  return MessageText(clean, longest);
}

}  // namespace dreamgate::wavespeed
