// Which look may go out when, for all predictions in flight together: one queue, earliest due first,
// under the operator's rate and whatever upstream's 429s make of it.
//
// Every prediction has at most one place, so the queue is never longer than what is in flight, and one
// timer serves all: Schedule looks, call Take at NextTime, Schedule again when they are answered. A look
// that waits keeps its due time and everything later comes after it, so nothing starves, and under a
// budget that is too small all are late alike. A value on the caller's time; loop only.
#ifndef DREAMGATE_SERVER_CORE_POLL_BUDGET_H_
#define DREAMGATE_SERVER_CORE_POLL_BUDGET_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace dreamgate::core {

class PollBudget {
 public:
  // Tenant and prediction id.
  using Key = std::pair<std::string, std::string>;

  // A 429 halves the rate, at most once in this time: answers to what was under way at the halving
  // say nothing about what came of it.
  static constexpr absl::Duration kDecreaseInterval = absl::Seconds(2);
  // From nothing back to the full rate, in a straight line.
  static constexpr absl::Duration kRecovery = absl::Seconds(30);
  // The longest Retry-After that is believed.
  static constexpr absl::Duration kLongestPause = absl::Minutes(5);

  // `gets_per_second`: the most in the long run; up to a second's worth may go at once. 0: no limit
  // until a 429 comes, and then from half of what was lately sent back to twice that and none.
  explicit PollBudget(double gets_per_second);

  // Asks for a look at `due`; what was asked for this prediction before is forgotten.
  void Schedule(const Key& key, absl::Time due, absl::Time now);
  // This prediction needs no look any more.
  void Withdraw(const Key& key);
  // Nobody needs one (upstream refuses the key).
  void WithdrawAll();

  // When Take will have something, as far as is known; not before `now`. Nothing if nothing waits.
  std::optional<absl::Time> NextTime(absl::Time now);
  // The predictions to look at now, earliest due first. They have left the queue.
  std::vector<Key> Take(absl::Time now);

  // Upstream has answered 429 to a GET. With Retry-After, nothing goes out before then.
  void OnRateLimited(absl::Time now, std::optional<absl::Duration> retry_after);

  // GETs per second at present; infinite without a limit.
  double rate(absl::Time now);
  // How many GETs a video the rate can bear while so many are in flight that take so long on average
  // (Little's law); infinite without a limit. A schedule for more would only be late.
  double SustainableGets(size_t in_flight, absl::Duration mean_duration, absl::Time now);

  size_t waiting() const { return queue_.size(); }

 private:
  using Place = std::pair<absl::Time, uint64_t>;  // due, and order of asking among equals

  // Brings rate, tokens and what was sent up to `now`.
  void Advance(absl::Time now);
  bool limited() const;

  const double limit_;  // 0: none
  double rate_;         // infinite: none
  double full_rate_;    // what recovery leads back to
  double tokens_ = 1;
  double sent_ = 0;  // GETs lately, each fading away over kSentMemory
  absl::Time advanced_ = absl::InfinitePast();
  absl::Time decreased_ = absl::InfinitePast();
  absl::Time paused_until_ = absl::InfinitePast();

  uint64_t asked_ = 0;
  std::map<Place, Key> queue_;
  absl::flat_hash_map<Key, Place> places_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLL_BUDGET_H_
