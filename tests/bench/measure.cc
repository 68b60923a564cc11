#include "tests/bench/measure.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
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
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

std::vector<double> Ratios(const Figure& figure) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(figure.ours.size(), figure.peers.size()); ++i) {
    ratios.push_back(figure.ours[i] / figure.peers[i]);
  }
  return ratios;
}

// Three digits that mean something, whatever the magnitude.
std::string Number(double value) {
  const double magnitude = std::abs(value);
  const int decimals = magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude == 0 ? 0 : 2;
  return absl::StrFormat("%.*f", decimals, value);
}

std::string Cell(const std::vector<double>& values) {
  if (values.empty()) return "-";
  const Spread spread = SpreadOf(values);
  if (values.size() == 1) return Number(spread.median);
  return absl::StrCat(Number(spread.median), " (", Number(spread.minimum), " .. ",
                      Number(spread.maximum), ")");
}

bool IsMet(const Figure& figure) {
  switch (figure.target.kind) {
    case Target::Kind::kNone: return true;
    case Target::Kind::kRatioAtMost: return SpreadOf(Ratios(figure)).median <= figure.target.value;
    case Target::Kind::kRatioAtLeast: return SpreadOf(Ratios(figure)).median >= figure.target.value;
    case Target::Kind::kAtMost: return SpreadOf(figure.ours).median <= figure.target.value;
  }
  return false;
}

// For example "at most 1.10x"; empty without a target.
std::string TargetText(const Figure& figure) {
  switch (figure.target.kind) {
    case Target::Kind::kNone: return "";
    case Target::Kind::kRatioAtMost: return absl::StrFormat("at most %.2fx", figure.target.value);
    case Target::Kind::kRatioAtLeast: return absl::StrFormat("at least %.2fx", figure.target.value);
    case Target::Kind::kAtMost:
      return absl::StrCat("at most ", Number(figure.target.value), " ", figure.unit);
  }
  return "";
}

}  // namespace

void Die(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  std::exit(1);
}

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
  size_t width = 6;
  for (const Figure& figure : figures) {
    width = std::max(width, figure.name.size() + figure.unit.size() + 2);
  }
  std::string table = absl::StrFormat("%-*s  %-26s %-26s %-24s %-18s %s\n", static_cast<int>(width),
                                      "figure", "dreamgate", "peer", "ratio", "target", "");
  for (const Figure& figure : figures) {
    const char* met = figure.target.kind == Target::Kind::kNone ? ""
                      : IsMet(figure)                           ? "met"
                                                                : "missed";
    absl::StrAppendFormat(&table, "%-*s  %-26s %-26s %-24s %-18s %s\n", static_cast<int>(width),
                          absl::StrCat(figure.name, ", ", figure.unit), Cell(figure.ours),
                          Cell(figure.peers), Cell(Ratios(figure)), TargetText(figure), met);
  }
  return table;
}

void WriteJson(const std::string& file, const std::string& about,
               const std::vector<Figure>& figures) {
  if (file.empty()) return;
  boost::json::array rows;
  for (const Figure& figure : figures) {
    boost::json::object row;
    row["figure"] = figure.name;
    row["unit"] = figure.unit;
    row["peer"] = figure.peer;
    row["target"] = TargetText(figure);
    row["met"] = IsMet(figure);
    row["dreamgate"] = boost::json::array(figure.ours.begin(), figure.ours.end());
    row["peers"] = boost::json::array(figure.peers.begin(), figure.peers.end());
    rows.push_back(std::move(row));
  }
  std::ofstream(file) << boost::json::serialize(
      boost::json::object{{"about", about}, {"figures", std::move(rows)}});
}

}  // namespace dreamgate::bench
