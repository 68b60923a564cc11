// What the store knows of attempts: their results, the review against upstream's history, orphans.
#include <algorithm>
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

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<core::Output> kVideo = {{"https://a/late.mp4", false}};
const std::vector<core::Output> kOtherVideo = {{"https://a/other.mp4", std::nullopt}};

class AttemptsTest : public ::testing::Test {
 protected:
  void Reopen() {
    store_.reset();
    store_ = OpenStore(path_);
  }

  std::string Query(const std::string& sql) {
    store_.reset();
    std::string answer = QuerySql(path_, sql);
    store_ = OpenStore(path_);
    return answer;
  }

  // Reserves `number` and commits what became of its first attempt.
  void MakeWith(int number, State state, AttemptResult result,
                const std::string& upstream_id = "") {
    Make(*store_, number, {});
    core::Proposal proposal = MakeProposal(number, 1, state);
    if (!upstream_id.empty()) proposal.transition.upstream_id = upstream_id;
    proposal.attempt_outcome = MakeOutcome(1, result, upstream_id);
    ASSERT_TRUE(Is<core::Committed>(Propose(*store_, proposal)));
  }

  std::vector<std::string> OpenTokens(absl::Time started_after) {
    const auto review = Review(*store_, started_after);
    EXPECT_TRUE(review.ok()) << review.status();
    std::vector<std::string> tokens;
    if (review.ok()) {
      for (const core::StoredAttempt& open : review->open) tokens.push_back(open.attempt.token);
    }
    return tokens;
  }

  std::vector<core::Output> RecoveredOf(int number) {
    const auto stored = store_->Load("tenant", IdOf(number));
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored.ok() ? stored->initial.recovered_outputs : std::vector<core::Output>();
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_ = OpenStore(path_);
};

// ------------------------------------------------------------------------------------------- results

// A proposal whose transition is legal and that carries `result` for an attempt known as `from`.
TEST_F(AttemptsTest, AnAttemptTakesALegalResultAndRefusesEveryOtherWithoutATrace) {
  const AttemptResult all[] = {AttemptResult::kAccepted, AttemptResult::kRejected,
                               AttemptResult::kNotSent,  AttemptResult::kUnknown,
                               AttemptResult::kAbsent,   AttemptResult::kOrphaned};
  int number = 0;
  for (int from = 0; from <= 6; ++from) {
    for (const AttemptResult to : all) {
      Make(*store_, ++number, {State::kUnresolved});
      std::optional<AttemptResult> known;
      if (from > 0) {
        known = static_cast<AttemptResult>(from);
        store_.reset();
        ExecuteSql(path_, absl::StrCat("UPDATE attempts SET outcome = ", from,
                                       " WHERE prediction_id = '", IdOf(number), "'"));
        store_ = OpenStore(path_);
        ASSERT_TRUE(store_->TakeOverUnfinished(Second(1)).ok());
      }
      core::Proposal proposal = MakeProposal(number, 2, State::kFailed);
      proposal.attempt_outcome = MakeOutcome(1, to);
      const absl::StatusOr<core::ProposeResult> result = Propose(*store_, proposal);
      if (core::IsLegalAttemptResult(known, to)) {
        EXPECT_TRUE(Is<core::Committed>(result)) << from << " to " << static_cast<int>(to);
      } else {
        EXPECT_EQ(core::ReasonOf(result.status()), core::Reason::kInternal)
            << from << " to " << static_cast<int>(to);
        EXPECT_THAT(store_->Load("tenant", IdOf(number))->transitions, SizeIs(2));
      }
    }
  }
}

TEST_F(AttemptsTest, ARejectionThatTheAttemptCannotTakeChangesNothing) {
  Make(*store_, 1, {});
  store_.reset();
  ExecuteSql(path_, "UPDATE attempts SET outcome = 1");
  store_ = OpenStore(path_);
  ASSERT_TRUE(store_->TakeOverUnfinished(Second(1)).ok());
  EXPECT_EQ(core::ReasonOf(Reject(*store_, MakeReject(1, std::nullopt))), core::Reason::kInternal);
  EXPECT_EQ(Query("SELECT rejected FROM predictions"), "0");
}

// -------------------------------------------------------------------------------------------- review

TEST_F(AttemptsTest, OpenAreTheAttemptsThatMayHaveCreatedATaskNobodyHasOldestFirst) {
  Make(*store_, 1, {});
  MakeWith(2, State::kUnresolved, AttemptResult::kUnknown);
  MakeWith(3, State::kCreated, AttemptResult::kAccepted, "up-3");
  MakeWith(4, State::kUnresolved, AttemptResult::kUnknown);
  core::Proposal again = MakeProposal(4, 2, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kAbsent);
  again.new_attempt = core::Attempt{.number = 2, .token = "token-4b", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Propose(*store_, again)));
  Make(*store_, 5, {});
  ASSERT_TRUE(Reject(*store_, MakeReject(5, std::nullopt)).ok());
  MakeWith(6, State::kFailed, AttemptResult::kUnknown);
  MakeWith(7, State::kFailed, AttemptResult::kNotSent);
  Make(*store_, 8, {State::kUnresolved}, "other");

