// A crowd of watchers on the real server while upstream fails half of all polls, webhooks are lost,
// doubled, late and forged, connections break, readers stall, and the server itself is ended now and
// then. Round after round, in three scenes each: the faults with one watcher for each prediction, the
// same with the crowd, and the crowd with an upstream that is well. Everything seen is judged, and the
// server's memory is followed over the rounds.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/bench/flags.h"
#include "tests/bench/measure.h"
#include "tests/e2e/fault_world.h"
#include "tests/e2e/watch_crowd.h"

namespace dreamgate::e2e {
namespace {

constexpr char kUsage[] =
    "usage: fault_run [--watchers N] [--predictions N] [--rounds N] [--restarts N] [--seed N]\n"
    "                 [--fail-percent N] [--stalled-percent N] [--pace long|short] [--json FILE]\n"
    "  --watchers N         in the crowd (10000)\n"
    "  --predictions N      in every scene (100)\n"
    "  --rounds N           (6)\n"
    "  --restarts N         of the server, one a round from the first on; memory is followed after "
    "the\n"
    "                       last (0)\n"
    "  --seed N             of everything drawn here (1); moments differ all the same\n"
    "  --fail-percent N     of the polls of a task that fail (50)\n"
    "  --stalled-percent N  of the watchers that stop reading, half of them for ever (5)\n"
    "  --pace PACE          long: videos of some 15 s, and the server has to let go of streams "
    "that\n"
    "                       are not read, which takes its stall timer a minute (the default); "
    "short:\n"
    "                       videos of under a second, and the callers give up on such streams at "
    "once\n"
    "  --json FILE          the figures as JSON\n"
    "Ends with 1 if anything was lost, repeated, reordered, paid for twice, not ended or not let "
    "go\nof.\n";

struct Arguments {
  uint64_t watchers = 10'000;
  uint64_t predictions = 100;
  uint64_t rounds = 6;
  uint64_t restarts = 0;
  uint64_t seed = 1;
  uint64_t fail_percent = 50;
  uint64_t stalled_percent = 5;
  std::string pace = "long";
  std::string json_file;
};

std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
  const bool understood = bench::ReadFlags(argc, argv,
                                           {{"--watchers", &arguments.watchers},
                                            {"--predictions", &arguments.predictions},
                                            {"--rounds", &arguments.rounds},
                                            {"--restarts", &arguments.restarts},
                                            {"--seed", &arguments.seed},
                                            {"--fail-percent", &arguments.fail_percent},
                                            {"--stalled-percent", &arguments.stalled_percent},
                                            {"--pace", &arguments.pace},
                                            {"--json", &arguments.json_file}});
  if (!understood || arguments.watchers == 0 || arguments.predictions == 0 ||
      arguments.rounds == 0 || arguments.fail_percent > 95 || arguments.stalled_percent > 90 ||
      (arguments.pace != "long" && arguments.pace != "short")) {
    return std::nullopt;
  }
  return arguments;
}

struct RoundReport {
  double gets_few = 0;
  double gets_crowd = 0;
  double gets_healthy = 0;
  double megabytes = 0;
  bool restarted = false;
  uint64_t wrong = 0;
  uint64_t duplicates = 0;
};

// How much a straight line through the values rises over them, in percent of its beginning.
double GrowthPercent(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double at = static_cast<double>(i);
    x += at;
    y += values[i];
    xx += at * at;
    xy += at * values[i];
  }
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  const double begin = (y - slope * x) / n;
  return 100 * slope * (n - 1) / begin;
}

class Run {
 public:
  explicit Run(const Arguments& arguments)
      : arguments_(arguments),
        world_({.pace = arguments.pace == "short" ? ShortPace() : LongPace(),
                .predictions = arguments.predictions,
                .fail_percent = static_cast<double>(arguments.fail_percent),
                .stalled_percent = static_cast<int>(arguments.stalled_percent)}) {}

