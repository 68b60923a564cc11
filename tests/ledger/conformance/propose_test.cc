#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::SizeIs;

using Propose = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Propose);

// Transitions after the reservation that lead to a state.
std::vector<State> WayTo(State state) {
  if (state == State::kSubmitting) return {};
  return {state};
}

TEST_P(Propose, EveryFieldSurvivesReopening) {
  core::Reservation reservation = MakeReservation(1);
  reservation.prediction.input.prompt = std::string("a \"quoted\"\n\0 \xff prompt", 20);
  reservation.prediction.input.aspect_ratio = core::AspectRatio::k9x21;
  reservation.prediction.input.seed = 2147483647;
  reservation.prediction.input.labels = {{"team", "films"}, {"empty", ""}, {"q\"", "\xc3\xa4"}};
  reservation.canonical = core::CanonicalEncoding(reservation.prediction.input);
  ASSERT_TRUE(Is<core::Reserved>(Run(reservation)));

  core::Proposal created = MakeProposal(1, 1, State::kCreated);
  created.transition.source = core::TransitionSource::kSubmitAnswer;
  created.transition.upstream_id = "upstream-1";
  created.transition.upstream_status = "created";
  created.transition.upstream_create_time = Second(5) + absl::Milliseconds(250);
  created.attempt_outcome = core::AttemptOutcome{.number = 1,
                                                 .result = AttemptResult::kAccepted,
                                                 .time = Second(6),
                                                 .upstream_id = "upstream-1",
                                                 .http_status = 200,
                                                 .message = ""};
  ASSERT_TRUE(Is<core::Committed>(Run(created)));

  core::Proposal completed = MakeProposal(1, 2, State::kFailed);
  completed.transition.outputs = std::vector<core::Output>{
      {"https://a/1.mp4", true}, {"https://a/2.mp4", false}, {"https://a/3.mp4", std::nullopt}};
  completed.transition.failure = core::Failure{.code = core::FailureCode::kModerated,
                                               .message = "bad \xff bytes\n",
                                               .upstream_code = 1200,
                                               .resubmission_may_help = true};
  completed.transition.inference_time = absl::Milliseconds(12345);
  const core::AnswerTo<core::Proposal> last = Run(completed);
  ASSERT_TRUE(Is<core::Committed>(last));

  caller_.Reopen();
  const core::AnswerTo<core::LoadRequest> stored = Run(MakeLoad(1));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->initial, reservation.prediction);
  EXPECT_THAT(stored->transitions,
              ElementsAre(reservation.first_transition, created.transition, completed.transition));
  EXPECT_EQ(core::Fold(*stored), *std::get<core::Committed>(*last).prediction);
  const core::AnswerTo<core::AttemptQuery> attempt = Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(attempt.ok()) << attempt.status();
  EXPECT_EQ(attempt->result, AttemptResult::kAccepted);
  EXPECT_EQ(attempt->result_time, Second(6));
  EXPECT_EQ(attempt->upstream_id, "upstream-1");
}

TEST_P(Propose, OnlyTheExpectedSequenceIsCommitted) {
  Make(1, {State::kCreated});
  const core::Prediction before = Stored(1);
  for (const int64_t sequence : {-1, 0, 1, 3}) {
    const core::AnswerTo<core::Proposal> answer =
        Run(MakeProposal(1, sequence, State::kProcessing));
    ASSERT_TRUE(Is<core::ProposalConflict>(answer)) << answer.status();
    EXPECT_EQ(*std::get<core::ProposalConflict>(*answer).current, before);
  }
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 2, State::kProcessing))));
}

TEST_P(Propose, ATransitionCarriesTheSequenceAfterTheExpectedOne) {
  Make(1, {State::kCreated});
  for (const int64_t sequence : {0, 1, 2, 4}) {
    core::Proposal proposal = MakeProposal(1, 2, State::kProcessing);
    proposal.transition.sequence = sequence;
    ExpectRefused(proposal);
  }
  EXPECT_EQ(Stored(1).sequence, 2);
}

TEST_P(Propose, AnUnknownPredictionConflictsWithNothing) {
  Make(1, {});
  for (const auto& proposal :
       {MakeProposal(7, 1, State::kCreated), MakeProposal(1, 1, State::kCreated, "other")}) {
    const core::AnswerTo<core::Proposal> answer = Run(proposal);
    ASSERT_TRUE(Is<core::ProposalConflict>(answer)) << answer.status();
    EXPECT_EQ(std::get<core::ProposalConflict>(*answer).current, nullptr);
  }
  EXPECT_EQ(Stored(1).sequence, 1);
}

