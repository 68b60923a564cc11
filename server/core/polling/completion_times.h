// How long a model's videos take, as a distribution that is learned while they are made.
//
// The time is the age at which a task ended, counted from the moment at which upstream accepted it.
// It decides when to poll (PollSchedule) and what is shown as time left. A value of fixed size;
// whoever owns it adds observations and stores its bytes. No clock, no chance: the same
// observations make the same distribution.
#ifndef DREAMGATE_SERVER_CORE_POLLING_COMPLETION_TIMES_H_
#define DREAMGATE_SERVER_CORE_POLLING_COMPLETION_TIMES_H_

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dreamgate::core {

// An age known to lie in (after, until]. Equal ends: known exactly. `until` infinite: still running
// at `after` when last polled.
struct CompletionInterval {
  absl::Duration after;
  absl::Duration until = absl::InfiniteDuration();
};

// The interval that two polls and upstream's own figure give together. `last_running`: age at the
// last poll that was sent and found it running (or at acceptance). `found_ended`: age when the
// answer came that showed the end. `accepted`: age when upstream had taken the task. Upstream's
// figure leaves queueing out, so it is believed where it lies between the polls, and else the polls
// are.
CompletionInterval ObservedCompletion(absl::Duration last_running, absl::Duration found_ended,
                                      absl::Duration accepted,
                                      std::optional<absl::Duration> inference_time);

class CompletionTimes {
 public:
  // The weight of an observation halves every so many later ones. In the long run the latest 144
  // videos' worth of weight decides: enough to know the shape, and a new regime owns three quarters
  // of it after 200 videos, however slow the traffic is.
  static constexpr double kHalfLife = 100;
  // The prior counts as much as this many observations. Its body is a log-normal around the only
  // sample of such a service that is known (eight jobs, 83 to 253 s, median 105 s).
  static constexpr double kPriorWeight = 3;
  // Bins of equal width in log(1 + age / 10 s), from 0 to 12 hours: 0.3 s wide at first, 3.3 % of
  // the age later. The last one takes what is beyond.
  static constexpr size_t kBins = 256;

  // The prior alone.
  CompletionTimes();

  // Learns one video's age at its end. An interval's weight is spread as the distribution so far
  // would have it; an unfinished video counts among those that could have ended up to its age, and
  // for nothing later (Kaplan and Meier's estimate). So neither pulls the distribution anywhere.
  // Call it once a video: an unfinished one only when it will not be followed any more. Senseless
  // intervals (ends before they begin, or before age 0) are ignored. About 20 us.
  void Observe(CompletionInterval interval);
  void Observe(absl::Duration age) { Observe({age, age}); }

  // Decayed number of observations, the prior's not among them.
  double weight() const;

  // Probability of still running at this age. 1 up to age 0, above 0 at every finite age, and never
  // rising.
  double Survival(absl::Duration age) const;
  // Per second of age.
  double Density(absl::Duration age) const;
  // Density over survival, per second: above 0 and finite everywhere. In the far tail it falls like
  // 1 / age, so polling never stops but grows rare.
  double Hazard(absl::Duration age) const;

  // The age by which this share (over 0, below 1) has ended.
  absl::Duration Quantile(double share) const;
  absl::Duration Median() const { return Quantile(0.5); }
  absl::Duration Mean() const;
  // Of a video that is still running at this age: how much longer, at the median and on average.
  absl::Duration MedianTimeLeft(absl::Duration age) const;
  absl::Duration MeanTimeLeft(absl::Duration age) const;
  // 0 .. 0.99: age as a share of age and median time left; never falls as the age rises.
  double Progress(absl::Duration age) const;

  // At most 2117 bytes and usually some hundred, versioned, checked. Parse gives back exactly what
  // was serialized, and nothing for any other bytes.
  std::string Serialize() const;
  static std::optional<CompletionTimes> Parse(absl::string_view bytes);

 private:
  void Fit();
  double SurvivalAt(double seconds) const;
  double AgeAtSurvival(double survival) const;
  double IntegratedSurvivalFrom(double seconds) const;

  // Decayed weights of the videos that ended in a bin, and of those last seen running there.
  std::array<float, kBins> ended_{};
  std::array<float, kBins> unfinished_{};
  // Fitted from these: survival at the bins' lower edges and the last upper one, the hazard within
  // each bin, the integral of the survival from each edge on, and the
  // largest progress up to an edge.
  std::array<double, kBins + 1> survival_{};
  std::array<double, kBins> hazard_{};
  std::array<double, kBins + 1> survival_integral_{};
  std::array<double, kBins + 1> progress_{};
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_COMPLETION_TIMES_H_
