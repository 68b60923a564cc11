#include "server/core/durable.h"

#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kBackoff = {absl::Milliseconds(200), absl::Seconds(10)};

}  // namespace

void Durable::Wait(int failures, absl::AnyInvocable<void() &&> again) {
  const uint64_t number = waits_++;
  waiting_[number] = ports_.timers.After(FullJitter(kBackoff, failures, ports_.random),
                                         [this, number, again = std::move(again)]() mutable {
                                           waiting_.erase(number);
                                           std::move(again)();
                                         });
}

}  // namespace dreamgate::core
