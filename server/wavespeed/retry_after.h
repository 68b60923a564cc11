// The headers that speak of time: Retry-After (seconds, or a date) and Date. Pure functions.
#ifndef DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_
#define DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dreamgate::wavespeed {

// One of the three date forms of HTTP, in whole seconds; nothing if the text is empty or unreadable.
std::optional<absl::Time> ParseHttpDate(absl::string_view text);

// How long to wait from `now`, within 0 .. 1 hour; nothing if the text is empty or unreadable.
std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_
