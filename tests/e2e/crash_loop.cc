// Kills the real server again and again under load and checks whether anything was paid for twice or
// lost. Each episode is a world of its own: several callers, an upstream with faults, some dozens of
// kills at random moments and failpoints, then quiet and a verdict.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/bench/flags.h"
#include "tests/e2e/crash_cases.h"
#include "tests/e2e/crash_world.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;

constexpr char kUsage[] =
    "usage: crash_loop [--kills N] [--seed SEED] [--jobs N] [--per-episode N] [--callers N]\n"
    "                  [--server PROGRAM]\n"
    "  --kills N        how often the server is killed in all (200)\n"
    "  --seed SEED      of the first episode, the next follow (1); moments differ all the same\n"
    "  --jobs N         episodes beside one another (2)\n"
    "  --per-episode N  kills in one episode (50)\n"
    "  --callers N      callers in one episode (10)\n"
    "  --server PROGRAM dreamgated with failpoints (the one built beside)\n"
    "Ends with 1 if anything was paid for twice, lost or shown wrong.\n";

struct Arguments {
  uint64_t kills = 200;
  uint64_t seed = 1;
  uint64_t jobs = 2;
  uint64_t per_episode = 50;
  uint64_t callers = 10;
  std::string server;
};

std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
  const bool understood = bench::ReadFlags(argc, argv,
                                           {{"--kills", &arguments.kills},
                                            {"--seed", &arguments.seed},
                                            {"--jobs", &arguments.jobs},
                                            {"--per-episode", &arguments.per_episode},
                                            {"--callers", &arguments.callers},
                                            {"--server", &arguments.server}});
  const bool nothing_is_zero = arguments.kills > 0 && arguments.seed > 0 && arguments.jobs > 0 &&
                               arguments.per_episode > 0 && arguments.callers > 0;
  return understood && nothing_is_zero ? std::optional(arguments) : std::nullopt;
}

class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  bool Percent(int percent) { return Below(100) < percent; }
  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random_); }
  absl::Duration UpTo(absl::Duration most) {
    return most * std::uniform_real_distribution<double>(0, 1)(random_);
  }

 private:
  std::mt19937_64 random_;
};

// How upstream's history behaves in an episode.
enum class History { kPrompt, kLagging, kLying, kWithoutInputs };
constexpr int kHistories = 4;

CrashWorldOptions OptionsFor(const std::string& server, History history, bool resend) {
  CrashWorldOptions options;
  options.server_program = server;
  options.absence_settle_time = absl::Milliseconds(150);
  options.unresolved_timeout = absl::Seconds(3);
  options.simulator.schedule =
      simulator::Schedule::Completing(absl::Milliseconds(60), absl::Milliseconds(60));
  options.server_arguments = {"--submit-soft-timeout=250ms", "--late-answer-timeout=2s",
                              "--max-submits-in-flight=4", "--log-level=warning"};
  if (history == History::kLagging) options.simulator.history_lag = absl::Milliseconds(100);
  // Tasks turn up when their predictions have been given up, or sent again.
  if (history == History::kLying) {
    options.unresolved_timeout = absl::Milliseconds(700);
    options.simulator.history_lag = absl::Milliseconds(1200);
  }
  if (history == History::kWithoutInputs) {
    options.simulator.history_input = simulator::HistoryInput::kNever;
    options.every_task_is_known = false;
  }
  if (resend) {
    options.server_arguments.push_back("--resend-after-absence=1");
    options.tasks_at_most = 2;
  }
  return options;
}

