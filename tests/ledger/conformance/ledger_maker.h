// The conformance suite's needs besides the port: to make a ledger, and to end the process that has it
// open. A further ledger is a further entry of LedgerMakers().
#ifndef DREAMGATE_TESTS_LEDGER_CONFORMANCE_LEDGER_MAKER_H_
#define DREAMGATE_TESTS_LEDGER_CONFORMANCE_LEDGER_MAKER_H_

#include <memory>
#include <ostream>
#include <vector>

#include "server/core/ports.h"

namespace dreamgate::ledger {

class LedgerUnderTest {
 public:
  virtual ~LedgerUnderTest() = default;
  // Of the process that runs now. Posts what it has to say to the executor that it was made with.
  virtual core::Ledger& ledger() = 0;
  // The process ends, and the next one opens what is durable: a new owner epoch. Nothing may be
  // waiting for its answer. Ends the life of `ledger()`.
  virtual void Reopen() = 0;
};

struct LedgerMaker {
  const char* name;
  // An empty ledger of its own. Borrows the executor.
  std::unique_ptr<LedgerUnderTest> (*make)(core::Executor& executor);

  friend std::ostream& operator<<(std::ostream& out, const LedgerMaker& maker) {
    return out << maker.name;
  }
};

const std::vector<LedgerMaker>& LedgerMakers();

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_CONFORMANCE_LEDGER_MAKER_H_
