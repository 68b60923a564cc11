// Runs many simulated histories, a seed each, and says which of them broke a promise.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/fakes/memory_vfs.h"
#include "tests/simulation/report.h"
#include "tests/simulation/simulation.h"

namespace dreamgate::simulation {
namespace {

constexpr char kUsage[] =
    "usage: simulation [--seeds N] [--first SEED] [--jobs N] [--size small|large] [--trace]\n"
    "                  [--first-failure]\n"
    "  --seeds N     histories to run (1000)\n"
    "  --first SEED  seed of the first one, the next follow (1)\n"
    "  --jobs N      threads (2)\n"
    "  --trace       print every history, a line an event\n"
    "  --first-failure  end with the first history that breaks a promise\n"
    "Ends with 1 if a promise was broken, and prints the first such history.\n";

struct Arguments {
  uint64_t seeds = 1000;
  uint64_t first = 1;
  int jobs = 2;
  Size size = Size::kSmall;
  bool trace = false;
  bool first_failure = false;
};

std::optional<Arguments> Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--trace") {
      arguments.trace = true;
      continue;
    }
    if (words[i] == "--first-failure") {
      arguments.first_failure = true;
      continue;
    }
    if (i + 1 == words.size()) return std::nullopt;
    const std::string& name = words[i];
    const std::string& value = words[++i];
    bool understood = false;
    if (name == "--seeds") understood = absl::SimpleAtoi(value, &arguments.seeds);
    if (name == "--first") understood = absl::SimpleAtoi(value, &arguments.first);
    if (name == "--jobs") {
      understood = absl::SimpleAtoi(value, &arguments.jobs) && arguments.jobs > 0;
    }
    if (name == "--size") {
      understood = value == "small" || value == "large";
      if (value == "large") arguments.size = Size::kLarge;
    }
    if (!understood) return std::nullopt;
  }
  return arguments;
}

class Runner {
 public:
  explicit Runner(const Arguments& arguments)
      : arguments_(arguments), next_(arguments.first), last_report_(absl::Now()) {}

  int Run() {
    const absl::Time start = absl::Now();
    std::vector<std::thread> threads;
    for (int i = 0; i < arguments_.jobs; ++i) threads.emplace_back([this] { Work(); });
    for (std::thread& thread : threads) thread.join();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    if (first_failure_) {
      std::cout << DescribeFailure(
          Simulate({.seed = *first_failure_, .size = arguments_.size, .trace = true}),
          arguments_.size);
    }
    std::cout << summary_.Text()
              << absl::StrFormat("%.1f s, %.0f seeds/s with %d threads\n", seconds,
                                 static_cast<double>(summary_.histories) / seconds,
                                 arguments_.jobs);
    return summary_.failures == 0 ? 0 : 1;
  }

 private:
  void Work() {
    while (true) {
      const uint64_t seed = next_++;
      if (seed >= arguments_.first + arguments_.seeds || stops_) return;
      const History history =
          Simulate({.seed = seed, .size = arguments_.size, .trace = arguments_.trace});
      const std::lock_guard<std::mutex> lock(mutex_);
      Report(history);
    }
  }

  void Report(const History& history) {
    summary_.Add(history);
    if (arguments_.trace) std::cout << history.trace << "\n";
    if (!history.violations.empty()) {
      std::cout << "seed " << history.seed << ": " << history.violations[0] << std::endl;
      first_failure_ = std::min(first_failure_.value_or(history.seed), history.seed);
      stops_ = arguments_.first_failure;
    }
    if (absl::Now() - last_report_ < absl::Seconds(5)) return;
    last_report_ = absl::Now();
    std::cout << summary_.histories << " of " << arguments_.seeds << " histories, "
              << summary_.failures << " with violations" << std::endl;
  }

  const Arguments arguments_;
  std::atomic<uint64_t> next_;
  std::atomic<bool> stops_{false};
  std::mutex mutex_;  // guards what follows
  Summary summary_;
  std::optional<uint64_t> first_failure_;
  absl::Time last_report_;
};

}  // namespace
}  // namespace dreamgate::simulation

int main(int argc, char** argv) {
  using namespace dreamgate::simulation;
  const std::optional<Arguments> arguments = Parse(std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments) {
    std::cerr << kUsage;
    return 2;
  }
  dreamgate::fakes::PrepareForManyDisks();
  return Runner(*arguments).Run();
}
