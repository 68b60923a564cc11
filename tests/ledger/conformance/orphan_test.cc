#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::AttemptResult;
using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<core::Output> kVideo = {{"https://a/late.mp4", false}};
const std::vector<core::Output> kOtherVideo = {{"https://a/other.mp4", std::nullopt}};

class Orphans : public Conformance {
 protected:
  std::vector<core::Output> RecoveredOf(int number) { return Stored(number).recovered_outputs; }
};
CONFORMANCE_OF_EACH_LEDGER(Orphans);

TEST_P(Orphans, AnOrphanOfAPredictionThatEndedIsKeptAndItsVideoRecovered) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  const core::StoredPrediction before = *Run(MakeLoad(1));

  auto found = Run(MakeOrphan(1, "late"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_THAT(found->prediction->recovered_outputs, IsEmpty());
  auto orphans = Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(1));
  EXPECT_EQ((*orphans)[0].prediction_id, IdOf(1));
  EXPECT_EQ((*orphans)[0].upstream_id, "late");
  EXPECT_EQ((*orphans)[0].attempt_number, 1);
  EXPECT_EQ((*orphans)[0].found_time, Second(600));
  const auto attempt = Run(core::AttemptQuery{"token-1"});
  EXPECT_EQ(attempt->result, AttemptResult::kOrphaned);
  EXPECT_EQ(attempt->upstream_id, "late");
  EXPECT_EQ(attempt->result_time, Second(600));

  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  found = Run(ended);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), IsEmpty());

  caller_.Reopen();
  const core::StoredPrediction after = *Run(MakeLoad(1));
  EXPECT_EQ(after.initial.recovered_outputs, kVideo);
  EXPECT_EQ(after.transitions, before.transitions);  // a terminal state stays the last update
  EXPECT_EQ(Run(MakeList())->predictions.at(0)->recovered_outputs, kVideo);
  const auto replayed = Run(MakeReservation(1));
  EXPECT_EQ(std::get<core::ReserveExisting>(*replayed).prediction->recovered_outputs, kVideo);
}

TEST_P(Orphans, AnOrphanIsNoNewsTheSecondTimeAndItsEndAndVideosStay) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late", 700);
  ended.ended = true;
  ended.outputs = kVideo;
  EXPECT_TRUE(Run(MakeOrphan(1, "late"))->news);
  EXPECT_FALSE(Run(MakeOrphan(1, "late", 650))->news);
  EXPECT_TRUE(Run(ended)->news);
  EXPECT_FALSE(Run(ended)->news);
  EXPECT_FALSE(Run(MakeOrphan(1, "late", 800))->news);
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), IsEmpty());
  EXPECT_EQ(RecoveredOf(1), kVideo);
}

TEST_P(Orphans, AVideoThatShowsUpAfterTheOrphanEndedIsStillKept) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord ended = MakeOrphan(1, "late");
  ended.ended = true;
  EXPECT_TRUE(Run(ended)->news);
  core::OrphanRecord video = MakeOrphan(1, "late", 800);
  video.outputs = kVideo;
  EXPECT_TRUE(Run(video)->news);
  EXPECT_EQ(RecoveredOf(1), kVideo);
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), IsEmpty());
}

TEST_P(Orphans, RecoveredVideosComeInTheOrderTheirTasksWereFound) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord later = MakeOrphan(1, "a", 700);
  later.outputs = kOtherVideo;
  core::OrphanRecord earlier = MakeOrphan(1, "b", 600);
  earlier.outputs = kVideo;
  ASSERT_TRUE(Run(later).ok());
  ASSERT_TRUE(Run(earlier).ok());
  EXPECT_THAT(RecoveredOf(1), ElementsAre(kVideo[0], kOtherVideo[0]));
  EXPECT_EQ(Run(core::AttemptQuery{"token-1"})->upstream_id, "a");  // the one found first
  const auto orphans = Run(core::OpenOrphansQuery());
  ASSERT_TRUE(orphans.ok());
  ASSERT_THAT(*orphans, SizeIs(2));
  EXPECT_EQ((*orphans)[0].upstream_id, "b");
}

