#include "server/core/polling/poll_schedule.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

// Ages at which the schedule is computed: 0.3 s apart at first, 0.8 % of the age later, to 12
// hours. Beyond, the longest interval is kept up.
constexpr double kNodeScale = 40;  // seconds
constexpr double kNodeStep = 0.008;
constexpr size_t kNodes = 875;

constexpr double kLowestPrice = 1e-3;  // seconds of delay that a GET is worth
constexpr double kHighestPrice = 1e6;
constexpr int kMostPasses = 24;
constexpr double kCloseEnough = 0.005;  // of the budget

// Where a task that has not started is polled in any case, by its age.
constexpr std::array<absl::Duration, 2> kStartPolls = {absl::Seconds(5), absl::Seconds(20)};

constexpr absl::Duration kMostVariation = absl::Seconds(1);
constexpr double kVariationShare = 0.1;

const std::array<double, kNodes>& NodeAges() {
  static const std::array<double, kNodes> ages = [] {
    std::array<double, kNodes> made{};
    for (size_t i = 0; i < kNodes; ++i) {
      made[i] = kNodeScale * std::expm1(static_cast<double>(i) * kNodeStep);
    }
    return made;
  }();
  return ages;
}

// Where the parabola through three points has its least value; the middle one if it has none.
double Vertex(double x0, double y0, double x1, double y1, double x2, double y2) {
  const double left = (y1 - y0) / (x1 - x0);
  const double right = (y2 - y1) / (x2 - x1);
  const double curvature = (right - left) / (x2 - x0);
  if (!(curvature > 0)) return x1;
  return std::clamp((x0 + x1) / 2 - left / (2 * curvature), x0, x2);
}

}  // namespace

// The distribution at the nodes, and which nodes may follow which.
struct PollSchedule::Curve {
  std::array<double, kNodes> survival;
  std::array<double, kNodes> integral;  // of the survival, from 0
  std::array<size_t, kNodes> first;     // the nodes at least min_interval later; kNodes: none
  std::array<size_t, kNodes> last;      // the last node at most max_interval later
};

PollSchedule::PollSchedule(const CompletionTimes& times, const PollLimits& limits)
    : PollSchedule([&times](absl::Duration age) { return times.Survival(age); }, limits) {}

PollSchedule::PollSchedule(absl::FunctionRef<double(absl::Duration)> survival,
                           const PollLimits& limits)
    : limits_(limits) {
  limits_.min_interval = std::max(limits.min_interval, absl::Milliseconds(1));
  limits_.max_interval = std::max(limits.max_interval, limits_.min_interval);
  const std::array<double, kNodes>& ages = NodeAges();
  const double shortest = absl::ToDoubleSeconds(limits_.min_interval);
  const double longest = absl::ToDoubleSeconds(limits_.max_interval);
  Curve curve;
  size_t first = 0;
  size_t last = 0;
  for (size_t i = 0; i < kNodes; ++i) {
    curve.survival[i] = survival(absl::Seconds(ages[i]));
    if (i == 0) {
      curve.integral[i] = 0;
    } else {
      const double middle = survival(absl::Seconds((ages[i - 1] + ages[i]) / 2));
      curve.integral[i] =
          curve.integral[i - 1] +
          (ages[i] - ages[i - 1]) / 6 * (curve.survival[i - 1] + 4 * middle + curve.survival[i]);
    }
    while (first < kNodes && (first <= i || ages[first] < ages[i] + shortest)) ++first;
    while (last + 1 < kNodes && ages[last + 1] <= ages[i] + longest) ++last;
    curve.first[i] = first;
    curve.last[i] = std::max(first, last);  // bounds nearer than the nodes: the next node
  }
  next_.resize(kNodes);
  // GETs go roughly with the root of the price, which gives each next guess, kept between the
  // prices that were too high and too low.
  double low = kLowestPrice;
  double high = kHighestPrice;
  double price = 5;
  for (int pass = 0; pass < kMostPasses; ++pass) {
    price_ = absl::Seconds(price);
    Solve(curve);
    const double ratio = gets_ / limits_.gets_per_video;
    if (std::abs(ratio - 1) < kCloseEnough || high / low < 1.01) break;
    (ratio > 1 ? low : high) = price;
    const double guess = price * ratio * ratio;
    price = guess > low && guess < high ? guess : std::sqrt(low * high);
  }
}

