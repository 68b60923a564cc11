#include "server/ledger/store.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

class StoreTest : public ::testing::Test {
 protected:
  void Reopen() {
    store_.reset();
    store_ = OpenStore(path_);
  }

  // The first column of the first row, read by a connection of its own while the store is closed.
  std::string Query(const std::string& sql) {
    store_.reset();
    std::string answer = QuerySql(path_, sql);
    store_ = OpenStore(path_);
    return answer;
  }

  std::vector<std::string> Ids(const core::ListPage& page) {
    std::vector<std::string> ids;
    for (const auto& prediction : page.predictions) ids.push_back(prediction->id);
    return ids;
  }

  std::vector<std::string> ListedIds(core::ListQuery query) {
    absl::StatusOr<core::ListPage> page = store_->Run(std::move(query));
    EXPECT_TRUE(page.ok()) << page.status();
    return page.ok() ? Ids(*page) : std::vector<std::string>();
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_ = OpenStore(path_);
};

// ------------------------------------------------------------------------------------------- reserve

TEST_F(StoreTest, ReserveGivesThePredictionAsOfItsFirstTransition) {
  const core::Reservation reservation = MakeReservation(1);
  const absl::StatusOr<core::ReserveResult> result = store_->Run(reservation);
  ASSERT_TRUE(Is<core::Reserved>(result)) << result.status();
  EXPECT_EQ(*std::get<core::Reserved>(*result).prediction,
            core::Apply(reservation.prediction, reservation.first_transition));
}

TEST_F(StoreTest, ReservingAgainWithTheSamePayloadGivesTheFirstPredictionInvisibleOrNot) {
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(1))));
  core::Reservation again = MakeReservation(1);
  again.prediction.id = IdOf(2);
  again.prediction.seed = 99;
  again.attempt.token = "other";
  for (int round = 0; round < 2; ++round) {
    const absl::StatusOr<core::ReserveResult> result = store_->Run(again);
    ASSERT_TRUE(Is<core::ReserveExisting>(result));
    const core::Prediction& existing = *std::get<core::ReserveExisting>(*result).prediction;
    EXPECT_EQ(existing.id, IdOf(1));
    EXPECT_EQ(existing.seed, 1);
    EXPECT_EQ(existing.state, State::kSubmitting);
    Reopen();
  }
  EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeLoad(2)).status()));
}

TEST_F(StoreTest, ReservingAgainGivesTheCurrentStateNotTheFirst) {
  Make(*store_, 1, {State::kCreated, State::kProcessing});
  const absl::StatusOr<core::ReserveResult> result = store_->Run(MakeReservation(1));
  ASSERT_TRUE(Is<core::ReserveExisting>(result));
  EXPECT_EQ(std::get<core::ReserveExisting>(*result).prediction->state, State::kProcessing);
}

TEST_F(StoreTest, AnotherPayloadUnderTheSameRequestIdIsAConflict) {
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(1))));
  core::Reservation other = MakeReservation(2);
  other.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::ReserveConflict>(store_->Run(other)));
}

TEST_F(StoreTest, TenantsDoNotShareRequestIdsOrPredictions) {
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(1, "one"))));
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(1, "two"))));
  EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeLoad(1, "three")).status()));
}

TEST_F(StoreTest, ATakenPredictionIdIsRefusedAndLeavesNoTrace) {
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(1))));
  core::Reservation same_id = MakeReservation(2);
  same_id.prediction.id = IdOf(1);
  EXPECT_EQ(core::ReasonOf(store_->Run(same_id).status()), core::Reason::kInternal);
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(2))));
}

TEST_F(StoreTest, AReservationThatDoesNotBeginAtSequenceOneIsRefused) {
  core::Reservation late = MakeReservation(1);
  late.first_transition.sequence = 2;
  EXPECT_EQ(core::ReasonOf(store_->Run(late).status()), core::Reason::kInternal);
  core::Reservation wrong_state = MakeReservation(1);
  wrong_state.first_transition.state = State::kCreated;
  EXPECT_EQ(core::ReasonOf(store_->Run(wrong_state).status()), core::Reason::kInternal);
}

