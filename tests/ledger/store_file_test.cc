// The ledger as a file: who may open it, what is refused, what a killed process leaves.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"

extern char** environ;

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// `ledger_child` on `path`, with its input and output as pipes.
class Child {
 public:
  Child(const std::string& path, const std::string& what) {
    int input[2];
    int output[2];
    EXPECT_EQ(::pipe2(input, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(output, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
    std::string program = LEDGER_CHILD;
    std::string path_argument = path;
    std::string what_argument = what;
    char* arguments[] = {program.data(), path_argument.data(), what_argument.data(), nullptr};
    EXPECT_EQ(::posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(input[0]);
    ::close(output[1]);
    input_ = input[1];
    output_ = ::fdopen(output[0], "r");
  }
  ~Child() {
    Kill();
    std::fclose(output_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line without its end; empty once there are no more.
  std::string ReadLine() {
    char line[64];
    if (std::fgets(line, sizeof(line), output_) == nullptr) return "";
    std::string text = line;
    if (text.empty() || text.back() != '\n') return "";
    text.pop_back();
    return text;
  }

  void Signal() { ::kill(process_, SIGKILL); }

  void Kill() {
    if (process_ == 0) return;
    Signal();
    ::close(input_);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

 private:
  pid_t process_ = 0;
  int input_ = -1;
  std::FILE* output_ = nullptr;
};

class StoreFileTest : public ::testing::Test {
 protected:
  absl::Status OpenStatus() {
    StoreOptions options;
    options.path = path_;
    return Store::Open(options).status();
  }

  void Execute(const std::string& sql) { ExecuteSql(path_, sql); }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
};

TEST_F(StoreFileTest, OnlyTheOwnerMayReadANewLedger) {
  const std::unique_ptr<Store> store = OpenStore(path_);
  Make(*store, 1, {});
  for (const std::string& name : {path_, path_ + "-wal"}) {
    EXPECT_EQ(std::filesystem::status(name).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << name;
  }
}

TEST_F(StoreFileTest, ASecondStoreInTheSameProcessIsRefusedAndTheFirstKeepsItsLock) {
  const std::unique_ptr<Store> store = OpenStore(path_);
  for (int round = 0; round < 2; ++round) {
    const absl::Status second = OpenStatus();
    EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
    EXPECT_EQ(second.message(), "ledger " + path_ + " is in use by another process");
  }
  EXPECT_TRUE(Is<core::Reserved>(store->Run(MakeReservation(1))));
}

TEST_F(StoreFileTest, ASecondProcessIsRefusedUntilTheFirstIsGone) {
  OpenStore(path_);
  Child child(path_, "hold");
  ASSERT_EQ(child.ReadLine(), "open");
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(status.message(), "ledger " + path_ + " is in use by another process");
  child.Kill();
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(StoreFileTest, OpeningCanWaitForAnotherProcessToLeave) {
  Child child(path_, "hold");
  ASSERT_EQ(child.ReadLine(), "open");
  child.Signal();
  StoreOptions options;
  options.path = path_;
  options.lock_wait = absl::Seconds(30);
  EXPECT_TRUE(Store::Open(options).ok());
}

TEST_F(StoreFileTest, AFolderThatIsNotThereIsNamed) {
  StoreOptions options;
  options.path = folder_.File("absent/ledger.db");
  const absl::Status status = Store::Open(options).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(options.path), HasSubstr("No such file"), Not(HasSubstr("\n"))));
}

TEST_F(StoreFileTest, AFileThatIsNoDatabaseIsRefusedAndLeftAlone) {
  const std::string content(5000, 'x');
  std::ofstream(path_) << content;
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("not a dreamgate ledger"));
  std::ifstream file(path_);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), content);
}

TEST_F(StoreFileTest, AnotherProgramsDatabaseIsRefused) {
  Execute("CREATE TABLE notes (text)");
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("of another program"));
}

TEST_F(StoreFileTest, ADamagedLedgerIsRefusedInOneLine) {
  {
    const std::unique_ptr<Store> store = OpenStore(path_);
    for (int i = 1; i <= 20; ++i) Make(*store, i, {});
  }
  {
    // The header stays, the schema's page behind it is overwritten.
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(3900, '\xa5');
  }
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path_), HasSubstr("damaged"), Not(HasSubstr("\n"))));
}

TEST_F(StoreFileTest, ADamagedPageFailsWhatNeedsItWithoutEndingTheProcess) {
  {
    const std::unique_ptr<Store> store = OpenStore(path_);
    for (int i = 1; i <= 200; ++i) Make(*store, i, {});
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = std::filesystem::file_size(path_);
    for (uintmax_t page = 12; page < size / 4096; ++page) {
      file.seekp(static_cast<std::streamoff>(page * 4096));
      file << std::string(4096, '\xa5');
    }
  }
  StoreOptions options;
  options.path = path_;
  const absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options);
  if (!store.ok()) {
    EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
    return;
  }
  int failed = 0;
  for (int i = 1; i <= 200; ++i) {
    const absl::Status status = (*store)->Run(MakeLoad(i)).status();
    if (core::ReasonOf(status) == core::Reason::kLedgerUnavailable) ++failed;
  }
  EXPECT_GT(failed, 0);
}

TEST_F(StoreFileTest, NothingAcknowledgedIsLostWhenTheProcessIsKilled) {
  std::map<int, size_t> acknowledged;  // number -> transitions
  for (int round = 0; round < 10; ++round) {
    const std::string path = folder_.File("killed" + std::to_string(round));
    acknowledged.clear();
    {
      Child child(path, "write");
      ASSERT_EQ(child.ReadLine(), "open");
      // Killed wherever it is after this many lines; what it still printed counts as well.
      const int lines_before_kill = 1 + (round * 37) % 101;
      int lines = 0;
      for (std::string line = child.ReadLine(); !line.empty(); line = child.ReadLine()) {
        if (++lines == lines_before_kill) child.Signal();
        acknowledged[std::stoi(line.substr(2))] = static_cast<size_t>(std::stoi(line.substr(0, 1)));
      }
      ASSERT_GE(lines, lines_before_kill);
    }
    const std::unique_ptr<Store> store = OpenStore(path);
    for (const auto& [number, transitions] : acknowledged) {
      const auto stored = store->Run(MakeLoad(number));
      ASSERT_TRUE(stored.ok()) << number << stored.status();
      EXPECT_GE(stored->transitions.size(), transitions) << number;
    }
    const auto unfinished = store->Run(core::TakeOverRequest());
    ASSERT_TRUE(unfinished.ok());
    EXPECT_GE(unfinished->size(), acknowledged.size());
    // A batch is there whole or not at all.
    EXPECT_EQ(unfinished->size() % 4, 0u);
  }
}

}  // namespace
}  // namespace dreamgate::ledger
