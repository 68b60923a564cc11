// A process of its own for the ledger's tests: opens the ledger named by its first argument, prints
// "open", and then, by its second argument, holds it until its input ends ("hold") or writes until it
// is killed ("write"), printing a line for each operation once it is acknowledged as durable.
#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/ledger/store.h"
#include "tests/ledger/ledger_testing.h"

namespace dreamgate::ledger {
namespace {

void Print(const std::string& text) {
  // One write, so that a line is whole or absent.
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(3);
}

void WriteUntilKilled(Store& store) {
  constexpr int kBatch = 4;
  for (int first = 1;; first += kBatch) {
    Batch reservations;
    Batch proposals;
    std::string reserved;
    std::string created;
    for (int number = first; number < first + kBatch; ++number) {
      reservations.push_back(core::MakeLedgerCall(MakeReservation(number)));
      proposals.push_back(core::MakeLedgerCall(MakeProposal(number, 1, core::State::kCreated)));
      absl::StrAppend(&reserved, "1 ", number, "\n");
      absl::StrAppend(&created, "2 ", number, "\n");
    }
    if (!store.Apply(reservations).commit.ok()) ::_exit(4);
    Print(reserved);
    if (!store.Apply(proposals).commit.ok()) ::_exit(5);
    Print(created);
  }
}

}  // namespace
}  // namespace dreamgate::ledger

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  dreamgate::ledger::StoreOptions options;
  options.path = argv[1];
  auto store = dreamgate::ledger::Store::Open(options);
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    return 1;
  }
  dreamgate::ledger::Print("open\n");
  if (std::string(argv[2]) == "write") dreamgate::ledger::WriteUntilKilled(**store);
  while (std::getchar() != EOF) {}
  return 0;
}