// ------------------------------------------------------------------------------------------- propose

TEST_F(StoreTest, EveryFieldSurvivesReopening) {
  core::Reservation reservation = MakeReservation(1);
  reservation.prediction.input.prompt = std::string("a \"quoted\"\n\0 \xff prompt", 20);
  reservation.prediction.input.aspect_ratio = core::AspectRatio::k9x21;
  reservation.prediction.input.seed = 2147483647;
  reservation.prediction.input.labels = {{"team", "films"}, {"empty", ""}, {"q\"", "\xc3\xa4"}};
  reservation.canonical = core::CanonicalEncoding(reservation.prediction.input);
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(reservation)));

  core::Proposal created = MakeProposal(1, 1, State::kCreated);
  created.transition.source = core::TransitionSource::kSubmitAnswer;
  created.transition.upstream_id = "upstream-1";
  created.transition.upstream_status = "created";
  created.transition.upstream_create_time = Second(5) + absl::Milliseconds(250);
  created.attempt_outcome = core::AttemptOutcome{.number = 1,
                                                 .result = core::AttemptResult::kAccepted,
                                                 .time = Second(6),
                                                 .upstream_id = "upstream-1",
                                                 .http_status = 200,
                                                 .message = ""};
  ASSERT_TRUE(Is<core::Committed>(store_->Run(created)));

  core::Proposal completed = MakeProposal(1, 2, State::kFailed);
  completed.transition.outputs = std::vector<core::Output>{
      {"https://a/1.mp4", true}, {"https://a/2.mp4", false}, {"https://a/3.mp4", std::nullopt}};
  completed.transition.failure = core::Failure{.code = core::FailureCode::kModerated,
                                               .message = "bad \xff bytes\n",
                                               .upstream_code = 1200,
                                               .resubmission_may_help = true};
  completed.transition.inference_time = absl::Milliseconds(12345);
  const absl::StatusOr<core::ProposeResult> last = store_->Run(completed);
  ASSERT_TRUE(Is<core::Committed>(last));

  Reopen();
  const absl::StatusOr<core::StoredPrediction> stored = store_->Run(MakeLoad(1));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->initial, reservation.prediction);
  EXPECT_THAT(stored->transitions,
              ElementsAre(reservation.first_transition, created.transition, completed.transition));
  EXPECT_EQ(core::Fold(*stored), *std::get<core::Committed>(*last).prediction);
  EXPECT_EQ(Query("SELECT outcome || ' ' || upstream_id || ' ' || http_status FROM attempts"),
            "1 upstream-1 200");
}

TEST_F(StoreTest, OnlyTheExpectedSequenceIsCommitted) {
  Make(*store_, 1, {State::kCreated});
  for (const int64_t sequence : {0, 1, 3}) {
    const absl::StatusOr<core::ProposeResult> result =
        store_->Run(MakeProposal(1, sequence, State::kProcessing));
    ASSERT_TRUE(Is<core::ProposalConflict>(result));
    EXPECT_EQ(std::get<core::ProposalConflict>(*result).current->sequence, 2);
  }
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kProcessing))));
}

TEST_F(StoreTest, AProposalForAnUnknownPredictionConflictsWithNothing) {
  const absl::StatusOr<core::ProposeResult> result =
      store_->Run(MakeProposal(7, 1, State::kCreated));
  ASSERT_TRUE(Is<core::ProposalConflict>(result));
  EXPECT_EQ(std::get<core::ProposalConflict>(*result).current, nullptr);
}

TEST_F(StoreTest, AnIllegalTransitionIsAConflict) {
  Make(*store_, 1, {State::kProcessing});
  EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(1, 2, State::kCreated))));
  Make(*store_, 2, {State::kCompleted});
  EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(2, 2, State::kFailed))));
}

