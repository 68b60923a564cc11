#include "server/core/evidence/evidence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace dreamgate::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr char kModel[] = "bytedance/dreamina-v3.0-pro/text-to-video";
constexpr char kKey[] = "0123456789abcdef";
const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kSettle = absl::Minutes(2);

// An attempt that was sent at kStart and lost its answer a second later.
StoredAttempt Lost(const std::string& prediction_id, const TaskInput& input = {"a cat", "16:9", 7},
                   absl::Time sent = kStart) {
  StoredAttempt attempt;
  attempt.tenant = "t";
  attempt.prediction_id = prediction_id;
  attempt.attempt = {1, "token-" + prediction_id, sent};
  attempt.result = AttemptResult::kUnknown;
  attempt.result_time = sent + absl::Seconds(1);
  attempt.state = State::kUnresolved;
  attempt.input = input;
  attempt.model = kModel;
  attempt.key_fingerprint = kKey;
  return attempt;
}

// One whose POST may still be answered.
StoredAttempt InFlight(const std::string& prediction_id,
                       const TaskInput& input = {"a cat", "16:9", 7}, absl::Time sent = kStart) {
  StoredAttempt attempt = Lost(prediction_id, input, sent);
  attempt.result.reset();
  attempt.result_time.reset();
  attempt.state = State::kSubmitting;
  return attempt;
}

HistoryItem Item(const std::string& id,
                 std::optional<TaskInput> input = TaskInput{"a cat", "16:9", 7},
                 std::optional<absl::Time> created = kStart) {
  return {id, kModel, "processing", State::kProcessing, created, std::move(input)};
}

HistoryReading Reading(std::vector<HistoryItem> items,
                       absl::Time begun = kStart + absl::Minutes(1)) {
  HistoryReading reading;
  reading.begun = begun;
  reading.since = kStart - absl::Hours(1);
  reading.complete = true;
  reading.items = std::move(items);
  reading.clock_offset = absl::ZeroDuration();
  reading.key_fingerprint = kKey;
  return reading;
}

AttemptReview Open(std::vector<StoredAttempt> attempts, std::vector<std::string> bound = {}) {
  AttemptReview review;
  review.open = std::move(attempts);
  review.bound = std::move(bound);
  return review;
}

// The tasks that are bound, each by prediction (and attempt) and upstream id.
std::set<std::pair<std::string, std::string>> Matched(const HistoryReading& reading,
                                                      const AttemptReview& review) {
  std::set<std::pair<std::string, std::string>> matched;
  for (const Match& match : MatchTasks(reading, review).matches) {
    std::string who = match.attempt->prediction_id;
    if (match.attempt->attempt.number > 1) {
      who += "#" + std::to_string(match.attempt->attempt.number);
    }
    EXPECT_TRUE(matched.emplace(who, match.item->upstream_id).second);
  }
  return matched;
}

// ---------------------------------------------------------------------------------------- matching

TEST(MatchTasksTest, TheOneTaskWithExactlyOurInputIsOurs) {
  const HistoryReading reading = Reading({Item("other", TaskInput{"a dog", "16:9", 8}), Item("u")});
  const AttemptReview review = Open({Lost("p")});
  EXPECT_THAT(Matched(reading, review), UnorderedElementsAre(Pair("p", "u")));
  EXPECT_EQ(MatchTasks(reading, review).ambiguous, 0);
}

TEST(MatchTasksTest, AnotherPromptRatioOrSeedIsAnotherTask) {
  const AttemptReview review = Open({Lost("p")});
  const std::vector<TaskInput> others = {{"a cat ", "16:9", 7}, {"A cat", "16:9", 7},
                                         {"", "16:9", 7},       {"a cat", "9:16", 7},
                                         {"a cat", "", 7},      {"a cat", "16:9", 8},
                                         {"a cat", "16:9", 0},  {"a cat", "16:9", 4294967303}};
  for (const TaskInput& other : others) {
    EXPECT_THAT(Matched(Reading({Item("u", other)}), review), IsEmpty())
        << other.prompt << " " << other.aspect_ratio << " " << other.seed;
  }
}

TEST(MatchTasksTest, ATaskWhoseInputIsNotShownIsNobodys) {
  EXPECT_THAT(Matched(Reading({Item("u", std::nullopt)}), Open({Lost("p")})), IsEmpty());
}

