#include "client/cli/format.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace dreamgate::client {
namespace {

bool ContinuesCodePoint(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

size_t CodePoints(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !ContinuesCodePoint(c); }));
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, CodePoints(text)), ' ');
}

}  // namespace

std::string FormatTransition(const TransitionLine& line, absl::TimeZone zone) {
  const std::string elapsed =
      absl::StrFormat("+%.1fs", std::max(0.0, absl::ToDoubleSeconds(line.elapsed)));
  std::string text =
      absl::StrFormat("%s  %-10s  %7s  seq %d", absl::FormatTime("%H:%M:%E3S", line.time, zone),
                      line.state, elapsed, line.sequence);
  if (!line.source.empty()) absl::StrAppend(&text, "  (", line.source, ")");
  return text;
}

std::string FormatWaiting(const std::string& state, absl::Duration elapsed,
                          std::optional<double> progress, std::optional<absl::Duration> left) {
  std::string text = absl::StrFormat("%-10s  %s", state, FormatElapsed(elapsed));
  if (progress.has_value()) {
    absl::StrAppendFormat(&text, "  about %.0f %%", std::clamp(*progress, 0.0, 1.0) * 100);
  }
  if (left.has_value()) {
    absl::StrAppend(&text, progress.has_value() ? ", " : "  about ", FormatElapsed(*left), " left");
  }
  if (progress.has_value() || left.has_value()) absl::StrAppend(&text, " (estimate)");
  return text;
}

std::string FormatDownload(uint64_t received, std::optional<uint64_t> total,
                           absl::Duration elapsed) {
  std::string text = "downloading  " + FormatBytes(received);
  if (total.has_value() && *total > 0) {
    absl::StrAppendFormat(&text, " of %s  %.0f %%", FormatBytes(*total),
                          100.0 * static_cast<double>(received) / static_cast<double>(*total));
  }
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (seconds >= 0.1) {
    const double speed = static_cast<double>(received) / seconds;
    absl::StrAppend(&text, "  ", FormatBytes(static_cast<uint64_t>(speed)), "/s");
  }
  return text;
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  double amount = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"kB", "MB", "GB", "TB"}) {
    if (amount < 999.95) break;
    amount /= 1000;
    unit = next;
  }
  return absl::StrFormat("%.1f %s", amount, unit);
}

std::string FormatElapsed(absl::Duration elapsed) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(elapsed));
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string FormatPairs(const std::vector<std::pair<std::string, std::string>>& pairs,
                        const std::string& indent) {
  size_t width = 0;
  for (const auto& [name, value] : pairs) width = std::max(width, CodePoints(name));
  std::string text;
  for (const auto& [name, value] : pairs) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", indent, Padded(name, width), "  ", value);
  }
  return text;
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], CodePoints(row[column]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    if (!text.empty()) text += '\n';
    for (size_t column = 0; column < row.size(); ++column) {
      const bool last = column + 1 == row.size();
      absl::StrAppend(&text, last ? row[column] : Padded(row[column], widths[column]),
                      last ? "" : "  ");
    }
  }
  return text;
}

std::string Printable(const std::string& text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1_control =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1_control) {
      result += '?';
      ++i;
    } else {
      result += byte < 0x20 || byte == 0x7f ? (byte == '\n' || byte == '\t' ? ' ' : '?') : text[i];
    }
  }
  return result;
}

std::string Shorten(const std::string& text, size_t width) {
  if (CodePoints(text) <= width) return text;
  size_t kept = 0, end = 0;
  while (end < text.size() && (ContinuesCodePoint(text[end]) || kept++ < width - 3)) ++end;
  return text.substr(0, end) + "...";
}

}  // namespace dreamgate::client