TEST_F(StoreTest, WhatHasEndedAcceptsNoTransitionAtAll) {
  int number = 0;
  for (const State end :
       {State::kCompleted, State::kFailed, State::kCancelled, State::kTimedOut, State::kDeleted}) {
    Make(*store_, ++number, {end});
    for (const State next : {State::kSubmitting, State::kUnresolved, State::kProcessing,
                             State::kCompleted, State::kFailed}) {
      EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(number, 2, next))));
    }
  }
}

TEST_F(StoreTest, AStateThatStaysTheSameIsNoTransition) {
  Make(*store_, 1, {State::kCreated});
  EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(1, 2, State::kCreated))));
}

TEST_F(StoreTest, ATerminalTransitionClearsTheOwner) {
  Make(*store_, 1, {State::kCreated});
  EXPECT_EQ(Query("SELECT owner_epoch FROM predictions"), "1");
  ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
  ASSERT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kCompleted))));
  EXPECT_EQ(Query("SELECT owner_epoch FROM predictions"), "0");
}

TEST_F(StoreTest, AProposalCanBeginAFurtherAttempt) {
  Make(*store_, 1, {State::kQueued});
  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(9)};
  ASSERT_TRUE(Is<core::Committed>(store_->Run(again)));
  Reopen();
  const auto unfinished = store_->Run(core::TakeOverRequest());
  ASSERT_TRUE(unfinished.ok());
  ASSERT_THAT(*unfinished, SizeIs(1));
  EXPECT_EQ((*unfinished)[0].last_attempt.number, 2);
  EXPECT_EQ((*unfinished)[0].last_attempt.token, "second");
}

TEST_F(StoreTest, AnOutcomeForAnUnknownAttemptLeavesNoTrace) {
  Make(*store_, 1, {});
  core::Proposal proposal = MakeProposal(1, 1, State::kCreated);
  proposal.attempt_outcome = core::AttemptOutcome();
  proposal.attempt_outcome->number = 2;
  EXPECT_EQ(core::ReasonOf(store_->Run(proposal).status()), core::Reason::kInternal);
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(1));
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 1, State::kCreated))));
}

// -------------------------------------------------------------------------------------------- reject

TEST_F(StoreTest, ARejectionFreesTheRequestIdAndKeepsTheEvidence) {
  Make(*store_, 1, {});
  ASSERT_TRUE(store_->Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_THAT(ListedIds(MakeList()), IsEmpty());
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(1));

  core::Reservation retry = MakeReservation(2);
  retry.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(retry)));
  EXPECT_EQ(Query("SELECT outcome || ' ' || http_status || ' ' || message FROM attempts "
                  "WHERE prediction_id = 'p000001'"),
            "2 400 no");
}

TEST_F(StoreTest, ARememberedRejectionAnswersTheSamePayloadAndRefusesAnother) {
  Make(*store_, 1, {});
  const core::Rejection rejection{.reason = core::Reason::kUpstreamRejected,
                                  .message = "prompt refused",
                                  .metadata = {{"upstream_code", "1200"}}};
  ASSERT_TRUE(store_->Run(MakeReject(1, rejection)).ok());
  Reopen();
  const absl::StatusOr<core::ReserveResult> again = store_->Run(MakeReservation(1));
  ASSERT_TRUE(Is<core::ReserveRemembered>(again));
  const core::Rejection& remembered = std::get<core::ReserveRemembered>(*again).rejection;
  EXPECT_EQ(remembered.reason, rejection.reason);
  EXPECT_EQ(remembered.message, rejection.message);
  EXPECT_THAT(remembered.metadata, ElementsAre(Pair("upstream_code", "1200")));

  core::Reservation other = MakeReservation(2);
  other.prediction.request_id = "request-1";
  EXPECT_TRUE(Is<core::ReserveConflict>(store_->Run(other)));
}

