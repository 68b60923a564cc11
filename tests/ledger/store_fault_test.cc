// A store whose disk fails it.
#include <sqlite3.h>

#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/fault_vfs.h"
#include "tests/ledger/ledger_testing.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class StoreFaultTest : public ::testing::TestWithParam<Fault> {
 protected:
  StoreFaultTest() {
    RegisterFaultVfs();
    store_ = OpenStore(path_, kFaultVfs);
    Make(*store_, 1, {State::kCreated});
  }
  ~StoreFaultTest() override { SetFault(Fault::kNone); }

  void ExpectLedgerUnavailable(const absl::Status& status) {
    EXPECT_EQ(core::ReasonOf(status), core::Reason::kLedgerUnavailable) << status;
    EXPECT_EQ(core::DetailsOf(status).retry_after, absl::Seconds(5));
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_;
};

using StoreWriteFaultTest = StoreFaultTest;
INSTANTIATE_TEST_SUITE_P(Faults, StoreWriteFaultTest,
                         ::testing::Values(Fault::kDiskFull, Fault::kWriteError, Fault::kSyncError,
                                           Fault::kReadOnly));

// A failed sync leaves a commit that a power loss would take back: nobody may see it. And what may not
// be written cannot be locked against another process either.
bool ReadsGoOnIn(Fault fault) { return fault == Fault::kDiskFull || fault == Fault::kWriteError; }

TEST_P(StoreWriteFaultTest, WritesFailReadsGoOnAndAllHealsWithTheDisk) {
  Make(*store_, 9, {});
  Make(*store_, 10, {State::kCompleted});
  SetFault(GetParam());
  const bool reads_go_on = ReadsGoOnIn(GetParam());
  for (int round = 0; round < 3; ++round) {
    ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
    ExpectLedgerUnavailable(store_->Run(MakeProposal(1, 2, State::kProcessing)).status());
    ExpectLedgerUnavailable(store_->Run(MakeReject(9, std::nullopt)).status());
    ExpectLedgerUnavailable(store_->Run(MakeOrphan(1, "lost")).status());
    ExpectLedgerUnavailable(store_->Run(core::PruneRequest{Second(100), 10}).status());
    EXPECT_EQ(store_->Run(MakeLoad(1)).ok(), reads_go_on);
    EXPECT_EQ(store_->Run(MakeList()).ok(), reads_go_on);
    EXPECT_EQ(store_->Run(MakeReview(Second(0))).ok(), reads_go_on);
    EXPECT_EQ(store_->Run(core::AttemptQuery{"token-1"}).ok(), reads_go_on);
    EXPECT_EQ(store_->Run(core::OpenOrphansQuery()).ok(), reads_go_on);
  }
  SetFault(Fault::kNone);
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(3))));
  EXPECT_EQ(store_->Run(MakeLoad(1))->initial.id, IdOf(1));
  store_.reset();
  EXPECT_TRUE(OpenStore(path_)->Run(MakeLoad(3)).ok());
}

TEST_P(StoreWriteFaultTest, NothingIsTakenOverThatCannotBeWritten) {
  store_.reset();
  store_ = OpenStore(path_, kFaultVfs);
  SetFault(GetParam());
  for (int round = 0; round < 3; ++round) {
    ExpectLedgerUnavailable(store_->Run(core::TakeOverRequest()).status());
  }
  SetFault(Fault::kNone);
  EXPECT_THAT(*store_->Run(core::TakeOverRequest()), SizeIs(1));
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kProcessing))));
}

TEST_P(StoreWriteFaultTest, AFailedBatchFailsAllItsWritesAndAnswersItsReadsAfresh) {
  SetFault(GetParam());
  const Batch batch = MakeBatch(MakeProposal(1, 2, State::kProcessing), MakeReservation(2),
                                MakeLoad(1), MakeReservation(3));
  EXPECT_FALSE(store_->Apply(batch).commit.ok());
  ExpectLedgerUnavailable(AnswerIn<core::Proposal>(batch, 0).status());
  ExpectLedgerUnavailable(AnswerIn<core::Reservation>(batch, 1).status());
  ExpectLedgerUnavailable(AnswerIn<core::Reservation>(batch, 3).status());
  const auto& loaded = AnswerIn<core::LoadRequest>(batch, 2);
  if (!ReadsGoOnIn(GetParam())) {
    ExpectLedgerUnavailable(loaded.status());
    return;
  }
  ASSERT_TRUE(loaded.ok());
  const size_t shown = loaded->transitions.size();
  SetFault(Fault::kNone);
  // Whatever was shown is what the file holds: never less.
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(shown));
}

