// Rows that hold what no ledger writes: told in one line that names the column, never taken for
// something else, and no harm to the rows beside them.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/ledger_testing.h"
#include "tests/ledger/sql_testing.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class DamagedRowsTest : public ::testing::Test {
 protected:
  DamagedRowsTest() {
    core::Reservation labelled = MakeReservation(1);
    labelled.prediction.input.labels = {{"team", "films"}};
    EXPECT_TRUE(Is<core::Reserved>(store_->Run(labelled)));
    core::Proposal failed = MakeProposal(1, 1, State::kFailed);
    failed.transition.failure = core::Failure();
    failed.attempt_outcome = MakeOutcome(1, core::AttemptResult::kUnknown);
    EXPECT_TRUE(Is<core::Committed>(store_->Run(failed)));
    core::OrphanRecord orphan = MakeOrphan(1, "late");
    orphan.outputs = {{"https://a/1.mp4", std::nullopt}};
    EXPECT_TRUE(store_->Run(orphan).ok());
    Make(*store_, 2, {});
    EXPECT_TRUE(store_->Run(MakeReject(2, core::Rejection())).ok());
    Make(*store_, 3, {State::kCreated});
  }

  void Damage(const std::string& sql) {
    store_.reset();
    ExecuteSql(path_, sql);
    store_ = OpenStore(path_);
    ASSERT_NE(store_, nullptr);
  }

  // Damage that `request` reports; it must succeed all the same.
  template <typename Request>
  std::vector<std::string> DamageOf(Request request) {
    const Batch batch = MakeBatch(std::move(request));
    const BatchResult done = store_->Apply(batch);
    EXPECT_TRUE(AnswerIn<Request>(batch, 0).ok());
    return done.damage;
  }

  void ExpectDamaged(const absl::Status& status, const std::string& column) {
    EXPECT_EQ(core::ReasonOf(status), core::Reason::kLedgerUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("damaged: column " + column));
    EXPECT_TRUE(store_->Run(MakeLoad(3)).ok());
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_ = OpenStore(path_);
};

TEST_F(DamagedRowsTest, AColumnThatHoldsWhatNoLedgerWritesIsNamed) {
  const struct {
    const char* table;
    const char* column;
    const char* values[6];
  } cases[] = {
      {"predictions", "state", {"0", "11", "-1", "4294967303", "'x'", "2.5"}},
      {"predictions", "aspect_ratio", {"0", "8", "4294967297", "'x'", "x'01'", "-1"}},
      {"predictions", "asked_seed", {"2147483648", "-2147483649", "'x'", "x'01'", "1.5", "1e30"}},
      {"predictions", "seed", {"2147483648", "4294967297", "'x'", "x'01'", "1.5", "1e30"}},
      {"predictions", "labels_json", {"''", "'['", "'[]'", "'{\"a\":1}'", "x'ff'", "'null'"}},
      {"transitions", "state", {"0", "11", "-1", "4294967303", "'x'", "2.5"}},
      {"transitions", "source", {"0", "6", "-1", "4294967297", "'x'", "2.5"}},
      {"transitions", "time", {"'x'", "''", "x''", "1.5", "1e30", "'1x'"}},
      {"transitions",
       "failure_json",
       {"''", "'{}'", "'[]'",
        "'{\"code\":12,\"message\":\"\",\"upstream_code\":0,\"resubmission_may_help\":true}'",
        "'{\"code\":4294967297,\"message\":\"\",\"upstream_code\":0,"
        "\"resubmission_may_help\":true}'",
        "'{\"code\":1,\"message\":\"\",\"upstream_code\":4294967296,"
        "\"resubmission_may_help\":true}'"}},
      {"orphans",
       "outputs_json",
       {"''", "'{}'", "'[1]'", "'[{}]'", "'[{\"url\":1}]'", "'[{\"url\":\"\",\"nsfw\":1}]'"}},
  };
  for (const auto& damage : cases) {
    const std::string sql = absl::StrCat("UPDATE ", damage.table, " SET ", damage.column, " = ");
    const std::string where = absl::StrCat(" WHERE prediction_id = '", IdOf(1), "'");
    const std::string original = absl::StrCat("CREATE TABLE saved AS SELECT * FROM ", damage.table);
    const std::string restore =
        absl::StrCat("DELETE FROM ", damage.table, "; INSERT INTO ", damage.table,
                     " SELECT * FROM saved; DROP TABLE saved");
    for (const char* value : damage.values) {
      SCOPED_TRACE(absl::StrCat(sql, value));
      Damage(absl::StrCat(original, "; ", sql, value, where));
      ExpectDamaged(store_->Run(MakeLoad(1)).status(), damage.column);
      EXPECT_FALSE(store_->Run(MakeList()).ok());
      Damage(restore);
      EXPECT_TRUE(store_->Run(MakeLoad(1)).ok());
    }
  }
}

TEST_F(DamagedRowsTest, AMissingTransitionIsNoticed) {
  Damage("DELETE FROM transitions WHERE prediction_id = 'p000001' AND sequence = 1");
  ExpectDamaged(store_->Run(MakeLoad(1)).status(), "sequence");
  Damage("DELETE FROM transitions WHERE prediction_id = 'p000001'");
  const absl::Status none = store_->Run(MakeLoad(1)).status();
  EXPECT_EQ(core::ReasonOf(none), core::Reason::kLedgerUnavailable);
  EXPECT_THAT(std::string(none.message()), HasSubstr("disagree"));
}

TEST_F(DamagedRowsTest, AnAttemptWithAnImpossibleResultIsNamedAndNoneOfItsNeighboursIsGuessedAt) {
  Damage("UPDATE attempts SET outcome = 7, start_time = 'x' WHERE prediction_id = 'p000003'");
  ExpectDamaged(store_->Run(core::AttemptQuery{"token-3"}).status(), "start_time");
  Damage("UPDATE attempts SET start_time = 5 WHERE prediction_id = 'p000003'");
  ExpectDamaged(store_->Run(core::AttemptQuery{"token-3"}).status(), "outcome");
}