  EXPECT_THAT(OpenTokens(Second(0)),
              ElementsAre("token-1", "token-2", "token-4", "token-6", "token-8", "token-4b"));
  EXPECT_THAT(OpenTokens(Second(6)), ElementsAre("token-6", "token-8", "token-4b"));
  EXPECT_THAT(OpenTokens(absl::InfinitePast()), SizeIs(6));
  EXPECT_THAT(OpenTokens(Second(51)), IsEmpty());
}

TEST_F(AttemptsTest, AnAttemptComesWithEverythingItsTaskCanBeRecognisedBy) {
  core::Reservation reservation = MakeReservation(1);
  reservation.prediction.input.prompt = "a lighthouse";
  reservation.prediction.input.aspect_ratio = core::AspectRatio::k9x21;
  reservation.prediction.seed = 2147483647;
  ASSERT_TRUE(Is<core::Reserved>(Reserve(*store_, reservation)));
  core::Proposal unresolved = MakeProposal(1, 1, State::kUnresolved);
  unresolved.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  ASSERT_TRUE(Is<core::Committed>(Propose(*store_, unresolved)));

  const auto check = [&](const core::StoredAttempt& stored, bool latest) {
    EXPECT_EQ(stored.tenant, "tenant");
    EXPECT_EQ(stored.prediction_id, IdOf(1));
    EXPECT_EQ(stored.attempt.number, 1);
    EXPECT_EQ(stored.attempt.token, "token-1");
    EXPECT_EQ(stored.attempt.start_time, Second(1));
    EXPECT_EQ(stored.result, AttemptResult::kUnknown);
    EXPECT_EQ(stored.result_time, Second(500));
    EXPECT_EQ(stored.upstream_id, "");
    EXPECT_EQ(stored.latest, latest);
    EXPECT_EQ(stored.input, (core::TaskInput{"a lighthouse", "9:21", 2147483647}));
    EXPECT_EQ(stored.model, "model");
    EXPECT_EQ(stored.key_fingerprint, "0123456789abcdef");
  };
  const auto review = Review(*store_, Second(0));
  ASSERT_TRUE(review.ok()) << review.status();
  ASSERT_THAT(review->open, SizeIs(1));
  check(review->open[0], true);
  EXPECT_EQ(review->open[0].state, State::kUnresolved);

  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Propose(*store_, again)));
  const auto first = FindAttempt(*store_, "token-1");
  ASSERT_TRUE(first.ok()) << first.status();
  check(*first, false);
  EXPECT_EQ(first->state, State::kSubmitting);
  const auto second = FindAttempt(*store_, "second");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->attempt.number, 2);
  EXPECT_TRUE(second->latest);
  EXPECT_EQ(second->result, std::nullopt);
  EXPECT_EQ(second->result_time, std::nullopt);
}

TEST_F(AttemptsTest, AnUnknownTokenIsNotFoundAndOneOfARejectedPredictionIs) {
  Make(*store_, 1, {});
  ASSERT_TRUE(Reject(*store_, MakeReject(1, std::nullopt)).ok());
  EXPECT_TRUE(absl::IsNotFound(FindAttempt(*store_, "token").status()));
  EXPECT_TRUE(absl::IsNotFound(FindAttempt(*store_, "").status()));
  const auto rejected = FindAttempt(*store_, "token-1");
  ASSERT_TRUE(rejected.ok()) << rejected.status();
  EXPECT_EQ(rejected->result, AttemptResult::kRejected);
}

