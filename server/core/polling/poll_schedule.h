// When to poll a task next. A poll costs a GET, a late poll costs the watcher time: for a known
// distribution of completion times there is one best schedule for every price of a
// GET, sparse where the end is unlikely, dense where it is near, and PollSchedule
// computes it. Values; loop only.
#ifndef DREAMGATE_SERVER_CORE_POLLING_POLL_SCHEDULE_H_
#define DREAMGATE_SERVER_CORE_POLLING_POLL_SCHEDULE_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "server/core/polling/completion_times.h"
#include "server/core/ports.h"

namespace dreamgate::core {

struct PollLimits {
  // GETs that one video may cost on average, the one that finds its end included; above 1. Polls
  // for the start come on top (see NextPoll), and no more are spent than min_interval allows.
  double gets_per_video = 20;
  // Between two polls of one task. The longer one keeps the tail going to the end of retention.
  absl::Duration min_interval = absl::Seconds(2);
  absl::Duration max_interval = absl::Minutes(10);
};

// The polls that minimise the mean delay of detection plus `price()` times the GETs, within the
// limits, at the price where the GETs come to the budget.
//
// The interval tends to sqrt(2 price / hazard) where that changes little within an interval. It is
// not computed so, because at a few GETs a video the hazard does change (a burst of cache hits,
// then nothing for a minute), and waiting for a share of it to add up places a poll too late or in
// vain. Instead every age's best next poll is found backwards from the far end: the cost of polling
// at `u` after `t` is S(t) (price + u - t) - (integral of S over [t, u]) plus the cost from `u` on.
// Because a later poll never has an earlier best successor, one pass costs about 50,000
// multiplications; construction takes some passes, a query a table look-up.
class PollSchedule {
 public:
  PollSchedule(const CompletionTimes& times, const PollLimits& limits);
  // `survival`: probability of still running at an age; 1 at 0, not rising.
  PollSchedule(absl::FunctionRef<double(absl::Duration)> survival, const PollLimits& limits);

  // The age at which to poll next a task that is `age` old and was still running at the poll (or
  // the acceptance) at `last_poll`. Always after `age`. At least min_interval and at most
  // max_interval after last_poll, if that is still to come; what is overdue is spread over the next
  // min_interval. Within that, the place varies by up to 1 s or a tenth of the interval, the
  // smaller, so that tasks do not march in step.
  //
  // `started`: upstream has shown it as processing. Until then, polls kStartPolls find the
  // start, unless the schedule itself polls before: at most two more GETs, none if upstream
  // says processing at once.
  absl::Duration NextPoll(absl::Duration age, absl::Duration last_poll, bool started,
                          Random& random) const;

  // The figures that the distribution promises of this schedule, without the polls for the start
  // and variation.
  double gets_per_video() const { return gets_; }
  absl::Duration mean_delay() const { return mean_delay_; }
  absl::Duration price() const { return price_; }

 private:
  struct Curve;
  void Solve(const Curve& curve);
  absl::Duration Planned(absl::Duration last_poll) const;

  PollLimits limits_;
  std::vector<float> next_;  // seconds of age of the poll after one at each node
  double gets_ = 0;
  absl::Duration mean_delay_;
  absl::Duration price_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_POLL_SCHEDULE_H_
