#include "server/net/watched_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/fakes/temporary_folder.h"

namespace dreamgate::net {
namespace {

using ::testing::HasSubstr;

class WatchedFilesTest : public ::testing::Test {
 protected:
  WatchedFilesTest() {
    folder_.Write("one", "first");
    folder_.Write("two", "second");
  }

  WatchedFiles Watch() {
    WatchedFiles files({folder_.File("one"), folder_.File("two")}, [this] { return now_; });
    files.Accept();
    return files;
  }
  bool ChangedASecondLater(WatchedFiles& files) {
    now_ += absl::Seconds(1);
    return files.HaveChanged();
  }

  const fakes::TemporaryFolder folder_;
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(WatchedFilesTest, AChangeOfAnyIsSeenButNotMoreThanOneLookASecondIsTaken) {
  WatchedFiles files = Watch();
  folder_.Replace("two", "other");
  now_ += absl::Milliseconds(999);
  EXPECT_FALSE(files.HaveChanged());
  now_ += absl::Milliseconds(1);
  EXPECT_TRUE(files.HaveChanged());
  files.Accept();
  EXPECT_FALSE(ChangedASecondLater(files));
  std::filesystem::remove(folder_.File("one"));
  EXPECT_TRUE(ChangedASecondLater(files));
}

TEST_F(WatchedFilesTest, ARefusedContentIsReadAgainAtTheNextLookAndToldOnce) {
  WatchedFiles files = Watch();
  folder_.Replace("one", "bad");
  EXPECT_TRUE(ChangedASecondLater(files));
  EXPECT_TRUE(files.Refuse(absl::InvalidArgumentError("bad")));
  EXPECT_TRUE(ChangedASecondLater(files));
  EXPECT_FALSE(files.Refuse(absl::InvalidArgumentError("bad")));
  EXPECT_TRUE(files.Refuse(absl::InvalidArgumentError("worse")));
  files.Accept();
  EXPECT_FALSE(ChangedASecondLater(files));
  EXPECT_TRUE(files.Refuse(absl::InvalidArgumentError("worse")));
}

TEST_F(WatchedFilesTest, AChangeBetweenLookingAndReadingIsSeenLater) {
  WatchedFiles files = Watch();
  files.Look();
  folder_.Replace("one", "changed meanwhile");
  files.Accept();
  EXPECT_TRUE(ChangedASecondLater(files));
}

TEST_F(WatchedFilesTest, ASmallFileIsReadWholeOrRefusedByName) {
  EXPECT_EQ(*ReadSmallFile(folder_.File("one"), 5), "first");
  EXPECT_THAT(ReadSmallFile(folder_.File("one"), 4).status().message(),
              HasSubstr(folder_.File("one")));
  EXPECT_THAT(ReadSmallFile(folder_.File("none"), 9).status().message(),
              HasSubstr(folder_.File("none")));
  EXPECT_THAT(ReadSmallFile(folder_.path(), 9).status().message(), HasSubstr(folder_.path()));
}

}  // namespace
}  // namespace dreamgate::net
