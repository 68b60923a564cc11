#include "server/core/polling/circuit_breaker.h"

#include <algorithm>
#include <string>

#include "server/core/invariant.h"
#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr double kProbeGrowth = 1.5;

}  // namespace

CircuitBreaker::CircuitBreaker(int most_under_way, Random& random)
    : most_under_way_(most_under_way), random_(random) {}

absl::Time CircuitBreaker::next_probe() const {
  return state_ == State::kOpen ? std::max(next_probe_, earliest_) : absl::InfinitePast();
}

absl::Time CircuitBreaker::NextCall(absl::Time now) {
  Advance(now);
  switch (state_) {
    case State::kClosed: return under_way_ < most_under_way_ ? now : absl::InfiniteFuture();
    case State::kHalfOpen:
      if (under_way_ < window_) return std::max(now, earliest_);
      [[fallthrough]];  // those under way may hang
    case State::kOpen: break;
  }
  return std::max({now, next_probe_, earliest_});
}

bool CircuitBreaker::MayCall(absl::Time now) {
  if (NextCall(now) <= now) return true;
  turned_away_ = true;
  return false;
}

CircuitBreaker::Call CircuitBreaker::Begin(absl::Time now) {
  Advance(now);
  Call call;
  call.number = ++calls_;
  call.period = period_;
  call.under_way = true;
  ++under_way_;
  turned_away_ = false;
  if (state_ == State::kOpen) {
    probe_interval_ = std::min(kLongestProbe, probe_interval_ * kProbeGrowth);
  }
  if (state_ != State::kClosed) next_probe_ = now + Jittered(probe_interval_);
  return call;
}

void CircuitBreaker::OnServed(Call& call, absl::Time now) {
  Advance(now);
  if (!End(call)) return;
  latest_served_ = std::max(latest_served_, call.number);
  failures_ = 0;
  if (state_ == State::kClosed) return;
  if (state_ == State::kOpen) {
    Enter(State::kHalfOpen);
    window_ = kFirstWindow;
  } else {
    ++window_;
  }
  // With nobody turned away, there is nothing to hold back.
  if (!turned_away_ || window_ >= kFullWindow) Close();
}

void CircuitBreaker::OnFailed(Call& call, absl::Time now,
                              std::optional<absl::Duration> retry_after) {
  Advance(now);
  if (retry_after && *retry_after > absl::ZeroDuration()) {
    earliest_ = std::max(earliest_, now + std::min(*retry_after, kLongestPause));
  }
  if (call.failed) return;
  call.failed = true;
  if (!End(call) || call.number < latest_served_) return;
  switch (state_) {
    case State::kClosed:
      if (failures_++ == 0) row_began_ = now;
      if (failures_ >= kFailuresToOpen && now - row_began_ >= kTimeToOpen) Open(now);
      return;
    case State::kHalfOpen:
      if (--window_ < 1) Open(now);
      return;
    case State::kOpen: return;
  }
}

void CircuitBreaker::Advance(absl::Time now) {
  if (now < advanced_) {
    const absl::Duration back = advanced_ - now;
    row_began_ -= back;
    next_probe_ -= back;
    earliest_ -= back;
  }
  advanced_ = now;
}

bool CircuitBreaker::End(Call& call) {
  if (call.period != period_) return false;
  if (call.under_way) {
    DREAMGATE_INVARIANT(under_way_ > 0, "a call that is over was under way");
    --under_way_;
  }
  call.under_way = false;
  return true;
}

void CircuitBreaker::Enter(State state) {
  state_ = state;
  ++period_;
  under_way_ = 0;
  failures_ = 0;
}

void CircuitBreaker::Open(absl::Time now) {
  Enter(State::kOpen);
  turned_away_ = false;
  next_probe_ = now + Jittered(probe_interval_);
}

void CircuitBreaker::Close() {
  Enter(State::kClosed);
  probe_interval_ = kFirstProbe;
}

absl::Duration CircuitBreaker::Jittered(absl::Duration interval) {
  return UniformDelay(interval * kLeastShareOfInterval, interval, random_);
}

void ReportCircuit(Events& events, absl::string_view call, bool open, absl::string_view problem) {
  events.CircuitChanged(call, open);
  if (open) {
    events.Log(LogLevel::kWarning,
               "upstream fails every call; only probes are sent until it answers",
               {{"call", std::string(call)}, {"problem", std::string(problem)}});
  } else {
    events.Log(LogLevel::kInfo, "upstream answers again", {{"call", std::string(call)}});
  }
}

}  // namespace dreamgate::core