TEST_F(StoreFaultTest, AFailedCommitMayBeThereAfterAllAndTheStoreKnowsAfterReopening) {
  SetFault(Fault::kSyncError);
  ExpectLedgerUnavailable(store_->Run(MakeProposal(1, 2, State::kProcessing)).status());
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());  // never tried
  SetFault(Fault::kNone);
  EXPECT_THAT(store_->Run(MakeLoad(1))->transitions, SizeIs(3));
  const auto again = store_->Run(MakeProposal(1, 2, State::kProcessing));
  ASSERT_TRUE(Is<core::ProposalConflict>(again));
  EXPECT_EQ(std::get<core::ProposalConflict>(*again).current->sequence, 3);
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 3, State::kCompleted))));
  EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeLoad(2)).status()));
}

TEST_F(StoreFaultTest, ACommitThatWroteNothingLeavesNothing) {
  SetFault(Fault::kDiskFull);
  ExpectLedgerUnavailable(store_->Run(MakeProposal(1, 2, State::kProcessing)).status());
  SetFault(Fault::kNone);
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kProcessing))));
}

TEST_F(StoreFaultTest, ADeadDiskFailsEverythingUntilItComesBack) {
  SetFault(Fault::kDead);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  ExpectLedgerUnavailable(store_->Run(MakeLoad(1)).status());
  ExpectLedgerUnavailable(store_->Run(core::TakeOverRequest()).status());
  ExpectLedgerUnavailable(store_->Run(core::PruneRequest{Second(1), 1}).status());
  SetFault(Fault::kNone);
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(2))));
}

TEST_F(StoreFaultTest, ADiskThatGivesBackOtherBytesFailsEverythingUntilItGivesTheRightOnes) {
  store_.reset();
  store_ = OpenStore(path_, kFaultVfs);  // with little in its cache
  ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
  store_.reset();
  store_ = OpenStore(path_, kFaultVfs);
  SetFault(Fault::kGarbage);
  for (int round = 0; round < 3; ++round) {
    ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
    ExpectLedgerUnavailable(store_->Run(MakeLoad(1)).status());
  }
  SetFault(Fault::kNone);
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(2))));
}

TEST_F(StoreFaultTest, ALedgerThatAnotherProcessLooksIntoWorksAgainOnceThatIsDone) {
  SetFault(Fault::kDiskFull);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());  // closes the file
  SetFault(Fault::kNone);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "PRAGMA locking_mode = EXCLUSIVE; SELECT * FROM owner;", nullptr,
                         nullptr, nullptr),
            SQLITE_OK);
  for (int round = 0; round < 3; ++round) {
    const absl::Status locked = store_->Run(MakeReservation(2)).status();
    ExpectLedgerUnavailable(locked);
    EXPECT_THAT(std::string(locked.message()), HasSubstr("locked"));
    ExpectLedgerUnavailable(store_->Run(MakeLoad(1)).status());
  }
  sqlite3_close(other);
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(2))));
}

TEST_F(StoreFaultTest, AFileThatIsMovedAwayAndBackWhileClosedIsFoundAgain) {
  SetFault(Fault::kDead);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  SetFault(Fault::kNone);
  const std::string away = folder_.File("away");
  std::filesystem::rename(path_, away);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  EXPECT_FALSE(std::filesystem::exists(path_));  // no empty ledger takes its place
  std::filesystem::rename(away, path_);
  EXPECT_TRUE(Is<core::Reserved>(store_->Run(MakeReservation(2))));
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
}

TEST_F(StoreFaultTest, TroubleDoesNotStartANewEpochOfItsOwn) {
  SetFault(Fault::kDiskFull);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  SetFault(Fault::kNone);
  // Still ours without being taken over again.
  EXPECT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kProcessing))));
}

TEST_F(StoreFaultTest, ALedgerThatAnotherProcessTookWhileItWasClosedStaysLost) {
  SetFault(Fault::kDead);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  SetFault(Fault::kNone);
  OpenStore(path_);
  ExpectLedgerUnavailable(store_->Run(MakeReservation(2)).status());
  ExpectLedgerUnavailable(store_->Run(MakeProposal(1, 2, State::kProcessing)).status());
}

TEST_F(StoreFaultTest, PruningThatFailsDeletesNothing) {
  ASSERT_TRUE(Is<core::Committed>(store_->Run(MakeProposal(1, 2, State::kCompleted))));
  SetFault(Fault::kDiskFull);
  ExpectLedgerUnavailable(store_->Run(core::PruneRequest{Second(100), 10}).status());
  SetFault(Fault::kNone);
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
  EXPECT_EQ(*store_->Run(core::PruneRequest{Second(100), 10}), 1);
}

TEST_F(StoreFaultTest, LearnedBytesStayWhenTheDiskRefusesTheNext) {
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "old"}).ok());
  SetFault(Fault::kDiskFull);
  ExpectLedgerUnavailable(store_->Run(core::SaveLearnedRequest{"model", "new"}).status());
  SetFault(Fault::kNone);
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"model"}), "old");
}

}  // namespace
}  // namespace dreamgate::ledger
