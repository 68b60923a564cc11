// The store's own part: transactions of many requests, its cache, and what its file keeps that the port
// does not show. The rules of the port are in conformance/.
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

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
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

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_ = OpenStore(path_);
};

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

TEST_F(StoreTest, EvidenceOfABatchIsSeenInOrderToo) {
  core::Proposal unknown = MakeProposal(1, 1, State::kFailed);
  unknown.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  const Batch batch = MakeBatch(MakeReservation(1), unknown, MakeOrphan(1, "late"),
                                core::OpenOrphansQuery(), core::AttemptQuery{"token-1"},
                                MakeReview(Second(0), {"late"}), core::PruneRequest{Second(100), 5},
                                MakeOrphan(1, "late"), core::OpenOrphansQuery());
  ASSERT_TRUE(store_->Apply(batch).commit.ok());
  EXPECT_TRUE(AnswerIn<core::OrphanRecord>(batch, 2)->news);
  EXPECT_THAT(*AnswerIn<core::OpenOrphansQuery>(batch, 3), SizeIs(1));
  EXPECT_EQ(AnswerIn<core::AttemptQuery>(batch, 4)->result, AttemptResult::kOrphaned);
  EXPECT_THAT(AnswerIn<core::AttemptReviewQuery>(batch, 5)->bound, ElementsAre("late"));
  EXPECT_EQ(*AnswerIn<core::PruneRequest>(batch, 6), 1);
  EXPECT_TRUE(absl::IsNotFound(AnswerIn<core::OrphanRecord>(batch, 7).status()));
  EXPECT_THAT(*AnswerIn<core::OpenOrphansQuery>(batch, 8), IsEmpty());
}

TEST_F(StoreTest, AnOperationThatFailsDoesNotHurtItsBatch) {
  core::Proposal bad = MakeProposal(1, 1, State::kCreated);
  bad.attempt_outcome = core::AttemptOutcome();
  bad.attempt_outcome->number = 9;
  Make(*store_, 5, {});
  core::RejectRequest bad_too = MakeReject(5, std::nullopt);
  bad_too.attempt_outcome.number = 9;
  const Batch batch = MakeBatch(MakeReservation(1), bad, MakeLoad(1), bad_too, MakeReservation(2),
                                MakeProposal(5, 1, State::kCreated));
  ASSERT_TRUE(store_->Apply(batch).commit.ok());
  EXPECT_TRUE(Is<core::Reserved>(AnswerIn<core::Reservation>(batch, 0)));
  EXPECT_FALSE(AnswerIn<core::Proposal>(batch, 1).ok());
  EXPECT_THAT(AnswerIn<core::LoadRequest>(batch, 2)->transitions, SizeIs(1));
  EXPECT_FALSE(AnswerIn<core::RejectRequest>(batch, 3).ok());
  EXPECT_TRUE(Is<core::Reserved>(AnswerIn<core::Reservation>(batch, 4)));
  EXPECT_TRUE(Is<core::Committed>(AnswerIn<core::Proposal>(batch, 5)));
  Reopen();
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(1));
  EXPECT_TRUE(store_->Run(MakeLoad(2)).ok());
  EXPECT_THAT(store_->Run(MakeLoad(5))->transitions, SizeIs(2));
}

TEST_F(StoreTest, OnlyWhatChangesNothingCountsAsARead) {
  const Batch reads =
      MakeBatch(core::LoadRequest(), core::ListQuery(), core::AttemptReviewQuery(),
                core::AttemptQuery(), core::OpenOrphansQuery(), core::LoadLearnedRequest());
  const Batch writes = MakeBatch(core::Reservation(), core::Proposal(), core::RejectRequest(),
                                 core::TakeOverRequest(), core::OrphanRecord(),
                                 core::PruneRequest(), core::SaveLearnedRequest());
  EXPECT_EQ(reads.size() + writes.size(), std::variant_size_v<core::LedgerCall>);
  for (const auto& call : reads) EXPECT_FALSE(core::IsWrite(*call));
  for (const auto& call : writes) EXPECT_TRUE(core::IsWrite(*call));
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

// ----------------------------------------------------------------------------------- what is kept

TEST_F(StoreTest, EachOpenBeginsAnOwnerEpoch) {
  const int64_t first = store_->owner_epoch();
  Reopen();
  EXPECT_EQ(store_->owner_epoch(), first + 1);
}

TEST_F(StoreTest, ATerminalTransitionClearsTheOwner) {
  Make(*store_, 1, {State::kCreated});
  EXPECT_EQ(Query("SELECT owner_epoch FROM predictions"), "1");
  ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
  ASSERT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kCompleted))));
  EXPECT_EQ(Query("SELECT owner_epoch FROM predictions"), "0");
}

