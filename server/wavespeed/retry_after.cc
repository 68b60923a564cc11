#include "server/wavespeed/retry_after.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace dreamgate::wavespeed {

namespace {

std::optional<absl::Time> TimeIn(const char* form, absl::string_view text) {
  absl::Time time;
  if (!absl::ParseTime(form, text, &time, nullptr)) return std::nullopt;
  // ParseTime takes "infinite-future" in place of any form.
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) return std::nullopt;
  return time;
}

}  // namespace

std::optional<absl::Time> ParseHttpDate(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  // RFC 9110: the form to send, then RFC 850's, then asctime's. The weekday is not checked.
  const size_t comma = text.find(',');
  if (comma == absl::string_view::npos) return TimeIn("%a %b %e %H:%M:%S %Y", text);
  for (const char* form : {"%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT"}) {
    const std::optional<absl::Time> time = TimeIn(form, text.substr(comma + 1));
    if (time.has_value()) return time;
  }
  return std::nullopt;
}

std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return std::nullopt;
  absl::Duration wait;
  if (std::all_of(text.begin(), text.end(),
                  [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); })) {
    int64_t seconds = 0;
    wait = absl::SimpleAtoi(text, &seconds) ? absl::Seconds(seconds) : absl::InfiniteDuration();
  } else {
    const std::optional<absl::Time> time = ParseHttpDate(text);
    if (!time.has_value()) return std::nullopt;
    wait = *time - now;
  }
  return std::clamp(wait, absl::ZeroDuration(), absl::Hours(1));
}

}  // namespace dreamgate::wavespeed
