#include "server/core/polling/completion_times.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

namespace dreamgate::core {
namespace {

constexpr double kScale = 10;        // seconds; below it bins are evenly wide
constexpr double kHorizon = 43'200;  // seconds; the bins end here
constexpr size_t kBins = CompletionTimes::kBins;
constexpr double kSmallest = 1e-6;  // less weight than this in a bin is none

// The prior's body: log-normal, median in seconds and deviation of the logarithm.
constexpr double kPriorMedian = 110;
constexpr double kPriorSigma = 0.45;
// Mixed in for good, with the weight of a fifth of an observation: a Lomax tail, S(t) = (1 + t /
// scale)^-shape. It keeps the hazard above 0 at every age and lets it fall like shape / age where
// there is no data. More of it, and polls are wasted where nothing has ever ended.
constexpr double kTailWeight = 0.2;
constexpr double kTailScale = 100;  // seconds
constexpr double kTailShape = 2;

// Of an interval's weight this share is spread over its bins alike, the rest as the distribution so
// far would have it. Without it a burst before the first poll would never be found by polls alone:
// they would confirm what was believed. Narrow intervals, the usual ones, do not notice.
constexpr double kDoubtShare = 0.05;

double NormalTail(double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); }

double PriorSurvival(double seconds) {
  if (seconds <= 0) return 1;
  return NormalTail(std::log(seconds / kPriorMedian) / kPriorSigma);
}

double TailSurvival(double seconds) { return std::pow(1 + seconds / kTailScale, -kTailShape); }

// Constants of every distribution.
struct Grid {
  double step = 0;                       // width of a bin in log(1 + age / kScale)
  std::array<double, kBins + 1> edge{};  // seconds
  std::array<double, kBins> prior{};     // probabilities
  std::array<double, kBins> tail{};
};

Grid MakeGrid() {
  Grid grid;
  grid.step = std::log1p(kHorizon / kScale) / static_cast<double>(kBins);
  for (size_t i = 0; i <= kBins; ++i) {
    grid.edge[i] = kScale * std::expm1(static_cast<double>(i) * grid.step);
  }
  for (size_t i = 0; i < kBins; ++i) {
    grid.prior[i] = PriorSurvival(grid.edge[i]) - PriorSurvival(grid.edge[i + 1]);
    grid.tail[i] = TailSurvival(grid.edge[i]) - TailSurvival(grid.edge[i + 1]);
  }
  return grid;
}

const Grid& TheGrid() {
  static const Grid grid = MakeGrid();
  return grid;
}

size_t BinOf(double seconds) {
  if (!(seconds > 0)) return 0;
  const double position = std::log1p(seconds / kScale) / TheGrid().step;
  return position >= static_cast<double>(kBins) ? kBins - 1 : static_cast<size_t>(position);
}

using Weights = std::array<double, kBins>;

// Half of a Gaussian; sums to 1 over both sides.
struct Kernel {
  explicit Kernel(double bins)
      : deviation(bins), half(static_cast<size_t>(std::ceil(3.5 * bins)) + 1) {
    double sum = 0;
    for (size_t i = 0; i < half.size(); ++i) {
      const double z = static_cast<double>(i) / bins;
      half[i] = std::exp(-z * z / 2);
      sum += i == 0 ? half[i] : 2 * half[i];
    }
    for (double& value : half) value /= sum;
  }
  double deviation;  // bins
  std::vector<double> half;
};

// The deviations that a fit may choose from, in bins. 2 bins are 8 s at an age of 105 s.
const std::array<Kernel, 7>& Kernels() {
  static const std::array<Kernel, 7> kernels = {Kernel(0.7), Kernel(1),   Kernel(1.5), Kernel(2.2),
                                                Kernel(3.2), Kernel(4.6), Kernel(6.6)};
  return kernels;
}

// Weight that would go past an end is reflected back.
Weights Smooth(const Weights& mass, const std::vector<double>& half_kernel) {
  Weights smooth{};
  const auto last = static_cast<std::ptrdiff_t>(kBins) - 1;
  const auto reach = static_cast<std::ptrdiff_t>(half_kernel.size()) - 1;
  for (std::ptrdiff_t i = 0; i <= last; ++i) {
    const double here = mass[static_cast<size_t>(i)];
    if (here == 0) continue;
    for (std::ptrdiff_t j = -reach; j <= reach; ++j) {
      std::ptrdiff_t at = i + j;
      if (at < 0) at = -1 - at;
      if (at > last) at = 2 * last + 1 - at;
      smooth[static_cast<size_t>(at)] += here * half_kernel[static_cast<size_t>(std::abs(j))];
    }
  }
  return smooth;
}

// A few videos that happen to agree are no reason to believe in a narrow peak: the narrowest
// deviation that may be chosen, in bins, is this over their weight.
constexpr double kCaution = 40;

// Of the kernels the one under which each observation is likeliest, given all the others.
Weights BestSmooth(const Weights& mass, double total) {
  // The part of one observation that the decay has left, on the average weighted by just that: 1 at
  // first, a half in the long run.
  const double keep = std::exp2(-1 / CompletionTimes::kHalfLife);
  const double typical = (1 + std::max(0.0, 1 - total * (1 - keep))) / (1 + keep);
  const Grid& grid = TheGrid();
  Weights best{};
  double best_score = -std::numeric_limits<double>::infinity();
  for (const Kernel& kernel : Kernels()) {
    const bool widest = &kernel == &Kernels().back();
    if (kernel.deviation < kCaution / total && !widest) continue;
    const Weights smooth = Smooth(mass, kernel.half);
    double score = 0;
    for (size_t i = 0; i < kBins; ++i) {
      if (mass[i] == 0) continue;
      const double others = std::max(0.0, smooth[i] - kernel.half[0] * std::min(mass[i], typical));
      score += mass[i] * std::log(others + CompletionTimes::kPriorWeight * grid.prior[i] +
                                  kTailWeight * grid.tail[i]);
    }
    if (score > best_score) {
      best_score = score;
      best = smooth;
    }
  }
  return best;
}

// One more observation later.
float Decayed(float weight, double added) {
  static const double keep = std::exp2(-1 / CompletionTimes::kHalfLife);
  const double now = static_cast<double>(weight) * keep + added;
  return now < kSmallest ? 0.0f : static_cast<float>(now);
}

// -------------------------------------------------------------------------------------- the bytes

constexpr char kVersion = 1;
constexpr size_t kHeader = 1 + 2 * kBins / 8;
constexpr size_t kChecksum = 4;

uint32_t Checksum(absl::string_view bytes) {  // FNV-1a
  uint32_t hash = 2'166'136'261u;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 16'777'619u;
  }
  return hash;
}