  int Finish() {
    const absl::Time start = absl::Now();
    for (uint64_t round = 1; round <= arguments_.rounds; ++round) {
      // The soak begins here.
      if (round == arguments_.restarts + 1 && arguments_.pace == "long") world_.FillMemory();
      PlayRound(round);
    }
    JudgePolls();
    Summarize(absl::Now() - start);
    return violations_ == 0 ? 0 : 1;
  }

 private:
  // The first round after the last one with a restart is warm-up.
  static constexpr size_t kWarmUp = 1;
  // Chance decides what polls cost under faults; watchers would show as a multiple.
  static constexpr double kMostRatioOfGets = 1.5;

  void PlayRound(uint64_t number) {
    RoundReport round;
    round.restarted = number <= arguments_.restarts;
    const uint64_t seed = arguments_.seed * 1000 + number * 10;
    const int crowd = static_cast<int>(arguments_.watchers);
    const auto name = [number](const char* scene) { return absl::StrCat(number, " ", scene); };
    // The same seed for the first two: upstream fails the same polls, at videos that take as long.
    SceneReport report = Play({.name = name("few"),
                               .watchers = static_cast<int>(arguments_.predictions),
                               .crowded = false,
                               .seed = seed},
                              round);
    round.gets_few = report.gets_per_video;
    report =
        Play({.name = name("crowd"), .watchers = crowd, .restart = round.restarted, .seed = seed},
             round);
    round.gets_crowd = report.gets_per_video;
    world_.EarnTrust();
    report = Play({.name = name("healthy"), .watchers = crowd, .faults = false, .seed = seed + 1},
                  round);
    round.gets_healthy = report.gets_per_video;
    round.megabytes = static_cast<double>(world_.ServerMemory()) / 1e6;
    std::cout << absl::StrFormat("round %d: server memory %.1f MB", number, round.megabytes)
              << std::endl;
    rounds_.push_back(round);
  }

  SceneReport Play(const SceneOptions& options, RoundReport& round) {
    const SceneReport report = world_.Play(options);
    violations_ += report.violations.size();
    constexpr size_t kMostShown = 20;
    for (size_t i = 0; i < std::min(kMostShown, report.violations.size()); ++i) {
      Show(options.name, report.violations[i]);
    }
    round.wrong += report.wrong;
    round.duplicates += report.duplicates;
    totals_.Add(report.watched);
    tasks_ += report.tasks;
    predictions_ += arguments_.predictions;
    std::cout
        << absl::StrFormat(
               "round %s%s: %.0f s, %d watchers, %d streams, %d updates, %d heartbeats; "
               "ended: %d cancelled, %d deadline, %d broken, %d sent away, %d let go of unread; "
               "%d tasks, %.1f GETs a video; %d violations",
               options.name, options.restart ? " with a restart" : "",
               absl::ToDoubleSeconds(report.took), options.watchers, report.watched.streams,
               report.watched.updates, report.watched.heartbeats, report.watched.cancelled,
               report.watched.deadlines, report.watched.broken, report.watched.sent_away,
               report.watched.let_go_unread, report.tasks, report.gets_per_video,
               report.violations.size())
        << std::endl;
    return report;
  }

  void Violate(const std::string& where, const std::string& what) {
    ++violations_;
    Show(where, what);
  }

  static void Show(const std::string& where, const std::string& what) {
    std::cout << "VIOLATION in round " << where << ": " << what << std::endl;
  }

  void JudgePolls() {
    double few = 0, crowd = 0, healthy = 0;
    for (const RoundReport& round : rounds_) {
      healthy += round.gets_healthy;
      if (round.restarted) continue;  // a server that comes back polls everything once more
      few += round.gets_few;
      crowd += round.gets_crowd;
    }
    if (healthy > world_.pace().most_gets_with_webhooks * static_cast<double>(rounds_.size())) {
      Violate("all", absl::StrFormat("%.2f GETs a video while every webhook comes",
                                     healthy / static_cast<double>(rounds_.size())));
    }
    if (crowd > kMostRatioOfGets * few) {
      Violate("all",
              absl::StrFormat("the crowd costs %.1f times the GETs of few watchers", crowd / few));
    }
  }

