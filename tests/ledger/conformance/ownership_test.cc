// Who may change a prediction, and when it is forgotten.
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Ownership = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Ownership);
using Prune = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Prune);

TEST_P(Ownership, EverythingUnfinishedIsTakenOverWithItsAttempt) {
  Make(1, {});
  Make(2, {State::kCompleted});
  Make(3, {State::kCreated});
  Make(4, {});
  ASSERT_TRUE(Run(MakeReject(4, std::nullopt)).ok());
  Make(5, {State::kQueued});
  for (int round = 0; round < 2; ++round) {
    caller_.Reopen();
    const core::AnswerTo<core::TakeOverRequest> unfinished = Run(core::TakeOverRequest());
    ASSERT_TRUE(unfinished.ok()) << unfinished.status();
    ASSERT_THAT(*unfinished, SizeIs(3));
    const int numbers[] = {1, 3, 5};
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(*(*unfinished)[i].prediction, Stored(numbers[i]));
      EXPECT_EQ((*unfinished)[i].last_attempt.token, absl::StrCat("token-", numbers[i]));
      EXPECT_EQ((*unfinished)[i].last_attempt.number, 1);
    }
  }
}

TEST_P(Ownership, APredictionOfAnEarlierEpochCannotBeChangedBeforeItIsTakenOver) {
  Make(1, {});
  Make(2, {});
  for (int round = 0; round < 2; ++round) {
    caller_.Reopen();
    const core::AnswerTo<core::Proposal> answer = Run(MakeProposal(1, 1, State::kCreated));
    ASSERT_TRUE(Is<core::ProposalConflict>(answer)) << answer.status();
    EXPECT_EQ(*std::get<core::ProposalConflict>(*answer).current, Stored(1));
    ExpectRefused(MakeReject(2, std::nullopt));
    EXPECT_TRUE(Is<core::ReserveExisting>(Run(MakeReservation(2))));
  }
  ASSERT_TRUE(Run(core::TakeOverRequest()).ok());
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 1, State::kCreated))));
  EXPECT_TRUE(Run(MakeReject(2, std::nullopt)).ok());
}

TEST_P(Ownership, AReservedPredictionIsOwnedAtOnce) {
  caller_.Reopen();
  Make(1, {State::kCreated});
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 2, State::kProcessing))));
}

// ---------------------------------------------------------------------------------------------- prune

TEST_P(Prune, PredictionsThatEndedLongAgoAreForgottenInSmallStepsTheLongestEndedFirst) {
  Make(1, {});                                 // unfinished
  Make(3, {State::kCreated, State::kFailed});  // ended at second 5
  Make(2, {State::kCompleted});                // ended at second 3
  Make(6, {});                                 // rejected at second 7
  ASSERT_TRUE(Run(MakeReject(6, core::Rejection())).ok());
  Make(49, {State::kCompleted});  // ended at second 50, and what is forgotten ended before
  const auto is_there = [this](int number) { return Run(MakeLoad(number)).ok(); };
  EXPECT_EQ(*Run(core::PruneRequest{Second(50), 2}), 2);
  EXPECT_FALSE(is_there(2));
  EXPECT_FALSE(is_there(3));
  EXPECT_TRUE(is_there(6));
  EXPECT_EQ(*Run(core::PruneRequest{Second(50), 2}), 1);
  EXPECT_EQ(*Run(core::PruneRequest{Second(50), 2}), 0);
  EXPECT_FALSE(is_there(6));
  ExpectNotFound(core::AttemptQuery{"token-6"});
  EXPECT_TRUE(is_there(1));
  EXPECT_TRUE(is_there(49));
  caller_.Reopen();
  EXPECT_FALSE(is_there(2));
  EXPECT_THAT(ListedIds(MakeList()), ElementsAre(IdOf(49)));
}

TEST_P(Prune, ARequestIdIsFreeAgainOnceItsPredictionIsForgotten) {
  Make(1, {State::kCompleted});
  Make(2, {});
  ASSERT_TRUE(Run(MakeReject(2, core::Rejection())).ok());
  ASSERT_EQ(*Run(core::PruneRequest{Second(100), 10}), 2);
  for (const int number : {1, 2}) {
    core::Reservation other = MakeReservation(10 + number);
    other.prediction.request_id = absl::StrCat("request-", number);
    EXPECT_TRUE(Is<core::Reserved>(Run(other)));
  }
  const core::AnswerTo<core::Proposal> answer = Run(MakeProposal(1, 2, State::kFailed));
  ASSERT_TRUE(Is<core::ProposalConflict>(answer)) << answer.status();
  EXPECT_EQ(std::get<core::ProposalConflict>(*answer).current, nullptr);
}

TEST_P(Prune, NothingUnfinishedIsForgottenHoweverOld) {
  int number = 0;
  for (const State state : kStates) {
    if (core::IsTerminal(state)) continue;
    ++number;
    Make(number, state == State::kSubmitting ? std::vector<State>() : std::vector<State>{state});
  }
  EXPECT_EQ(*Run(core::PruneRequest{absl::InfiniteFuture(), 100}), 0);
  EXPECT_THAT(*Run(core::TakeOverRequest()), SizeIs(5));
}

TEST_P(Prune, NothingAtMostForgetsNothing) {
  Make(1, {State::kCompleted});
  EXPECT_EQ(*Run(core::PruneRequest{Second(100), 0}), 0);
  EXPECT_EQ(*Run(core::PruneRequest{Second(100), -1}), 0);
  EXPECT_EQ(Stored(1).state, State::kCompleted);
}

TEST_P(Prune, OrphansAreForgottenWithTheirPrediction) {
  MakeWith(1, State::kFailed, core::AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, core::AttemptResult::kUnknown);
  ASSERT_TRUE(Run(MakeOrphan(1, "late-1")).ok());
  ASSERT_TRUE(Run(MakeOrphan(2, "late-2")).ok());
  ASSERT_EQ(*Run(core::PruneRequest{Second(100), 1}), 1);
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), SizeIs(1));
  ExpectNotFound(MakeOrphan(1, "late-1"));
  EXPECT_THAT(Run(MakeReview(Second(0), {"late-1", "late-2"}))->bound, ElementsAre("late-2"));
}

}  // namespace
}  // namespace dreamgate::ledger