TEST(MatchTasksTest, ATaskThatSomebodyHasIsNotGivenAway) {
  EXPECT_THAT(Matched(Reading({Item("u")}), Open({Lost("p")}, {"u"})), IsEmpty());
  EXPECT_THAT(Matched(Reading({Item("v"), Item("u")}), Open({Lost("p")}, {"u", "w"})),
              UnorderedElementsAre(Pair("p", "v")));
}

TEST(MatchTasksTest, AsManyEqualTasksAsAttemptsAreBoundOldestFirst) {
  const TaskInput cat = {"a cat", "16:9", 7};
  const HistoryReading reading =
      Reading({Item("u3", cat, kStart + absl::Seconds(20)),
               Item("u2", cat, kStart + absl::Seconds(10)), Item("u1", cat, kStart)});
  const AttemptReview review = Open({Lost("p1", cat), Lost("p2", cat, kStart + absl::Seconds(10)),
                                     Lost("p3", cat, kStart + absl::Seconds(20))});
  EXPECT_THAT(Matched(reading, review),
              UnorderedElementsAre(Pair("p1", "u1"), Pair("p2", "u2"), Pair("p3", "u3")));
}

TEST(MatchTasksTest, TheOrderOfHistoryDoesNotDecideWhoseIsWhose) {
  const TaskInput cat = {"a cat", "16:9", 7};
  const HistoryReading reading =
      Reading({Item("u1", cat, kStart), Item("u3", cat, kStart + absl::Seconds(20)),
               Item("u2", cat, kStart + absl::Seconds(10))});
  const AttemptReview review = Open({Lost("p1", cat), Lost("p2", cat, kStart + absl::Seconds(10)),
                                     Lost("p3", cat, kStart + absl::Seconds(20))});
  EXPECT_THAT(Matched(reading, review),
              UnorderedElementsAre(Pair("p1", "u1"), Pair("p2", "u2"), Pair("p3", "u3")));
}

TEST(MatchTasksTest, FewerEqualTasksThanAttemptsBindNothing) {
  const HistoryReading reading = Reading({Item("u")});
  const AttemptReview review = Open({Lost("p1"), Lost("p2")});
  EXPECT_THAT(Matched(reading, review), IsEmpty());
  EXPECT_GT(MatchTasks(reading, review).ambiguous, 0);
}

TEST(MatchTasksTest, MoreEqualTasksThanAttemptsBindNothing) {
  const HistoryReading reading = Reading({Item("u1"), Item("u2"), Item("u3")});
  const AttemptReview review = Open({Lost("p1"), Lost("p2")});
  EXPECT_THAT(Matched(reading, review), IsEmpty());
  EXPECT_GT(MatchTasks(reading, review).ambiguous, 0);
}

TEST(MatchTasksTest, EqualTasksThatSomebodyHasDoNotMakeItAmbiguous) {
  EXPECT_THAT(Matched(Reading({Item("u1"), Item("u2")}), Open({Lost("p")}, {"u1"})),
              UnorderedElementsAre(Pair("p", "u2")));
}

TEST(MatchTasksTest, AmbiguityAboutOneInputDoesNotKeepAnotherFromBeingBound) {
  const TaskInput dog = {"a dog", "16:9", 9};
  const HistoryReading reading = Reading({Item("u1"), Item("u2", dog)});
  const AttemptReview review = Open({Lost("p1"), Lost("p2"), Lost("p3", dog)});
  EXPECT_THAT(Matched(reading, review), UnorderedElementsAre(Pair("p3", "u2")));
  EXPECT_GT(MatchTasks(reading, review).ambiguous, 0);
}

TEST(MatchTasksTest, TwoEqualPredictionsOfDifferentTenantsAreTwoPredictions) {
  StoredAttempt other = Lost("p1");
  other.tenant = "another";
  EXPECT_THAT(MatchTasks(Reading({Item("u")}), Open({Lost("p1"), other})).matches, IsEmpty());
}