  // Of the server's last life, without its warm-up; empty: too few rounds to tell.
  std::vector<double> SoakMegabytes() const {
    std::vector<double> megabytes;
    for (const RoundReport& round : rounds_) {
      if (!round.restarted) megabytes.push_back(round.megabytes);
    }
    if (megabytes.size() < kWarmUp + 3) return {};
    return {megabytes.begin() + kWarmUp, megabytes.end()};
  }

  std::vector<bench::Figure> Figures() const {
    using bench::Target;
    std::vector<bench::Figure> figures = {
        {"transitions lost, repeated or reordered", "", "", {Target::Kind::kAtMost, 0}, {}, {}},
        {"duplicate paid POSTs", "", "", {Target::Kind::kAtMost, 0}, {}, {}},
        {"GETs per video with webhooks",
         "",
         "",
         {Target::Kind::kAtMost, world_.pace().most_gets_with_webhooks},
         {},
         {}},
        {"GETs per video under faults, crowd",
         "",
         "one watcher each",
         {Target::Kind::kRatioAtMost, kMostRatioOfGets},
         {},
         {}},
        {"server memory after the round", "MB", "", {}, {}, {}}};
    for (const RoundReport& round : rounds_) {
      figures[0].ours.push_back(static_cast<double>(round.wrong));
      figures[1].ours.push_back(static_cast<double>(round.duplicates));
      figures[2].ours.push_back(round.gets_healthy);
      figures[4].ours.push_back(round.megabytes);
      if (round.restarted) continue;
      figures[3].ours.push_back(round.gets_crowd);
      figures[3].peers.push_back(round.gets_few);
    }
    if (figures[3].ours.empty()) figures.erase(figures.begin() + 3);
    if (const std::vector<double> soak = SoakMegabytes(); !soak.empty()) {
      figures.push_back({"memory growth over the soak",
                         "%",
                         "",
                         {Target::Kind::kAtMost, kMostGrowthPercent},
                         {GrowthPercent(soak)},
                         {}});
    }
    return figures;
  }

  void Summarize(absl::Duration took) {
    if (const std::vector<double> soak = SoakMegabytes();
        !soak.empty() && GrowthPercent(soak) > kMostGrowthPercent) {
      Violate("all",
              absl::StrFormat("the server's memory has grown by %.1f %%", GrowthPercent(soak)));
    }
    const std::vector<bench::Figure> figures = Figures();
    const std::string about = absl::StrFormat(
        "%d watchers of %d predictions, %d rounds, %d restarts, %d %% of polls fail, %d %% of "
        "watchers stall; seed %d",
        arguments_.watchers, arguments_.predictions, arguments_.rounds, arguments_.restarts,
        arguments_.fail_percent, arguments_.stalled_percent, arguments_.seed);
    std::cout << absl::StrFormat(
        "\n%s; %.0f s\n"
        "predictions %d, tasks created %d, streams %d, updates %d, connections cut %d\n"
        "streams ended: cancelled %d, deadline %d, broken %d, sent away %d, refused %d, let go of "
        "unread %d\n\n%s\nviolations %d\n",
        about, absl::ToDoubleSeconds(took), predictions_, tasks_, totals_.streams, totals_.updates,
        world_.cuts(), totals_.cancelled, totals_.deadlines, totals_.broken, totals_.sent_away,
        totals_.refused, totals_.let_go_unread, bench::Table(figures), violations_);
    bench::WriteJson(arguments_.json_file, about, figures);
  }

  static constexpr double kMostGrowthPercent = 5;

  const Arguments arguments_;
  FaultWorld world_;
  std::vector<RoundReport> rounds_;
  WatchCrowdTotals totals_;
  uint64_t tasks_ = 0;
  uint64_t predictions_ = 0;
  uint64_t violations_ = 0;
};

}  // namespace
}  // namespace dreamgate::e2e

int main(int argc, char** argv) {
  using namespace dreamgate::e2e;
  const std::optional<Arguments> arguments = Parse(argc, argv);
  if (!arguments) {
    std::cerr << kUsage;
    return 2;
  }
  return Run(*arguments).Finish();
}