// One pass from the far end.
void PollSchedule::Solve(const Curve& curve) {
  const std::array<double, kNodes>& ages = NodeAges();
  const double price = absl::ToDoubleSeconds(price_);
  const double shortest = absl::ToDoubleSeconds(limits_.min_interval);
  const double longest = absl::ToDoubleSeconds(limits_.max_interval);
  std::array<double, kNodes> cost{};  // from each node on, times its survival
  std::array<double, kNodes> gets{};  // likewise
  size_t bound = kNodes - 1;          // no node has a later best successor than the one after it
  for (size_t i = kNodes; i-- > 0;) {
    if (curve.first[i] >= kNodes) {
      next_[i] = static_cast<float>(ages[i] + longest);
      continue;
    }
    const double here = curve.survival[i];
    const auto cost_of = [&](size_t u) {
      return here * (price + ages[u] - ages[i]) - (curve.integral[u] - curve.integral[i]) + cost[u];
    };
    const size_t begin = curve.first[i];
    const size_t end = std::max(begin, std::min(bound, curve.last[i]));
    size_t best = end;
    double least = cost_of(end);
    for (size_t u = end; u-- > begin;) {
      if (const double value = cost_of(u); value < least) {
        least = value;
        best = u;
      }
    }
    bound = best;
    double age = ages[best];
    double gets_then = gets[best];
    if (best > begin && best + 1 < kNodes) {
      age =
          Vertex(ages[best - 1], cost_of(best - 1), age, least, ages[best + 1], cost_of(best + 1));
    } else if (best == begin && begin > i + 1) {
      // Where the shortest interval is the best, it falls between two nodes.
      const double earliest = ages[i] + shortest;
      const double width = ages[begin] - ages[begin - 1];
      const double share = (earliest - ages[begin - 1]) / width;
      const double survival = std::lerp(curve.survival[begin - 1], curve.survival[begin], share);
      const double integral =
          curve.integral[begin] - (1 - share) * width * (survival + curve.survival[begin]) / 2;
      const double value = here * (price + shortest) - (integral - curve.integral[i]) +
                           std::lerp(cost[begin - 1], cost[begin], share);
      if (value < least) {
        least = value;
        age = earliest;
        gets_then = std::lerp(gets[begin - 1], gets[begin], share);
      }
    }
    cost[i] = least;
    gets[i] = here + gets_then;
    next_[i] = static_cast<float>(std::clamp(age, ages[i] + shortest, ages[i] + longest));
  }
  gets_ = gets[0];
  mean_delay_ = absl::Seconds(cost[0] - price * gets[0]);
}

absl::Duration PollSchedule::Planned(absl::Duration last_poll) const {
  const std::array<double, kNodes>& ages = NodeAges();
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(last_poll));
  const double position = std::log1p(seconds / kNodeScale) / kNodeStep;
  if (position >= static_cast<double>(kNodes - 1)) return last_poll + limits_.max_interval;
  const auto node = static_cast<size_t>(position);
  double next = static_cast<double>(next_[node]);
  // Between two nodes in proportion, unless a gap opens there that one of them leaps.
  const double rise = static_cast<double>(next_[node + 1]) - next;
  const double width = ages[node + 1] - ages[node];
  if (rise >= 0 && rise <= 4 * width) next += rise * (seconds - ages[node]) / width;
  return absl::Seconds(next);
}

absl::Duration PollSchedule::NextPoll(absl::Duration age, absl::Duration last_poll, bool started,
                                      Random& random) const {
  const absl::Duration earliest = last_poll + limits_.min_interval;
  absl::Duration next = std::max(earliest, Planned(last_poll));
  if (!started) {
    for (const absl::Duration poll : kStartPolls) {
      // One that varied to a little before its mark has done its duty.
      if (poll - last_poll < poll / 4 || poll <= age) continue;
      next = std::min(next, std::max(earliest, poll));
    }
  }
  const absl::Duration variation = std::min(kMostVariation, (next - last_poll) * kVariationShare);
  next = UniformDelay(std::max(earliest, next - variation),
                      std::min(last_poll + limits_.max_interval, next + variation), random);
  if (next > age) return next;
  return age + UniformDelay(absl::Milliseconds(1), limits_.min_interval, random);
}

}  // namespace dreamgate::core
