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
    ASSERT_TRUE(Is<core::Committed>(store_->Run(proposal)));
  }

  std::vector<std::string> OpenTokens(absl::Time started_after) {
    const auto review = store_->Run(MakeReview(started_after));
    EXPECT_TRUE(review.ok()) << review.status();
    std::vector<std::string> tokens;
    if (review.ok()) {
      for (const core::StoredAttempt& open : review->open) tokens.push_back(open.attempt.token);
    }
    return tokens;
  }

  std::vector<core::Output> RecoveredOf(int number) {
    const auto stored = store_->Run(MakeLoad(number));
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
        ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
      }
      core::Proposal proposal = MakeProposal(number, 2, State::kFailed);
      proposal.attempt_outcome = MakeOutcome(1, to);
      const absl::StatusOr<core::ProposeResult> result = store_->Run(proposal);
      if (core::IsLegalAttemptResult(known, to)) {
        EXPECT_TRUE(Is<core::Committed>(result)) << from << " to " << static_cast<int>(to);
      } else {
        EXPECT_EQ(core::ReasonOf(result.status()), core::Reason::kInternal)
            << from << " to " << static_cast<int>(to);
        EXPECT_THAT(store_->Run(MakeLoad(number))->transitions, SizeIs(2));
      }
    }
  }
}

TEST_F(AttemptsTest, ARejectionThatTheAttemptCannotTakeChangesNothing) {
  Make(*store_, 1, {});
  store_.reset();
  ExecuteSql(path_, "UPDATE attempts SET outcome = 1");
  store_ = OpenStore(path_);
  ASSERT_TRUE(store_->Run(core::TakeOverRequest()).ok());
  EXPECT_EQ(core::ReasonOf(store_->Run(MakeReject(1, std::nullopt)).status()),
            core::Reason::kInternal);
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
  ASSERT_TRUE(Is<core::Committed>(store_->Run(again)));
  Make(*store_, 5, {});
  ASSERT_TRUE(store_->Run(MakeReject(5, std::nullopt)).ok());
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
  ASSERT_TRUE(Is<core::Reserved>(store_->Run(reservation)));
  core::Proposal unresolved = MakeProposal(1, 1, State::kUnresolved);
  unresolved.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  ASSERT_TRUE(Is<core::Committed>(store_->Run(unresolved)));

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
  const auto review = store_->Run(MakeReview(Second(0)));
  ASSERT_TRUE(review.ok()) << review.status();
  ASSERT_THAT(review->open, SizeIs(1));
  check(review->open[0], true);
  EXPECT_EQ(review->open[0].state, State::kUnresolved);

  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(store_->Run(again)));
  const auto first = store_->Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(first.ok()) << first.status();
  check(*first, false);
  EXPECT_EQ(first->state, State::kSubmitting);
  const auto second = store_->Run(core::AttemptQuery{"second"});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->attempt.number, 2);
  EXPECT_TRUE(second->latest);
  EXPECT_EQ(second->result, std::nullopt);
  EXPECT_EQ(second->result_time, std::nullopt);
}

TEST_F(AttemptsTest, AnUnknownTokenIsNotFoundAndOneOfARejectedPredictionIs) {
  Make(*store_, 1, {});
  ASSERT_TRUE(store_->Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Run(core::AttemptQuery{"token"}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Run(core::AttemptQuery{""}).status()));
  const auto rejected = store_->Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(rejected.ok()) << rejected.status();
  EXPECT_EQ(rejected->result, AttemptResult::kRejected);
}

