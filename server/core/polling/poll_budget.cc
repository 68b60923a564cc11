#include "server/core/polling/poll_budget.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/core/invariant.h"

namespace dreamgate::core {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();
// Without a limit of the operator's: the time over which what was sent is remembered, and the least
// rate that a 429 is taken to have refused.
constexpr absl::Duration kSentMemory = absl::Seconds(10);
constexpr double kLeastFullRate = 1;
// However many 429s come, this share of the full rate keeps asking.
constexpr double kLeastShare = 1.0 / 32;
// A wait computed to end with a whole token may end a rounding error short of it.
constexpr double kWholeToken = 1 - 1e-6;
// While the rate is coming back, a wait computed from it is soon too long.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

double BurstAt(double rate) { return std::max(1.0, rate); }

}  // namespace

PollBudget::PollBudget(double gets_per_second, int most_under_way, Random& random)
    : limit_(std::max(0.0, gets_per_second)),
      most_under_way_(most_under_way),
      rate_(limit_ > 0 ? limit_ : kUnlimited),
      full_rate_(rate_),
      circuit_(most_under_way - most_under_way / 6, random) {}

bool PollBudget::limited() const { return !std::isinf(rate_); }

void PollBudget::Schedule(const Key& key, absl::Time due, absl::Time now) {
  Advance(now);
  Withdraw(key);
  const Place place(due, asked_++);
  places_[key] = place;
  queue_.emplace(place, key);
}

void PollBudget::Withdraw(const Key& key) {
  const auto found = places_.find(key);
  if (found == places_.end()) return;
  queue_.erase(found->second);
  places_.erase(found);
  DREAMGATE_INVARIANT(queue_.size() == places_.size(), "every task has one place at most");
}

void PollBudget::WithdrawAll() {
  queue_.clear();
  places_.clear();
}

std::optional<absl::Time> PollBudget::NextTime(absl::Time now) {
  Advance(now);
  if (queue_.empty() || under_way_ >= most_under_way_) return std::nullopt;
  absl::Time next = std::max({queue_.begin()->first.first, paused_until_, circuit_.NextCall(now)});
  if (next == absl::InfiniteFuture()) return std::nullopt;
  if (limited() && tokens_ < kWholeToken) {
    // During a pause no tokens come in.
    const absl::Time since = std::max(now, paused_until_);
    next = std::max(next, since + std::min(kLongestWait, absl::Seconds((1 - tokens_) / rate_)));
  }
  return next;
}

std::optional<PollBudget::Key> PollBudget::Take(absl::Time now) {
  Advance(now);
  if (queue_.empty() || queue_.begin()->first.first > now || now < paused_until_) {
    return std::nullopt;
  }
  if (limited() && tokens_ < kWholeToken) return std::nullopt;
  if (under_way_ >= most_under_way_ || !circuit_.MayCall(now)) return std::nullopt;
  const auto first = queue_.begin();
  Key key = std::move(first->second);
  queue_.erase(first);
  places_.erase(key);
  return key;
}

CircuitBreaker::Call PollBudget::OnSent(absl::Time now) {
  Advance(now);
  ++under_way_;
  sent_ += 1;
  if (limited()) tokens_ = std::max(0.0, tokens_ - 1);
  return circuit_.Begin(now);
}

void PollBudget::OnServed(CircuitBreaker::Call call, absl::Time now) {
  Advance(now);
  DREAMGATE_INVARIANT(under_way_ > 0, "a poll that is over was under way");
  --under_way_;
  circuit_.OnServed(call, now);
}

void PollBudget::OnFailed(CircuitBreaker::Call call, absl::Time now,
                          std::optional<absl::Duration> retry_after) {
  Advance(now);
  DREAMGATE_INVARIANT(under_way_ > 0, "a poll that is over was under way");
  --under_way_;
  circuit_.OnFailed(call, now, retry_after);
}

void PollBudget::OnRateLimited(CircuitBreaker::Call call, absl::Time now,
                               std::optional<absl::Duration> retry_after) {
  Advance(now);
  if (retry_after && *retry_after > absl::ZeroDuration()) {
    paused_until_ = std::max(paused_until_, now + std::min(*retry_after, kLongestPause));
  }
  // Afterwards it is the circuit that holds back, and what little it sends is no measure of a rate.
  if (circuit() == CircuitBreaker::State::kClosed) LowerRate(now);
  OnFailed(call, now, retry_after);
}

void PollBudget::LowerRate(absl::Time now) {
  if (now - decreased_ < kDecreaseInterval) return;
  decreased_ = now;
  if (!limited()) {
    full_rate_ = std::max(kLeastFullRate, sent_ / absl::ToDoubleSeconds(kSentMemory));
    rate_ = full_rate_;
  }
  rate_ = std::max(rate_ / 2, full_rate_ * kLeastShare);
  tokens_ = 0;
}

double PollBudget::rate(absl::Time now) {
  Advance(now);
  return rate_;
}

double PollBudget::SustainableGets(size_t in_flight, absl::Duration mean_duration, absl::Time now) {
  Advance(now);
  if (!limited() || in_flight == 0) return kUnlimited;
  return rate_ * absl::ToDoubleSeconds(mean_duration) / static_cast<double>(in_flight);
}

void PollBudget::Advance(absl::Time now) {
  if (advanced_ == absl::InfinitePast()) advanced_ = now;
  if (now < advanced_) {
    // The clock was set back: all that was agreed on moves with it.
    const absl::Duration back = advanced_ - now;
    std::map<Place, Key> moved;
    for (auto& [place, key] : queue_) {
      const Place earlier(place.first - back, place.second);
      places_[key] = earlier;
      moved.emplace(earlier, std::move(key));
    }
    queue_ = std::move(moved);
    decreased_ -= back;
    paused_until_ -= back;
    advanced_ = now;
  }
  const absl::Time before_now = std::exchange(advanced_, now);
  sent_ *= std::exp(-absl::FDivDuration(now - before_now, kSentMemory));
  if (!limited() || now <= std::max(before_now, paused_until_)) return;

  const double running = absl::ToDoubleSeconds(now - std::max(before_now, paused_until_));
  const double before = rate_;
  if (decreased_ != absl::InfinitePast()) {
    const absl::Time quiet_since = std::max(decreased_, paused_until_);
    const auto square = [&](absl::Time time) {
      return std::pow(std::max(0.0, absl::FDivDuration(time - quiet_since, kRecovery)), 2);
    };
    rate_ += full_rate_ * (square(now) - square(before_now));
  }
  if (limit_ > 0) {
    rate_ = std::min(rate_, limit_);
  } else if (rate_ >= 2 * full_rate_) {
    rate_ = kUnlimited;
    tokens_ = 1;
    return;
  }
  tokens_ = std::min(BurstAt(rate_), tokens_ + (before + rate_) / 2 * running);
}

}  // namespace dreamgate::core