TEST_F(StoreTest, TheAnswerToAPostIsKeptAsEvidence) {
  Make(*store_, 1, {});
  core::Proposal created = MakeProposal(1, 1, State::kCreated);
  created.attempt_outcome = MakeOutcome(1, AttemptResult::kAccepted, "upstream-1");
  created.attempt_outcome->http_status = 200;
  ASSERT_TRUE(Is<core::Committed>(store_->Run(created)));
  Make(*store_, 2, {});
  ASSERT_TRUE(store_->Run(MakeReject(2, std::nullopt)).ok());
  const auto attempt = [this](int number) {
    return Query(
        absl::StrCat("SELECT outcome || ' ' || coalesce(upstream_id, '-') || ' ' || "
                     "http_status || ' ' || message FROM attempts WHERE prediction_id = '",
                     IdOf(number), "'"));
  };
  EXPECT_EQ(attempt(1), "1 upstream-1 200 ");
  EXPECT_EQ(attempt(2), "2 - 400 no");
  // Also when a task shows up all the same.
  ASSERT_TRUE(store_->Run(MakeOrphan(2, "late")).ok());
  EXPECT_EQ(attempt(2), "6 late 400 no");
}

TEST_F(StoreTest, AnOrphanKeepsWhenItWasFoundAndWhenItEnded) {
  Make(*store_, 1, {State::kFailed});
  ASSERT_TRUE(store_->Run(MakeOrphan(1, "late")).ok());
  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ASSERT_TRUE(store_->Run(ended).ok());
  EXPECT_EQ(Query("SELECT found_time || ' ' || end_time FROM orphans"),
            "1700000600000000000 1700000700000000000");
}

TEST_F(StoreTest, NothingOfAForgottenPredictionStaysInTheFile) {
  Make(*store_, 1, {});
  Make(*store_, 2, {State::kCompleted});
  Make(*store_, 3, {State::kCreated, State::kFailed});
  Make(*store_, 4, {});
  ASSERT_TRUE(store_->Run(MakeReject(4, core::Rejection())).ok());
  ASSERT_TRUE(store_->Run(MakeOrphan(3, "late")).ok());
  Make(*store_, 50, {State::kCompleted});  // ended too late
  ASSERT_EQ(*store_->Run(core::PruneRequest{Second(50), 10}), 3);
  EXPECT_EQ(Query("SELECT (SELECT count(*) FROM predictions) || ' ' || "
                  "(SELECT count(*) FROM transitions) || ' ' || "
                  "(SELECT count(*) FROM attempts) || ' ' || (SELECT count(*) FROM orphans)"),
            "2 3 2 0");
}

TEST_F(StoreTest, NothingUnfinishedIsForgottenWhateverItsRowSaysOfItsEnd) {
  const std::vector<State> live = {State::kUnresolved, State::kCreated, State::kProcessing};
  Make(*store_, 1, {});
  Make(*store_, 2, {State::kQueued});
  int number = 2;
  for (const State state : live) Make(*store_, ++number, {state});
  store_.reset();
  ExecuteSql(path_, "UPDATE predictions SET end_time = 1");
  store_ = OpenStore(path_);
  EXPECT_EQ(*store_->Run(core::PruneRequest{absl::InfiniteFuture(), 100}), 0);
  EXPECT_EQ(Query("SELECT count(*) FROM predictions"), "5");
}

}  // namespace
}  // namespace dreamgate::ledger
