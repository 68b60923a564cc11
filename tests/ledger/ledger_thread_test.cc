#include "server/ledger/ledger_thread.h"

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/fault_vfs.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"
#include "tests/ledger/test_loop.h"

namespace dreamgate::ledger {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Commit {
  int operations;
  bool ok;
};

class RecordingEvents final : public core::Events {
 public:
  void Log(core::LogLevel level, absl::string_view, const core::LogFields&) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    levels_.push_back(level);
  }
  void LedgerCommit(absl::Duration took, int operations, bool ok) override {
    EXPECT_GE(took, absl::ZeroDuration());
    std::unique_lock<std::mutex> lock(mutex_);
    commits_.push_back({operations, ok});
    released_.wait(lock, [this] { return !held_; });
  }
  // Holds the ledger thread after its next commit until Release.
  void Hold() {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ = true;
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ = false;
    released_.notify_all();
  }
  std::vector<Commit> commits() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return commits_;
  }
  std::vector<core::LogLevel> levels() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return levels_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable released_;
  bool held_ = false;
  std::vector<Commit> commits_;
  std::vector<core::LogLevel> levels_;
};

class LedgerThreadTest : public ::testing::Test, public core::CommitObserver {
 protected:
  LedgerThreadTest() {
    RegisterFaultVfs();
    ledger_ = std::make_unique<LedgerThread>(OpenStore(path_, kFaultVfs), loop_, events_);
    ledger_->set_commit_observer(this);
  }
  ~LedgerThreadTest() override { SetFault(Fault::kNone); }

  void OnCommitted(const std::shared_ptr<const core::Prediction>& prediction) override {
    log_.push_back(absl::StrCat("committed ", prediction->id, " ", prediction->sequence));
  }

