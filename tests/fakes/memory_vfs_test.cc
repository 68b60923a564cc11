// The simulated disk: honest about what was synced, merciless about what was not.
#include "tests/fakes/memory_vfs.h"

#include <sqlite3.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/fakes/chance.h"

namespace dreamgate::fakes {
namespace {

// A file of the disk, opened as SQLite does.
class OpenFile {
 public:
  OpenFile(const MemoryVfs& disk, const char* name)
      : vfs_(sqlite3_vfs_find(disk.name().c_str())),
        memory_(std::make_unique<char[]>(static_cast<size_t>(vfs_->szOsFile))),
        file_(reinterpret_cast<sqlite3_file*>(memory_.get())) {
    EXPECT_EQ(vfs_->xOpen(vfs_, name, file_, SQLITE_OPEN_CREATE | SQLITE_OPEN_READWRITE, nullptr),
              SQLITE_OK);
  }
  ~OpenFile() { file_->pMethods->xClose(file_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int Write(const std::string& bytes, int64_t offset) {
    return file_->pMethods->xWrite(file_, bytes.data(), static_cast<int>(bytes.size()), offset);
  }
  int Sync() { return file_->pMethods->xSync(file_, SQLITE_SYNC_NORMAL); }
  int Truncate(int64_t size) { return file_->pMethods->xTruncate(file_, size); }
  std::string Read(int size, int64_t offset) {
    std::string bytes(static_cast<size_t>(size), '?');
    file_->pMethods->xRead(file_, bytes.data(), size, offset);
    return bytes;
  }

 private:
  sqlite3_vfs* vfs_;
  std::unique_ptr<char[]> memory_;
  sqlite3_file* file_;
};

TEST(MemoryVfsTest, WhatWasSyncedSurvivesAPowerLoss) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Chance chance(seed);
    MemoryVfs disk;
    {
      OpenFile file(disk, "a");
      ASSERT_EQ(file.Write(std::string(10'000, 'x'), 0), SQLITE_OK);
      ASSERT_EQ(file.Sync(), SQLITE_OK);
      disk.Crash(CrashKind::kPowerLoss, chance);
      EXPECT_EQ(file.Write("y", 0), SQLITE_IOERR_WRITE) << "its process has ended";
    }
    disk.Restart();
    EXPECT_EQ(OpenFile(disk, "a").Read(10'000, 0), std::string(10'000, 'x'));
  }
}

TEST(MemoryVfsTest, WhatWasOnlyWrittenSurvivesAPowerLossInAnyParts) {
  bool all = false;
  bool nothing = false;
  bool torn = false;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Chance chance(seed);
    MemoryVfs disk;
    OpenFile file(disk, "a");
    file.Write(std::string(4096, 'o'), 0);
    file.Sync();
    file.Write(std::string(4096, 'n'), 0);
    EXPECT_EQ(file.Read(4096, 0), std::string(4096, 'n'));
    EXPECT_EQ(disk.bytes_not_synced(), 4096);
    disk.Crash(CrashKind::kPowerLoss, chance);
    disk.Restart();
    const std::string left = OpenFile(disk, "a").Read(4096, 0);
    all = all || left == std::string(4096, 'n');
    nothing = nothing || left == std::string(4096, 'o');
    for (size_t sector = 0; sector < 4096; sector += 512) {
      EXPECT_EQ(left.substr(sector, 512), std::string(512, left[sector])) << "a torn sector";
      torn = torn || left[sector] != left[0];
    }
  }
  EXPECT_TRUE(all);
  EXPECT_TRUE(nothing);
  EXPECT_TRUE(torn);
}

TEST(MemoryVfsTest, AKilledProcessLosesNothingThatItHadWritten) {
  Chance chance(1);
  MemoryVfs disk;
  OpenFile file(disk, "a");
  file.Write("hello", 0);
  disk.Crash(CrashKind::kProcessKilled, chance);
  disk.Restart();
  EXPECT_EQ(OpenFile(disk, "a").Read(5, 0), "hello");
  EXPECT_EQ(disk.bytes_not_synced(), 5) << "the power may still fail";
}

TEST(MemoryVfsTest, AfterAFailedSyncOnlyWritingAgainBringsBytesToTheDisk) {
  bool lost = false;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Chance chance(seed);
    MemoryVfs disk;
    OpenFile file(disk, "a");
    file.Write(std::string(8192, 'x'), 0);
    disk.set_fault(DiskFault::kSyncError);
    EXPECT_EQ(file.Sync(), SQLITE_IOERR_FSYNC);
    disk.set_fault(DiskFault::kNone);
    EXPECT_EQ(file.Sync(), SQLITE_OK) << "and yet:";
    EXPECT_EQ(disk.bytes_not_synced(), 8192);
    file.Write("y", 100);
    EXPECT_EQ(file.Sync(), SQLITE_OK);
    EXPECT_EQ(disk.bytes_not_synced(), 4096);
    disk.Crash(CrashKind::kPowerLoss, chance);
    disk.Restart();
    OpenFile again(disk, "a");
    EXPECT_EQ(again.Read(4096, 0), std::string(100, 'x') + 'y' + std::string(3995, 'x'));
    lost = lost || again.Read(4096, 4096) != std::string(4096, 'x');
  }
  EXPECT_TRUE(lost);
}

TEST(MemoryVfsTest, ADeathCutsOneWriteShortAndNothingWorksAfterIt) {
  Chance chance(1);
  MemoryVfs disk;
  OpenFile file(disk, "a");
  disk.DieAfter(1);
  EXPECT_EQ(file.Write(std::string(4096, 'a'), 0), SQLITE_OK);
  EXPECT_EQ(file.Write(std::string(4096, 'b'), 0), SQLITE_IOERR_WRITE);
  EXPECT_TRUE(disk.died());
  EXPECT_EQ(file.Sync(), SQLITE_IOERR_FSYNC);
  disk.Crash(CrashKind::kProcessKilled, chance);
  disk.Restart();
  EXPECT_EQ(OpenFile(disk, "a").Read(4096, 0), std::string(2048, 'b') + std::string(2048, 'a'));
}

TEST(MemoryVfsTest, TruncatingForgetsTheRest) {
  MemoryVfs disk;
  OpenFile file(disk, "a");
  file.Write("hello world", 0);
  file.Truncate(5);
  EXPECT_EQ(file.Read(11, 0), std::string("hello") + std::string(6, '\0'));
}

// ------------------------------------------------------------------------------- the real store on it

class StoreOnMemoryVfsTest : public ::testing::TestWithParam<int> {
 protected:
  absl::StatusOr<std::unique_ptr<ledger::Store>> Open() {
    ledger::StoreOptions options;
    options.path = "ledger.db";
    options.vfs = disk_.name();
    options.checkpoint_pages = GetParam();
    return ledger::Store::Open(options);
  }
  static absl::Status Reserve(ledger::Store& store, int number) {
    core::Reservation reservation;
    reservation.prediction.tenant = "tenant";
    reservation.prediction.id = std::string(20, 'p') + std::to_string(1000 + number);
    reservation.prediction.request_id = "request-" + std::to_string(number);
    reservation.prediction.input.prompt = std::string(3000, 'x');
    reservation.canonical = core::CanonicalEncoding(reservation.prediction.input);
    reservation.first_transition.sequence = 1;
    reservation.first_transition.state = core::State::kSubmitting;
    reservation.attempt = {1, "token", absl::UnixEpoch()};
    return store.Run(std::move(reservation)).status();
  }

