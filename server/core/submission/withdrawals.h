// Withdraws what was reserved and will not be sent, or was refused upstream, so that callers never
// see it and its request_id is free or remembered as rejected. Owned by Submitter, loop only.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_WITHDRAWALS_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_WITHDRAWALS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/core/gateway.h"
#include "server/core/lifeline.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class Withdrawals {
 public:
  using Tried = absl::AnyInvocable<void(const absl::Status& written)>;

  explicit Withdrawals(const Ports& ports) : ports_(ports) {}

  // Tries until the ledger has answered, and calls `tried` after every try. An error other than
  // LEDGER_UNAVAILABLE is final: there is nothing to reject because the reservation never took
  // effect, or what was reserved has been shown meanwhile.
  void Withdraw(RejectRequest request, Tried tried) {
    Try(std::move(request), 0, std::move(tried));
  }

  // Those that ledger trouble has left to be tried again.
  size_t to_repeat() const { return retries_.size(); }

 private:
  void Try(RejectRequest request, int failures, Tried tried);

  const Ports ports_;
  uint64_t next_retry_ = 0;
  std::map<uint64_t, std::unique_ptr<Timers::Timer>> retries_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_WITHDRAWALS_H_