TEST_F(AttemptsTest, TheReviewSaysWhichTasksUpstreamMustKnow) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kCompleted, AttemptResult::kAccepted, "up-2");
  MakeWith(3, State::kUnresolved, AttemptResult::kUnknown);
  const auto tasks = [&](int64_t started_after) {
    std::vector<std::string> ids;
    const auto review = Review(*store_, Second(started_after));
    EXPECT_TRUE(review.ok()) << review.status();
    if (!review.ok()) return ids;
    for (const auto& accepted : review->accepted) {
      EXPECT_EQ(accepted.result_time, Second(500));
      EXPECT_EQ(accepted.key_fingerprint, "0123456789abcdef");
      ids.push_back(accepted.upstream_id);
    }
    return ids;
  };
  EXPECT_THAT(tasks(0), ElementsAre("up-1", "up-2"));
  const core::AttemptReviewQuery without{
      .started_after = Second(0), .upstream_ids = {"up-1"}, .with_accepted = false};
  const auto review = Ask<absl::StatusOr<core::AttemptReview>>(*store_, without);
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_THAT(review->accepted, IsEmpty());
  EXPECT_THAT(review->open, SizeIs(1));
  EXPECT_THAT(review->bound, ElementsAre("up-1"));
  EXPECT_THAT(tasks(2), ElementsAre("up-2"));
  EXPECT_THAT(tasks(3), IsEmpty());
}

TEST_F(AttemptsTest, TheReviewSaysWhichOfThousandsOfTasksSomebodyHas) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  MakeWith(3, State::kCreated, AttemptResult::kAccepted, "up-3");
  ASSERT_TRUE(RecordOrphan(*store_, MakeOrphan(2, "orphan-2")).ok());
  ASSERT_TRUE(RecordOrphan(*store_, MakeOrphan(3, "orphan'-3")).ok());  // beside the attempt's own
  std::vector<std::string> asked = {"up-3", "orphan'-3", "up-1", "up-1", "orphan-2", ""};
  for (int i = 10; i < 5000; ++i) asked.push_back(absl::StrCat("up-", i));
  const auto review = Review(*store_, absl::InfiniteFuture(), asked);
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_THAT(review->bound, ElementsAre("orphan'-3", "orphan-2", "up-1", "up-3"));
  EXPECT_THAT(review->open, IsEmpty());
  EXPECT_THAT(review->accepted, IsEmpty());
}

// ------------------------------------------------------------------------------------------- orphans

TEST_F(AttemptsTest, AnOrphanOfAPredictionThatEndedIsKeptAndItsVideoRecovered) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  const core::StoredPrediction before = *store_->Load("tenant", IdOf(1));

  auto found = RecordOrphan(*store_, MakeOrphan(1, "late"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_THAT(found->prediction->recovered_outputs, IsEmpty());
  auto orphans = ListOrphans(*store_);
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(1));
  EXPECT_EQ((*orphans)[0].prediction_id, IdOf(1));
  EXPECT_EQ((*orphans)[0].upstream_id, "late");
  EXPECT_EQ((*orphans)[0].attempt_number, 1);
  EXPECT_EQ((*orphans)[0].found_time, Second(600));
  const auto attempt = FindAttempt(*store_, "token-1");
  EXPECT_EQ(attempt->result, AttemptResult::kOrphaned);
  EXPECT_EQ(attempt->upstream_id, "late");
  EXPECT_EQ(attempt->result_time, Second(600));

  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  found = RecordOrphan(*store_, ended);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  EXPECT_THAT(*ListOrphans(*store_), IsEmpty());

  Reopen();
  const core::StoredPrediction after = *store_->Load("tenant", IdOf(1));
  EXPECT_EQ(after.initial.recovered_outputs, kVideo);
  EXPECT_EQ(after.transitions, before.transitions);  // a terminal state stays the last update
  core::ListQuery query;
  query.tenant = "tenant";
  EXPECT_EQ(store_->List(query)->predictions.at(0)->recovered_outputs, kVideo);
  const auto replayed = Reserve(*store_, MakeReservation(1));
  EXPECT_EQ(std::get<core::ReserveExisting>(*replayed).prediction->recovered_outputs, kVideo);
  EXPECT_EQ(Query("SELECT found_time || ' ' || end_time FROM orphans"),
            "1700000600000000000 1700000700000000000");
}

TEST_F(AttemptsTest, WhatIsKnownOfAnOrphanIsNoNewsTheSecondTimeAndNeverTakenBack) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  EXPECT_TRUE(RecordOrphan(*store_, MakeOrphan(1, "late"))->news);
  EXPECT_FALSE(RecordOrphan(*store_, MakeOrphan(1, "late", 650))->news);
  EXPECT_TRUE(RecordOrphan(*store_, ended)->news);
  EXPECT_FALSE(RecordOrphan(*store_, ended)->news);
  EXPECT_FALSE(RecordOrphan(*store_, MakeOrphan(1, "late", 800))->news);
  EXPECT_THAT(*ListOrphans(*store_), IsEmpty());
  EXPECT_EQ(RecoveredOf(1), kVideo);
}

