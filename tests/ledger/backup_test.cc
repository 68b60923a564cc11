// Copies of a ledger that is in use.
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/fault_vfs.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::HasSubstr;

class BackupTest : public ::testing::Test {
 protected:
  BackupTest() {
    RegisterFaultVfs();
    store_ = OpenStore(path_, kFaultVfs);
    for (int i = 1; i <= kPredictions; ++i) MakeLarge(i);
  }
  ~BackupTest() override { SetFault(Fault::kNone); }

  static constexpr int kPredictions = 20;  // of several pages each

  void MakeLarge(int number) {
    core::Reservation reservation = MakeReservation(number);
    reservation.prediction.input.prompt = std::string(10'000, 'p');
    ASSERT_TRUE(Is<core::Reserved>(store_->Run(reservation)));
  }

  // Steps until the copy is whole or failed.
  absl::Status Finish() {
    for (;;) {
      const absl::StatusOr<bool> step = store_->StepBackup(1);
      if (!step.ok() || *step) return step.status();
    }
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  const std::string copy_ = folder_.File("copy.db");
  std::unique_ptr<Store> store_;
};

TEST_F(BackupTest, ACopyOpensAsALedgerOfItsOwnAndOnlyItsOwnerMayReadIt) {
  ASSERT_TRUE(store_->BeginBackup(copy_).ok());
  ASSERT_TRUE(Finish().ok());
  EXPECT_EQ(std::filesystem::status(copy_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_FALSE(std::filesystem::exists(copy_ + "-journal"));
  EXPECT_FALSE(std::filesystem::exists(copy_ + "-wal"));
  EXPECT_EQ(QuerySql(copy_, "PRAGMA integrity_check"), "ok");
  MakeLarge(100);
  const std::unique_ptr<Store> restored = OpenStore(copy_);
  for (int i = 1; i <= kPredictions; ++i) {
    EXPECT_EQ(restored->Run(MakeLoad(i))->transitions, store_->Run(MakeLoad(i))->transitions);
  }
  EXPECT_TRUE(absl::IsNotFound(restored->Run(MakeLoad(100)).status()));
}

TEST_F(BackupTest, WritesGoOnDuringTheCopyWhichIsWholeWhateverTheyTouch) {
  ASSERT_TRUE(store_->BeginBackup(copy_).ok());
  int steps = 0;
  for (absl::StatusOr<bool> done = store_->StepBackup(1);; done = store_->StepBackup(1)) {
    ASSERT_TRUE(done.ok()) << done.status();
    if (*done) break;
    if (++steps > 4 * kPredictions) continue;  // copying is faster than this writing, but not much
    MakeLarge(1000 + steps);
    const int number = 1 + steps % kPredictions;
    const int64_t sequence = 1 + (steps - 1) / kPredictions;
    const State next[] = {State::kUnresolved, State::kCreated, State::kProcessing,
                          State::kCompleted};
    store_->Run(MakeProposal(number, sequence, next[sequence - 1])).IgnoreError();
  }
  EXPECT_GT(steps, kPredictions);
  EXPECT_EQ(QuerySql(copy_, "PRAGMA integrity_check"), "ok");
  const std::unique_ptr<Store> restored = OpenStore(copy_);
  for (int i = 1; i <= kPredictions; ++i) {
    EXPECT_EQ(restored->Run(MakeLoad(i))->transitions, store_->Run(MakeLoad(i))->transitions);
  }
}

TEST_F(BackupTest, AnOperationThatIsRefusedMeanwhileIsNotInTheCopy) {
  ASSERT_TRUE(store_->BeginBackup(copy_).ok());
  ASSERT_TRUE(store_->StepBackup(30).ok());
  core::Proposal bad = MakeProposal(1, 1, State::kCreated);
  bad.attempt_outcome = MakeOutcome(9, core::AttemptResult::kAccepted);
  ASSERT_TRUE(store_->Apply(MakeBatch(bad, MakeReservation(100))).commit.ok());
  ASSERT_TRUE(Finish().ok());
  const std::unique_ptr<Store> restored = OpenStore(copy_);
  EXPECT_EQ(restored->Run(MakeLoad(1))->transitions.size(), 1u);
  EXPECT_TRUE(restored->Run(MakeLoad(100)).ok());
}

TEST_F(BackupTest, ACopyNeverOverwrites) {
  EXPECT_TRUE(absl::IsAlreadyExists(store_->BeginBackup(path_)));
  EXPECT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
}

TEST_F(BackupTest, ACopyThatCannotBeMadeIsRefusedInOneLine) {
  const absl::Status status = store_->BeginBackup(folder_.File("absent/copy.db"));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file"));
  EXPECT_FALSE(store_->StepBackup(1).ok());
}

TEST_F(BackupTest, TroubleOfTheLedgerEndsTheCopyAndLeavesNoFile) {
  for (const Fault fault : {Fault::kDiskFull, Fault::kSyncError, Fault::kDead}) {
    ASSERT_TRUE(store_->BeginBackup(copy_).ok());
    ASSERT_FALSE(*store_->StepBackup(5));
    SetFault(fault);
    EXPECT_FALSE(store_->Run(MakeReservation(200)).ok());
    SetFault(Fault::kNone);
    EXPECT_FALSE(std::filesystem::exists(copy_));
    const absl::Status status = store_->StepBackup(5).status();
    EXPECT_EQ(core::ReasonOf(status), core::Reason::kLedgerUnavailable) << status;
    ASSERT_TRUE(store_->Run(MakeLoad(1)).ok());
  }
  ASSERT_TRUE(store_->BeginBackup(copy_).ok());
  EXPECT_TRUE(Finish().ok());
}

TEST_F(BackupTest, APageThatCannotBeReadEndsTheCopyAndLeavesNoFile) {
  store_.reset();
  store_ = OpenStore(path_, kFaultVfs);  // with little in its cache
  ASSERT_TRUE(store_->BeginBackup(copy_).ok());
  SetFault(Fault::kDead);
  EXPECT_FALSE(Finish().ok());
  SetFault(Fault::kNone);
  EXPECT_FALSE(std::filesystem::exists(copy_));
  EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
}

TEST_F(BackupTest, AnAbandonedCopyLeavesNoFile) {
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(store_->BeginBackup(copy_).ok());
    ASSERT_FALSE(*store_->StepBackup(5));
    EXPECT_TRUE(std::filesystem::exists(copy_));
    if (round == 0) store_->AbandonBackup();
    if (round == 1) store_.reset();
    EXPECT_FALSE(std::filesystem::exists(copy_));
  }
}

}  // namespace
}  // namespace dreamgate::ledger