TEST_F(AttemptsTest, TheReviewSaysWhichTasksUpstreamMustKnow) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kCompleted, AttemptResult::kAccepted, "up-2");
  MakeWith(3, State::kUnresolved, AttemptResult::kUnknown);
  const auto tasks = [&](int64_t started_after) {
    std::vector<std::string> ids;
    const auto review = store_->Run(MakeReview(Second(started_after)));
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
  const auto review = store_->Run(without);
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
  ASSERT_TRUE(store_->Run(MakeOrphan(2, "orphan-2")).ok());
  ASSERT_TRUE(store_->Run(MakeOrphan(3, "orphan'-3")).ok());  // beside the attempt's own
  std::vector<std::string> asked = {"up-3", "orphan'-3", "up-1", "up-1", "orphan-2", ""};
  for (int i = 10; i < 5000; ++i) asked.push_back(absl::StrCat("up-", i));
  const auto review = store_->Run(MakeReview(absl::InfiniteFuture(), asked));
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_THAT(review->bound, ElementsAre("orphan'-3", "orphan-2", "up-1", "up-3"));
  EXPECT_THAT(review->open, IsEmpty());
  EXPECT_THAT(review->accepted, IsEmpty());
}

// ------------------------------------------------------------------------------------------- orphans

TEST_F(AttemptsTest, AnOrphanOfAPredictionThatEndedIsKeptAndItsVideoRecovered) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  const core::StoredPrediction before = *store_->Run(MakeLoad(1));

  auto found = store_->Run(MakeOrphan(1, "late"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_THAT(found->prediction->recovered_outputs, IsEmpty());
  auto orphans = store_->Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(1));
  EXPECT_EQ((*orphans)[0].prediction_id, IdOf(1));
  EXPECT_EQ((*orphans)[0].upstream_id, "late");
  EXPECT_EQ((*orphans)[0].attempt_number, 1);
  EXPECT_EQ((*orphans)[0].found_time, Second(600));
  const auto attempt = store_->Run(core::AttemptQuery{"token-1"});
  EXPECT_EQ(attempt->result, AttemptResult::kOrphaned);
  EXPECT_EQ(attempt->upstream_id, "late");
  EXPECT_EQ(attempt->result_time, Second(600));

  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  found = store_->Run(ended);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  EXPECT_THAT(*store_->Run(core::OpenOrphansQuery()), IsEmpty());

  Reopen();
  const core::StoredPrediction after = *store_->Run(MakeLoad(1));
  EXPECT_EQ(after.initial.recovered_outputs, kVideo);
  EXPECT_EQ(after.transitions, before.transitions);  // a terminal state stays the last update
  EXPECT_EQ(store_->Run(MakeList())->predictions.at(0)->recovered_outputs, kVideo);
  const auto replayed = store_->Run(MakeReservation(1));
  EXPECT_EQ(std::get<core::ReserveExisting>(*replayed).prediction->recovered_outputs, kVideo);
  EXPECT_EQ(Query("SELECT found_time || ' ' || end_time FROM orphans"),
            "1700000600000000000 1700000700000000000");
}

TEST_F(AttemptsTest, WhatIsKnownOfAnOrphanIsNoNewsTheSecondTimeAndNeverTakenBack) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  EXPECT_TRUE(store_->Run(MakeOrphan(1, "late"))->news);
  EXPECT_FALSE(store_->Run(MakeOrphan(1, "late", 650))->news);
  EXPECT_TRUE(store_->Run(ended)->news);
  EXPECT_FALSE(store_->Run(ended)->news);
  EXPECT_FALSE(store_->Run(MakeOrphan(1, "late", 800))->news);
  EXPECT_THAT(*store_->Run(core::OpenOrphansQuery()), IsEmpty());
  EXPECT_EQ(RecoveredOf(1), kVideo);
}

TEST_F(AttemptsTest, AVideoThatShowsUpAfterTheOrphanEndedIsStillKept) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late");
  ended.ended = true;
  EXPECT_TRUE(store_->Run(ended)->news);
  core::OrphanRecord video = MakeOrphan(1, "late", 800);
  video.outputs = kVideo;
  EXPECT_TRUE(store_->Run(video)->news);
  EXPECT_EQ(RecoveredOf(1), kVideo);
  EXPECT_THAT(*store_->Run(core::OpenOrphansQuery()), IsEmpty());
}

