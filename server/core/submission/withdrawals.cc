#include "server/core/submission/withdrawals.h"

#include "server/core/errors.h"
#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kBackoff = {absl::Milliseconds(200), absl::Seconds(10)};

}  // namespace

void Withdrawals::Try(RejectRequest request, int failures, Tried tried) {
  RejectRequest again = request;
  ports_.ledger.Call(
      std::move(request),
      lifeline_.Guard([this, again = std::move(again), failures,
                       tried = std::move(tried)](absl::StatusOr<Done> rejected) mutable {
        const absl::Status& written = rejected.status();
        tried(written);
        if (ReasonOf(written) != Reason::kLedgerUnavailable) return;
        const uint64_t retry = next_retry_++;
        retries_[retry] = ports_.timers.After(
            FullJitter(kBackoff, failures, ports_.random),
            [this, retry, again = std::move(again), failures, tried = std::move(tried)]() mutable {
              retries_.erase(retry);
              Try(std::move(again), failures + 1, std::move(tried));
            });
      }));
}

}  // namespace dreamgate::core
