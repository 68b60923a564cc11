#include <memory>
#include <string>
#include <vector>

#include "server/ledger/ledger_thread.h"
#include "tests/fakes/fake_ledger.h"
#include "tests/ledger/conformance/ledger_maker.h"
#include "tests/ledger/ledger_testing.h"

namespace dreamgate::ledger {
namespace {

class SqliteLedger final : public LedgerUnderTest {
 public:
  explicit SqliteLedger(core::Executor& executor) : executor_(executor) { Reopen(); }

  core::Ledger& ledger() override { return *thread_; }
  void Reopen() override {
    thread_.reset();
    thread_ =
        std::make_unique<LedgerThread>(OpenStore(folder_.File("ledger.db")), executor_, events_);
  }

 private:
  core::Executor& executor_;
  core::Events events_;
  TemporaryFolder folder_;
  std::unique_ptr<LedgerThread> thread_;
};

class Fake final : public LedgerUnderTest {
 public:
  explicit Fake(core::Executor& executor) : ledger_(executor) {}

  core::Ledger& ledger() override { return ledger_; }
  void Reopen() override { ledger_.DropHeld(); }

 private:
  fakes::FakeLedger ledger_;
};

template <typename Ledger>
std::unique_ptr<LedgerUnderTest> Make(core::Executor& executor) {
  return std::make_unique<Ledger>(executor);
}

}  // namespace

const std::vector<LedgerMaker>& LedgerMakers() {
  static const auto& makers =
      *new std::vector<LedgerMaker>{{"Sqlite", Make<SqliteLedger>}, {"Fake", Make<Fake>}};
  return makers;
}

}  // namespace dreamgate::ledger
