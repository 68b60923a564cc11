// The Retry-After header: seconds, or one of the three HTTP date forms. Pure function.
#ifndef DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_
#define DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dreamgate::wavespeed {

// How long to wait from `now`, within 0 .. 1 hour; nothing if the text is empty or unreadable.
std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_RETRY_AFTER_H_
