// When to look at a task next: a fixed share of its age, within the operator's bounds. Young tasks are
// looked at often, old ones seldom, so that the delay of detection stays proportional to the time the
// video took. Pure functions.
#ifndef DREAMGATE_SERVER_CORE_POLL_SCHEDULE_H_
#define DREAMGATE_SERVER_CORE_POLL_SCHEDULE_H_

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/core/options.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// The delay until the next look at a task of this age, within the bounds and +-10 % so that tasks do
// not march in step.
absl::Duration NextPollDelay(absl::Duration age, const Options& options, Random& random);

// Durations of the latest videos, for estimates that are shown as such and decide nothing.
class DurationEstimate {
 public:
  void Add(absl::Duration duration);
  // The median of the latest 64; nullopt before the first.
  std::optional<absl::Duration> Median() const;

 private:
  std::vector<absl::Duration> latest_;
  size_t next_ = 0;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLL_SCHEDULE_H_
