// UTF-8 as the contract needs it: whether a text is valid, how long it is, how to cut it. Pure functions
// over bytes of any origin.
#ifndef DREAMGATE_SERVER_API_UTF8_H_
#define DREAMGATE_SERVER_API_UTF8_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace dreamgate::api {

// The number of code points; nullopt if `text` is not valid UTF-8 (no overlong forms, no
// surrogates, nothing above U+10FFFF).
std::optional<size_t> CountCodePoints(absl::string_view text);

// True if `text` is valid UTF-8 and made of nothing but Unicode white space.
// The empty text is blank.
bool IsBlank(absl::string_view text);

// `text` with every invalid byte replaced by U+FFFD, cut at a code point to at most
// `max_bytes`; what was cut shows as "...". A receiver in another language refuses a whole
// message for one bad byte.
std::string CleanUtf8(absl::string_view text, size_t max_bytes = std::string::npos);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_UTF8_H_