TEST_F(AttemptsTest, AVideoThatShowsUpAfterTheOrphanEndedIsStillKept) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late");
  ended.ended = true;
  EXPECT_TRUE(RecordOrphan(*store_, ended)->news);
  core::OrphanRecord video = MakeOrphan(1, "late", 800);
  video.outputs = kVideo;
  EXPECT_TRUE(RecordOrphan(*store_, video)->news);
  EXPECT_EQ(RecoveredOf(1), kVideo);
  EXPECT_THAT(*ListOrphans(*store_), IsEmpty());
}

TEST_F(AttemptsTest, RecoveredVideosComeInTheOrderTheirTasksWereFound) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord later = MakeOrphan(1, "a", 700);
  later.outputs = kOtherVideo;
  core::OrphanRecord earlier = MakeOrphan(1, "b", 600);
  earlier.outputs = kVideo;
  ASSERT_TRUE(RecordOrphan(*store_, later).ok());
  ASSERT_TRUE(RecordOrphan(*store_, earlier).ok());
  EXPECT_THAT(RecoveredOf(1), ElementsAre(kVideo[0], kOtherVideo[0]));
  const auto orphans = ListOrphans(*store_);
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(2));
  EXPECT_EQ((*orphans)[0].upstream_id, "b");
}

TEST_F(AttemptsTest, ATaskThatAnAttemptWasAcceptedWithIsNoOrphan) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kUnresolved, AttemptResult::kUnknown);
  for (const int number : {1, 2}) {
    const auto found = RecordOrphan(*store_, MakeOrphan(number, "up-1"));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_FALSE(found->news);
    EXPECT_EQ(found->prediction->id, IdOf(number));
  }
  EXPECT_THAT(*ListOrphans(*store_), IsEmpty());
  EXPECT_EQ(FindAttempt(*store_, "token-2")->result, AttemptResult::kUnknown);
}

TEST_F(AttemptsTest, AnOrphanBelongsToThePredictionThatWasFoundToHaveItFirst) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord first = MakeOrphan(1, "late");
  first.outputs = kVideo;
  EXPECT_TRUE(RecordOrphan(*store_, first)->news);
  core::OrphanRecord second = MakeOrphan(2, "late");
  second.outputs = kVideo;
  EXPECT_FALSE(RecordOrphan(*store_, second)->news);
  EXPECT_THAT(RecoveredOf(2), IsEmpty());
  EXPECT_EQ(FindAttempt(*store_, "token-2")->result, AttemptResult::kUnknown);
}

TEST_F(AttemptsTest, AnAttemptWithATaskOfItsOwnKeepsItAndTheOrphanIsKeptBesideIt) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  core::OrphanRecord record = MakeOrphan(1, "second-task");
  record.outputs = kVideo;
  const auto found = RecordOrphan(*store_, record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  const auto attempt = FindAttempt(*store_, "token-1");
  EXPECT_EQ(attempt->result, AttemptResult::kAccepted);
  EXPECT_EQ(attempt->upstream_id, "up-1");
}

TEST_F(AttemptsTest, ALivePredictionGoesOnWithItsRecoveredVideo) {
  MakeWith(1, State::kUnresolved, AttemptResult::kUnknown);
  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kAbsent);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Propose(*store_, again)));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.outputs = kVideo;
  const auto found = RecordOrphan(*store_, record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->prediction->state, State::kSubmitting);
  EXPECT_EQ(found->prediction->sequence, 3);

  const auto next = Propose(*store_, MakeProposal(1, 3, State::kCreated));
  ASSERT_TRUE(Is<core::Committed>(next));
  EXPECT_EQ(std::get<core::Committed>(*next).prediction->recovered_outputs, kVideo);
  EXPECT_EQ(FindAttempt(*store_, "token-1")->result, AttemptResult::kOrphaned);
  EXPECT_EQ(FindAttempt(*store_, "second")->result, std::nullopt);
}

