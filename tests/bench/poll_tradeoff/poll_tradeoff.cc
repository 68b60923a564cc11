// Draws what a GET buys: GETs per video against the delay until the end is noticed, for our schedule and
// its rivals, on three shapes of completion times. Virtual time, fixed seeds: every run prints the same.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/core/polling/completion_times.h"
#include "server/core/polling/poll_schedule.h"
#include "tests/bench/flags.h"
#include "tests/bench/poll_tradeoff/picture.h"
#include "tests/bench/poll_tradeoff/rivals.h"
#include "tests/bench/poll_tradeoff/shapes.h"

namespace dreamgate::bench {
namespace {

struct Settings {
  int rounds = 7;
  int videos = 4000;  // measured per round
  std::string json_file;
  std::string svg_file;
};

constexpr int kLearned = 200;  // videos
const std::vector<double> kBudgets = {4, 6, 8, 10, 12, 15, 20, 25};

// Three figures over the rounds.
struct Spread {
  double median = 0, low = 0, high = 0;
};

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

struct Row {
  std::string rival;
  std::string setting;
  std::vector<Outcome> rounds;

  Spread Of(const std::function<double(const Outcome&)>& figure) const {
    std::vector<double> values;
    values.reserve(rounds.size());
    for (const Outcome& outcome : rounds) values.push_back(figure(outcome));
    return SpreadOf(std::move(values));
  }
  Spread Gets() const {
    return Of([](const Outcome& outcome) { return outcome.gets; });
  }
  Spread Mean() const {
    return Of([](const Outcome& outcome) { return outcome.mean_delay; });
  }
  Spread P99() const {
    return Of([](const Outcome& outcome) { return outcome.p99_delay; });
  }
  Spread Product() const {
    return Of([](const Outcome& outcome) { return outcome.gets * outcome.mean_delay; });
  }
};

// How a rival comes about in a round; learning takes the round's seed.
using Maker = std::function<Rival(uint64_t seed)>;

Row RowOf(const std::string& rival, const std::string& setting, const Maker& make,
          const Shape& shape, const Settings& settings) {
  Row row{rival, setting, {}};
  for (int round = 0; round < settings.rounds; ++round) {
    const auto seed = static_cast<uint64_t>(round) + 1;
    row.rounds.push_back(Measure(make(seed), shape, settings.videos, 1000 + seed));
  }
  return row;
}

std::shared_ptr<const core::PollSchedule> ScheduleFor(const core::CompletionTimes& times,
                                                      const core::PollLimits& limits) {
  return std::make_shared<const core::PollSchedule>(times, limits);
}

const char kBest[] = "best within bounds";
const char kOurs[] = "ours, learned";
const char kOursTold[] = "ours, learned, told";
const char kPrior[] = "ours, prior only";
const char kFixed[] = "fixed interval";
const char kBackoff[] = "backoff";
const char kSdk[] = "official SDK";

struct Report {
  Shape shape;
  double optimum;
  double fixed;
  std::vector<Row> tradeoff;
  std::vector<Row> learning;  // at the default budget
};

std::vector<Row> TradeoffOn(const Shape& shape, const Settings& settings) {
  std::vector<Row> rows;
  const auto add = [&](const std::string& rival, const std::string& setting, const Maker& make) {
    rows.push_back(RowOf(rival, setting, make, shape, settings));
  };
  const auto add_budgets =
      [&](const std::string& rival,
          const std::function<Rival(const core::PollLimits&, uint64_t)>& make) {
        for (const double budget : kBudgets) {
          const core::PollLimits limits = {.gets_per_video = budget};
          add(rival, absl::StrFormat("%g GETs", budget),
              [&](uint64_t seed) { return make(limits, seed); });
        }
      };
  add_budgets(kBest,
              [&](const core::PollLimits& limits, uint64_t) { return BestFor(shape, limits); });
  for (const bool told : {false, true}) {
    add_budgets(told ? kOursTold : kOurs, [&](const core::PollLimits& limits, uint64_t seed) {
      return Ours(ScheduleFor(Learn(shape, limits, kLearned, told, seed), limits));
    });
  }
  add_budgets(kPrior, [&](const core::PollLimits& limits, uint64_t) {
    return Ours(ScheduleFor(core::CompletionTimes(), limits));
  });
  for (const double interval : {2, 3, 5, 10, 15, 20, 30}) {
    add(kFixed, absl::StrFormat("%g s", interval),
        [&](uint64_t) { return FixedInterval(interval); });
  }
  for (const double longest : {2, 5, 10, 20, 30, 60}) {
    add(kBackoff, absl::StrFormat("1 s x 2, at most %g s", longest),
        [&](uint64_t) { return Backoff(longest); });
  }
  add(kSdk, "1 s", [](uint64_t) { return FixedInterval(1); });
  return rows;
}

std::vector<Row> LearningOn(const Shape& shape, const Settings& settings) {
  std::vector<Row> rows;
  const core::PollLimits limits;
  for (const int videos : {0, 10, 25, 50, 100, 200, 400, 1000}) {
    rows.push_back(RowOf(
        "default", absl::StrCat(videos, " videos"),
        [&](uint64_t seed) {
          return Ours(ScheduleFor(Learn(shape, limits, videos, false, seed), limits));
        },
        shape, settings));
  }
  rows.push_back(RowOf(
      "default, start shown at 10 s", absl::StrCat(kLearned, " videos"),
      [&](uint64_t seed) {
        return Ours(ScheduleFor(Learn(shape, limits, kLearned, false, seed), limits), 10);
      },
      shape, settings));
  return rows;
}

// ------------------------------------------------------------------------------------------ printing

std::string Cell(const Spread& spread) {
  const int digits = spread.median < 10 ? 2 : 1;
  return absl::StrFormat("%.*f (%.*f .. %.*f)", digits, spread.median, digits, spread.low, digits,
                         spread.high);
}

void PrintRows(const std::vector<Row>& rows, double optimum) {
  std::printf("  %-29s %-22s %-22s %-24s %-24s %-22s %s\n", "schedule", "setting", "GETs per video",
              "mean delay, s", "p99 delay, s", "GETs x delay, s", "over optimum");
  for (const Row& row : rows) {
    const Spread product = row.Product();
    std::printf("  %-29s %-22s %-22s %-24s %-24s %-22s %.2f\n", row.rival.c_str(),
                row.setting.c_str(), Cell(row.Gets()).c_str(), Cell(row.Mean()).c_str(),
                Cell(row.P99()).c_str(), Cell(product).c_str(), product.median / optimum);
  }
}

void Print(const Report& report) {
  std::printf("\n%s: %s\n", report.shape.name.c_str(), report.shape.description.c_str());
  std::printf("  optimum of GETs x mean delay %.1f s, any fixed interval %.1f s\n", report.optimum,
              report.fixed);
  PrintRows(report.tradeoff, report.optimum);
  std::printf("  by videos learned from, default budget\n");
  PrintRows(report.learning, report.optimum);
}

boost::json::array JsonRows(const std::vector<Row>& rows) {
  boost::json::array array;
  for (const Row& row : rows) {
    boost::json::object object;
    object["schedule"] = row.rival;
    object["setting"] = row.setting;
    for (const Outcome& outcome : row.rounds) {
      for (const auto& [name, value] :
           {std::pair("gets", outcome.gets), std::pair("mean_delay_s", outcome.mean_delay),
            std::pair("p99_delay_s", outcome.p99_delay)}) {
        auto& values = object[name];
        if (!values.is_array()) values = boost::json::array();
        values.as_array().push_back(value);
      }
    }
    array.push_back(std::move(object));
  }
  return array;
}

std::string JsonOf(const std::vector<Report>& reports) {
  boost::json::array shapes;
  for (const Report& report : reports) {
    boost::json::object object;
    object["shape"] = report.shape.name;
    object["description"] = report.shape.description;
    object["optimum_s"] = report.optimum;
    object["fixed_s"] = report.fixed;
    object["tradeoff"] = JsonRows(report.tradeoff);
    object["learning"] = JsonRows(report.learning);
    shapes.push_back(std::move(object));
  }
  return boost::json::serialize(shapes);
}

Curve CurveOf(const Report& report, size_t style, const std::string& rival, bool p99) {
  Curve curve;
  curve.style = style;
  for (const Row& row : report.tradeoff) {
    if (row.rival != rival) continue;
    const Spread delay = p99 ? row.P99() : row.Mean();
    curve.points.push_back({row.Gets().median, delay.median, delay.low, delay.high});
  }
  return curve;
}

Picture PictureOf(const std::vector<Report>& reports) {
  Picture picture;
  picture.title = "What a GET buys: delay until a finished video is noticed";
  picture.x_label = "GETs per video";
  picture.x_low = 3;
  picture.x_high = 150;
  picture.styles = {{"optimum (theory)", "#7d8590", "5 4", 1.5, false},
                    {"ours, 200 videos", "#2f81f7", "", 2.2},
                    {"ours, prior only", "#2f81f7", "2 3", 1.2},
                    {"fixed interval", "#d97706", "", 1.5},
                    {"backoff, capped", "#a855f7", "", 1.5},
                    {"SDK, 1 s", "#e5484d", "", 1.5}};
  const std::vector<std::string> rivals = {"", kOurs, kPrior, kFixed, kBackoff, kSdk};
  picture.rows = {{0.4, 20, {}}, {0.8, 150, {}}};
  for (const Report& report : reports) {
    for (const bool p99 : {false, true}) {
      Panel panel;
      panel.title = p99 ? "" : report.shape.name;
      panel.y_label = p99 ? "p99 delay, s" : "mean delay, s";
      if (!p99) {
        // GETs x delay is constant, a straight line here.
        panel.curves.push_back({0,
                                {{picture.x_low, report.optimum / picture.x_low, 0, 0},
                                 {picture.x_high, report.optimum / picture.x_high, 0, 0}}});
      }
      for (size_t style = 1; style < rivals.size(); ++style) {
        panel.curves.push_back(CurveOf(report, style, rivals[style], p99));
      }
      picture.rows[p99 ? 1 : 0].panels.push_back(std::move(panel));
    }
  }
  return picture;
}

// The cost of learning, planning and asking on the loop; the only figures here that depend on the machine.
void PrintCosts(int rounds) {
  const auto microseconds = [](int times, const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) work();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    return took.count() / times;
  };
  const Shape shape = Shapes().front();
  core::CompletionTimes times = Learn(shape, {}, kLearned, false, 1);
  core::PollSchedule schedule(times, {});
  SeededRandom random(1);
  std::vector<double> observe, plan, hazard, next;
  double sum = 0;
  for (int round = 0; round < rounds; ++round) {
    observe.push_back(microseconds(100, [&] { times.Observe(absl::Seconds(100)); }));
    plan.push_back(microseconds(20, [&] { schedule = core::PollSchedule(times, {}); }));
    hazard.push_back(microseconds(100'000, [&] { sum += times.Hazard(absl::Seconds(90)); }));
    next.push_back(microseconds(100'000, [&] {
      const absl::Duration age = absl::Seconds(90);
      sum += absl::ToDoubleSeconds(schedule.NextPoll(age, age, true, random));
    }));
  }
  std::printf(
      "\nOn the loop, us: observation %s, new schedule %s, hazard %s, next poll %s; bytes to keep "
      "%zu%s\n",
      Cell(SpreadOf(observe)).c_str(), Cell(SpreadOf(plan)).c_str(), Cell(SpreadOf(hazard)).c_str(),
      Cell(SpreadOf(next)).c_str(), times.Serialize().size(), sum > 0 ? "" : " ");
}

bool Write(const std::string& file, const std::string& text) {
  if (file.empty()) return true;
  std::ofstream stream(file);
  stream << text;
  stream.close();
  if (stream) return true;
  std::fprintf(stderr, "cannot write %s\n", file.c_str());
  return false;
}

int Main(const Settings& settings) {
  std::printf(
      "GETs per video against the delay until the end is noticed. %d rounds of %d videos: median\n"
      "(minimum .. maximum). Shortest interval 2 s but for the SDK; ours learns from %d videos "
      "before,\n"
      "from its own polls alone or (told) with upstream's own figures. One GET is the one that "
      "finds\n"
      "the end.\n",
      settings.rounds, settings.videos, kLearned);
  std::vector<Report> reports;
  for (const Shape& shape : Shapes()) {
    reports.push_back({shape, Optimum(shape), FixedProduct(shape), TradeoffOn(shape, settings),
                       LearningOn(shape, settings)});
    Print(reports.back());
  }
  PrintCosts(settings.rounds);
  const bool written = Write(settings.json_file, JsonOf(reports)) &&
                       Write(settings.svg_file, Svg(PictureOf(reports)));
  return written ? 0 : 1;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  dreamgate::bench::Settings settings;
  if (!dreamgate::bench::ReadFlags(argc, argv,
                                   {{"--rounds", &settings.rounds},
                                    {"--videos", &settings.videos},
                                    {"--json", &settings.json_file},
                                    {"--svg", &settings.svg_file}})) {
    std::fprintf(stderr,
                 "usage: poll_tradeoff [--rounds N] [--videos N] [--json FILE] [--svg FILE]\n");
    return 2;
  }
  return dreamgate::bench::Main(settings);
}
