// Decides whether one kind of call may go upstream now. Closed: yes. Open, after a streak of
// failures that has lasted a while: one probe at a time shows whether upstream is back. Half-open,
// after a probe was served: a window of calls under way that grows with every one served, so that
// what has piled up meanwhile does not fall upon an upstream that has just risen. A value on the
// caller's time; loop only. Used for GETs by PollBudget and for POSTs by SubmitCircuit.
//
// Failures count in a row and not by share, because a row needs no memory of better times: an
// upstream that has served millions and then fails is known after kFailuresToOpen, while one that
// fails half of its calls has such a row once in two million.
#ifndef DREAMGATE_SERVER_CORE_POLLING_CIRCUIT_BREAKER_H_
#define DREAMGATE_SERVER_CORE_POLLING_CIRCUIT_BREAKER_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class CircuitBreaker {
 public:
  enum class State { kClosed, kOpen, kHalfOpen };

  // So many failures in a row open the circuit, if they take so long at least: a moment in which
  // every connection breaks is one failure and no outage.
  static constexpr int kFailuresToOpen = 20;
  static constexpr absl::Duration kTimeToOpen = absl::Seconds(1);
  // Between two probes, answered or not. Grows from probe to probe until the circuit closes; up to
  // a tenth less by chance. The longest leaves some seconds for what has piled up: all of it shall
  // have gone out 30 s after upstream is back.
  static constexpr absl::Duration kFirstProbe = absl::Seconds(1);
  static constexpr absl::Duration kLongestProbe = absl::Seconds(24);
  static constexpr double kLeastShareOfInterval = 0.9;
  // Calls under way when a probe was served, and when the circuit closes in any case.
  static constexpr int kFirstWindow = 2;
  static constexpr int kFullWindow = 32;
  // The longest Retry-After that is believed.
  static constexpr absl::Duration kLongestPause = absl::Minutes(5);

  // A call that has left. Its answer is old news, and does not count, if the state has changed
  // since; and a failure, too, if a call that left later has been served.
  class Call {
   public:
    Call() = default;

   private:
    friend class CircuitBreaker;
    uint64_t number = 0;
    uint64_t period = 0;
    bool under_way = false;
    bool failed = false;
  };

  // `most_under_way`: calls under way at once while the circuit is closed.
  CircuitBreaker(int most_under_way, Random& random);

  State state() const { return state_; }
  // While open: the earliest that the next probe may leave. Else the infinite past.
  absl::Time next_probe() const;

  // When a call may leave as things stand: `now` or later; the infinite
  // future: not before an answer.
  absl::Time NextCall(absl::Time now);
  // A call that wants to leave now: may it?
  bool MayCall(absl::Time now);
  // The call leaves.
  Call Begin(absl::Time now);

  // Upstream has done what it can be expected to do, refusals included. May follow OnFailed: the
  // late answer of a call that had been given up.
  void OnServed(Call& call, absl::Time now);
  // Upstream has not done so: 429, 5xx, no answer, unreachable. Counts once a call. Once open,
  // there is no call before `retry_after` has passed.
  void OnFailed(Call& call, absl::Time now, std::optional<absl::Duration> retry_after);

 private:
  // Follows a clock that is set back.
  void Advance(absl::Time now);
  // The call is over. True: it belongs to the present state.
  bool End(Call& call);
  void Enter(State state);
  void Open(absl::Time now);
  void Close();
  absl::Duration Jittered(absl::Duration interval);

  const int most_under_way_;
  Random& random_;

  State state_ = State::kClosed;
  uint64_t period_ = 1;  // counts changes of state
  int under_way_ = 0;    // calls of this period
  uint64_t calls_ = 0;
  uint64_t latest_served_ = 0;  // by order of leaving

  int failures_ = 0;  // in a row, while closed
  absl::Time row_began_;

  absl::Duration probe_interval_ = kFirstProbe;
  absl::Time next_probe_ = absl::InfinitePast();
  absl::Time earliest_ = absl::InfinitePast();  // as upstream has asked for
  int window_ = 0;                              // while half-open
  bool turned_away_ = false;                    // a call, since one last left

  absl::Time advanced_ = absl::InfinitePast();
};

// Reports a circuit that has begun to hold calls back, or no longer does. `call`: "get" or "post".
void ReportCircuit(Events& events, absl::string_view call, bool open, absl::string_view problem);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_CIRCUIT_BREAKER_H_