TEST(MatchTasksTest, OneTaskForSeveralAttemptsOfOnePredictionIsThatPredictions) {
  StoredAttempt first = Lost("p");
  first.result = AttemptResult::kAbsent;
  first.latest = false;
  StoredAttempt second = Lost("p", first.input, kStart + absl::Minutes(3));
  second.attempt.number = 2;
  const HistoryReading reading =
      Reading({Item("u", first.input, kStart + absl::Minutes(3))}, kStart + absl::Minutes(5));
  const AttemptReview review = Open({first, second});
  const Matching matching = MatchTasks(reading, review);
  ASSERT_EQ(matching.matches.size(), 1u) << "whichever attempt created it, the prediction is known";
  EXPECT_EQ(matching.matches[0].attempt->prediction_id, "p");
  EXPECT_EQ(matching.matches[0].item->upstream_id, "u");
}

TEST(MatchTasksTest, TwoTasksForTwoAttemptsOfOnePredictionAreBoundOldestFirst) {
  StoredAttempt first = Lost("p");
  first.result = AttemptResult::kAbsent;
  first.latest = false;
  StoredAttempt second = Lost("p", first.input, kStart + absl::Minutes(3));
  second.attempt.number = 2;
  EXPECT_THAT(Matched(Reading({Item("u2", first.input, kStart + absl::Minutes(3)),
                               Item("u1", first.input, kStart)},
                              kStart + absl::Minutes(5)),
                      Open({first, second})),
              UnorderedElementsAre(Pair("p", "u1"), Pair("p#2", "u2")));
}

TEST(MatchTasksTest, TwoTasksThatBothCameAfterAVerdictOfAbsenceAreBoundOldestFirst) {
  StoredAttempt first = Lost("p");
  first.result = AttemptResult::kAbsent;
  first.result_time = kStart + absl::Minutes(1);
  first.latest = false;
  StoredAttempt second = Lost("p", first.input, kStart + absl::Minutes(1));
  second.attempt.number = 2;
  EXPECT_THAT(Matched(Reading({Item("u2", first.input, kStart + absl::Minutes(4)),
                               Item("u1", first.input, kStart + absl::Minutes(3))},
                              kStart + absl::Minutes(5)),
                      Open({first, second})),
              UnorderedElementsAre(Pair("p", "u1"), Pair("p#2", "u2")));
}

TEST(MatchTasksTest, MoreTasksThanAttemptsOfOnePredictionAreNotSharedOutTwice) {
  // A foreign client that asks for the same: each attempt gets at most one, each task at most once.
  const auto matching = MatchTasks(Reading({Item("u1"), Item("u2")}), Open({Lost("p")}));
  EXPECT_LE(matching.matches.size(), 1u);
}

TEST(MatchTasksTest, WhileATwinIsInFlightItsAnswerDecides) {
  for (const size_t tasks : {1u, 2u, 3u}) {
    std::vector<HistoryItem> items;
    for (size_t i = 0; i < tasks; ++i) items.push_back(Item("u" + std::to_string(i)));
    EXPECT_THAT(Matched(Reading(items), Open({Lost("p1"), InFlight("p2")})), IsEmpty()) << tasks;
  }
}

TEST(MatchTasksTest, AnAttemptInFlightIsNotMatchedItself) {
  EXPECT_THAT(Matched(Reading({Item("u")}), Open({InFlight("p")})), IsEmpty());
}

TEST(MatchTasksTest, AnotherInputInFlightDisturbsNobody) {
  EXPECT_THAT(Matched(Reading({Item("u")}),
                      Open({Lost("p1"), InFlight("p2", TaskInput{"a dog", "16:9", 7})})),
              UnorderedElementsAre(Pair("p1", "u")));
}

TEST(MatchTasksTest, AnAttemptThatWasGivenUpOrFoundAbsentStillGetsItsTask) {
  StoredAttempt given_up = Lost("p1");
  given_up.state = State::kFailed;
  StoredAttempt absent = Lost("p2", TaskInput{"a dog", "16:9", 8});
  absent.state = State::kFailed;
  absent.result = AttemptResult::kAbsent;
  EXPECT_THAT(Matched(Reading({Item("u1"), Item("u2", absent.input)}), Open({given_up, absent})),
              UnorderedElementsAre(Pair("p1", "u1"), Pair("p2", "u2")));
}

