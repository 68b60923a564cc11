// A ledger that a server with an older schema left, opened by this one.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/fault_vfs.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"

namespace dreamgate::ledger {
namespace {

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

std::string ReadFile(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

class MigrationTest : public ::testing::Test {
 protected:
  MigrationTest() { RegisterFaultVfs(); }
  ~MigrationTest() override { SetFault(Fault::kNone); }

  std::string OldLedger(const std::string& name, int schema = 1) {
    std::string path = folder_.File(name);
    ExecuteSql(path, ReadFile(absl::StrCat(LEDGER_DATA, "/schema_", schema, ".sql")));
    return path;
  }

  absl::Status OpenStatus(const std::string& path, const std::string& vfs = "") {
    StoreOptions options;
    options.path = path;
    options.vfs = vfs;
    return Store::Open(options).status();
  }

  // Everything that the old ledger was written with.
  void ExpectEverythingThere(Store& store) {
    const std::map<int, State> states = {
        {1, State::kQueued},      {2, State::kSubmitting},  {3, State::kUnresolved},
        {4, State::kCreated},     {5, State::kProcessing},  {6, State::kCompleted},
        {7, State::kFailed},      {8, State::kCancelled},   {9, State::kTimedOut},
        {10, State::kDeleted},    {11, State::kSubmitting}, {12, State::kSubmitting},
        {13, State::kSubmitting},
    };
    for (const auto& [number, state] : states) {
      const auto stored = store.Run(MakeLoad(number));
      ASSERT_TRUE(stored.ok()) << number << " " << stored.status();
      EXPECT_EQ(stored->transitions.back().state, state) << number;
      EXPECT_EQ(stored->initial.request_id, absl::StrCat("request-", number));
      EXPECT_THAT(stored->initial.recovered_outputs, IsEmpty());
    }
    EXPECT_TRUE(store.Run(MakeLoad(14, "other")).ok());
  }

  TemporaryFolder folder_;
};

// Of each schema that there was.
class OldLedgerTest : public MigrationTest, public ::testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(, OldLedgerTest, ::testing::Values(1, 2),
                         [](const auto& schema) { return absl::StrCat("OfSchema", schema.param); });

TEST_P(OldLedgerTest, EverythingInItIsThere) {
  const std::unique_ptr<Store> store = OpenStore(OldLedger("ledger.db", GetParam()));
  ASSERT_NE(store, nullptr);
  ExpectEverythingThere(*store);

  const auto full = store->Run(MakeLoad(5));
  EXPECT_EQ(full->initial.input.prompt, "a \"quoted\" prompt,\ntwo lines, \xc3\xa4");
  EXPECT_EQ(full->initial.input.aspect_ratio, core::AspectRatio::k9x21);
  EXPECT_EQ(full->initial.input.seed, 5);
  EXPECT_THAT(full->initial.input.labels,
              ElementsAre(Pair("stage", "prod"), Pair("team", "films")));
  EXPECT_EQ(full->transitions[1].upstream_id, "upstream-5");
  EXPECT_EQ(full->transitions[1].upstream_create_time, Second(5));
  EXPECT_EQ(full->transitions[2].upstream_status, "processing");

  const auto completed = store->Run(MakeLoad(6));
  const std::vector<core::Output> outputs = {{"https://cdn.example/6.mp4", false},
                                             {"https://cdn.example/6b.mp4", std::nullopt}};
  EXPECT_EQ(completed->transitions.back().outputs, outputs);
  EXPECT_EQ(completed->transitions.back().inference_time, absl::Milliseconds(12345));

  const auto failed = store->Run(MakeLoad(7));
  EXPECT_EQ(failed->transitions.back().failure,
            (core::Failure{core::FailureCode::kModerated, "not shown", 1200, true}));

  const auto orphans = store->Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok()) << orphans.status();
  ASSERT_THAT(*orphans, SizeIs(GetParam() == 1 ? 0 : 1));
  if (!orphans->empty()) {
    EXPECT_EQ(orphans->front().upstream_id, "upstream-9-late");
  }
}

TEST_P(OldLedgerTest, AnOldLedgerIsWorkedOnLikeAnyOther) {
  const std::unique_ptr<Store> store = OpenStore(OldLedger("ledger.db", GetParam()));
  ASSERT_NE(store, nullptr);
  // Request ids are remembered, rejections too.
  EXPECT_TRUE(Is<core::ReserveExisting>(store->Run(MakeReservation(4))));
  const auto remembered = store->Run(MakeReservation(11));
  ASSERT_TRUE(Is<core::ReserveRemembered>(remembered));
  EXPECT_EQ(std::get<core::ReserveRemembered>(*remembered).rejection.message, "prompt refused");
  core::Reservation freed = MakeReservation(20);
  freed.prediction.request_id = "request-12";
  EXPECT_TRUE(Is<core::Reserved>(store->Run(freed)));

  const auto unfinished = store->Run(core::TakeOverRequest());
  ASSERT_TRUE(unfinished.ok()) << unfinished.status();
  ASSERT_THAT(*unfinished, SizeIs(8));  // 14, 1 to 5, 13 and 20
  EXPECT_EQ((*unfinished)[6].prediction->id, IdOf(13));
  EXPECT_EQ((*unfinished)[6].last_attempt.number, 2);

  core::ListQuery query = MakeList();
  query.labels = {{"team", "films"}};
  EXPECT_THAT(store->Run(query)->predictions, SizeIs(1));
  query.labels = {};
  query.states = {State::kCompleted, State::kUnresolved};
  EXPECT_THAT(store->Run(query)->predictions, SizeIs(2));

  const auto review = store->Run(MakeReview(Second(0), {"upstream-4", "upstream-99"}));
  ASSERT_TRUE(review.ok()) << review.status();
  std::vector<std::string> open;
  for (const core::StoredAttempt& attempt : review->open) open.push_back(attempt.attempt.token);
  EXPECT_THAT(open, ElementsAre("token-1", "token-2", "token-3", "token-8", "token-14",
                                "token-13-2", "token-20"));
  EXPECT_THAT(review->bound, ElementsAre("upstream-4"));
  EXPECT_THAT(review->accepted, SizeIs(6));

  core::Proposal resolved = MakeProposal(3, 2, State::kCreated);
  resolved.transition.upstream_id = "upstream-3";
  resolved.attempt_outcome = MakeOutcome(1, AttemptResult::kAccepted, "upstream-3");
  EXPECT_TRUE(Is<core::Committed>(store->Run(resolved)));
  EXPECT_TRUE(Is<core::Committed>(store->Run(MakeProposal(5, 3, State::kCompleted))));

  core::OrphanRecord orphan = MakeOrphan(12, "late");
  orphan.outputs = {{"https://cdn.example/late.mp4", std::nullopt}};
  EXPECT_TRUE(store->Run(orphan)->news);
  EXPECT_EQ(store->Run(MakeLoad(12))->initial.recovered_outputs, orphan.outputs);
  EXPECT_EQ(*store->Run(core::PruneRequest{Second(1000), 100}), 8);  // 5 to 12

  EXPECT_TRUE(absl::IsNotFound(store->Run(core::LoadLearnedRequest{"model"}).status()));
  EXPECT_TRUE(store->Run(core::SaveLearnedRequest{"model", "bytes"}).ok());
  EXPECT_EQ(*store->Run(core::LoadLearnedRequest{"model"}), "bytes");
}

TEST_P(OldLedgerTest, AnOldLedgerHasTheSchemaOfANewOneOnceOpened) {
  const std::string old_path = OldLedger("old.db", GetParam());
  const std::string new_path = folder_.File("new.db");
  OpenStore(old_path);
  OpenStore(new_path);
  for (const char* sql :
       {"SELECT group_concat(name || ' ' || sql, ';') FROM (SELECT name, sql FROM sqlite_schema "
        "ORDER BY name)",
        "PRAGMA user_version", "PRAGMA application_id", "PRAGMA integrity_check"}) {
    EXPECT_EQ(QuerySql(old_path, sql), QuerySql(new_path, sql));
  }
  EXPECT_EQ(QuerySql(old_path, "PRAGMA integrity_check"), "ok");
}

TEST_F(MigrationTest, AMigrationThatIsCutOffAtAnyWriteLeavesALedgerThatMigratesLater) {
  int changes = 0;
  std::set<std::string> versions;
  for (bool migrated = false; !migrated; ++changes) {
    SCOPED_TRACE(absl::StrCat("after ", changes, " changes"));
    const std::string path = OldLedger(absl::StrCat("cut-", changes));
    SetFaultAfter(changes, Fault::kDead);
    migrated = OpenStatus(path, kFaultVfs).ok();
    SetFault(Fault::kNone);
    // By one of the schemas that there were, never by something in between.
    const std::string columns = QuerySql(path,
                                         "SELECT count(*) FROM pragma_table_info('transitions') "
                                         "WHERE name = 'recovered_outputs_json'");
    const std::string tables = QuerySql(path,
                                        "SELECT group_concat(name) FROM (SELECT name FROM "
                                        "sqlite_schema WHERE name IN ('orphans', 'learned') "
                                        "ORDER BY name)");
    const std::map<std::string, std::string> expected = {
        {"1", "1 NULL"}, {"2", "0 orphans"}, {"3", "0 learned,orphans"}};
    const std::string version = QuerySql(path, "PRAGMA user_version");
    ASSERT_TRUE(expected.contains(version)) << version;
    EXPECT_EQ(absl::StrCat(columns, " ", tables), expected.at(version));
    versions.insert(version);
    const std::unique_ptr<Store> store = OpenStore(path);
    ASSERT_NE(store, nullptr);
    ExpectEverythingThere(*store);
    ASSERT_LT(changes, 1000);
  }
  EXPECT_GT(changes, 10);  // there was something to cut
  EXPECT_THAT(versions, ElementsAre("1", "2", "3"));
}

TEST_F(MigrationTest, AFullDiskRefusesTheStartAndLeavesTheOldLedgerAsItWas) {
  const std::string path = OldLedger("ledger.db");
  const std::string before = ReadFile(path);
  SetFault(Fault::kDiskFull);
  EXPECT_TRUE(absl::IsUnavailable(OpenStatus(path, kFaultVfs)));
  SetFault(Fault::kNone);
  EXPECT_EQ(ReadFile(path), before);
}

TEST_F(MigrationTest, ALedgerOfANewerServerIsRefusedAndLeftUntouched) {
  const std::string path = folder_.File("ledger.db");
  OpenStore(path);
  ExecuteSql(path, "PRAGMA user_version = 1000");
  const std::string before = ReadFile(path);
  const absl::Status status = OpenStatus(path);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("has schema 1000"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("use a newer dreamgated"));
  EXPECT_EQ(ReadFile(path), before);
}

TEST_F(MigrationTest, TheLogOfANewerServerIsLeftUntouched) {
  const std::string path = folder_.File("ledger.db");
  OpenStore(path);
  {
    // As a killed process leaves it: the change is in the log alone.
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
    sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    ASSERT_EQ(sqlite3_exec(database, "PRAGMA user_version = 1000", nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(database);
  }
  const std::string before = ReadFile(path);
  const std::string log = ReadFile(path + "-wal");
  ASSERT_FALSE(log.empty());
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenStatus(path)));
  EXPECT_EQ(ReadFile(path), before);
  EXPECT_EQ(ReadFile(path + "-wal"), log);
}

}  // namespace
}  // namespace dreamgate::ledger
