#include "server/api/utf8.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace dreamgate::api {
namespace {

struct CodePoint {
  uint32_t value = 0;
  size_t length = 0;  // 0: the text does not begin with a valid code point
};

// The first code point of `text`, which must not be empty.
CodePoint FirstCodePoint(absl::string_view text) {
  const auto byte = [text](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  size_t length = 0;
  uint32_t value = 0;
  uint32_t smallest = 0;  // less than this would be an overlong form
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2, value = lead & 0x1F, smallest = 0x80;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3, value = lead & 0x0F, smallest = 0x800;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, value = lead & 0x07, smallest = 0x10000;
  }
  if (length == 0 || text.size() < length) return {};
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3F);
  }
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest || surrogate || value > 0x10FFFF) return {};
  return {value, length};
}

// Unicode's White_Space property, and the zero-width space.
bool IsSpace(uint32_t value) {
  return (value >= 0x09 && value <= 0x0D) || value == 0x20 || value == 0x85 || value == 0xA0 ||
         value == 0x1680 || (value >= 0x2000 && value <= 0x200B) || value == 0x2028 ||
         value == 0x2029 || value == 0x202F || value == 0x205F || value == 0x3000;
}

}  // namespace

std::optional<size_t> CountCodePoints(absl::string_view text) {
  size_t count = 0;
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    if (point.length == 0) return std::nullopt;
    text.remove_prefix(point.length);
    ++count;
  }
  return count;
}

bool IsBlank(absl::string_view text) {
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    if (point.length == 0 || !IsSpace(point.value)) return false;
    text.remove_prefix(point.length);
  }
  return true;
}

std::string CleanUtf8(absl::string_view text, size_t max_bytes) {
  constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";
  std::string clean;
  clean.reserve(text.size() < max_bytes ? text.size() : max_bytes);
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    const absl::string_view next = point.length == 0 ? kReplacement : text.substr(0, point.length);
    if (next.size() > max_bytes - clean.size()) {
      absl::StrAppend(&clean, "...");
      break;
    }
    absl::StrAppend(&clean, next);
    text.remove_prefix(point.length == 0 ? 1 : point.length);
  }
  return clean;
}

}  // namespace dreamgate::api