TEST_F(DamagedRowsTest, AReviewLeavesOutTheAttemptsThatCannotBeReadAndNamesThem) {
  Make(*store_, 4, {});
  Make(*store_, 5, {});
  core::Proposal accepted = MakeProposal(5, 1, State::kCreated);
  accepted.attempt_outcome = MakeOutcome(1, core::AttemptResult::kAccepted, "task-5");
  ASSERT_TRUE(Is<core::Committed>(store_->Run(accepted)));
  Damage(
      "UPDATE attempts SET number = 4294967297 WHERE prediction_id = 'p000003';"
      "UPDATE attempts SET outcome_time = 'x' WHERE prediction_id = 'p000005'");
  EXPECT_THAT(DamageOf(MakeReview(absl::InfinitePast())),
              ElementsAre(AllOf(HasSubstr("column number"), HasSubstr("p000003")),
                          AllOf(HasSubstr("column outcome_time"), HasSubstr("p000005"))));
  const absl::StatusOr<core::AttemptReview> review = store_->Run(MakeReview(absl::InfinitePast()));
  ASSERT_TRUE(review.ok());
  ASSERT_THAT(review->open, SizeIs(1));
  EXPECT_EQ(review->open[0].prediction_id, IdOf(4));
  EXPECT_THAT(review->accepted, IsEmpty());
}

TEST_F(DamagedRowsTest, ADamagedPredictionKeepsNoOtherFromBeingTakenOver) {
  Make(*store_, 4, {});
  Make(*store_, 5, {});
  Damage(
      "UPDATE predictions SET seed = 'x' WHERE prediction_id = 'p000003';"
      "DELETE FROM attempts WHERE prediction_id = 'p000005'");
  EXPECT_THAT(DamageOf(core::TakeOverRequest()),
              ElementsAre(AllOf(HasSubstr("column seed"), HasSubstr("p000003")),
                          AllOf(HasSubstr("lost its attempt"), HasSubstr("p000005"))));
  const auto unfinished = store_->Run(core::TakeOverRequest());
  ASSERT_TRUE(unfinished.ok());
  ASSERT_THAT(*unfinished, SizeIs(1));
  EXPECT_EQ((*unfinished)[0].prediction->id, IdOf(4));
}

TEST_F(DamagedRowsTest, AnErrorNamesThePredictionThatIsDamaged) {
  Damage("UPDATE predictions SET seed = 'x' WHERE prediction_id = 'p000001'");
  const BatchResult done = store_->Apply(MakeBatch(MakeLoad(1)));
  EXPECT_THAT(done.damage, ElementsAre(HasSubstr("p000001")));
  EXPECT_TRUE(done.commit.ok());
}

TEST_F(DamagedRowsTest, ABatchThatIsRolledBackAndRunsAgainNamesItsDamageOnce) {
  Damage("UPDATE predictions SET seed = 'x' WHERE prediction_id = 'p000001'");
  core::Proposal bad = MakeProposal(6, 1, State::kCreated);
  bad.attempt_outcome = MakeOutcome(9, core::AttemptResult::kAccepted);
  const Batch batch = MakeBatch(MakeReservation(6), MakeLoad(1), bad, MakeLoad(3));
  const BatchResult done = store_->Apply(batch);
  EXPECT_TRUE(done.commit.ok());
  EXPECT_THAT(done.damage, ElementsAre(HasSubstr("p000001")));
  EXPECT_TRUE(Is<core::Reserved>(AnswerIn<core::Reservation>(batch, 0)));
  EXPECT_TRUE(AnswerIn<core::LoadRequest>(batch, 3).ok());
}

TEST_F(DamagedRowsTest, ARememberedRejectionThatCannotBeReadIsNotMistakenForAnother) {
  for (const char* damage : {"rejection_reason = 20", "rejection_reason = 4294967303",
                             "rejection_message = NULL", "rejection_metadata_json = '[]'"}) {
    Damage(absl::StrCat("UPDATE predictions SET ", damage, " WHERE prediction_id = 'p000002'"));
    ExpectDamaged(store_->Run(MakeReservation(2)).status(), "rejection_");
  }
}

TEST_F(DamagedRowsTest, AnOrphanThatCannotBeReadIsNamedAndLeftOut) {
  ASSERT_TRUE(store_->Run(MakeOrphan(3, "later")).ok());
  Damage("UPDATE orphans SET found_time = 'x' WHERE prediction_id = 'p000001'");
  EXPECT_THAT(DamageOf(core::OpenOrphansQuery()),
              ElementsAre(AllOf(HasSubstr("column found_time"), HasSubstr("p000001"))));
  const auto orphans = store_->Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(1));
  EXPECT_EQ((*orphans)[0].upstream_id, "later");
  Damage(
      "UPDATE orphans SET found_time = 5, attempt_number = 4294967297 WHERE upstream_id = 'late'");
  ExpectDamaged(store_->Run(MakeOrphan(1, "late")).status(), "attempt_number");
}

TEST_F(DamagedRowsTest, LearnedBytesThatCannotBeReadAreNamedAndCanBeReplaced) {
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "bytes"}).ok());
  for (const char* value : {"7", "2.5"}) {
    Damage(absl::StrCat("UPDATE learned SET bytes = ", value));
    ExpectDamaged(store_->Run(core::LoadLearnedRequest{"model"}).status(), "bytes");
  }
  EXPECT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "new"}).ok());
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"model"}), "new");
}

}  // namespace
}  // namespace dreamgate::ledger
