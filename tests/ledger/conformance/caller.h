// A ledger's only caller, for the conformance suite: asks, waits for answers, and checks with each one
// what must hold of all of them: they come in the order asked, never inline, and the commit observer
// has been told of exactly what the answer committed, just before it. One thread.
#ifndef DREAMGATE_TESTS_LEDGER_CONFORMANCE_CALLER_H_
#define DREAMGATE_TESTS_LEDGER_CONFORMANCE_CALLER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/core/ports.h"
#include "tests/ledger/conformance/ledger_maker.h"
#include "tests/ledger/requests.h"
#include "tests/ledger/test_loop.h"

namespace dreamgate::ledger {

class Caller final : private core::CommitObserver {
 public:
  explicit Caller(const LedgerMaker& maker) : ledger_(maker.make(loop_)) { Observe(); }

  // Asks. `use` gets the answer once Wait or Run has got that far.
  template <typename Request, typename Use>
  void Ask(Request request, Use use) {
    calling_ = true;
    ledger_->ledger().Call(std::move(request), [this, number = asked_++, use = std::move(use)](
                                                   core::AnswerTo<Request> answer) mutable {
      EXPECT_FALSE(calling_) << "answered inline";
      EXPECT_EQ(number, answered_++) << "answered out of order";
      std::vector<core::Prediction> expected;
      if (const Committed committed = CommittedBy(answer); committed && observes_) {
        expected.push_back(*committed);
      }
      EXPECT_TRUE(std::exchange(told_, {}) == expected) << "the observer was told otherwise";
      use(std::move(answer));
    });
    calling_ = false;
  }

  // Until everything is answered, also what is asked meanwhile.
  void Wait() {
    while (answered_ < asked_) ASSERT_TRUE(loop_.Run()) << "no answer";
  }

  template <typename Request>
  core::AnswerTo<Request> Run(Request request) {
    core::AnswerTo<Request> kept = absl::UnknownError("no answer");
    Ask(std::move(request), [&kept](core::AnswerTo<Request> answer) { kept = std::move(answer); });
    Wait();
    return kept;
  }

  // The process ends, and the next one opens the ledger: a new owner epoch.
  void Reopen() {
    ledger_->Reopen();
    Observe();
  }

  // A ledger needs no observer.
  void StopObserving() {
    ledger_->ledger().set_commit_observer(nullptr);
    observes_ = false;
  }

 private:
  using Committed = std::shared_ptr<const core::Prediction>;

  void Observe() { ledger_->ledger().set_commit_observer(this); }
  void OnCommitted(const Committed& prediction) override {
    EXPECT_FALSE(calling_) << "told inline";
    told_.push_back(*prediction);
  }

  template <typename Answer>
  static Committed CommittedBy(const absl::StatusOr<Answer>&) {
    return nullptr;
  }
  static Committed CommittedBy(const absl::StatusOr<core::ReserveResult>& answer) {
    return Is<core::Reserved>(answer) ? std::get<core::Reserved>(*answer).prediction : nullptr;
  }
  static Committed CommittedBy(const absl::StatusOr<core::ProposeResult>& answer) {
    return Is<core::Committed>(answer) ? std::get<core::Committed>(*answer).prediction : nullptr;
  }

  TestLoop loop_;
  std::unique_ptr<LedgerUnderTest> ledger_;
  bool observes_ = true;
  bool calling_ = false;
  int asked_ = 0;
  int answered_ = 0;
  std::vector<core::Prediction> told_;  // since the last answer
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_CONFORMANCE_CALLER_H_
