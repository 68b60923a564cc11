// The rules of the ledger port (server/core/ledger_requests.h), which every ledger keeps: requests in,
// answers out. Nothing here knows how a ledger stores anything. Each TEST_P runs once a ledger.
#ifndef DREAMGATE_TESTS_LEDGER_CONFORMANCE_CONFORMANCE_H_
#define DREAMGATE_TESTS_LEDGER_CONFORMANCE_CONFORMANCE_H_

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/ledger/conformance/caller.h"
#include "tests/ledger/requests.h"

namespace dreamgate::ledger {

inline constexpr core::State kStates[] = {
    core::State::kQueued,  core::State::kSubmitting, core::State::kUnresolved,
    core::State::kCreated, core::State::kProcessing, core::State::kCompleted,
    core::State::kFailed,  core::State::kCancelled,  core::State::kTimedOut,
    core::State::kDeleted,
};

class Conformance : public ::testing::TestWithParam<LedgerMaker> {
 protected:
  template <typename Request>
  core::AnswerTo<Request> Run(Request request) {
    return caller_.Run(std::move(request));
  }

  // The request breaks a rule of the port.
  template <typename Request>
  void ExpectRefused(Request request) {
    const absl::Status status = Run(std::move(request)).status();
    EXPECT_EQ(core::ReasonOf(status), core::Reason::kInternal) << status;
  }
  template <typename Request>
  void ExpectNotFound(Request request) {
    const absl::Status status = Run(std::move(request)).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
  }

  // Reserves `number` and moves it through `states`, the first of which may be QUEUED.
  void Make(int number, std::vector<core::State> states, const std::string& tenant = "tenant") {
    core::Reservation reservation = MakeReservation(number, tenant);
    if (!states.empty() && states.front() == core::State::kQueued) {
      reservation.first_transition.state = core::State::kQueued;
      states.erase(states.begin());
    }
    ASSERT_TRUE(Is<core::Reserved>(Run(std::move(reservation))));
    int64_t sequence = 1;
    for (const core::State state : states) {
      ASSERT_TRUE(Is<core::Committed>(Run(MakeProposal(number, sequence++, state, tenant))));
    }
  }

  // Reserves `number` and commits what became of its first attempt.
  void MakeWith(int number, core::State state, core::AttemptResult result,
                const std::string& upstream_id = "") {
    Make(number, {});
    core::Proposal proposal = MakeProposal(number, 1, state);
    if (!upstream_id.empty()) proposal.transition.upstream_id = upstream_id;
    proposal.attempt_outcome = MakeOutcome(1, result, upstream_id);
    ASSERT_TRUE(Is<core::Committed>(Run(proposal)));
  }

  // As the ledger has it; fails the test if it has none.
  core::Prediction Stored(int number, const std::string& tenant = "tenant") {
    auto stored = Run(MakeLoad(number, tenant));
    EXPECT_TRUE(stored.ok()) << number << ": " << stored.status();
    return stored.ok() ? core::Fold(*std::move(stored)) : core::Prediction();
  }

  std::vector<std::string> ListedIds(const core::ListQuery& query) {
    std::vector<std::string> ids;
    const auto page = Run(query);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return ids;
    for (const auto& prediction : page->predictions) ids.push_back(prediction->id);
    return ids;
  }

  Caller caller_{GetParam()};
};

// Runs a suite of tests, once a ledger.
#define CONFORMANCE_OF_EACH_LEDGER(suite)                                \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::ValuesIn(LedgerMakers()), \
                           [](const auto& maker) { return maker.param.name; })

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_CONFORMANCE_CONFORMANCE_H_
