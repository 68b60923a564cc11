// The dice of one simulated history. Everything that is left to chance is drawn here or from the
// gateway's own fakes::FakeRandom, so that a seed replays its history exactly. One thread.
#ifndef DREAMGATE_TESTS_FAKES_CHANCE_H_
#define DREAMGATE_TESTS_FAKES_CHANCE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <utility>

#include "absl/time/time.h"

namespace dreamgate::fakes {

class Chance {
 public:
  explicit Chance(uint64_t seed) : engine_(seed) {}

  // Uniform over [low, high].
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  // An index into something of `size` > 0 elements.
  size_t Index(size_t size) { return static_cast<size_t>(engine_() % size); }
  double Fraction() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }
  bool Percent(double percent) { return Fraction() * 100 < percent; }

  // Between `low` (> 0) and `high`, each order of magnitude as likely as any other: most are short,
  // and a few are very long.
  absl::Duration Spread(absl::Duration low, absl::Duration high) {
    const double factor = absl::FDivDuration(high, low);
    return absl::Nanoseconds(
        std::round(absl::ToDoubleNanoseconds(low) * std::pow(factor, Fraction())));
  }
  absl::Duration Uniform(absl::Duration low, absl::Duration high) {
    return low + absl::Nanoseconds(std::floor(absl::ToDoubleNanoseconds(high - low) * Fraction()));
  }

  // One of the values, each as likely as its weight says.
  template <typename T>
  T Weighted(std::initializer_list<std::pair<int, T>> choices) {
    int64_t total = 0;
    for (const auto& [weight, value] : choices) total += weight;
    int64_t ticket = Between(1, total);
    for (const auto& [weight, value] : choices) {
      ticket -= weight;
      if (ticket <= 0) return value;
    }
    return choices.begin()->second;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_CHANCE_H_
