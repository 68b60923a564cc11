// The one place where answers leave a ledger: whatever has become durable is told to the commit
// observer first, and then to whoever asked. Shared with work that is posted to the loop and may
// outlive the ledger; loop only.
#ifndef DREAMGATE_SERVER_LEDGER_OUTLET_H_
#define DREAMGATE_SERVER_LEDGER_OUTLET_H_

#include "absl/status/status.h"
#include "server/core/ledger_call.h"
#include "server/core/ports.h"

namespace dreamgate::ledger {

class Outlet {
 public:
  void set_observer(core::CommitObserver* observer) { observer_ = observer; }

  // `call` has its answer.
  void Complete(core::LedgerCall& call) const;

 private:
  core::CommitObserver* observer_ = nullptr;
};

// The answer to whatever is called once the ledger is closed.
absl::Status ClosedLedger();

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_OUTLET_H_