TEST_P(Propose, EachEdgeOfTheStateMachineIsTakenAndNoOther) {
  int number = 0;
  for (const State from : kStates) {
    for (const State to : kStates) {
      SCOPED_TRACE(absl::StrCat(core::StateName(from), " to ", core::StateName(to)));
      Make(++number, WayTo(from));
      const core::Prediction before = Stored(number);
      ASSERT_EQ(before.state, from);
      const core::Proposal proposal = MakeProposal(number, before.sequence, to);
      const core::AnswerTo<core::Proposal> answer = Run(proposal);
      if (core::IsLegalTransition(from, to)) {
        ASSERT_TRUE(Is<core::Committed>(answer)) << answer.status();
        const core::Prediction expected = core::Apply(before, proposal.transition);
        EXPECT_EQ(*std::get<core::Committed>(*answer).prediction, expected);
        EXPECT_EQ(Stored(number), expected);
      } else {
        ASSERT_TRUE(Is<core::ProposalConflict>(answer)) << answer.status();
        EXPECT_EQ(*std::get<core::ProposalConflict>(*answer).current, before);
        EXPECT_EQ(Stored(number), before);
      }
    }
  }
}

// ------------------------------------------------------------------------------------------ attempts

TEST_P(Propose, AnAttemptTakesALegalResultAndRefusesEveryOtherWithoutATrace) {
  const AttemptResult all[] = {AttemptResult::kAccepted, AttemptResult::kRejected,
                               AttemptResult::kNotSent,  AttemptResult::kUnknown,
                               AttemptResult::kAbsent,   AttemptResult::kOrphaned};
  std::vector<std::optional<AttemptResult>> known(std::begin(all), std::end(all));
  known.push_back(std::nullopt);
  int number = 0;
  for (const std::optional<AttemptResult> from : known) {
    for (const AttemptResult to : all) {
      SCOPED_TRACE(absl::StrCat(from ? core::AttemptResultName(*from) : "open", " to ",
                                core::AttemptResultName(to)));
      Make(++number, {});
      std::vector<AttemptResult> way;
      if (from == AttemptResult::kAbsent) way = {AttemptResult::kUnknown};
      if (from.has_value()) way.push_back(*from);
      int64_t sequence = 1;
      for (const AttemptResult result : way) {
        core::Proposal proposal =
            MakeProposal(number, sequence, sequence == 1 ? State::kUnresolved : State::kCreated);
        proposal.attempt_outcome = MakeOutcome(1, result);
        ASSERT_TRUE(Is<core::Committed>(Run(proposal)));
        ++sequence;
      }
      core::Proposal proposal = MakeProposal(number, sequence, State::kFailed);
      proposal.attempt_outcome = MakeOutcome(1, to);
      const core::AnswerTo<core::Proposal> answer = Run(proposal);
      const auto attempt = Run(core::AttemptQuery{absl::StrCat("token-", number)});
      ASSERT_TRUE(attempt.ok()) << attempt.status();
      if (core::IsLegalAttemptResult(from, to)) {
        EXPECT_TRUE(Is<core::Committed>(answer)) << answer.status();
        EXPECT_EQ(attempt->result, to);
      } else {
        EXPECT_EQ(core::ReasonOf(answer.status()), core::Reason::kInternal) << answer.status();
        EXPECT_EQ(attempt->result, from);
        EXPECT_EQ(Stored(number).sequence, sequence);
      }
    }
  }
}

TEST_P(Propose, AnOutcomeForAnUnknownAttemptLeavesNoTrace) {
  Make(1, {});
  core::Proposal proposal = MakeProposal(1, 1, State::kCreated);
  proposal.attempt_outcome = MakeOutcome(2, AttemptResult::kAccepted, "up-1");
  ExpectRefused(proposal);
  EXPECT_EQ(Stored(1).sequence, 1);
  EXPECT_TRUE(Is<core::Committed>(Run(MakeProposal(1, 1, State::kCreated))));
}

TEST_P(Propose, AProposalCanBeginAFurtherAttempt) {
  Make(1, {State::kQueued});
  core::Proposal again = MakeProposal(1, 1, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(9)};
  ASSERT_TRUE(Is<core::Committed>(Run(again)));
  caller_.Reopen();
  const core::AnswerTo<core::TakeOverRequest> unfinished = Run(core::TakeOverRequest());
  ASSERT_TRUE(unfinished.ok()) << unfinished.status();
  ASSERT_THAT(*unfinished, SizeIs(1));
  EXPECT_EQ((*unfinished)[0].last_attempt.number, 2);
  EXPECT_EQ((*unfinished)[0].last_attempt.token, "second");
  EXPECT_EQ((*unfinished)[0].last_attempt.start_time, Second(9));
}

TEST_P(Propose, AnAttemptsNumberIsUsedOnce) {
  Make(1, {State::kUnresolved});
  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 1, .token = "second", .start_time = Second(9)};
  ExpectRefused(again);
  EXPECT_EQ(Stored(1).sequence, 2);
  ExpectNotFound(core::AttemptQuery{"second"});
}

TEST_P(Propose, AConflictChangesNoAttemptEither) {
  Make(1, {State::kUnresolved});
  core::Proposal again = MakeProposal(1, 1, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(9)};
  EXPECT_TRUE(Is<core::ProposalConflict>(Run(again)));
  EXPECT_EQ(Run(core::AttemptQuery{"token-1"})->result, std::nullopt);
  ExpectNotFound(core::AttemptQuery{"second"});
}

}  // namespace
}  // namespace dreamgate::ledger
