#include "server/core/retention.h"

#include "absl/status/statusor.h"

namespace dreamgate::core {
namespace {

// A step is one short transaction. While there is more to forget, the pause between two leaves the
// ledger to the callers.
constexpr int kStep = 100;
constexpr absl::Duration kPause = absl::Seconds(1);
constexpr absl::Duration kPeriod = absl::Minutes(10);

}  // namespace

void Retention::Start() { PruneAfter(kPause); }

void Retention::PruneAfter(absl::Duration delay) {
  timer_ = ports_.timers.After(delay, [this] {
    ports_.ledger.Call(PruneRequest{ports_.clock.Now() - options_.request_id_retention, kStep},
                       lifeline_.Guard([this](absl::StatusOr<int> forgotten) {
                         PruneAfter(forgotten.ok() && *forgotten == kStep ? kPause : kPeriod);
                       }));
  });
}

}  // namespace dreamgate::core