void AppendWord(std::string& bytes, uint32_t word) {
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(word >> shift));
}

uint32_t WordAt(absl::string_view bytes, size_t at) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return word;
}

}  // namespace

CompletionInterval ObservedCompletion(absl::Duration last_running, absl::Duration found_ended,
                                      absl::Duration accepted,
                                      std::optional<absl::Duration> inference_time) {
  if (inference_time && *inference_time > absl::ZeroDuration()) {
    const absl::Duration ended = accepted + *inference_time;
    if (ended > last_running && ended <= found_ended) return {ended, ended};
  }
  return {last_running, found_ended};
}

CompletionTimes::CompletionTimes() { Fit(); }

void CompletionTimes::Observe(CompletionInterval interval) {
  const Grid& grid = TheGrid();
  const double after = absl::ToDoubleSeconds(interval.after);
  const double until = absl::ToDoubleSeconds(interval.until);
  if (!(after <= until) || until < 0 || std::isinf(after)) return;

  Weights added{};
  const double share = SurvivalAt(after) - SurvivalAt(until);
  const size_t first = BinOf(after);
  const size_t last = BinOf(until);
  const bool unfinished = std::isinf(until);
  if (unfinished || first == last || !(share > 0)) {
    added[unfinished ? first : last] = 1;
  } else {
    const double low_end = std::log1p(std::max(0.0, after) / kScale);
    const double high_end = std::log1p(std::min(until, kHorizon) / kScale);
    for (size_t i = first; i <= last; ++i) {
      const double low = i == first ? std::max(0.0, after) : grid.edge[i];
      const double high = i == last ? until : grid.edge[i + 1];
      const double even =
          (std::log1p(std::min(high, kHorizon) / kScale) - std::log1p(low / kScale)) /
          (high_end - low_end);
      added[i] =
          kDoubtShare * even + (1 - kDoubtShare) * (SurvivalAt(low) - SurvivalAt(high)) / share;
    }
  }
  for (size_t i = 0; i < kBins; ++i) {
    ended_[i] = Decayed(ended_[i], unfinished ? 0 : added[i]);
    unfinished_[i] = Decayed(unfinished_[i], unfinished ? added[i] : 0);
  }
  Fit();
}