TEST_F(StoreTest, RejectingTwiceIsHarmless) {
  Make(*store_, 1, {});
  EXPECT_TRUE(store_->Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_TRUE(store_->Run(MakeReject(1, std::nullopt)).ok());
}

TEST_F(StoreTest, WhatWasShownCannotBeRejected) {
  Make(*store_, 1, {State::kUnresolved});
  EXPECT_EQ(core::ReasonOf(store_->Run(MakeReject(1, std::nullopt)).status()),
            core::Reason::kInternal);
  EXPECT_THAT(ListedIds(MakeList()), ElementsAre(IdOf(1)));
}

TEST_F(StoreTest, WhatWasRejectedNeverBecomesAPredictionAfterAll) {
  Make(*store_, 1, {});
  ASSERT_TRUE(store_->Run(MakeReject(1, std::nullopt)).ok());
  for (const State next : {State::kSubmitting, State::kCreated, State::kFailed}) {
    EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(1, 1, next))));
  }
  EXPECT_THAT(ListedIds(MakeList()), IsEmpty());
  EXPECT_THAT(*store_->Run(core::TakeOverRequest()), IsEmpty());
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(1));
}

// ---------------------------------------------------------------------------------------------- list

TEST_F(StoreTest, ListsWhatIsVisibleNewestFirst) {
  Make(*store_, 1, {State::kCreated});
  Make(*store_, 2, {});
  Make(*store_, 3, {State::kUnresolved});
  Make(*store_, 4, {State::kCreated}, "other");
  EXPECT_THAT(ListedIds(MakeList()), ElementsAre(IdOf(3), IdOf(1)));
}

TEST_F(StoreTest, ListedPredictionsCarryTheirHistory) {
  Make(*store_, 1, {State::kCreated, State::kProcessing});
  Reopen();
  const absl::StatusOr<core::ListPage> page = store_->Run(MakeList());
  ASSERT_TRUE(page.ok());
  ASSERT_THAT(page->predictions, SizeIs(1));
  EXPECT_EQ(*page->predictions[0], core::Fold(*store_->Run(MakeLoad(1))));
  EXPECT_THAT(page->predictions[0]->history, SizeIs(3));
}

TEST_F(StoreTest, PagesFollowOneAnotherWithoutGapOrOverlap) {
  for (int i = 1; i <= 5; ++i) Make(*store_, i, {State::kCreated});
  core::ListQuery query = MakeList();
  query.page_size = 2;
  absl::StatusOr<core::ListPage> page = store_->Run(query);
  EXPECT_THAT(Ids(*page), ElementsAre(IdOf(5), IdOf(4)));
  EXPECT_TRUE(page->more);
  query.before_id = IdOf(4);
  page = store_->Run(query);
  EXPECT_THAT(Ids(*page), ElementsAre(IdOf(3), IdOf(2)));
  EXPECT_TRUE(page->more);
  query.before_id = IdOf(2);
  page = store_->Run(query);
  EXPECT_THAT(Ids(*page), ElementsAre(IdOf(1)));
  EXPECT_FALSE(page->more);
}

TEST_F(StoreTest, ListFiltersByStatesAndByAllLabels) {
  Make(*store_, 1, {State::kCreated});
  Make(*store_, 2, {State::kCompleted});
  Make(*store_, 3, {State::kFailed});
  core::Reservation labelled = MakeReservation(4);
  labelled.prediction.input.labels = {{"team", "films"}, {"stage", "prod"}};
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(labelled)));
  ASSERT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(4, 1, State::kCreated))));

  core::ListQuery query = MakeList();
  query.states = {State::kCompleted, State::kFailed};
  EXPECT_THAT(ListedIds(query), ElementsAre(IdOf(3), IdOf(2)));
  query.states = {};
  query.labels = {{"team", "films"}};
  EXPECT_THAT(ListedIds(query), ElementsAre(IdOf(4)));
  query.labels = {{"team", "films"}, {"stage", "test"}};
  EXPECT_THAT(ListedIds(query), IsEmpty());
}

