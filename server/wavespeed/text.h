// Foreign text made fit for our own messages, the ledger and protobuf strings. Pure functions.
#ifndef DREAMGATE_SERVER_WAVESPEED_TEXT_H_
#define DREAMGATE_SERVER_WAVESPEED_TEXT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace dreamgate::wavespeed {

// Valid UTF-8: each broken sequence becomes U+FFFD.
std::string ValidUtf8(absl::string_view text);

// One line for people: valid UTF-8, control characters as spaces, no space at the ends, at most
// `longest` bytes (whole characters).
std::string MessageText(absl::string_view text, size_t longest = 512);

// The same, after each of `secrets` in it was replaced: the cut leaves no half of one either.
std::string MessageWithoutSecrets(absl::string_view text, const std::vector<std::string>& secrets,
                                  size_t longest = 512);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_TEXT_H_