void AddFaults(simulator::Simulator& simulator, uint64_t seed) {
  const std::string submit = simulator.SubmitPath();
  const auto add = [&simulator, &seed](Fault fault, double probability) {
    fault.times = -1;
    fault.probability = probability;
    fault.seed = seed++;
    simulator.AddFault(std::move(fault));
  };
  const auto post = [&submit](Fault fault) {
    fault.method = "POST";
    fault.path_prefix = submit;
    return fault;
  };
  add(post({.action = FaultAction::kResetBeforeRequest}), 0.04);
  add(post({.create_task = true, .status = 500}), 0.06);
  add(post({.status = 503}), 0.06);
  add(post({.action = FaultAction::kResetAfterRequest, .create_task = true}), 0.04);
  add(post({.action = FaultAction::kResetAfterRequest}), 0.04);
  add(post({.action = FaultAction::kCloseMidBody, .create_task = true}), 0.03);
  add(post({.action = FaultAction::kNoId, .create_task = true}), 0.02);
  add(post({.action = FaultAction::kHang, .create_task = true}), 0.02);
  add(post({.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(80)}),
      0.15);
  add(post(
          {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(500)}),
      0.05);
  add(post({.action = FaultAction::kRateLimited}), 0.04);
  add(post({.status = 400}), 0.03);
  add(post({.status = 402}), 0.02);
  add({.method = "POST", .path_prefix = "/api/v3/predictions", .status = 502}, 0.02);
  add({.method = "POST",
       .path_prefix = "/api/v3/predictions",
       .action = FaultAction::kLatency,
       .delay = absl::Milliseconds(30)},
      0.1);
  add({.method = "GET", .status = 503}, 0.03);
  add({.method = "GET", .action = FaultAction::kResetAfterRequest}, 0.03);
  add({.method = "GET", .action = FaultAction::kLatency, .delay = absl::Milliseconds(50)}, 0.1);
}

// The request_ids of an episode, and who asks for which.
class Load {
 public:
  Load(CrashWorld& world, uint64_t seed, uint64_t callers) : world_(world) {
    for (uint64_t i = 0; i < callers; ++i) {
      callers_.emplace_back([this, chance = Chance(seed * 1000 + i)]() mutable { Run(chance); });
    }
  }

  // Waits until every caller is content.
  void Stop() {
    stop_ = true;
    for (std::thread& caller : callers_) caller.join();
  }

 private:
  void Run(Chance chance) {
    while (!stop_) {
      const uint64_t number = Choose(chance);
      const std::string request_id = absl::StrCat("id-", number);
      const std::optional<int64_t> from =
          chance.Percent(70) ? std::optional<int64_t>(0) : std::nullopt;
      world_.CallAndWait(request_id, absl::StrCat("a kite for caller ", number, "."),
                         chance.Percent(50), from);
    }
  }

  // A new one, one that others are busy with, or an old one.
  uint64_t Choose(Chance& chance) {
    const uint64_t newest = newest_;
    if (newest == 0 || chance.Percent(60)) return ++newest_;
    const int back = chance.Percent(70) ? 8 : 1000;
    return newest - static_cast<uint64_t>(chance.Below(std::min(static_cast<int>(newest), back)));
  }

  CrashWorld& world_;
  std::atomic<uint64_t> newest_ = 0;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> callers_;
};

struct EpisodeReport {
  CrashTotals totals;
  uint64_t kills = 0;
  uint64_t at_failpoints = 0;
  std::vector<std::string> violations;
};

class Episode {
 public:
  Episode(uint64_t seed, uint64_t kills, const Arguments& arguments)
      : chance_(seed),
        seed_(seed),
        kills_(kills),
        callers_(arguments.callers),
        history_(static_cast<History>(seed % kHistories)),
        world_(OptionsFor(arguments.server, history_, /*resend=*/seed / kHistories % 2 == 1)) {}

  EpisodeReport Run() {
    AddFaults(world_.simulator(), seed_ * 100);
    Load load(world_, seed_, callers_);
    for (uint64_t kill = 0; kill < kills_; ++kill) LiveAndDie();
    // Quiet: from here on everything must come to its end.
    world_.simulator().ClearFaults();
    Restart();
    load.Stop();
    if (history_ == History::kLying) {
      // Tasks that were hidden for too long are shown now, and the next start asks for them.
      world_.simulator().SetHistory(simulator::HistoryInput::kAlways, absl::ZeroDuration());
    }
    world_.KillServer();
    Restart();
    report_.violations = world_.Settle();
    report_.totals = world_.totals();
    return report_;
  }

 private:
  void Restart() {
    if (!world_.StartServer()) {
      report_.violations.push_back("the server does not start: " + world_.server().StandardError());
    }
  }