// ----------------------------------------------------------------------------------------- ownership

TEST_F(StoreTest, TakesOverEverythingUnfinishedWithItsAttempt) {
  Make(*store_, 1, {});
  Make(*store_, 2, {State::kCompleted});
  Make(*store_, 3, {State::kCreated});
  Make(*store_, 4, {});
  ASSERT_TRUE(store_->Run(MakeReject(4, std::nullopt)).ok());
  Reopen();
  const auto unfinished = store_->Run(core::TakeOverRequest());
  ASSERT_TRUE(unfinished.ok()) << unfinished.status();
  ASSERT_THAT(*unfinished, SizeIs(2));
  EXPECT_EQ((*unfinished)[0].prediction->id, IdOf(1));
  EXPECT_EQ((*unfinished)[0].last_attempt.token, "token-1");
  EXPECT_EQ((*unfinished)[1].prediction->id, IdOf(3));
  EXPECT_EQ((*unfinished)[1].prediction->state, State::kCreated);
}

TEST_F(StoreTest, WhatAnEarlierEpochOwnsCannotBeChangedBeforeItIsTakenOver) {
  Make(*store_, 1, {});
  const int64_t first_epoch = store_->owner_epoch();
  Reopen();
  EXPECT_EQ(store_->owner_epoch(), first_epoch + 1);
  EXPECT_TRUE(Is<core::ProposalConflict>(store_->Run(MakeProposal(1, 1, State::kCreated))));
  EXPECT_FALSE(store_->Run(MakeReject(1, std::nullopt)).ok());
  ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 1, State::kCreated))));
}

// ------------------------------------------------------------------------------------------- batches

TEST_F(StoreTest, OperationsOfABatchSeeOneAnotherInOrder) {
  const Batch batch = MakeBatch(
      MakeLoad(1), MakeReservation(1), MakeReservation(1), MakeProposal(1, 1, State::kCreated),
      MakeLoad(1), MakeProposal(1, 1, State::kProcessing), MakeProposal(1, 2, State::kProcessing),
      MakeList(), core::TakeOverRequest());
  ASSERT_TRUE(store_->Apply(batch).commit.ok());
  EXPECT_TRUE(absl::IsNotFound(AnswerIn<core::LoadRequest>(batch, 0).status()));
  EXPECT_TRUE(Is<core::Reserved>(AnswerIn<core::Reservation>(batch, 1)));
  EXPECT_TRUE(Is<core::ReserveExisting>(AnswerIn<core::Reservation>(batch, 2)));
  EXPECT_TRUE(Is<core::Committed>(AnswerIn<core::Proposal>(batch, 3)));
  EXPECT_THAT(AnswerIn<core::LoadRequest>(batch, 4)->transitions, SizeIs(2));
  EXPECT_TRUE(Is<core::ProposalConflict>(AnswerIn<core::Proposal>(batch, 5)));
  EXPECT_TRUE(Is<core::Committed>(AnswerIn<core::Proposal>(batch, 6)));
  EXPECT_EQ(AnswerIn<core::ListQuery>(batch, 7)->predictions.at(0)->state, State::kProcessing);
  EXPECT_THAT(*AnswerIn<core::TakeOverRequest>(batch, 8), SizeIs(1));
}

TEST_F(StoreTest, AnOperationThatFailsDoesNotHurtItsBatch) {
  core::Proposal bad = MakeProposal(1, 1, State::kCreated);
  bad.attempt_outcome = core::AttemptOutcome();
  bad.attempt_outcome->number = 9;
  const Batch batch = MakeBatch(MakeReservation(1), bad, MakeReservation(2));
  ASSERT_TRUE(store_->Apply(batch).commit.ok());
  EXPECT_FALSE(AnswerIn<core::Proposal>(batch, 1).ok());
  Reopen();
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(1));
  EXPECT_TRUE(store_->Run(MakeLoad(2)).ok());
}