TEST_P(Orphans, ATaskThatAnAttemptWasAcceptedWithIsNoOrphan) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kUnresolved, AttemptResult::kUnknown);
  for (const int number : {1, 2}) {
    const auto found = Run(MakeOrphan(number, "up-1"));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_FALSE(found->news);
    EXPECT_EQ(found->prediction->id, IdOf(number));
  }
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), IsEmpty());
  EXPECT_EQ(Run(core::AttemptQuery{"token-2"})->result, AttemptResult::kUnknown);
}

TEST_P(Orphans, AnOrphanBelongsToThePredictionThatWasFoundToHaveItFirst) {
  MakeWith(1, State::kFailed, AttemptResult::kUnknown);
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  core::OrphanRecord first = MakeOrphan(1, "late");
  first.outputs = kVideo;
  EXPECT_TRUE(Run(first)->news);
  core::OrphanRecord second = MakeOrphan(2, "late");
  second.ended = true;
  second.outputs = kOtherVideo;
  EXPECT_FALSE(Run(second)->news);
  EXPECT_EQ(RecoveredOf(1), kVideo);
  EXPECT_THAT(*Run(core::OpenOrphansQuery()), SizeIs(1));
  EXPECT_THAT(RecoveredOf(2), IsEmpty());
  EXPECT_EQ(Run(core::AttemptQuery{"token-2"})->result, AttemptResult::kUnknown);
}

TEST_P(Orphans, AnAttemptWithATaskOfItsOwnKeepsItAndTheOrphanIsKeptBesideIt) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  core::OrphanRecord record = MakeOrphan(1, "second-task");
  record.outputs = kVideo;
  const auto found = Run(record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->news);
  EXPECT_EQ(found->prediction->recovered_outputs, kVideo);
  const auto attempt = Run(core::AttemptQuery{"token-1"});
  EXPECT_EQ(attempt->result, AttemptResult::kAccepted);
  EXPECT_EQ(attempt->upstream_id, "up-1");
}

TEST_P(Orphans, ALivePredictionGoesOnWithItsRecoveredVideo) {
  MakeWith(1, State::kUnresolved, AttemptResult::kUnknown);
  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kAbsent);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Run(again)));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.outputs = kVideo;
  const auto found = Run(record);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->prediction->state, State::kSubmitting);
  EXPECT_EQ(found->prediction->sequence, 3);

  const auto next = Run(MakeProposal(1, 3, State::kCreated));
  ASSERT_TRUE(Is<core::Committed>(next));
  EXPECT_EQ(std::get<core::Committed>(*next).prediction->recovered_outputs, kVideo);
  EXPECT_EQ(Run(core::AttemptQuery{"token-1"})->result, AttemptResult::kOrphaned);
  EXPECT_EQ(Run(core::AttemptQuery{"second"})->result, std::nullopt);
}

TEST_P(Orphans, AnOrphanNeedsNoOwnershipAndARejectedPredictionStaysHidden) {
  Make(1, {});
  ASSERT_TRUE(Run(MakeReject(1, core::Rejection())).ok());
  Make(2, {State::kCreated});
  caller_.Reopen();  // another epoch, nothing taken over
  for (const int number : {1, 2}) {
    core::OrphanRecord record = MakeOrphan(number, absl::StrCat("late-", number));
    record.outputs = kVideo;
    const auto found = Run(record);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(found->news);
    EXPECT_EQ(RecoveredOf(number), kVideo);
  }
  EXPECT_TRUE(Is<core::ReserveRemembered>(Run(MakeReservation(1))));
  EXPECT_THAT(Run(MakeList())->predictions, SizeIs(1));
}

TEST_P(Orphans, AnOrphanWithoutAnAttemptIsNotFound) {
  Make(1, {State::kFailed});
  EXPECT_TRUE(absl::IsNotFound(Run(MakeOrphan(2, "late")).status()));
  core::OrphanRecord record = MakeOrphan(1, "late");
  record.orphan.attempt_number = 2;
  EXPECT_TRUE(absl::IsNotFound(Run(record).status()));
  record.orphan.attempt_number = 1;
  record.orphan.tenant = "other";
  EXPECT_TRUE(absl::IsNotFound(Run(record).status()));
}

}  // namespace
}  // namespace dreamgate::ledger
