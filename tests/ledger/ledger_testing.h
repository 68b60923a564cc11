// A store under test, and batches for it.
#ifndef DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_
#define DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/ledger/requests.h"

namespace dreamgate::ledger {

using fakes::TemporaryFolder;

inline std::unique_ptr<Store> OpenStore(const std::string& path, const std::string& vfs = "") {
  StoreOptions options;
  options.path = path;
  options.vfs = vfs;
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

// Reserves `number` and moves it through `states`.
inline void Make(Store& store, int number, const std::vector<core::State>& states,
                 const std::string& tenant = "tenant") {
  ASSERT_TRUE(Is<core::Reserved>(store.Run(MakeReservation(number, tenant))));
  int64_t sequence = 1;
  for (const core::State state : states) {
    ASSERT_TRUE(Is<core::Committed>(store.Run(MakeProposal(number, sequence++, state, tenant))));
  }
}

template <typename... Requests>
Batch MakeBatch(Requests... requests) {
  Batch batch;
  (batch.push_back(core::MakeLedgerCall(std::move(requests))), ...);
  return batch;
}

// The answer to call number `index`.
template <typename Request>
const core::AnswerTo<Request>& AnswerIn(const Batch& batch, size_t index) {
  return core::CallAs<Request>(*batch.at(index))->answer;
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_
