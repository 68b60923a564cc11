#include "server/app/ledger_backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "tests/fakes/fake_random.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::app {
namespace {

using ::testing::ElementsAre;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class LedgerBackupTest : public ::testing::Test {
 protected:
  LedgerBackupTest() { ledger_path_ = folder_.Write("ledger.db", "rows"); }

  std::unique_ptr<LedgerBackup> Make(const std::string& ledger_path) {
    return std::make_unique<LedgerBackup>(
        ledger_path,
        [this](std::string path, core::Completion<absl::Status> done) {
          path_ = std::move(path);
          done_ = std::move(done);
        },
        random_);
  }

  void MakeCopy() {
    Make(ledger_path_)->Make([this](absl::StatusOr<web::BackupCopy> copy) {
      copy_ = std::move(copy);
    });
  }

  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(ledger_path_).parent_path())) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }

  fakes::TemporaryFolder folder_;
  fakes::FakeRandom random_;
  std::string ledger_path_;
  std::string path_;  // asked for
  core::Completion<absl::Status> done_;
  std::optional<absl::StatusOr<web::BackupCopy>> copy_;
};

TEST_F(LedgerBackupTest, TheCopyLiesBesideTheLedgerUntilItIsMadeAndHasNoNameAfterwards) {
  MakeCopy();
  EXPECT_EQ(std::filesystem::path(path_).parent_path(),
            std::filesystem::canonical(ledger_path_).parent_path());
  EXPECT_THAT(std::filesystem::path(path_).filename().string(),
              MatchesRegex("ledger\\.db\\.backup-[0-9a-f]+"));
  std::ofstream(path_) << "a copy";
  std::move(done_)(absl::OkStatus());
  EXPECT_THAT(Files(), ElementsAre("ledger.db"));
  ASSERT_TRUE(copy_->ok()) << copy_->status();
  EXPECT_EQ((*copy_)->size(), 6u);
  char text[16] = {};
  EXPECT_EQ((*copy_)->Read(absl::MakeSpan(text)).value(), 6u);
  EXPECT_STREQ(text, "a copy");
  EXPECT_EQ((*copy_)->Read(absl::MakeSpan(text)).value(), 0u);
}

TEST_F(LedgerBackupTest, AFailedCopyLeavesNothingAndItsReasonIsPassedOn) {
  MakeCopy();
  std::ofstream(path_) << "half a co";
  std::move(done_)(absl::UnavailableError("the disk is full"));
  EXPECT_THAT(Files(), ElementsAre("ledger.db"));
  EXPECT_EQ(copy_->status(), absl::UnavailableError("the disk is full"));
}

TEST_F(LedgerBackupTest, ACopyThatIsNotThereIsAnError) {
  MakeCopy();
  std::move(done_)(absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(copy_->status())) << copy_->status();
}

TEST_F(LedgerBackupTest, BehindASymbolicLinkTheCopyLiesOnTheLedgersOwnDisk) {
  const std::string link = folder_.File("elsewhere");
  std::filesystem::create_directory(link);
  std::filesystem::create_symlink(ledger_path_, link + "/link.db");
  Make(link + "/link.db")->Make([](absl::StatusOr<web::BackupCopy>) {});
  EXPECT_THAT(path_, StartsWith(std::filesystem::canonical(ledger_path_).string() + ".backup-"));
}

TEST_F(LedgerBackupTest, TheCopiesOfADeadProcessAreRemovedAndNothingElse) {
  const std::string token(32, 'a');
  for (const std::string& left :
       {"ledger.db.backup-" + token, "ledger.db.backup-" + token + "-journal",
        "ledger.db.backup-" + std::string(32, '0') + "-wal"}) {
    folder_.Write(left, "left");
  }
  const std::set<std::string> kept = {"ledger.db",
                                      "ledger.db-wal",
                                      "ledger.db.backup-monday",
                                      "ledger.db.backup-" + token + ".gz",
                                      "ledger.db.backup-" + std::string(32, 'A'),
                                      "ledger.db.backup-" + std::string(31, 'a'),
                                      "other.db.backup-" + token};
  for (const std::string& name : kept) folder_.Write(name, "kept");
  Make(ledger_path_)->RemoveLeftovers();
  EXPECT_EQ(Files(), kept);
}

TEST_F(LedgerBackupTest, ALedgerInTheWorkingFolderIsFoundByItsBareName) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(std::filesystem::path(ledger_path_).parent_path());
  folder_.Write("ledger.db.backup-" + std::string(32, '1'), "left");
  Make("ledger.db")->RemoveLeftovers();
  std::filesystem::current_path(before);
  EXPECT_THAT(Files(), ElementsAre("ledger.db"));
}

}  // namespace
}  // namespace dreamgate::app
