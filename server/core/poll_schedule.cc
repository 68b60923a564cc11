#include "server/core/poll_schedule.h"

#include <algorithm>

#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr double kShareOfAge = 0.05;
constexpr size_t kRemembered = 64;

}  // namespace

absl::Duration NextPollDelay(absl::Duration age, const Options& options, Random& random) {
  const absl::Duration delay =
      std::clamp(age * kShareOfAge, options.poll_min_interval, options.poll_max_interval);
  return UniformDelay(std::max(options.poll_min_interval, delay * 0.9),
                      std::min(options.poll_max_interval, delay * 1.1), random);
}

void DurationEstimate::Add(absl::Duration duration) {
  if (latest_.size() < kRemembered) {
    latest_.push_back(duration);
  } else {
    latest_[next_] = duration;
  }
  next_ = (next_ + 1) % kRemembered;
}

std::optional<absl::Duration> DurationEstimate::Median() const {
  if (latest_.empty()) return std::nullopt;
  std::vector<absl::Duration> sorted = latest_;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace dreamgate::core
