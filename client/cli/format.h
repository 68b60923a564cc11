// How the dreamgate command words and aligns what it prints. Pure functions of plain values, without
// gRPC, so that they compile and test quickly.
#ifndef DREAMGATE_CLIENT_CLI_FORMAT_H_
#define DREAMGATE_CLIENT_CLI_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::client {

struct TransitionLine {
  absl::Time time;
  std::string state;       // for example "CREATED"
  absl::Duration elapsed;  // since the submission
  int64_t sequence = 0;
  std::string source;  // for example "submit answer"; empty: unknown
};

// "18:03:11.204  CREATED     +0.4s  seq 2  (submit answer)", in the given zone.
std::string FormatTransition(const TransitionLine& line,
                             absl::TimeZone zone = absl::LocalTimeZone());

// "PROCESSING  0:42  about 61 %, 0:27 left (estimate)".
std::string FormatWaiting(const std::string& state, absl::Duration elapsed,
                          std::optional<double> progress, std::optional<absl::Duration> left);

// "downloading  3.1 MB of 12.0 MB  26 %  1.4 MB/s".
std::string FormatDownload(uint64_t received, std::optional<uint64_t> total,
                           absl::Duration elapsed);

// "812 B", "3.1 MB"; powers of 1000.
std::string FormatBytes(uint64_t bytes);

// "0:42", "1:02:03".
std::string FormatElapsed(absl::Duration elapsed);

// Two aligned columns, a line each, every line after `indent`.
std::string FormatPairs(const std::vector<std::pair<std::string, std::string>>& pairs,
                        const std::string& indent = "");

// Aligned columns; the last one is not padded.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

// `text` (UTF-8) without what moves a terminal's cursor or changes its colours.
std::string Printable(const std::string& text);

// At most `width` code points; what is cut off is shown as "...".
std::string Shorten(const std::string& text, size_t width);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_FORMAT_H_
