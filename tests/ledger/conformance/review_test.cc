// Attempts as the ledger knows them, for whoever compares them with upstream.
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

class Review : public Conformance {
 protected:
  std::vector<std::string> OpenTokens(absl::Time started_after) {
    const auto review = Run(MakeReview(started_after));
    EXPECT_TRUE(review.ok()) << review.status();
    std::vector<std::string> tokens;
    if (review.ok()) {
      for (const core::StoredAttempt& open : review->open) tokens.push_back(open.attempt.token);
    }
    return tokens;
  }
};
CONFORMANCE_OF_EACH_LEDGER(Review);

TEST_P(Review, OpenAreTheAttemptsThatMayHaveCreatedATaskNobodyHasOldestFirst) {
  Make(1, {});
  MakeWith(2, State::kUnresolved, AttemptResult::kUnknown);
  MakeWith(3, State::kCreated, AttemptResult::kAccepted, "up-3");
  MakeWith(4, State::kUnresolved, AttemptResult::kUnknown);
  core::Proposal again = MakeProposal(4, 2, State::kSubmitting);
  again.attempt_outcome = MakeOutcome(1, AttemptResult::kAbsent);
  again.new_attempt = core::Attempt{.number = 2, .token = "token-4b", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Run(again)));
  Make(5, {});
  ASSERT_TRUE(Run(MakeReject(5, std::nullopt)).ok());
  MakeWith(6, State::kFailed, AttemptResult::kUnknown);
  MakeWith(7, State::kFailed, AttemptResult::kNotSent);
  Make(8, {State::kUnresolved}, "other");

  EXPECT_THAT(OpenTokens(Second(0)),
              ElementsAre("token-1", "token-2", "token-4", "token-6", "token-8", "token-4b"));
  EXPECT_THAT(OpenTokens(Second(6)), ElementsAre("token-6", "token-8", "token-4b"));
  EXPECT_THAT(OpenTokens(absl::InfinitePast()), SizeIs(6));
  EXPECT_THAT(OpenTokens(Second(51)), IsEmpty());
}

TEST_P(Review, AnAttemptComesWithEverythingItsTaskCanBeRecognisedBy) {
  core::Reservation reservation = MakeReservation(1);
  reservation.prediction.input.prompt = "a lighthouse";
  reservation.prediction.input.aspect_ratio = core::AspectRatio::k9x21;
  reservation.prediction.seed = 2147483647;
  ASSERT_TRUE(Is<core::Reserved>(Run(reservation)));
  core::Proposal unresolved = MakeProposal(1, 1, State::kUnresolved);
  unresolved.attempt_outcome = MakeOutcome(1, AttemptResult::kUnknown);
  ASSERT_TRUE(Is<core::Committed>(Run(unresolved)));

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
    EXPECT_TRUE(stored.seed_drawn);
    EXPECT_EQ(stored.model, "model");
    EXPECT_EQ(stored.key_fingerprint, "0123456789abcdef");
  };
  const auto review = Run(MakeReview(Second(0)));
  ASSERT_TRUE(review.ok()) << review.status();
  ASSERT_THAT(review->open, SizeIs(1));
  check(review->open[0], true);
  EXPECT_EQ(review->open[0].state, State::kUnresolved);

  core::Proposal again = MakeProposal(1, 2, State::kSubmitting);
  again.new_attempt = core::Attempt{.number = 2, .token = "second", .start_time = Second(50)};
  ASSERT_TRUE(Is<core::Committed>(Run(again)));
  const auto first = Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(first.ok()) << first.status();
  check(*first, false);
  EXPECT_EQ(first->state, State::kSubmitting);
  const auto second = Run(core::AttemptQuery{"second"});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->attempt.number, 2);
  EXPECT_TRUE(second->latest);
  EXPECT_EQ(second->result, std::nullopt);
  EXPECT_EQ(second->result_time, std::nullopt);
}

TEST_P(Review, ASeedThatTheCallerAskedForWasNotDrawn) {
  core::Reservation reservation = MakeReservation(1);
  reservation.prediction.input.seed = 1;
  ASSERT_TRUE(Is<core::Reserved>(Run(reservation)));
  const auto attempt = Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(attempt.ok()) << attempt.status();
  EXPECT_FALSE(attempt->seed_drawn);
}

TEST_P(Review, AnUnknownTokenIsNotFoundAndOneOfARejectedPredictionIs) {
  Make(1, {});
  ASSERT_TRUE(Run(MakeReject(1, std::nullopt)).ok());
  EXPECT_TRUE(absl::IsNotFound(Run(core::AttemptQuery{"token"}).status()));
  EXPECT_TRUE(absl::IsNotFound(Run(core::AttemptQuery{""}).status()));
  const auto rejected = Run(core::AttemptQuery{"token-1"});
  ASSERT_TRUE(rejected.ok()) << rejected.status();
  EXPECT_EQ(rejected->result, AttemptResult::kRejected);
}

TEST_P(Review, TheReviewSaysWhichTasksUpstreamMustKnow) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kCompleted, AttemptResult::kAccepted, "up-2");
  MakeWith(3, State::kUnresolved, AttemptResult::kUnknown);
  const auto tasks = [&](int64_t started_after) {
    std::vector<std::string> ids;
    const auto review = Run(MakeReview(Second(started_after)));
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
  const auto review = Run(without);
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_THAT(review->accepted, IsEmpty());
  EXPECT_THAT(review->open, SizeIs(1));
  EXPECT_THAT(review->bound, ElementsAre("up-1"));
  EXPECT_THAT(tasks(2), ElementsAre("up-2"));
  EXPECT_THAT(tasks(3), IsEmpty());
}

TEST_P(Review, TheReviewSaysWhichOfThousandsOfTasksSomebodyHas) {
  MakeWith(1, State::kCreated, AttemptResult::kAccepted, "up-1");
  MakeWith(2, State::kFailed, AttemptResult::kUnknown);
  MakeWith(3, State::kCreated, AttemptResult::kAccepted, "up-3");
  ASSERT_TRUE(Run(MakeOrphan(2, "orphan-2")).ok());
  ASSERT_TRUE(Run(MakeOrphan(3, "orphan'-3")).ok());  // beside the attempt's own
  std::vector<std::string> asked = {"up-3", "orphan'-3", "up-1", "up-1", "orphan-2", ""};
  for (int i = 10; i < 5000; ++i) asked.push_back(absl::StrCat("up-", i));
  const auto review = Run(MakeReview(absl::InfiniteFuture(), asked));
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_THAT(review->bound, ElementsAre("orphan'-3", "orphan-2", "up-1", "up-3"));
  EXPECT_THAT(review->open, IsEmpty());
  EXPECT_THAT(review->accepted, IsEmpty());
}

}  // namespace
}  // namespace dreamgate::ledger
