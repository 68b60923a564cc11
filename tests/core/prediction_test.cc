#include "server/core/prediction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace dreamgate::core {
namespace {

const std::vector<State> kAll = {
    State::kQueued,    State::kSubmitting, State::kUnresolved, State::kCreated,  State::kProcessing,
    State::kCompleted, State::kFailed,     State::kCancelled,  State::kTimedOut, State::kDeleted};
const std::set<State> kTerminal = {State::kCompleted, State::kFailed, State::kCancelled,
                                   State::kTimedOut, State::kDeleted};

std::set<State> With(std::set<State> states, const std::set<State>& more) {
  states.insert(more.begin(), more.end());
  return states;
}

TEST(PredictionTest, EveryPairOfStatesIsLegalExactlyAsTheContractSays) {
  const std::map<State, std::set<State>> legal = {
      {State::kQueued, {State::kSubmitting, State::kFailed, State::kCancelled}},
      {State::kSubmitting,
       With({State::kCreated, State::kProcessing, State::kUnresolved, State::kQueued}, kTerminal)},
      {State::kUnresolved,
       With({State::kCreated, State::kProcessing, State::kSubmitting}, kTerminal)},
      {State::kCreated, With({State::kProcessing}, kTerminal)},
      {State::kProcessing, kTerminal},
  };
  for (const State from : kAll) {
    for (const State to : kAll) {
      const auto row = legal.find(from);
      const bool expected = row != legal.end() && row->second.count(to) == 1;
      EXPECT_EQ(IsLegalTransition(from, to), expected)
          << StateName(from) << " to " << StateName(to);
    }
  }
}

TEST(PredictionTest, ExactlyTheFiveEndsAreTerminal) {
  for (const State state : kAll) EXPECT_EQ(IsTerminal(state), kTerminal.count(state) == 1);
}

TEST(PredictionTest, StatesAndFailureCodesHaveTheirContractNames) {
  std::vector<std::string> states;
  for (const State state : kAll) states.emplace_back(StateName(state));
  EXPECT_THAT(states,
              testing::ElementsAre("QUEUED", "SUBMITTING", "UNRESOLVED", "CREATED", "PROCESSING",
                                   "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "DELETED"));
  std::vector<std::string> codes;
  for (int code = 1; code <= 11; ++code) {
    codes.emplace_back(FailureCodeName(static_cast<FailureCode>(code)));
  }
  EXPECT_THAT(codes,
              testing::ElementsAre("MODERATED", "INVALID_INPUT", "MEDIA_ACCESS", "EXECUTION_FAILED",
                                   "INSUFFICIENT_CREDITS", "UPSTREAM_INTERNAL", "NO_OUTPUT",
                                   "UPSTREAM_NOT_FOUND", "UPSTREAM_EXPIRED", "SUBMIT_NOT_CREATED",
                                   "SUBMIT_OUTCOME_UNKNOWN"));
}

TEST(PredictionTest, AspectRatiosAreSpelledAsUpstreamSpellsThem) {
  std::vector<std::string> texts;
  for (int ratio = 1; ratio <= 7; ++ratio) {
    texts.emplace_back(AspectRatioText(static_cast<AspectRatio>(ratio)));
  }
  EXPECT_THAT(texts, testing::ElementsAre("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21"));
}

TEST(PredictionTest, DifferentInputsNeverShareACanonicalEncoding) {
  std::vector<VideoInput> inputs;
  const auto add = [&inputs](std::string prompt, std::map<std::string, std::string> labels = {},
                             std::optional<int32_t> seed = std::nullopt,
                             AspectRatio ratio = AspectRatio::k16x9) {
    inputs.push_back({std::move(prompt), ratio, seed, std::move(labels)});
  };
  add("a cat");
  add("a cat ");
  add("a cat\n4:16:9\n6:random\n");  // what the encoding itself looks like
  add(std::string("a cat\0", 6));
  add("");
  add("a cat", {}, 0);  // zero is a seed, not "random"
  add("a cat", {}, 1);
  add("a cat", {}, 2147483647);
  for (int ratio = 2; ratio <= 7; ++ratio) {
    add("a cat", {}, std::nullopt, static_cast<AspectRatio>(ratio));
  }
  add("a cat", {{"a", "b"}});
  add("a cat", {{"a", ""}, {"b", ""}});
  add("a cat", {{"ab", ""}});
  add("a cat", {{"", "ab"}});
  add("a cat", {{"a", "1:b"}});
  add("a cat", {{"a", "b"}, {"c", "d"}});
  add("a cat", {{"a", "c"}, {"b", "d"}});
  add("a cat", {{"a", "b\n1:c\n1:d"}});
  std::set<std::string> encodings;
  for (const VideoInput& input : inputs) encodings.insert(CanonicalEncoding(input));
  EXPECT_EQ(encodings.size(), inputs.size());
}

TEST(PredictionTest, TheOrderInWhichLabelsWereGivenDoesNotMatter) {
  VideoInput one;
  one.labels["b"] = "2";
  one.labels["a"] = "1";
  VideoInput other;
  other.labels["a"] = "1";
  other.labels["b"] = "2";
  EXPECT_EQ(CanonicalEncoding(one), CanonicalEncoding(other));
}

TEST(PredictionTest, AnUnspecifiedRatioIsEncodedAs16To9) {
  VideoInput given;
  given.aspect_ratio = AspectRatio::k16x9;
  EXPECT_EQ(CanonicalEncoding(VideoInput{}), CanonicalEncoding(given));
}

TEST(PredictionTest, TheEncodingIsStableBecauseItIsStored) {
  EXPECT_EQ(CanonicalEncoding({"a cat", AspectRatio::k9x16, 7, {{"k", "v"}}}),
            "dreamgate-input-1\n5:a cat\n4:9:16\n1:7\n1:k\n1:v\n");
}

TEST(PredictionTest, APredictionIsTheFoldOfItsTransitions) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  Prediction prediction;
  prediction.id = "p";
  prediction.create_time = start;

  Transition submitting;
  submitting.sequence = 1;
  submitting.state = State::kSubmitting;
  submitting.time = start;
  prediction = Apply(prediction, submitting);
  EXPECT_FALSE(prediction.end_time.has_value());

  Transition created;
  created.sequence = 2;
  created.state = State::kCreated;
  created.time = start + absl::Seconds(1);
  created.source = TransitionSource::kSubmitAnswer;
  created.upstream_id = "u";
  created.upstream_status = "pending";
  created.upstream_create_time = start + absl::Milliseconds(500);
  prediction = Apply(prediction, created);

  Transition completed;
  completed.sequence = 3;
  completed.state = State::kCompleted;
  completed.time = start + absl::Seconds(90);
  completed.source = TransitionSource::kPoll;
  completed.outputs = std::vector<Output>{{"https://cdn.test/v.mp4", false}};
  completed.inference_time = absl::Seconds(80);
  prediction = Apply(prediction, completed);

  EXPECT_EQ(prediction.id, "p");
  EXPECT_EQ(prediction.state, State::kCompleted);
  EXPECT_EQ(prediction.sequence, 3);
  EXPECT_EQ(prediction.upstream_id, "u") << "what a transition does not mention stays";
  EXPECT_EQ(prediction.upstream_status, "pending");
  EXPECT_EQ(prediction.upstream_create_time, start + absl::Milliseconds(500));
  EXPECT_EQ(prediction.outputs, *completed.outputs);
  EXPECT_EQ(prediction.inference_time, absl::Seconds(80));
  EXPECT_EQ(prediction.update_time, completed.time);
  EXPECT_EQ(prediction.end_time, completed.time);
  EXPECT_FALSE(prediction.failure.has_value());
  const std::vector<HistoryEntry> history = {
      {State::kSubmitting, submitting.time, TransitionSource::kGateway, 1},
      {State::kCreated, created.time, TransitionSource::kSubmitAnswer, 2},
      {State::kCompleted, completed.time, TransitionSource::kPoll, 3}};
  EXPECT_EQ(prediction.history, history);
}

TEST(PredictionTest, AFailureIsFoldedInAndRecoveredOutputsStay) {
  Transition failed;
  failed.sequence = 1;
  failed.state = State::kFailed;
  failed.failure = Failure{FailureCode::kModerated, "flagged", 1200, false};
  Prediction initial;
  initial.recovered_outputs = {{"https://cdn.test/late.mp4", std::nullopt}};
  const Prediction prediction = Apply(initial, failed);
  EXPECT_EQ(prediction.failure, failed.failure);
  EXPECT_EQ(prediction.recovered_outputs, initial.recovered_outputs);
}

TEST(PredictionTest, APredictionIsVisibleOnceItHasBeenAcceptedOrIsUnresolvedAndStaysSo) {
  const auto after = [](const std::vector<State>& states) {
    Prediction prediction;
    for (const State state : states) {
      Transition transition;
      transition.sequence = prediction.sequence + 1;
      transition.state = state;
      prediction = Apply(prediction, transition);
    }
    return prediction;
  };
  EXPECT_FALSE(IsVisible({}));
  EXPECT_FALSE(IsVisible(after({State::kQueued})));
  EXPECT_FALSE(IsVisible(after({State::kSubmitting})));
  EXPECT_FALSE(IsVisible(after({State::kQueued, State::kSubmitting})));
  EXPECT_TRUE(IsVisible(after({State::kSubmitting, State::kCreated})));
  EXPECT_TRUE(IsVisible(after({State::kSubmitting, State::kUnresolved})));
  EXPECT_TRUE(IsVisible(after({State::kQueued, State::kFailed})));
  EXPECT_TRUE(IsVisible(after({State::kSubmitting, State::kUnresolved, State::kSubmitting})))
      << "what was shown once stays shown";
}

}  // namespace
}  // namespace dreamgate::core
