#include "tests/fakes/virtual_time.h"

#include <algorithm>

namespace dreamgate::fakes {

class VirtualTimer final : public core::Timers::Timer {
 public:
  VirtualTimer(VirtualTime& time, VirtualTime::Key key) : time_(time), key_(key) {}
  ~VirtualTimer() override { time_.queue_.erase(key_); }

 private:
  VirtualTime& time_;
  const VirtualTime::Key key_;
};

std::unique_ptr<core::Timers::Timer> VirtualTime::After(absl::Duration delay,
                                                        absl::AnyInvocable<void() &&> callback) {
  const Key key(now_ + delay, arrivals_++);
  queue_.emplace(key, std::move(callback));
  return std::make_unique<VirtualTimer>(*this, key);
}

void VirtualTime::Post(absl::AnyInvocable<void() &&> work) {
  queue_.emplace(Key(now_, arrivals_++), std::move(work));
}

bool VirtualTime::RunNext(absl::Time until) {
  if (queue_.empty() || queue_.begin()->first.first > until) return false;
  auto next =
      queue_.extract(queue_.begin());  // out of the queue first: it may destroy its own timer
  now_ = std::max(now_, next.key().first);
  std::move(next.mapped())();
  return true;
}

void VirtualTime::RunDue() {
  while (RunNext(now_)) {}
}

void VirtualTime::Advance(absl::Duration by) {
  const absl::Time until = now_ + by;
  while (RunNext(until)) {}
  now_ = until;
}

bool VirtualTime::AdvanceUntil(absl::AnyInvocable<bool()> condition, absl::Duration limit) {
  const absl::Time until = now_ + limit;
  while (!condition()) {
    if (!RunNext(until)) {
      now_ = until;
      return condition();
    }
  }
  return true;
}

void VirtualTime::DropAll() {
  // One by one and out of the queue first: destroying one may cancel or post others.
  while (!queue_.empty()) queue_.extract(queue_.begin());
}

}  // namespace dreamgate::fakes