  // Each logs what it came to.
  void Reserve(int number) {
    ledger_->Call(MakeReservation(number), [this, number](const auto& result) {
      const bool reserved = Is<core::Reserved>(result);
      log_.push_back(absl::StrCat(reserved ? "reserved " : "not reserved ", number));
      last_status_ = result.status();
    });
  }
  // Larger than a backup's step takes.
  void ReserveLarge(int number) {
    core::Reservation reservation = MakeReservation(number);
    reservation.prediction.input.prompt = std::string(20'000, 'p');
    ledger_->Call(std::move(reservation), [this](const auto& result) {
      log_.push_back(Is<core::Reserved>(result) ? "reserved" : "not reserved");
    });
  }
  void Backup(const std::string& path) {
    ledger_->Backup(path, [this](absl::Status status) {
      log_.push_back(status.ok() ? "backed up" : "not backed up");
      last_status_ = status;
    });
  }
  void Load(int number) {
    ledger_->Call(MakeLoad(number), [this](const auto& stored) {
      log_.push_back(stored.ok() ? absl::StrCat("loaded ", stored->transitions.size())
                                 : "not loaded");
      last_status_ = stored.status();
    });
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  TestLoop loop_;
  RecordingEvents events_;
  std::vector<std::string> log_;
  absl::Status last_status_;
  std::unique_ptr<LedgerThread> ledger_;
};

TEST_F(LedgerThreadTest, RequestsThatQueueUpAreCommittedInGroupsAndInOrder) {
  constexpr int kOperations = 1000;
  for (int i = 1; i <= kOperations; ++i) Reserve(i);
  ASSERT_TRUE(loop_.Run(kOperations));
  ASSERT_THAT(log_, SizeIs(2 * kOperations));
  for (int i = 1; i <= kOperations; ++i) {
    EXPECT_EQ(log_[static_cast<size_t>(2 * i - 1)], absl::StrCat("reserved ", i));
  }
  int committed = 0;
  for (const Commit& commit : events_.commits()) {
    EXPECT_TRUE(commit.ok);
    EXPECT_LE(commit.operations, 256);
    committed += commit.operations;
  }
  EXPECT_EQ(committed, kOperations);
  EXPECT_LT(events_.commits().size(), static_cast<size_t>(kOperations));
}

TEST_F(LedgerThreadTest, OperationsPostedByManyThreadsKeepEachThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kEach = 100;
  std::vector<std::vector<int>> done(kThreads);
  std::vector<std::thread> threads;
  ledger_->set_commit_observer(nullptr);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        ledger_->Call(MakeReservation(thread * kEach + i), [&done, thread, i](const auto& result) {
          EXPECT_TRUE(Is<core::Reserved>(result));
          done[static_cast<size_t>(thread)].push_back(i);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(loop_.Run(kThreads * kEach));
  for (const std::vector<int>& numbers : done) {
    ASSERT_THAT(numbers, SizeIs(kEach));
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  }
}

TEST_F(LedgerThreadTest, StopFinishesWhatIsQueuedAndLetsGoOfTheFile) {
  for (int i = 1; i <= 300; ++i) Reserve(i);
  ledger_->Stop();
  EXPECT_EQ(loop_.waiting(), 300u);
  ASSERT_TRUE(loop_.Run(300));
  EXPECT_EQ(log_.back(), "reserved 300");
  EXPECT_TRUE(OpenStore(path_)->Run(MakeLoad(300)).ok());
}

TEST_F(LedgerThreadTest, AfterStopEverythingCompletesWithLedgerUnavailable) {
  ledger_->Stop();
  ledger_->Stop();
  Reserve(1);
  Load(1);
  ledger_->Call(core::SaveLearnedRequest{"model", "bytes"}, [this](const auto& saved) {
    log_.push_back("not saved");
    last_status_ = saved.status();
  });
  EXPECT_THAT(log_, IsEmpty());
  ASSERT_TRUE(loop_.Run(3));
  EXPECT_THAT(log_, ElementsAre("not reserved 1", "not loaded", "not saved"));
  EXPECT_EQ(core::ReasonOf(last_status_), core::Reason::kLedgerUnavailable);
}

TEST_F(LedgerThreadTest, ResultsMayBeDeliveredAfterTheLedgerIsGone) {
  Reserve(1);
  ledger_.reset();
  ASSERT_TRUE(loop_.Run(1));
  EXPECT_THAT(log_, ElementsAre("committed p000001 1", "reserved 1"));
}

TEST_F(LedgerThreadTest, TroubleIsReportedOnceAndHealsByItself) {
  Reserve(1);
  ASSERT_TRUE(loop_.Run(1));
  SetFault(Fault::kDiskFull);
  for (int i = 0; i < 2; ++i) {
    Reserve(2);
    ASSERT_TRUE(loop_.Run(1));
    EXPECT_EQ(core::ReasonOf(last_status_), core::Reason::kLedgerUnavailable);
    Load(1);
    ASSERT_TRUE(loop_.Run(1));
  }
  SetFault(Fault::kNone);
  Reserve(2);
  ASSERT_TRUE(loop_.Run(1));
  EXPECT_THAT(log_, ElementsAre("committed p000001 1", "reserved 1", "not reserved 2", "loaded 1",
                                "not reserved 2", "loaded 1", "committed p000002 1", "reserved 2"));
  EXPECT_THAT(events_.levels(), ElementsAre(core::LogLevel::kError, core::LogLevel::kInfo));
  const std::vector<Commit> commits = events_.commits();
  ASSERT_THAT(commits, SizeIs(4));
  EXPECT_FALSE(commits[1].ok);
  EXPECT_FALSE(commits[2].ok);
  EXPECT_TRUE(commits[3].ok);
}

TEST_F(LedgerThreadTest, ADamagedRowIsReportedOnceHoweverOftenItIsRead) {
  Reserve(1);
  ASSERT_TRUE(loop_.Run(1));
  ledger_->Stop();
  ExecuteSql(path_, "UPDATE predictions SET seed = 'x'");
  ledger_ = std::make_unique<LedgerThread>(OpenStore(path_, kFaultVfs), loop_, events_);
  for (int i = 0; i < 3; ++i) {
    ledger_->Call(MakeLoad(1), [](const auto& loaded) {
      EXPECT_EQ(core::ReasonOf(loaded.status()), core::Reason::kLedgerUnavailable);
    });
    ASSERT_TRUE(loop_.Run(1));
  }
  EXPECT_THAT(events_.levels(), ElementsAre(core::LogLevel::kError));
}

// ------------------------------------------------------------------------------------------- backups

TEST_F(LedgerThreadTest, CommitsGoOnDuringABackupThatHasEverythingFromBeforeIt) {
  ledger_->set_commit_observer(nullptr);
  for (int i = 1; i <= 256; ++i) ReserveLarge(i);  // 5 MB, and a step is 1 MiB
  ASSERT_TRUE(loop_.Run(256));
  // The thread is held so that all of this waits for it, more than one batch.
  events_.Hold();
  Reserve(1000);
  while (events_.commits().back().operations != 1) std::this_thread::yield();
  log_.clear();
  const std::string copy = folder_.File("copy.db");
  Backup(copy);
  for (int i = 1001; i <= 1600; ++i) Reserve(i);
  events_.Release();
  ASSERT_TRUE(loop_.Run(602));
  ASSERT_THAT(log_, SizeIs(602));
  EXPECT_EQ(log_[0], "reserved 1000");
  EXPECT_EQ(log_[600], "reserved 1600");  // before the backup was done
  EXPECT_EQ(log_[601], "backed up") << last_status_;

  const std::unique_ptr<Store> restored = OpenStore(copy);
  for (int i = 1; i <= 256; ++i) EXPECT_TRUE(restored->Run(MakeLoad(i)).ok()) << i;
  EXPECT_TRUE(restored->Run(MakeLoad(1000)).ok());
}

TEST_F(LedgerThreadTest, BackupsOfAnIdleLedgerAreMadeOneAfterTheOther) {
  Reserve(1);
  ASSERT_TRUE(loop_.Run(1));
  log_.clear();
  Backup(folder_.File("one.db"));
  Backup(folder_.File("one.db"));
  Backup(folder_.File("two.db"));
  ASSERT_TRUE(loop_.Run(3));
  EXPECT_THAT(log_, ElementsAre("backed up", "not backed up", "backed up"));
  EXPECT_TRUE(OpenStore(folder_.File("one.db"))->Run(MakeLoad(1)).ok());
  EXPECT_TRUE(OpenStore(folder_.File("two.db"))->Run(MakeLoad(1)).ok());
}

TEST_F(LedgerThreadTest, TroubleDuringABackupFailsItAndLeavesNoFile) {
  ledger_->set_commit_observer(nullptr);
  for (int i = 1; i <= 256; ++i) ReserveLarge(i);
  ASSERT_TRUE(loop_.Run(256));
  events_.Hold();
  Reserve(1000);
  while (events_.commits().back().operations != 1) std::this_thread::yield();
  log_.clear();
  Backup(folder_.File("copy.db"));
  for (int i = 1001; i <= 1600; ++i) Reserve(i);
  SetFault(Fault::kDiskFull);
  events_.Release();
  ASSERT_TRUE(loop_.Run(602));
  EXPECT_EQ(std::count(log_.begin(), log_.end(), "not backed up"), 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.File("copy.db")));
  SetFault(Fault::kNone);
  Backup(folder_.File("copy.db"));
  ASSERT_TRUE(loop_.Run(1));
  EXPECT_EQ(log_.back(), "backed up") << last_status_;
}

TEST_F(LedgerThreadTest, StopGivesUpTheBackupsThatWaitAndRefusesLaterOnes) {
  events_.Hold();
  Reserve(1);
  while (events_.commits().empty()) std::this_thread::yield();
  Backup(folder_.File("one.db"));
  std::thread stopper([this] { ledger_->Stop(); });
  // Refused at once, and so on the loop before anything else, only once it stops.
  do Backup(folder_.File("two.db"));
  while (loop_.waiting() == 0);
  events_.Release();
  stopper.join();
  while (loop_.waiting() > 0) ASSERT_TRUE(loop_.Run(1));
  EXPECT_EQ(core::ReasonOf(last_status_), core::Reason::kLedgerUnavailable);
  EXPECT_EQ(std::count(log_.begin(), log_.end(), "backed up"), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_.File("one.db")));
  EXPECT_FALSE(std::filesystem::exists(folder_.File("two.db")));
}

}  // namespace
}  // namespace dreamgate::ledger