TEST_F(StoreTest, AnswersAreTheSameWhetherThePredictionIsCachedOrNot) {
  StoreOptions options;
  options.path = folder_.File("small.db");
  options.cached_predictions = 1;
  absl::StatusOr<std::unique_ptr<Store>> small = Store::Open(options);
  ASSERT_TRUE(small.ok());
  for (int i = 1; i <= 3; ++i) Make(**small, i, {State::kCreated});
  for (int i = 1; i <= 3; ++i) {
    const auto result = (*small)->Run(MakeProposal(i, 2, State::kProcessing));
    ASSERT_TRUE(Is<core::Committed>(result));
    EXPECT_EQ(*std::get<core::Committed>(*result).prediction,
              core::Fold(*(*small)->Run(MakeLoad(i))));
  }
}

// --------------------------------------------------------------------------------------------- prune

TEST_F(StoreTest, PrunesWhatEndedLongAgoInSmallStepsAndNothingElse) {
  Make(*store_, 1, {});                                 // unfinished
  Make(*store_, 2, {State::kCompleted});                // ended at second 3
  Make(*store_, 3, {State::kCreated, State::kFailed});  // ended at second 5
  Make(*store_, 4, {});                                 // rejected at second 5
  ASSERT_TRUE(store_->Run(MakeReject(4, core::Rejection())).ok());
  Make(*store_, 50, {State::kCompleted});  // ended too late
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(50), 2}), 2);
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(50), 2}), 1);
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(50), 2}), 0);
  for (const int gone : {2, 3, 4}) {
    EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeLoad(gone)).status()));
  }
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
  EXPECT_TRUE(store_->Run(MakeLoad(50)).ok());
  EXPECT_EQ(Query("SELECT (SELECT count(*) FROM transitions) || ' ' || "
                  "(SELECT count(*) FROM attempts)"),
            "3 2");
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(4))));
}

TEST_F(StoreTest, ARequestIdIsFreeAgainOnceItsPredictionIsForgotten) {
  Make(*store_, 1, {State::kCompleted});
  Make(*store_, 2, {});
  ASSERT_TRUE(store_->Run(MakeReject(2, core::Rejection())).ok());
  ASSERT_EQ(*store_->Run(core::PruneRequest{Second(100), 10}), 2);
  for (const int number : {1, 2}) {
    core::Reservation other = MakeReservation(10 + number);
    other.prediction.request_id = absl::StrCat("request-", number);
    EXPECT_TRUE(Is<core::Reserved>(store_->Run(other)));
  }
}

TEST_F(StoreTest, NothingUnfinishedIsForgottenHoweverOld) {
  const std::vector<State> live = {State::kQueued, State::kSubmitting, State::kUnresolved,
                                   State::kCreated, State::kProcessing};
  int number = 0;
  for (const State state : live) {
    core::Reservation reservation = MakeReservation(++number);
    if (state == State::kQueued) reservation.first_transition.state = state;
    ASSERT_TRUE(Is<core::Reserved>(store_->Run(reservation)));
    if (state <= State::kSubmitting) continue;
    ASSERT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(number, 1, state))));
  }
  EXPECT_EQ(*store_->Run(core::PruneRequest{absl::InfiniteFuture(), 100}), 0);
  // Not even where the row says when it ended.
  store_.reset();
  ExecuteSql(path_, "UPDATE predictions SET end_time = 1");
  store_ = OpenStore(path_);
  EXPECT_EQ(*store_->Run(core::PruneRequest{absl::InfiniteFuture(), 100}), 0);
  EXPECT_EQ(Query("SELECT count(*) FROM predictions"), "5");
}

TEST_F(StoreTest, PruningNothingAtMostForgetsNothing) {
  Make(*store_, 1, {State::kCompleted});
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(100), 0}), 0);
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(100), -1}), 0);
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
}

}  // namespace
}  // namespace dreamgate::ledger