TEST_F(AttemptsTest, AnOrphanNeedsNoOwnershipAndARejectedPredictionStaysHidden) {
  Make(*store_, 1, {});
  ASSERT_TRUE(Reject(*store_, MakeReject(1, core::Rejection())).ok());
  Make(*store_, 2, {State::kCreated});
  Reopen();  // another epoch, nothing taken over
  for (const int number : {1, 2}) {
    core::OrphanRecord record = MakeOrphan(number, absl::StrCat("late-", number));
    record.outputs = kVideo;
    const auto found = RecordOrphan(*store_, record);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(found->news);
    EXPECT_EQ(RecoveredOf(number), kVideo);
  }
  EXPECT_TRUE(Is<core::ReserveRemembered>(Reserve(*store_, MakeReservation(1))));
  core::ListQuery query;
  query.tenant = "tenant";
  EXPECT_THAT(store_->List(query)->predictions, SizeIs(1));
  // The answer to its POST stays as evidence.
  EXPECT_EQ(Query("SELECT outcome || ' ' || http_status || ' ' || message FROM attempts "
                  "WHERE prediction_id = 'p000001'"),
            "6 400 no");
}

TEST_F(AttemptsTest, AnOrphanWithoutAnAttemptIsNotFound) {
  Make(*store_, 1, {State::kFailed});
  EXPECT_TRUE(absl::IsNotFound(RecordOrphan(*store_, MakeOrphan(2, "late")).status()));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.orphan.attempt_number = 2;
  EXPECT_TRUE(absl::IsNotFound(RecordOrphan(*store_, record).status()));
  record.orphan.attempt_number = 1;
  record.orphan.tenant = "other";
  EXPECT_TRUE(absl::IsNotFound(RecordOrphan(*store_, record).status()));
}

TEST_F(AttemptsTest, OrphansAreForgottenWithTheirPrediction) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  ASSERT_TRUE(RecordOrphan(*store_, MakeOrphan(1, "late-1")).ok());
  ASSERT_TRUE(RecordOrphan(*store_, MakeOrphan(2, "late-2")).ok());
  ASSERT_EQ(*Prune(*store_, Second(100), 1), 1);
  EXPECT_THAT(*ListOrphans(*store_), SizeIs(1));
  EXPECT_TRUE(absl::IsNotFound(RecordOrphan(*store_, MakeOrphan(1, "late-1")).status()));
  EXPECT_THAT(Review(*store_, Second(0), {"late-1", "late-2"})->bound, ElementsAre("late-2"));
}

TEST_F(AttemptsTest, TheNewOperationsOfABatchSeeOneAnotherInOrder) {
  core::Proposal unknown = MakeProposal(1, 1, State::kFailed);
  unknown.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  const std::vector<Operation> batch = {
      MakeReservation(1),
      unknown,
      MakeOrphan(1, "late"),
      ListOrphansRequest(),
      FindAttemptRequest{"token-1"},
      core::AttemptReviewQuery{.started_after = Second(0), .upstream_ids = {"late"}},
      PruneRequest{.ended_before = Second(100), .most = 5},
      MakeOrphan(1, "late"),
      ListOrphansRequest()};
  const BatchResult done = store_->Apply(batch);
  ASSERT_TRUE(done.commit.ok());
  EXPECT_TRUE(std::get<8>(done.results[2])->news);
  EXPECT_THAT(*std::get<9>(done.results[3]), SizeIs(1));
  EXPECT_EQ(std::get<7>(done.results[4])->result, AttemptResult::kOrphaned);
  EXPECT_THAT(std::get<6>(done.results[5])->bound, ElementsAre("late"));
  EXPECT_EQ(*std::get<10>(done.results[6]), 1);
  EXPECT_TRUE(absl::IsNotFound(std::get<8>(done.results[7]).status()));
  EXPECT_THAT(*std::get<9>(done.results[8]), IsEmpty());
}

TEST_F(AttemptsTest, OnlyWhatChangesNothingCountsAsARead) {
  const std::vector<Operation> reads = {
      LoadRequest(),        core::ListQuery(),    core::AttemptReviewQuery(),
      FindAttemptRequest(), ListOrphansRequest(), LoadLearnedRequest()};
  const std::vector<Operation> writes = {
      core::Reservation(),  core::Proposal(), core::RejectRequest(), TakeOverRequest(),
      core::OrphanRecord(), PruneRequest(),   SaveLearnedRequest()};
  EXPECT_EQ(reads.size() + writes.size(), std::variant_size_v<Operation>);
  EXPECT_TRUE(std::none_of(reads.begin(), reads.end(), IsWrite));
  EXPECT_TRUE(std::all_of(writes.begin(), writes.end(), IsWrite));
}

}  // namespace
}  // namespace dreamgate::ledger
