#include "tests/bench/measure.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace dreamgate::bench {
namespace {

struct Spread {
  double median = 0, minimum = 0, maximum = 0;
};

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

std::vector<double> Ratios(const Figure& figure) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(figure.ours.size(), figure.floor.size()); ++i) {
    ratios.push_back(figure.ours[i] / figure.floor[i]);
  }
  return ratios;
}

std::string Cell(const Spread& spread, const char* format) {
  const auto number = [format](double value) {
    char text[64];
    std::snprintf(text, sizeof(text), format, value);
    return std::string(text);
  };
  return absl::StrCat(number(spread.median), " (", number(spread.minimum), " .. ",
                      number(spread.maximum), ")");
}

}  // namespace

int64_t ResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

absl::Duration ProcessorTime(pid_t pid) {
  // schedstat counts nanoseconds; stat only hundredths of a second.
  int64_t nanoseconds = 0;
  std::error_code ignored;
  for (const auto& thread :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), ignored)) {
    std::ifstream file(thread.path() / "schedstat");
    int64_t on_processor = 0;
    file >> on_processor;
    nanoseconds += on_processor;
  }
  return absl::Nanoseconds(nanoseconds);
}

std::string Table(const std::vector<Figure>& figures) {
  std::string table = absl::StrFormat("%-44s %-8s %-28s %-28s %-24s %s\n", "figure", "unit",
                                      "dreamgate", "floor", "ratio", "target");
  for (const Figure& figure : figures) {
    const Spread ratio = SpreadOf(Ratios(figure));
    absl::StrAppendFormat(&table, "%-44s %-8s %-28s %-28s %-24s %s %.2fx\n", figure.name,
                          figure.unit, Cell(SpreadOf(figure.ours), "%.1f"),
                          Cell(SpreadOf(figure.floor), "%.1f"), Cell(ratio, "%.2f"),
                          ratio.median <= figure.target ? "met   " : "missed", figure.target);
  }
  return table;
}

std::string Json(const std::vector<Figure>& figures) {
  boost::json::array rows;
  for (const Figure& figure : figures) {
    boost::json::object row;
    row["figure"] = figure.name;
    row["unit"] = figure.unit;
    row["target_ratio"] = figure.target;
    row["median_ratio"] = SpreadOf(Ratios(figure)).median;
    row["dreamgate"] = boost::json::array(figure.ours.begin(), figure.ours.end());
    row["floor"] = boost::json::array(figure.floor.begin(), figure.floor.end());
    rows.push_back(std::move(row));
  }
  return boost::json::serialize(rows);
}

}  // namespace dreamgate::bench
