#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::State;

using Reserve = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Reserve);

TEST_P(Reserve, TheAnswerIsThePredictionAsOfItsFirstTransition) {
  int number = 0;
  for (const State first : {State::kSubmitting, State::kQueued}) {
    core::Reservation reservation = MakeReservation(++number);
    reservation.first_transition.state = first;
    const core::AnswerTo<core::Reservation> answer = Run(reservation);
    ASSERT_TRUE(Is<core::Reserved>(answer)) << answer.status();
    const core::Prediction expected =
        core::Apply(reservation.prediction, reservation.first_transition);
    EXPECT_EQ(*std::get<core::Reserved>(*answer).prediction, expected);
    EXPECT_EQ(Stored(number), expected);
  }
}

TEST_P(Reserve, TheSamePayloadAgainGivesTheFirstPredictionInvisibleOrNot) {
  Make(1, {});
  core::Reservation again = MakeReservation(1);
  again.prediction.id = IdOf(2);
  again.prediction.seed = 99;
  again.attempt.token = "other";
  for (int round = 0; round < 2; ++round) {
    const core::AnswerTo<core::Reservation> answer = Run(again);
    ASSERT_TRUE(Is<core::ReserveExisting>(answer)) << answer.status();
    const core::Prediction& existing = *std::get<core::ReserveExisting>(*answer).prediction;
    EXPECT_EQ(existing.id, IdOf(1));
    EXPECT_EQ(existing.seed, 1);
    EXPECT_EQ(existing.state, State::kSubmitting);
    caller_.Reopen();
  }
  ExpectNotFound(MakeLoad(2));
  ExpectNotFound(core::AttemptQuery{"other"});
}

TEST_P(Reserve, TheSamePayloadAgainGivesTheCurrentStateNotTheFirst) {
  Make(1, {State::kCreated, State::kProcessing});
  Make(2, {State::kCompleted});
  for (const int number : {1, 2}) {
    const core::AnswerTo<core::Reservation> answer = Run(MakeReservation(number));
    ASSERT_TRUE(Is<core::ReserveExisting>(answer)) << answer.status();
    EXPECT_EQ(*std::get<core::ReserveExisting>(*answer).prediction, Stored(number));
  }
}

TEST_P(Reserve, AnotherPayloadUnderTheSameRequestIdIsAConflict) {
  Make(1, {});
  core::Reservation other = MakeReservation(2);
  other.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::ReserveConflict>(Run(other)));
  ExpectNotFound(MakeLoad(2));
  ExpectNotFound(core::AttemptQuery{"token-2"});
}

TEST_P(Reserve, TenantsDoNotShareRequestIdsOrPredictions) {
  Make(1, {}, "one");
  Make(1, {}, "two");
  ExpectNotFound(MakeLoad(1, "three"));
}

TEST_P(Reserve, ATakenPredictionIdIsRefusedAndLeavesNoTrace) {
  Make(1, {});
  core::Reservation same_id = MakeReservation(2);
  same_id.prediction.id = IdOf(1);
  ExpectRefused(same_id);
  ExpectNotFound(core::AttemptQuery{"token-2"});
  EXPECT_TRUE(Is<core::Reserved>(Run(MakeReservation(2))));
}

TEST_P(Reserve, AReservationBeginsWithSequenceOneQueuedOrSubmitting) {
  for (const int64_t sequence : {-1, 0, 2}) {
    core::Reservation late = MakeReservation(1);
    late.first_transition.sequence = sequence;
    ExpectRefused(late);
  }
  core::Reservation begun = MakeReservation(1);
  begun.prediction.sequence = 1;
  ExpectRefused(begun);
  for (const State state : kStates) {
    if (state == State::kQueued || state == State::kSubmitting) continue;
    core::Reservation wrong_state = MakeReservation(1);
    wrong_state.first_transition.state = state;
    ExpectRefused(wrong_state);
  }
  ExpectNotFound(MakeLoad(1));
  EXPECT_TRUE(Is<core::Reserved>(Run(MakeReservation(1))));
}

}  // namespace
}  // namespace dreamgate::ledger
