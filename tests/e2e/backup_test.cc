// The online backup: what the admin port of a working server hands out is a ledger that opens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/e2e/deployment.h"
#include "tests/web/raw_client.h"

namespace dreamgate::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct HttpAnswer {
  std::string head;
  std::string body;
};

HttpAnswer AskForBackup(int admin_port) {
  const std::string answer =
      web::Exchange(static_cast<uint16_t>(admin_port),
                    "POST /backup HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
  const size_t end = answer.find("\r\n\r\n");
  if (end == std::string::npos) return {answer, ""};
  return {answer.substr(0, end), answer.substr(end + 4)};
}

// The first column of the first row.
std::string Query(const std::string& file, const std::string& sql) {
  sqlite3* database = nullptr;
  std::string text = "no answer";
  if (sqlite3_open_v2(file.c_str(), &database, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK) {
    sqlite3_exec(
        database, sql.c_str(),
        [](void* out, int, char** columns, char**) {
          *static_cast<std::string*>(out) = columns[0];
          return 1;
        },
        &text, nullptr);
  }
  sqlite3_close(database);
  return text;
}

std::vector<std::string> Copies(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (absl::StrContains(name, ".backup-")) names.push_back(name);
  }
  return names;
}

TEST(BackupTest, TheFileOpensAndHoldsWhatWasAcknowledgedWhileSubmissionsGoOn) {
  Deployment deployment;
  const v1::Prediction first = MustSubmit(deployment.stub(), "first");
  std::atomic<bool> enough = false;
  std::atomic<int> acknowledged = 1;
  auto submissions = std::async(std::launch::async, [&] {
    for (int i = 0; !enough; ++i) {
      MustSubmit(deployment.stub(), absl::StrCat("id-", i));
      ++acknowledged;
    }
  });
  const std::string file = deployment.folder().File("backup");
  for (int round = 0; round < 5; ++round) {
    const int before = acknowledged;
    const HttpAnswer answer = AskForBackup(deployment.server().admin_port());
    ASSERT_THAT(answer.head, StartsWith("HTTP/1.1 200 OK"));
    deployment.folder().Write("backup", answer.body);
    EXPECT_EQ(Query(file, "PRAGMA integrity_check"), "ok");
    EXPECT_GE(std::stoi(Query(file, "SELECT count(*) FROM predictions")), before);
    EXPECT_EQ(Query(file, absl::StrCat("SELECT count(*) FROM predictions WHERE prediction_id = '",
                                       first.id(), "'")),
              "1");
    EXPECT_THAT(Copies(deployment.folder().path()), IsEmpty());
  }
  enough = true;
  submissions.get();
  EXPECT_EQ(deployment.simulator().TasksCreated(), static_cast<size_t>(acknowledged));

  // A server serves from it.
  Server restored(deployment.folder(), deployment.simulator().base_url(),
                  {"--ledger-path=" + file, "--ports-file=" + deployment.folder().File("ports")});
  EXPECT_EQ(GetPrediction(*restored.Stub(), first.id()).upstream_id(), first.upstream_id());
}

TEST(BackupTest, WithoutRoomOnDiskThereIsALineAndSubmissionsGoOn) {
  const TemporaryFolder folder;
  auto simulator = simulator::Simulator::Start().value();
  simulator->SetSchedule(
      simulator::Schedule::Completing(absl::ZeroDuration(), absl::ZeroDuration()));
  {
    Server server(folder, simulator->base_url(), {});
    {
      const auto stub = server.Stub();
      for (int i = 0; i < 200; ++i) {
        MustSubmit(*stub, absl::StrCat("id-", i), std::string(1500, 'x'));
      }
    }
    // A start takes over what is in flight, which takes room.
    EXPECT_TRUE(Eventually([&] {
      return absl::StrContains(server.AdminPage("/statusz"), "\"predictions_in_flight\":0");
    }));
    server.process().Signal(SIGTERM);
    ASSERT_EQ(server.process().Wait(kPatience), 0);
  }
  ASSERT_GT(std::filesystem::file_size(folder.File("ledger.db")), 192u << 10);
  Server server(folder, simulator->base_url(), {}, /*file_size_limit=*/128u << 10);
  const HttpAnswer refused = AskForBackup(server.admin_port());
  EXPECT_THAT(refused.head, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refused.body, testing::EndsWith("\n"));
  EXPECT_THAT(Copies(folder.path()), IsEmpty());
  MustSubmit(*server.Stub(), "goes-on");

  server.process().LiftFileSizeLimit();
  EXPECT_THAT(AskForBackup(server.admin_port()).head, StartsWith("HTTP/1.1 200 OK"));
}

TEST(BackupTest, AnUnfinishedCopyOfACrashIsGoneAfterTheNextStart) {
  Deployment deployment;
  const std::string left =
      deployment.folder().Write("ledger.db.backup-0123456789abcdef0123456789abcdef", "half a copy");
  deployment.CrashAndRestart();
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST(BackupTest, AClientThatLeavesInTheMiddleLeavesNothingBehind) {
  Deployment deployment;
  for (int i = 0; i < 100; ++i) {
    MustSubmit(deployment.stub(), absl::StrCat("id-", i), std::string(1500, 'x'));
  }
  {
    web::RawClient leaving(static_cast<uint16_t>(deployment.server().admin_port()));
    ASSERT_TRUE(leaving.Send("POST /backup HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    EXPECT_THAT(leaving.ReadUntil("\r\n\r\n"), HasSubstr("200 OK"));
  }
  HttpAnswer next = AskForBackup(deployment.server().admin_port());
  for (int tries = 0; tries < 10'000 && absl::StrContains(next.head, " 409 "); ++tries) {
    next = AskForBackup(deployment.server().admin_port());
  }
  EXPECT_THAT(next.head,
              AllOf(StartsWith("HTTP/1.1 200 OK"), HasSubstr("filename=\"dreamgate-backup.db\"")));
  EXPECT_THAT(Copies(deployment.folder().path()), IsEmpty());
}

}  // namespace
}  // namespace dreamgate::e2e