TEST_F(AttemptsTest, RecoveredVideosComeInTheOrderTheirTasksWereFound) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord later = MakeOrphan(1, "a", 700);
  later.outputs = kOtherVideo;
  core::OrphanRecord earlier = MakeOrphan(1, "b", 600);
  earlier.outputs = kVideo;
  ASSERT_TRUE(store_->Run(later).ok());
  ASSERT_TRUE(store_->Run(earlier).ok());
  EXPECT_THAT(RecoveredOf(1), ElementsAre(kVideo[0], kOtherVideo[0]));
  const auto orphans = store_->Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(2));
  EXPECT_EQ((*orphans)[0].upstream_id, "b");
}

TEST_F(AttemptsTest, ATaskThatAnAttemptWasAcceptedWithIsNoOrphan) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kUnresolved, AttemptResult::kUnknown);
  for (const int number : {1, 2}) {
    const auto found = store_->Run(MakeOrphan(number, "up-1"));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_FALSE(found->news);
    EXPECT_EQ(found->prediction->id, IdOf(number));
  }
  EXPECT_THAT(*store_->Run(core::OpenOrphansQuery()), IsEmpty());
  EXPECT_EQ(store_->Run(core::AttemptQuery{"token-2"})->result, AttemptResult::kUnknown);
}

TEST_F(AttemptsTest, AnOrphanBelongsToThePredictionThatWasFoundToHaveItFirst) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord first = MakeOrphan(1, "late");
  first.outputs = kVideo;
  EXPECT_TRUE(store_->Run(first)->news);
  core::OrphanRecord second = MakeOrphan(2, "late");
  second.outputs = kVideo;
  EXPECT_FALSE(store_->Run(second)->news);
  EXPECT_THAT(RecoveredOf(2), IsEmpty());
  EXPECT_EQ(store_->Run(core::AttemptQuery{"token-2"})->result, AttemptResult::kUnknown);
}

TEST_F(AttemptsTest, AnAttemptWithATaskOfItsOwnKeepsItAndTheOrphanIsKeptBesideIt) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  core::OrphanRecord record = MakeOrphan(1, "second-task");
  record.outputs = kVideo;
  const auto found = store_->Run(record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  const auto attempt = store_->Run(core::AttemptQuery{"token-1"});
  EXPECT_EQ(attempt->result, AttemptResult::kAccepted);
  EXPECT_EQ(attempt->upstream_id, "up-1");
}

TEST_F(AttemptsTest, ALivePredictionGoesOnWithItsRecoveredVideo) {
  MakeWith(1, State::kUnresolved, AttemptResult::kUnknown);
  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kAbsent);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(store_->Run(again)));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.outputs = kVideo;
  const auto found = store_->Run(record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->prediction->state, State::kSubmitting);
  EXPECT_EQ(found->prediction->sequence, 3);

  const auto next = store_->Run(MakeProposal(1, 3, State::kCreated));
  ASSERT_TRUE(Is<core::Committed>(next));
  EXPECT_EQ(std::get<core::Committed>(*next).prediction->recovered_outputs, kVideo);
  EXPECT_EQ(store_->Run(core::AttemptQuery{"token-1"})->result, AttemptResult::kOrphaned);
  EXPECT_EQ(store_->Run(core::AttemptQuery{"second"})->result, std::nullopt);
}

TEST_F(AttemptsTest, AnOrphanNeedsNoOwnershipAndARejectedPredictionStaysHidden) {
  Make(*store_, 1, {});
  ASSERT_TRUE(store_->Run(MakeReject(1, core::Rejection())).ok());
  Make(*store_, 2, {State::kCreated});
  Reopen();  // another epoch, nothing taken over
  for (const int number : {1, 2}) {
    core::OrphanRecord record = MakeOrphan(number, absl::StrCat("late-", number));
    record.outputs = kVideo;
    const auto found = store_->Run(record);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(found->news);
    EXPECT_EQ(RecoveredOf(number), kVideo);
  }
  EXPECT_TRUE(Is<core::ReserveRemembered>(store_->Run(MakeReservation(1))));
  EXPECT_THAT(store_->Run(MakeList())->predictions, SizeIs(1));
  // The answer to its POST stays as evidence.
  EXPECT_EQ(Query("SELECT outcome || ' ' || http_status || ' ' || message FROM attempts "
                  "WHERE prediction_id = 'p000001'"),
            "6 400 no");
}