double CompletionTimes::weight() const {
  double total = 0;
  for (const float weight : ended_) total += static_cast<double>(weight);
  for (const float weight : unfinished_) total += static_cast<double>(weight);
  return total;
}

void CompletionTimes::Fit() {
  const Grid& grid = TheGrid();
  Weights ended{};
  double total = 0;
  for (size_t i = 0; i < kBins; ++i) {
    ended[i] = static_cast<double>(ended_[i]);
    total += ended[i];
  }
  if (total > 0) ended = BestSmooth(ended, total);
  // Ages beyond the bins belong to the tail alone. `at_risk`: ended in this bin or later, or
  // last seen running in it or later; summed from the far end, so that small survivals stay exact.
  const double beyond = kTailWeight * TailSurvival(kHorizon);
  double at_risk = beyond;
  for (size_t i = kBins; i-- > 0;) {
    ended[i] += kPriorWeight * grid.prior[i] + kTailWeight * grid.tail[i];
    at_risk += ended[i] + static_cast<double>(unfinished_[i]);
    hazard_[i] = -std::log1p(-ended[i] / at_risk) / (grid.edge[i + 1] - grid.edge[i]);
  }
  survival_[0] = 1;
  for (size_t i = 0; i < kBins; ++i) {
    survival_[i + 1] = survival_[i] * std::exp(-hazard_[i] * (grid.edge[i + 1] - grid.edge[i]));
  }
  survival_integral_[kBins] = survival_[kBins] * kHorizon / (kTailShape - 1);
  for (size_t i = kBins; i-- > 0;) {
    survival_integral_[i] =
        survival_integral_[i + 1] + (survival_[i] - survival_[i + 1]) / hazard_[i];
  }
  double largest = 0;
  for (size_t i = 0; i <= kBins; ++i) {
    const double end = AgeAtSurvival(survival_[i] / 2);
    largest = std::max(largest, std::min(0.99, grid.edge[i] / end));
    progress_[i] = largest;
  }
}

// Within a bin the hazard is even; beyond the last it is kTailShape / age.
double CompletionTimes::SurvivalAt(double seconds) const {
  if (!(seconds > 0)) return 1;
  if (seconds >= kHorizon) return survival_[kBins] * std::pow(seconds / kHorizon, -kTailShape);
  const size_t bin = BinOf(seconds);
  return survival_[bin] * std::exp(-hazard_[bin] * (seconds - TheGrid().edge[bin]));
}

double CompletionTimes::AgeAtSurvival(double survival) const {
  if (survival >= 1) return 0;
  if (survival <= survival_[kBins]) {
    return kHorizon * std::pow(survival_[kBins] / survival, 1 / kTailShape);
  }
  // The first edge at which fewer are left, and back by one.
  const auto below = std::upper_bound(survival_.begin(), survival_.end(), survival,
                                      [](double value, double edge) { return edge < value; });
  const auto bin = static_cast<size_t>(below - survival_.begin()) - 1;
  return TheGrid().edge[bin] + std::log(survival_[bin] / survival) / hazard_[bin];
}