TEST(MatchTasksTest, ATaskOfAnotherModelIsNotOurs) {
  HistoryItem other = Item("u");
  other.model = "another/model";
  EXPECT_THAT(Matched(Reading({other}), Open({Lost("p")})), IsEmpty());
  HistoryItem silent = Item("u");
  silent.model.clear();
  EXPECT_THAT(Matched(Reading({silent}), Open({Lost("p")})), UnorderedElementsAre(Pair("p", "u")))
      << "a model that is not said is no other model";
}

TEST(MatchTasksTest, ATaskThatDoesNotSayItsModelIsNotGivenToTwo) {
  StoredAttempt other = Lost("q");
  other.model = "another/model";
  HistoryItem silent = Item("u");
  silent.model.clear();
  const HistoryReading reading = Reading({silent});
  const AttemptReview review = Open({Lost("p"), other});
  EXPECT_THAT(MatchTasks(reading, review).matches, IsEmpty());
}

TEST(MatchTasksTest, ATaskFromBeforeTheAttemptIsNotOurs) {
  const TaskInput cat = {"a cat", "16:9", 7};
  EXPECT_THAT(Matched(Reading({Item("u", cat, kStart - absl::Minutes(30))}), Open({Lost("p")})),
              IsEmpty());
}

TEST(MatchTasksTest, ATaskThatDoesNotSayWhenItWasCreatedMayBeOurs) {
  EXPECT_THAT(
      Matched(Reading({Item("u", TaskInput{"a cat", "16:9", 7}, std::nullopt)}), Open({Lost("p")})),
      UnorderedElementsAre(Pair("p", "u")));
}

TEST(MatchTasksTest, AnIncompleteReadingStillShowsWhatIsThereOnce) {
  // Fewer pages were read: whoever is shown alone may have an equal neighbour that is not shown.
  HistoryReading reading = Reading({Item("u")});
  reading.complete = false;
  EXPECT_LE(MatchTasks(reading, Open({Lost("p")})).matches.size(), 1u);
}

TEST(MatchTasksTest, NothingFromNothing) {
  EXPECT_THAT(MatchTasks(Reading({}), Open({})).matches, IsEmpty());
  EXPECT_THAT(MatchTasks(Reading({Item("u")}), Open({})).matches, IsEmpty());
  EXPECT_THAT(MatchTasks(Reading({}), Open({Lost("p")})).matches, IsEmpty());
  EXPECT_EQ(MatchTasks(Reading({Item("u")}), Open({})).ambiguous, 0)
      << "a task that nobody asked for is foreign, not ambiguous";
}

// ------------------------------------------------------------------------------------------ clocks

TEST(ClockToleranceTest, TheToleranceCoversTheOffsetInBothDirectionsAndSomeMore) {
  for (const absl::Duration offset :
       {absl::ZeroDuration(), absl::Seconds(1), absl::Minutes(10), absl::Hours(5)}) {
    EXPECT_GT(ClockTolerance(offset), offset);
    EXPECT_EQ(ClockTolerance(-offset), ClockTolerance(offset));
  }
  EXPECT_GT(ClockTolerance(std::nullopt), absl::ZeroDuration());
  EXPECT_LT(ClockTolerance(absl::ZeroDuration()), absl::Minutes(30)) << "an old task is not ours";
}

TEST(ClockToleranceTest, ATaskTimedByEitherClockMayBeOurs) {
  for (const absl::Duration offset : {absl::Minutes(10), -absl::Minutes(10)}) {
    for (const absl::Time created : {kStart, kStart + offset}) {
      HistoryReading reading = Reading({Item("u", TaskInput{"a cat", "16:9", 7}, created)});
      reading.clock_offset = offset;
      EXPECT_THAT(Matched(reading, Open({Lost("p")})), UnorderedElementsAre(Pair("p", "u")))
          << offset << " " << created;
    }
  }
}

TEST(ClockToleranceTest, TheWindowOpensTheToleranceBeforeTheAttempt) {
  const StoredAttempt attempt = Lost("p");
  const TaskInput cat = attempt.input;
  const absl::Duration tolerance = absl::Minutes(3);
  EXPECT_TRUE(MayBeOf(Item("u", cat, kStart), attempt, tolerance));
  EXPECT_TRUE(MayBeOf(Item("u", cat, kStart - tolerance + absl::Seconds(1)), attempt, tolerance));
  EXPECT_TRUE(MayBeOf(Item("u", cat, kStart + absl::Seconds(1) + tolerance - absl::Seconds(1)),
                      attempt, tolerance));
  EXPECT_FALSE(MayBeOf(Item("u", cat, kStart - tolerance - absl::Seconds(1)), attempt, tolerance));
  EXPECT_TRUE(MayBeOf(Item("u", cat, std::nullopt), attempt, tolerance));
}

