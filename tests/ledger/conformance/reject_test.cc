#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

using Reject = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Reject);

TEST_P(Reject, TheRequestIdIsFreeAgainAndTheEvidenceIsKept) {
  Make(1, {});
  ASSERT_TRUE(Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_THAT(ListedIds(MakeList()), IsEmpty());
  EXPECT_EQ(Stored(1).sequence, 1);
  const core::AnswerTo<core::AttemptQuery> attempt = Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(attempt.ok()) << attempt.status();
  EXPECT_EQ(attempt->result, AttemptResult::kRejected);
  EXPECT_EQ(attempt->result_time, Second(2));

  core::Reservation retry = MakeReservation(2);
  retry.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::Reserved>(Run(retry)));
}

TEST_P(Reject, ARememberedRejectionAnswersTheSamePayloadAndRefusesAnother) {
  Make(1, {});
  const core::Rejection rejection{.reason = core::Reason::kUpstreamRejected,
                                  .message = "prompt refused",
                                  .metadata = {{"upstream_code", "1200"}}};
  ASSERT_TRUE(Run(MakeReject(1, rejection)).ok());
  caller_.Reopen();
  const core::AnswerTo<core::Reservation> again = Run(MakeReservation(1));
  ASSERT_TRUE(Is<core::ReserveRemembered>(again)) << again.status();
  const core::Rejection& remembered = std::get<core::ReserveRemembered>(*again).rejection;
  EXPECT_EQ(remembered.reason, rejection.reason);
  EXPECT_EQ(remembered.message, rejection.message);
  EXPECT_THAT(remembered.metadata, ElementsAre(Pair("upstream_code", "1200")));

  core::Reservation other = MakeReservation(2);
  other.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::ReserveConflict>(Run(other)));
}

TEST_P(Reject, DoingItAgainIsHarmlessAndChangesNothing) {
  Make(1, {});
  Make(2, {State::kQueued});
  EXPECT_TRUE(Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_TRUE(Run(MakeReject(2, core::Rejection{.message = "first", .metadata = {}})).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(Run(MakeReject(1, core::Rejection{.message = "second", .metadata = {}})).ok());
    EXPECT_TRUE(Run(MakeReject(2, std::nullopt)).ok());
    caller_.Reopen();  // also by a process that owns nothing
  }
  const core::AnswerTo<core::Reservation> again = Run(MakeReservation(2));
  ASSERT_TRUE(Is<core::ReserveRemembered>(again)) << again.status();
  EXPECT_EQ(std::get<core::ReserveRemembered>(*again).rejection.message, "first");
  core::Reservation retry = MakeReservation(3);
  retry.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::Reserved>(Run(retry)));
}

TEST_P(Reject, NothingThatWasShownIsWithdrawn) {
  int number = 0;
  for (const State state : kStates) {
    if (state == State::kQueued || state == State::kSubmitting) continue;
    Make(++number, {state});
    ExpectRefused(MakeReject(number, std::nullopt));
    EXPECT_EQ(Stored(number).state, state);
  }
  // Shown once is shown, also while a further attempt is on its way.
  Make(++number, {State::kUnresolved, State::kSubmitting});
  ExpectRefused(MakeReject(number, std::nullopt));
  EXPECT_EQ(ListedIds(MakeList()).size(), static_cast<size_t>(number));
}

TEST_P(Reject, WhereThereIsNoSuchPredictionARuleIsBroken) {
  Make(1, {}, "other");
  ExpectRefused(MakeReject(1, std::nullopt));
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 1, State::kCreated, "other"))));
}

TEST_P(Reject, ARejectionThatTheAttemptCannotTakeChangesNothing) {
  Make(1, {State::kQueued});
  core::Proposal accepted = MakeProposal(1, 1, State::kSubmitting);
  accepted.attempt_outcome = MakeOutcome(1, AttemptResult::kAccepted, "up-1");
  ASSERT_TRUE(Is<core::Committed>(Run(accepted)));
  core::RejectRequest other_attempt = MakeReject(1, std::nullopt);
  other_attempt.attempt_outcome.number = 2;
  for (const auto& reject : {MakeReject(1, core::Rejection()), other_attempt}) {
    ExpectRefused(reject);
    EXPECT_EQ(Run(core::AttemptQuery{"token-1"})->result, AttemptResult::kAccepted);
    EXPECT_TRUE(Is<core::ReserveExisting>(Run(MakeReservation(1))));
  }
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 2, State::kCreated))));
}

TEST_P(Reject, ARejectedPredictionNeverLivesAfterAll) {
  Make(1, {});
  ASSERT_TRUE(Run(MakeReject(1, std::nullopt)).ok());
  for (const State next : kStates) {
    EXPECT_TRUE(Is<core::ProposalConflict>(Run(MakeProposal(1, 1, next))));
  }
  EXPECT_THAT(ListedIds(MakeList()), IsEmpty());
  EXPECT_THAT(*Run(core::TakeOverRequest()), IsEmpty());
  EXPECT_EQ(Stored(1).sequence, 1);
}

}  // namespace
}  // namespace dreamgate::ledger
