// Which poll may go out when, for all tasks together: one queue, earliest
// due first, under the operator's rate, whatever upstream's 429s make of it, and the
// circuit of upstream's GETs.
//
// Every task has at most one place, so the queue is never longer than what is in flight,
// and one timer serves all: Schedule polls, call Take at NextTime, Schedule again when they are
// answered. A poll that waits keeps its due time and everything later comes after it, so
// nothing starves, and under a budget that is too small all are late alike. A value on the
// caller's time; loop only.
#ifndef DREAMGATE_SERVER_CORE_POLLING_POLL_BUDGET_H_
#define DREAMGATE_SERVER_CORE_POLLING_POLL_BUDGET_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/core/polling/circuit_breaker.h"
#include "server/core/polling/task_key.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class PollBudget {
 public:
  using Key = TaskKey;

  // A 429 halves the rate, at most once in this time: answers to what was under way at the halving
  // say nothing about what came of it.
  static constexpr absl::Duration kDecreaseInterval = absl::Seconds(2);
  // From nothing back to the full rate. Like the square of the time since the last 429: an upstream
  // that goes on refusing is approached with care, one that has ceased to is soon trusted.
  static constexpr absl::Duration kRecovery = absl::Seconds(15);
  // The longest Retry-After that is believed.
  static constexpr absl::Duration kLongestPause = CircuitBreaker::kLongestPause;
  // `gets_per_second`: the most in the long run; up to a second's worth may go at once. 0: no limit
  // until a 429 comes, and then from half of what was lately sent back to twice that and none.
  // `most_under_way` (> 0): polls under way at once. A sixth of them is kept for what hangs since
  // before the circuit last changed.
  PollBudget(double gets_per_second, int most_under_way, Random& random);

  // Asks for a poll at `due`; what was asked for this task before is forgotten.
  void Schedule(const Key& key, absl::Time due, absl::Time now);
  bool Waits(const Key& key) const { return places_.contains(key); }
  // This task needs no poll any more.
  void Withdraw(const Key& key);
  // Nobody needs one (upstream refuses the key).
  void WithdrawAll();

  // When Take will have something, as far as is known; not before `now`. Nothing if nothing waits.
  std::optional<absl::Time> NextTime(absl::Time now);
  // The task to poll now, the earliest due; it has left the queue. Nothing if none may go.
  std::optional<Key> Take(absl::Time now);

  // A poll leaves; just one of the other three follows.
  CircuitBreaker::Call OnSent(absl::Time now);
  // Upstream has answered, if only to refuse.
  void OnServed(CircuitBreaker::Call call, absl::Time now);
  // Upstream has not answered, or with an error of its own.
  void OnFailed(CircuitBreaker::Call call, absl::Time now,
                std::optional<absl::Duration> retry_after);
  // Upstream has answered 429. With Retry-After, nothing goes out before then.
  void OnRateLimited(CircuitBreaker::Call call, absl::Time now,
                     std::optional<absl::Duration> retry_after);

  // Not closed: the polls wait in the queue, and few or none go out.
  CircuitBreaker::State circuit() const { return circuit_.state(); }

  // GETs per second at present; infinite without a limit.
  double rate(absl::Time now);
  // How many GETs a video the rate can bear while so many are in flight that take so long on
  // average (Little's law); infinite without a limit. A schedule for more would only be late.
  double SustainableGets(size_t in_flight, absl::Duration mean_duration, absl::Time now);

  // However due a poll is, it does not go out before this.
  absl::Time not_before() const { return std::max(paused_until_, circuit_.next_probe()); }
  size_t waiting() const { return queue_.size(); }
  int under_way() const { return under_way_; }

 private:
  using Place = std::pair<absl::Time, uint64_t>;  // due, and order of asking among equals

  // Brings rate, tokens and what was sent up to `now`.
  void Advance(absl::Time now);
  bool limited() const;
  void LowerRate(absl::Time now);

  const double limit_;  // 0: none
  const int most_under_way_;
  double rate_;       // infinite: none
  double full_rate_;  // what recovery leads back to
  double tokens_ = 1;
  double sent_ = 0;  // GETs lately, each fading away over kSentMemory
  absl::Time advanced_ = absl::InfinitePast();
  absl::Time decreased_ = absl::InfinitePast();
  absl::Time paused_until_ = absl::InfinitePast();

  CircuitBreaker circuit_;
  int under_way_ = 0;

  uint64_t asked_ = 0;
  std::map<Place, Key> queue_;
  absl::flat_hash_map<Key, Place> places_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_POLL_BUDGET_H_
