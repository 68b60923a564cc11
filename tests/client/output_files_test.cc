#include "client/cli/output_files.h"
#include "tests/fakes/temporary_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

namespace dreamgate::client {
namespace {

using Files = std::vector<std::string>;

TEST(OutputFilesTest, TheDefaultIsThePredictionsIdInTheCurrentFolder) {
  EXPECT_EQ(OutputFiles("", "p1", 1), Files{"./p1.mp4"});
}

TEST(OutputFilesTest, AFolderGetsTheUsualName) {
  const fakes::TemporaryFolder folder;
  EXPECT_EQ(OutputFiles(folder.path(), "p1", 1), Files{folder.File("p1.mp4")});
}

TEST(OutputFilesTest, SeveralVideosAreNumberedBeforeTheExtension) {
  EXPECT_EQ(OutputFiles("out/cat.mp4", "p1", 2), (Files{"out/cat-1.mp4", "out/cat-2.mp4"}));
  EXPECT_EQ(OutputFiles("cat", "p1", 2), (Files{"cat-1", "cat-2"}));
}

TEST(OutputFilesTest, AnIdFromTheServerCannotLeadOutOfTheFolder) {
  EXPECT_EQ(OutputFiles("", "../../etc/x", 1), Files{"./_.._.._etc_x.mp4"});
  EXPECT_EQ(OutputFiles("", "", 1), Files{"./_.mp4"});
}

TEST(OutputFilesTest, AnOutputThatCannotWorkIsRefusedBeforeAnythingIsPaidFor) {
  const fakes::TemporaryFolder folder;
  folder.Write("there", "x");
  EXPECT_EQ(CheckOutput("", false), "");
  EXPECT_EQ(CheckOutput(folder.path(), false), "");
  EXPECT_EQ(CheckOutput(folder.File("new.mp4"), false), "");
  EXPECT_NE(CheckOutput(folder.File("there"), false), "");
  EXPECT_EQ(CheckOutput(folder.File("there"), true), "");
  EXPECT_NE(CheckOutput(folder.File("missing/new.mp4"), true), "");
  EXPECT_NE(CheckOutput(folder.File("missing/"), true), "");
}

TEST(OutputFilesTest, OnlyARegularFileMayBeOverwritten) {
  const fakes::TemporaryFolder folder;
  folder.Write("there", "x");
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("there", folder.File("link"));
  std::filesystem::create_symlink("pipe", folder.File("link-to-pipe"));
  std::filesystem::create_symlink("missing", folder.File("dangling"));
  EXPECT_EQ(CheckOutput(folder.File("link"), true), "");
  EXPECT_NE(CheckOutput(folder.File("link"), false), "");
  for (const char* name : {"pipe", "link-to-pipe", "dangling"}) {
    EXPECT_EQ(CheckOutput(folder.File(name), true),
              "--output: " + (folder.File(name)) + " is not a regular file");
  }
  EXPECT_EQ(FollowLinks(folder.File("link")), folder.File("there"));
  EXPECT_EQ(FollowLinks(folder.File("there")), folder.File("there"));
}

}  // namespace
}  // namespace dreamgate::client
