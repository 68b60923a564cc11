#include "server/ledger/outlet.h"

#include <utility>
#include <variant>

#include "server/core/errors.h"

namespace dreamgate::ledger {
namespace {

using Committed = std::shared_ptr<const core::Prediction>;

// The prediction as of the transition that the answer has committed; null if it committed none.
template <typename Answer>
Committed CommittedBy(const Answer&) {
  return nullptr;
}
Committed CommittedBy(const core::ReserveResult& result) {
  const auto* reserved = std::get_if<core::Reserved>(&result);
  return reserved == nullptr ? nullptr : reserved->prediction;
}
Committed CommittedBy(const core::ProposeResult& result) {
  const auto* committed = std::get_if<core::Committed>(&result);
  return committed == nullptr ? nullptr : committed->prediction;
}

}  // namespace

void Outlet::Complete(core::LedgerCall& call) const {
  std::visit(
      [this](auto& any) {
        if (observer_ != nullptr && any.answer.ok()) {
          if (const Committed committed = CommittedBy(*any.answer)) {
            observer_->OnCommitted(committed);
          }
        }
        std::move(any.done)(std::move(any.answer));
      },
      call);
}

absl::Status ClosedLedger() {
  return core::MakeError(core::Reason::kLedgerUnavailable,
                         "the ledger is closed: this server stops",
                         core::ErrorDetails{.retry_after = absl::Seconds(5)});
}

}  // namespace dreamgate::ledger