double CompletionTimes::IntegratedSurvivalFrom(double seconds) const {
  if (seconds >= kHorizon) return SurvivalAt(seconds) * seconds / (kTailShape - 1);
  const size_t bin = BinOf(seconds);
  return survival_integral_[bin + 1] + (SurvivalAt(seconds) - survival_[bin + 1]) / hazard_[bin];
}

double CompletionTimes::Survival(absl::Duration age) const {
  return SurvivalAt(absl::ToDoubleSeconds(age));
}

double CompletionTimes::Hazard(absl::Duration age) const {
  const double seconds = absl::ToDoubleSeconds(age);
  return seconds >= kHorizon ? kTailShape / seconds : hazard_[BinOf(seconds)];
}

double CompletionTimes::Density(absl::Duration age) const { return Hazard(age) * Survival(age); }

absl::Duration CompletionTimes::Quantile(double share) const {
  return absl::Seconds(AgeAtSurvival(1 - share));
}

absl::Duration CompletionTimes::Mean() const { return absl::Seconds(survival_integral_[0]); }

absl::Duration CompletionTimes::MedianTimeLeft(absl::Duration age) const {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(age));
  return absl::Seconds(AgeAtSurvival(SurvivalAt(seconds) / 2) - seconds);
}

absl::Duration CompletionTimes::MeanTimeLeft(absl::Duration age) const {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(age));
  return absl::Seconds(IntegratedSurvivalFrom(seconds) / SurvivalAt(seconds));
}

double CompletionTimes::Progress(absl::Duration age) const {
  const double seconds = absl::ToDoubleSeconds(age);
  if (!(seconds > 0)) return 0;
  if (seconds >= kHorizon) return progress_[kBins];
  const Grid& grid = TheGrid();
  const size_t bin = BinOf(seconds);
  const double share = (seconds - grid.edge[bin]) / (grid.edge[bin + 1] - grid.edge[bin]);
  return progress_[bin] + std::clamp(share, 0.0, 1.0) * (progress_[bin + 1] - progress_[bin]);
}

// A version, a bit for every bin that is not empty (those that ended, then the unfinished), these
// bins' weights (IEEE 754 single, little endian), a checksum.
std::string CompletionTimes::Serialize() const {
  std::string bytes(kHeader, '\0');
  bytes[0] = kVersion;
  for (size_t i = 0; i < 2 * kBins; ++i) {
    const float weight = i < kBins ? ended_[i] : unfinished_[i - kBins];
    if (weight == 0) continue;
    char& flags = bytes[1 + i / 8];
    flags = static_cast<char>(static_cast<unsigned char>(flags) | (1u << (i % 8)));
    AppendWord(bytes, std::bit_cast<uint32_t>(weight));
  }
  AppendWord(bytes, Checksum(bytes));
  return bytes;
}

std::optional<CompletionTimes> CompletionTimes::Parse(absl::string_view bytes) {
  if (bytes.size() < kHeader + kChecksum || bytes[0] != kVersion) return std::nullopt;
  const absl::string_view checked = bytes.substr(0, bytes.size() - kChecksum);
  if (WordAt(bytes, checked.size()) != Checksum(checked)) return std::nullopt;
  CompletionTimes times;
  size_t at = kHeader;
  for (size_t i = 0; i < 2 * kBins; ++i) {
    if (((static_cast<unsigned char>(bytes[1 + i / 8]) >> (i % 8)) & 1u) == 0) continue;
    if (at + 4 > checked.size()) return std::nullopt;
    const float weight = std::bit_cast<float>(WordAt(checked, at));
    // More than the decay ever leaves was never serialized.
    if (!(weight >= static_cast<float>(kSmallest) && weight <= 2 * kHalfLife)) return std::nullopt;
    (i < kBins ? times.ended_[i] : times.unfinished_[i - kBins]) = weight;
    at += 4;
  }
  if (at != checked.size()) return std::nullopt;
  times.Fit();
  return times;
}

}  // namespace dreamgate::core