  MemoryVfs disk_;
};

INSTANTIATE_TEST_SUITE_P(CheckpointPages, StoreOnMemoryVfsTest, ::testing::Values(3, 4000));

TEST_P(StoreOnMemoryVfsTest, WhatWasAnsweredSurvivesEveryCrashInTheMiddleOfSomethingElse) {
  Chance chance(7);
  int reserved = 0;
  for (int crash = 0; crash < 60; ++crash) {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    const auto unfinished = (*store)->Run(core::TakeOverRequest());
    ASSERT_TRUE(unfinished.ok()) << unfinished.status();
    // What died in the middle may be there all the same: nobody was told.
    ASSERT_GE(static_cast<int>(unfinished->size()), reserved);
    ASSERT_LE(static_cast<int>(unfinished->size()), reserved + 1);
    reserved = static_cast<int>(unfinished->size());

    disk_.DieAfter(static_cast<int>(chance.Between(0, 60)));
    while (Reserve(**store, reserved + 1).ok()) ++reserved;
    ASSERT_TRUE(disk_.died());
    disk_.Crash(chance.Percent(50) ? CrashKind::kPowerLoss : CrashKind::kProcessKilled, chance);
    store->reset();
    disk_.Restart();
  }
  EXPECT_GT(reserved, 30);
}

TEST_P(StoreOnMemoryVfsTest, AFullDiskFailsWritesUntilThereIsRoomAgain) {
  auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE(Reserve(**store, 1).ok());
  disk_.set_fault(DiskFault::kFull);
  EXPECT_FALSE(Reserve(**store, 2).ok());
  EXPECT_FALSE(Reserve(**store, 2).ok());
  disk_.set_fault(DiskFault::kNone);
  EXPECT_TRUE(Reserve(**store, 3).ok());
  EXPECT_EQ((*store)->Run(core::TakeOverRequest())->size(), 2U);
}

TEST_P(StoreOnMemoryVfsTest, AfterAFailedSyncTheNextProcessLosesNothingThatItAnswers) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Chance chance(seed);
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    const size_t before = (*store)->Run(core::TakeOverRequest())->size();
    disk_.set_fault(DiskFault::kSyncError);
    EXPECT_FALSE(Reserve(**store, static_cast<int>(100 * seed)).ok());
    disk_.Crash(CrashKind::kProcessKilled, chance);
    store->reset();
    disk_.Restart();
    EXPECT_FALSE(Open().ok());
    disk_.set_fault(DiskFault::kNone);

    store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE(Reserve(**store, static_cast<int>(100 * seed + 1)).ok());
    const size_t after = (*store)->Run(core::TakeOverRequest())->size();
    EXPECT_GE(after, before + 1);
    disk_.Crash(CrashKind::kPowerLoss, chance);
    store->reset();
    disk_.Restart();
    store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_EQ((*store)->Run(core::TakeOverRequest())->size(), after);
  }
}

TEST_P(StoreOnMemoryVfsTest, WhatAFailedSyncLeftInDoubtIsNotShown) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Chance chance(seed);
    const auto shown = [](ledger::Store& store) {
      const auto unfinished = store.Run(core::TakeOverRequest());
      return unfinished.ok() ? static_cast<int64_t>(unfinished->size()) : -1;
    };
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    disk_.set_fault(DiskFault::kSyncError);
    EXPECT_FALSE(Reserve(**store, static_cast<int>(seed)).ok());
    core::ListQuery query;
    query.tenant = "tenant";
    EXPECT_FALSE((*store)->Run(query).ok());
    disk_.set_fault(DiskFault::kNone);
    EXPECT_TRUE((*store)->Run(query).ok());
    const int64_t before = shown(**store);
    disk_.Crash(CrashKind::kPowerLoss, chance);
    store->reset();
    disk_.Restart();
    store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_EQ(shown(**store), before);
  }
}

}  // namespace
}  // namespace dreamgate::fakes