TEST(ClockToleranceTest, InputIsNotLookedAtByTimeAndModelAlone) {
  EXPECT_TRUE(MayBeOf(Item("u", std::nullopt), Lost("p"), absl::Minutes(1)));
  EXPECT_TRUE(MayBeOf(Item("u", TaskInput{"a dog", "1:1", 1}), Lost("p"), absl::Minutes(1)));
  HistoryItem other = Item("u");
  other.model = "another/model";
  EXPECT_FALSE(MayBeOf(other, Lost("p"), absl::Minutes(1)));
}

// ----------------------------------------------------------------------------------------- absence

// Readings of one attempt "p" unless a test says otherwise.
class AbsenceTest : public testing::Test {
 protected:
  // Which predictions are proven to have no task, after this reading.
  std::set<std::string> Add(const HistoryReading& reading, const AttemptReview& review) {
    std::vector<const StoredAttempt*> attempts;
    for (const StoredAttempt& attempt : review.open) {
      if (attempt.result == AttemptResult::kUnknown) attempts.push_back(&attempt);
    }
    std::set<std::string> absent;
    for (const StoredAttempt* attempt : evidence_.Add(reading, review, attempts)) {
      absent.insert(attempt->prediction_id);
    }
    return absent;
  }
  // A complete reading, `after` the attempt's answer was lost.
  std::set<std::string> Add(absl::Duration after, std::vector<HistoryItem> items = {}) {
    return Add(Reading(std::move(items), kLost + after), review_);
  }
  // Three readings over the settle time, the first `after` the loss; says whether they prove it.
  bool ProvenFrom(absl::Duration after, const std::vector<HistoryItem>& items = {}) {
    EXPECT_THAT(Add(after, items), IsEmpty());
    EXPECT_THAT(Add(after + kSettle / 2, items), IsEmpty());
    return Add(after + kSettle, items) == std::set<std::string>{"p"};
  }

  const absl::Time kLost = kStart + absl::Seconds(1);
  AbsenceEvidence evidence_{kSettle};
  AttemptReview review_ = Open({Lost("p")});
};

TEST_F(AbsenceTest, ThreeReadingsOverTheSettleTimeProveIt) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130)), ElementsAre("p"));
}

TEST_F(AbsenceTest, TwoReadingsDoNotHoweverFarApart) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Hours(2)), IsEmpty());
  EXPECT_THAT(Add(absl::Hours(2) + absl::Seconds(1)), ElementsAre("p"));
}

TEST_F(AbsenceTest, ManyReadingsInLessThanTheSettleTimeDoNot) {
  for (int i = 0; i < 12; ++i) {
    EXPECT_THAT(Add(absl::Seconds(10 + 10 * i)), IsEmpty()) << i;
  }
  EXPECT_THAT(Add(absl::Seconds(130)), ElementsAre("p"));
}

TEST_F(AbsenceTest, AnIncompleteReadingShowsNothing) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  HistoryReading incomplete = Reading({}, kLost + absl::Seconds(70));
  incomplete.complete = false;
  EXPECT_THAT(Add(incomplete, review_), IsEmpty());
  incomplete.begun = kLost + absl::Seconds(130);
  EXPECT_THAT(Add(incomplete, review_), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(131)), IsEmpty());
}

TEST_F(AbsenceTest, AnotherAccountShowsNothing) {
  HistoryReading other = Reading({});
  other.key_fingerprint = "another-key";
  for (int i = 0; i < 10; ++i) {
    other.begun = kLost + absl::Minutes(i + 1);
    EXPECT_THAT(Add(other, review_), IsEmpty());
  }
  EXPECT_TRUE(ProvenFrom(absl::Minutes(20))) << "the right account counts from its first reading";
}

TEST_F(AbsenceTest, AReadingBegunBeforeTheAnswerWasLostDoesNotCount) {
  // The task may have been created while the POST was still on its way.
  EXPECT_THAT(Add(-absl::Milliseconds(500)), IsEmpty());
  EXPECT_TRUE(ProvenFrom(absl::Seconds(10)));
}

