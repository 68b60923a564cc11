// Clock, timers and executor on virtual time: nothing happens until the test advances it. Work runs in
// order of time, then of arrival. One thread.
#ifndef DREAMGATE_TESTS_FAKES_VIRTUAL_TIME_H_
#define DREAMGATE_TESTS_FAKES_VIRTUAL_TIME_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::fakes {

class VirtualTime final : public core::Clock, public core::Timers, public core::Executor {
 public:
  ~VirtualTime() override { DropAll(); }

  absl::Time Now() const override { return now_; }

  [[nodiscard]] std::unique_ptr<Timer> After(absl::Duration delay,
                                             absl::AnyInvocable<void() &&> callback) override;
  void Post(absl::AnyInvocable<void() &&> work) override;

  // Runs one thing that is due now. False: there is none.
  bool Step() { return RunNext(now_); }
  // Runs what is due now, and what that posts, until nothing is due.
  void RunDue();
  // Moves time forward, running everything on the way at its time.
  void Advance(absl::Duration by);
  // Advances until `condition` holds, by at most `limit`. Returns whether it holds.
  bool AdvanceUntil(absl::AnyInvocable<bool()> condition, absl::Duration limit);

  // Destroys everything that waits without running it, as the end of a process does.
  void DropAll();

  size_t waiting() const { return queue_.size(); }

 private:
  friend class VirtualTimer;
  using Key = std::pair<absl::Time, uint64_t>;

  bool RunNext(absl::Time until);

  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  uint64_t arrivals_ = 0;
  std::map<Key, absl::AnyInvocable<void() &&>> queue_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_VIRTUAL_TIME_H_
