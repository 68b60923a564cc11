#include "server/app/loop_ports.h"

#include <utility>

#include "server/crypto/crypto.h"

namespace dreamgate::app {
namespace {

struct PendingTimer final : core::Timers::Timer {
  explicit PendingTimer(std::unique_ptr<net::LoopTimer> loop_timer)
      : timer(std::move(loop_timer)) {}
  const std::unique_ptr<net::LoopTimer> timer;
};

}  // namespace

absl::Time SystemClock::Now() const { return absl::Now(); }

std::unique_ptr<core::Timers::Timer> LoopTimers::After(absl::Duration delay,
                                                       absl::AnyInvocable<void() &&> callback) {
  return std::make_unique<PendingTimer>(loop_.After(delay, std::move(callback)));
}

void LoopExecutor::Post(absl::AnyInvocable<void() &&> work) { loop_.Post(std::move(work)); }

uint64_t SystemRandom::Draw() { return crypto::RandomU64(); }

std::string SystemRandom::UnguessableToken() { return crypto::RandomHex(16); }

}  // namespace dreamgate::app
