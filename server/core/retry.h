// When to try again: exponential backoff with full jitter, and a budget that keeps retries from
// multiplying the load on an upstream in trouble. Pure values; loop only.
#ifndef DREAMGATE_SERVER_CORE_RETRY_H_
#define DREAMGATE_SERVER_CORE_RETRY_H_

#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// Uniform over [low, high].
absl::Duration UniformDelay(absl::Duration low, absl::Duration high, Random& random);

struct BackoffPolicy {
  absl::Duration initial;  // upper bound of the first delay
  absl::Duration maximum;  // upper bound of every delay
};

// Full jitter: uniform over [0, min(maximum, initial * 2^failures)], `failures` from 0.
absl::Duration FullJitter(const BackoffPolicy& policy, int failures, Random& random);

// A token bucket: every first try earns a fraction of a retry, every retry spends one.
class RetryBudget {
 public:
  // `ratio`: retries allowed per first try in the long run. `burst`: retries allowed at once.
  RetryBudget(double ratio, double burst) : ratio_(ratio), burst_(burst), tokens_(burst) {}

  void OnFirstTry();
  // True: go ahead, a token was spent. False: wait as long as you can afford.
  bool TrySpend();

 private:
  const double ratio_;
  const double burst_;
  double tokens_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_RETRY_H_