TEST_F(AttemptsTest, AnOrphanWithoutAnAttemptIsNotFound) {
  Make(*store_, 1, {State::kFailed});
  EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeOrphan(2, "late")).status()));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.orphan.attempt_number = 2;
  EXPECT_TRUE(absl::IsNotFound(store_->Run(record).status()));
  record.orphan.attempt_number = 1;
  record.orphan.tenant = "other";
  EXPECT_TRUE(absl::IsNotFound(store_->Run(record).status()));
}

TEST_F(AttemptsTest, OrphansAreForgottenWithTheirPrediction) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  ASSERT_TRUE(store_->Run(MakeOrphan(1, "late-1")).ok());
  ASSERT_TRUE(store_->Run(MakeOrphan(2, "late-2")).ok());
  ASSERT_EQ(*store_->Run(core::PruneRequest{Second(100), 1}), 1);
  EXPECT_THAT(*store_->Run(core::OpenOrphansQuery()), SizeIs(1));
  EXPECT_TRUE(absl::IsNotFound(store_->Run(MakeOrphan(1, "late-1")).status()));
  EXPECT_THAT(store_->Run(MakeReview(Second(0), {"late-1", "late-2"}))->bound,
              ElementsAre("late-2"));
}

TEST_F(AttemptsTest, TheNewOperationsOfABatchSeeOneAnotherInOrder) {
  core::Proposal unknown = MakeProposal(1, 1, State::kFailed);
  unknown.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  const Batch batch = MakeBatch(MakeReservation(1), unknown, MakeOrphan(1, "late"),
                                core::OpenOrphansQuery(), core::AttemptQuery{"token-1"},
                                MakeReview(Second(0), {"late"}), core::PruneRequest{Second(100), 5},
                                MakeOrphan(1, "late"), core::OpenOrphansQuery());
  ASSERT_TRUE(store_->Apply(batch).commit.ok());
  EXPECT_TRUE(AnswerIn<core::OrphanRecord>(batch, 2)->news);
  EXPECT_THAT(*AnswerIn<core::OpenOrphansQuery>(batch, 3), SizeIs(1));
  EXPECT_EQ(AnswerIn<core::AttemptQuery>(batch, 4)->result, AttemptResult::kOrphaned);
  EXPECT_THAT(AnswerIn<core::AttemptReviewQuery>(batch, 5)->bound, ElementsAre("late"));
  EXPECT_EQ(*AnswerIn<core::PruneRequest>(batch, 6), 1);
  EXPECT_TRUE(absl::IsNotFound(AnswerIn<core::OrphanRecord>(batch, 7).status()));
  EXPECT_THAT(*AnswerIn<core::OpenOrphansQuery>(batch, 8), IsEmpty());
}

TEST_F(AttemptsTest, OnlyWhatChangesNothingCountsAsARead) {
  const Batch reads =
      MakeBatch(core::LoadRequest(), core::ListQuery(), core::AttemptReviewQuery(),
                core::AttemptQuery(), core::OpenOrphansQuery(), core::LoadLearnedRequest());
  const Batch writes = MakeBatch(core::Reservation(), core::Proposal(), core::RejectRequest(),
                                 core::TakeOverRequest(), core::OrphanRecord(),
                                 core::PruneRequest(), core::SaveLearnedRequest());
  EXPECT_EQ(reads.size() + writes.size(), std::variant_size_v<core::LedgerCall>);
  for (const auto& call : reads) EXPECT_FALSE(core::IsWrite(*call));
  for (const auto& call : writes) EXPECT_TRUE(core::IsWrite(*call));
}

}  // namespace
}  // namespace dreamgate::ledger