TEST_F(AbsenceTest, AReadingThatDoesNotGoBackToTheAttemptDoesNotCount) {
  HistoryReading late = Reading({}, kLost + absl::Seconds(10));
  late.since = kStart + absl::Seconds(1);
  EXPECT_THAT(Add(late, review_), IsEmpty());
  late.begun = kLost + absl::Seconds(70);
  EXPECT_THAT(Add(late, review_), IsEmpty());
  late.begun = kLost + absl::Seconds(130);
  EXPECT_THAT(Add(late, review_), IsEmpty());
  EXPECT_TRUE(ProvenFrom(absl::Seconds(200)));
}

TEST_F(AbsenceTest, HistoryThatLacksATaskTheLedgerKnowsLagsAndShowsNothing) {
  review_.accepted = {{"known", kStart - absl::Minutes(5), kStart - absl::Minutes(5), kKey}};
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Add(absl::Seconds(10 + 60 * i)), IsEmpty()) << i;
  review_.bound = {"known"};
  EXPECT_TRUE(ProvenFrom(absl::Minutes(20),
                         {Item("known", TaskInput{"a dog", "16:9", 1}, kStart - absl::Minutes(5))}))
      << "what was missing does not count for or against it once it is there";
}

TEST_F(AbsenceTest, ATaskAcceptedSinceTheReadingBeganNeedNotBeInIt) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  review_.accepted = {{"fresh", kLost + absl::Seconds(125), kLost + absl::Seconds(131), kKey}};
  EXPECT_THAT(Add(absl::Seconds(130)), ElementsAre("p"));
}

TEST_F(AbsenceTest, TasksOfAnotherKeyNeedNotBeShown) {
  const absl::Time earlier = kStart - absl::Minutes(5);
  review_.accepted = {{"theirs", earlier, earlier, "another-key"}};
  EXPECT_TRUE(ProvenFrom(absl::Seconds(10)));
}

TEST_F(AbsenceTest, ATaskShownBeforeThatVanishesMakesHistoryDoubtful) {
  const std::vector<HistoryItem> foreign = {
      Item("foreign", TaskInput{"a dog", "1:1", 1}, kStart - absl::Minutes(1))};
  EXPECT_THAT(Add(absl::Seconds(10), foreign), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70), foreign), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130)), IsEmpty()) << "it shows less than the one before";
}

TEST_F(AbsenceTest, AHistoryThatForgetsAndRemembersByTurnsProvesNothing) {
  const std::vector<HistoryItem> foreign = {
      Item("foreign", TaskInput{"a dog", "1:1", 1}, kStart - absl::Minutes(1))};
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Add(absl::Seconds(10 + 30 * i), i % 2 == 0 ? foreign : std::vector<HistoryItem>{}),
                IsEmpty())
        << i;
  }
}

TEST_F(AbsenceTest, AnOldTaskThatFallsOutOfTheWindowHasNotVanished) {
  const std::vector<HistoryItem> old = {
      Item("old", TaskInput{"a dog", "1:1", 1}, kStart - absl::Minutes(50))};
  HistoryReading reading = Reading(old, kLost + absl::Seconds(10));
  EXPECT_THAT(Add(reading, review_), IsEmpty());
  reading = Reading({}, kLost + absl::Seconds(70));
  reading.since = kStart - absl::Minutes(10);  // an older attempt was settled meanwhile
  EXPECT_THAT(Add(reading, review_), IsEmpty());
  reading.begun = kLost + absl::Seconds(130);
  EXPECT_THAT(Add(reading, review_), ElementsAre("p"));
}

TEST_F(AbsenceTest, AnUnboundTaskWithoutInputMayBeOurs) {
  EXPECT_FALSE(ProvenFrom(absl::Seconds(10), {Item("u", std::nullopt)}));
}

TEST_F(AbsenceTest, AnUnboundTaskWithOurSeedAndAnotherPromptMayBeOurs) {
  // Upstream may show the prompt otherwise than it was sent.
  EXPECT_FALSE(ProvenFrom(absl::Seconds(10), {Item("u", TaskInput{"a cat, 4k", "16:9", 7})}));
}