  void LiveAndDie() {
    const bool long_life = chance_.Percent(15);
    const absl::Duration life = chance_.UpTo(absl::Milliseconds(long_life ? 1500 : 250));
    const int way = chance_.Below(100);
    if (way < 55) {
      const auto& cases = CrashCases();
      const std::string& failpoint =
          cases[static_cast<size_t>(chance_.Below(static_cast<int>(cases.size())))].failpoint;
      const int pass = chance_.Percent(60) ? 1 : 1 + chance_.Below(20);
      world_.BeginServer(absl::StrCat(failpoint, ":", pass));
      if (world_.DiedOf(failpoint, absl::Milliseconds(400))) ++report_.at_failpoints;
    } else if (way < 68) {
      world_.BeginServer();  // dies while it starts, or just after
      world_.server().Wait(chance_.UpTo(absl::Milliseconds(60)));
    } else {
      Restart();
      world_.server().Wait(life);
      if (way >= 95) {
        world_.server().Signal(SIGTERM);
        world_.server().Wait(chance_.UpTo(absl::Milliseconds(50)));
      }
    }
    world_.KillServer();
    ++report_.kills;
  }

  Chance chance_;
  const uint64_t seed_;
  const uint64_t kills_;
  const uint64_t callers_;
  const History history_;
  CrashWorld world_;
  EpisodeReport report_;
};

class Runner {
 public:
  explicit Runner(const Arguments& arguments) : arguments_(arguments), next_(arguments.seed) {}

  int Run() {
    const absl::Time start = absl::Now();
    std::vector<std::thread> jobs;
    for (uint64_t i = 0; i < arguments_.jobs; ++i) jobs.emplace_back([this] { Work(); });
    for (std::thread& job : jobs) job.join();
    Summarize(absl::ToDoubleSeconds(absl::Now() - start));
    return violations_ == 0 ? 0 : 1;
  }

 private:
  void Work() {
    while (const uint64_t kills = Claim()) {
      const uint64_t seed = next_++;
      const EpisodeReport report = Episode(seed, kills, arguments_).Run();
      Report(seed, report);
    }
  }

  uint64_t Claim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t kills = std::min(arguments_.per_episode, arguments_.kills - claimed_);
    claimed_ += kills;
    return kills;
  }

  void Report(uint64_t seed, const EpisodeReport& report) {
    const std::lock_guard<std::mutex> lock(mutex_);
    kills_ += report.kills;
    at_failpoints_ += report.at_failpoints;
    totals_.Add(report.totals);
    violations_ += report.violations.size();
    for (const std::string& violation : report.violations) {
      std::cout << "seed " << seed << ": VIOLATION " << violation << "\n";
    }
    std::cout
        << absl::StrFormat(
               "seed %d: %d kills, %d request ids, %d tasks, %d streams; %d of %d kills done, "
               "%d violations",
               seed, report.kills, report.totals.request_ids, report.totals.tasks,
               report.totals.streams, kills_, arguments_.kills, violations_)
        << std::endl;
  }

  void Summarize(double seconds) const {
    std::cout << absl::StrFormat(
        "kills %d (%d of them at failpoints), %.1f a second\n"
        "request ids %d, answers %d, acknowledged predictions %d, streams watched to the end %d\n"
        "tasks created %d, duplicates %d, lost %d, orphans recorded %d\n"
        "UNRESOLVED decided by:",
        kills_, at_failpoints_, static_cast<double>(kills_) / seconds, totals_.request_ids,
        totals_.answers, totals_.acknowledged, totals_.streams, totals_.tasks, totals_.duplicates,
        totals_.lost, totals_.orphans);
    for (const auto& [evidence, count] : totals_.resolved) {
      std::cout << " " << evidence << " " << count << ";";
    }
    std::cout << "\nviolations " << violations_ << std::endl;
  }

  const Arguments arguments_;
  std::atomic<uint64_t> next_;
  std::mutex mutex_;  // guards what follows
  uint64_t claimed_ = 0;
  uint64_t kills_ = 0;
  uint64_t at_failpoints_ = 0;
  size_t violations_ = 0;
  CrashTotals totals_;
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
  return Runner(*arguments).Run();
}
