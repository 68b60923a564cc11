#include "server/core/retry.h"

#include <algorithm>

namespace dreamgate::core {

absl::Duration UniformDelay(absl::Duration low, absl::Duration high, Random& random) {
  if (high <= low) return low;
  const double fraction = static_cast<double>(random.Draw() >> 11) * 0x1.0p-53;
  return low + (high - low) * fraction;
}

absl::Duration FullJitter(const BackoffPolicy& policy, int failures, Random& random) {
  const int64_t factor = int64_t{1} << std::clamp(failures, 0, 30);
  return UniformDelay(absl::ZeroDuration(), std::min(policy.maximum, policy.initial * factor),
                      random);
}

void RetryBudget::OnFirstTry() { tokens_ = std::min(burst_, tokens_ + ratio_); }

bool RetryBudget::TrySpend() {
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace dreamgate::core