TEST_F(AbsenceTest, AnUnboundTaskWithOurWholeInputIsOursOrATwins) {
  EXPECT_FALSE(ProvenFrom(absl::Seconds(10), {Item("u")}));
}

TEST_F(AbsenceTest, ATaskThatSomebodyHasIsNotOurs) {
  review_.bound = {"u1", "u2"};
  EXPECT_TRUE(ProvenFrom(absl::Seconds(10), {Item("u1", std::nullopt), Item("u2")}));
}

TEST_F(AbsenceTest, ACandidateOutsideTheWindowOrOfAnotherModelIsNotOurs) {
  HistoryItem other_model = Item("u2", std::nullopt);
  other_model.model = "another/model";
  EXPECT_TRUE(ProvenFrom(absl::Seconds(10),
                         {Item("u1", std::nullopt, kStart - absl::Minutes(50)), other_model}));
}

TEST_F(AbsenceTest, ACandidateWithinTheClocksToleranceMayBeOurs) {
  for (const absl::Duration offset : {absl::Minutes(10), -absl::Minutes(10)}) {
    AbsenceEvidence evidence(kSettle);
    HistoryReading reading = Reading({Item("u", std::nullopt, kStart + offset)});
    reading.clock_offset = offset;
    for (int i = 0; i < 4; ++i) {
      reading.begun = kLost + absl::Minutes(i + 1);
      EXPECT_THAT(evidence.Add(reading, review_, {&review_.open[0]}), IsEmpty()) << offset;
    }
  }
}

TEST_F(AbsenceTest, ACandidateWithoutATimeMayBeOurs) {
  EXPECT_FALSE(ProvenFrom(absl::Seconds(10), {Item("u", std::nullopt, std::nullopt)}));
}

TEST_F(AbsenceTest, ACandidateStartsTheCountAgain) {
  const std::vector<HistoryItem> candidate = {Item("u", std::nullopt)};
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130), candidate), IsEmpty());
  review_.bound = {"u"};  // it was somebody else's
  EXPECT_THAT(Add(absl::Seconds(140), candidate), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(200), candidate), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(260), candidate), ElementsAre("p"));
}

TEST_F(AbsenceTest, ACandidateInAReadingThatWasCutShortStartsTheCountAgain) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  HistoryReading cut_short = Reading({Item("u", std::nullopt)}, kLost + absl::Seconds(100));
  cut_short.complete = false;
  EXPECT_THAT(Add(cut_short, review_), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130)), IsEmpty()) << "it was there a moment ago";
  EXPECT_THAT(Add(absl::Seconds(190)), IsEmpty());
}

TEST_F(AbsenceTest, OtherClientsTasksWithOtherInputsDoNotStandInTheWay) {
  EXPECT_TRUE(ProvenFrom(absl::Seconds(10), {Item("f1", TaskInput{"a dog", "1:1", 1}),
                                             Item("f2", TaskInput{"a cow", "16:9", 2})}));
}

TEST_F(AbsenceTest, EachAttemptHasItsOwnCount) {
  review_ = Open({Lost("p"), Lost("q", {"a dog", "1:1", 3}, kStart + absl::Minutes(1))});
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130)), ElementsAre("p"));
  EXPECT_THAT(Add(absl::Seconds(131)), testing::Contains("p")) << "proven as long as it is open";
  EXPECT_THAT(Add(absl::Seconds(190)), testing::Contains("q"));
}

TEST_F(AbsenceTest, AnAttemptThatIsNoLongerOfInterestIsForgotten) {
  EXPECT_THAT(Add(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(70)), IsEmpty());
  AttemptReview others;
  EXPECT_THAT(Add(Reading({}, kLost + absl::Seconds(100)), others), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(130)), IsEmpty()) << "the count begins anew";
  EXPECT_THAT(Add(absl::Seconds(190)), IsEmpty());
  EXPECT_THAT(Add(absl::Seconds(250)), ElementsAre("p"));
}

TEST_F(AbsenceTest, ATwinInFlightIsNoProofForEither) {
  // The twin's task, if it shows, may be ours.
  review_ = Open({Lost("p"), InFlight("twin")});
  EXPECT_FALSE(ProvenFrom(absl::Seconds(10), {Item("u")}));
}

}  // namespace
}  // namespace dreamgate::core
