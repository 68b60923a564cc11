// The watch validator itself: for each guarantee what breaks it, and that nothing else is complained of.
#include "tests/fakes/watch_validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::fakes {
namespace {

using core::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// An ordinary life, update by update: 1 SUBMITTING, 2 CREATED, 3 PROCESSING, 4 COMPLETED.
std::vector<core::Prediction> Life() {
  const std::vector<State> states = {State::kSubmitting, State::kCreated, State::kProcessing,
                                     State::kCompleted};
  core::Prediction prediction;
  prediction.tenant = "tenant";
  prediction.id = "p1";
  prediction.request_id = "r1";
  prediction.input.prompt = "a cat";
  std::vector<core::Prediction> life;
  for (size_t i = 0; i < states.size(); ++i) {
    core::Transition transition;
    transition.sequence = static_cast<int64_t>(i) + 1;
    transition.state = states[i];
    transition.time = absl::FromUnixSeconds(1'700'000'000 + transition.sequence);
    if (states[i] == State::kCompleted) transition.outputs = {{"https://cdn/v.mp4", false}};
    prediction = core::Apply(std::move(prediction), transition);
    life.push_back(prediction);
  }
  return life;
}

class WatchValidatorTest : public ::testing::Test {
 protected:
  SeenUpdate At(int64_t sequence) const { return Seen(life_[static_cast<size_t>(sequence) - 1]); }

  void Show(WatchValidator& validator, const std::vector<int64_t>& sequences) const {
    for (const int64_t sequence : sequences) validator.OnUpdate(At(sequence));
  }

  // A stream held against all others, as it begins.
  WatchValidator Compared(std::optional<int64_t> after_sequence = std::nullopt) {
    WatchValidator validator(after_sequence);
    validator.CompareWith(shown_, "p1");
    return validator;
  }

  const std::vector<core::Prediction> life_ = Life();
  ShownUpdates shown_;
};

TEST_F(WatchValidatorTest, AWholeLifeFromEachPositionBreaksNothing) {
  for (int64_t position = 0; position <= 4; ++position) {
    WatchValidator validator = Compared(position);
    for (int64_t sequence = position + 1; sequence <= 4; ++sequence) Show(validator, {sequence});
    validator.OnEnd(true);
    EXPECT_THAT(validator.violations(), IsEmpty()) << position;
    EXPECT_EQ(validator.last_sequence(), 4);
  }
  for (int64_t current = 1; current <= 4; ++current) {
    WatchValidator validator;
    for (int64_t sequence = current; sequence <= 4; ++sequence) Show(validator, {sequence});
    validator.OnEnd(true);
    EXPECT_THAT(validator.violations(), IsEmpty()) << current;
  }
}

TEST_F(WatchValidatorTest, AWatcherThatResumesWhereItWasBreaksNothing) {
  WatchValidator validator = Compared();
  Show(validator, {2});
  validator.OnEnd(false);
  validator.OnEnd(false);  // a stream that showed nothing
  Show(validator, {3, 4});
  validator.OnEnd(false);
  validator.OnEnd(true);
  EXPECT_THAT(validator.violations(), IsEmpty());
}

TEST_F(WatchValidatorTest, RecoveredOutputsMayChangeWithoutATransition) {
  WatchValidator first = Compared(3);
  Show(first, {4});
  WatchValidator second = Compared(3);
  core::Prediction later = life_[3];
  later.recovered_outputs = {{"https://cdn/late.mp4", std::nullopt}};
  second.OnUpdate(Seen(later));
  EXPECT_THAT(second.violations(), IsEmpty());
}

TEST_F(WatchValidatorTest, UniqueIsBrokenByATransitionShownTwice) {
  WatchValidator validator;
  Show(validator, {2, 2});
  EXPECT_THAT(validator.violations(), Contains(StartsWith("Unique: 2 CREATED")));
}

TEST_F(WatchValidatorTest, OrderedIsBrokenByAnEarlierTransition) {
  WatchValidator validator;
  Show(validator, {3, 2});
  EXPECT_THAT(validator.violations(), Contains(StartsWith("Ordered: 2 CREATED follows 3")));
}

TEST_F(WatchValidatorTest, ReliableIsBrokenByAGap) {
  WatchValidator validator;
  Show(validator, {1, 3});
  EXPECT_THAT(validator.violations(), Contains(StartsWith("Reliable: 3 PROCESSING follows 1")));
}

TEST_F(WatchValidatorTest, ResumableIsBrokenByWhatDoesNotFollowThePosition) {
  for (const int64_t sequence : {1, 3}) {
    WatchValidator validator(1);
    Show(validator, {sequence});
    EXPECT_THAT(validator.violations(), ElementsAre(HasSubstr("the first after position 1")));
  }
}

TEST_F(WatchValidatorTest, ResumableIsBrokenWhenARestIsLeftOut) {
  WatchValidator whole = Compared(0);
  Show(whole, {1, 2, 3});
  WatchValidator resumed = Compared(2);
  resumed.OnEnd(true);
  EXPECT_THAT(resumed.violations(), ElementsAre(StartsWith("Resumable: nothing comes after")));
}

TEST_F(WatchValidatorTest, ResumableIsBrokenByAnotherContentOnAnotherStream) {
  WatchValidator live = Compared(3);
  Show(live, {4});
  for (const auto change : {+[](core::Prediction& p) { p.outputs[0].url = "https://cdn/w.mp4"; },
                            +[](core::Prediction& p) { p.outputs[0].has_nsfw_content.reset(); },
                            +[](core::Prediction& p) { p.input.labels["team"] = "blue"; },
                            +[](core::Prediction& p) { p.update_time += absl::Nanoseconds(1); },
                            +[](core::Prediction& p) { p.history.erase(p.history.begin()); }}) {
    core::Prediction other = life_[3];
    change(other);
    WatchValidator replay = Compared(3);
    replay.OnUpdate(Seen(other));
    EXPECT_THAT(replay.violations(), ElementsAre(StartsWith("Resumable: 4 COMPLETED is shown as")));
  }
}

TEST_F(WatchValidatorTest, DurableIsBrokenByACurrentStateOlderThanWhatWasShown) {
  WatchValidator before = Compared();
  Show(before, {2, 3});
  WatchValidator after = Compared();
  Show(after, {2});
  EXPECT_THAT(after.violations(),
              ElementsAre(HasSubstr("Durable: the current state is 2 CREATED")));
}

TEST_F(WatchValidatorTest, DurableIsBrokenByAHistoryThatTellsAnotherPast) {
  WatchValidator validator;
  Show(validator, {2});
  core::Prediction next = life_[2];
  next.history[1].state = State::kUnresolved;
  validator.OnUpdate(Seen(next));
  EXPECT_THAT(validator.violations(), ElementsAre(HasSubstr("Durable: 2 CREATED was shown")));
}

TEST_F(WatchValidatorTest, DurableIsBrokenWhenALaterHistoryLacksWhatWasShown) {
  WatchValidator stream = Compared(0);
  Show(stream, {1, 2, 3});
  EXPECT_THAT(shown_.MissingFrom(At(4)), IsEmpty());
  EXPECT_THAT(shown_.MissingFrom(At(2)), ElementsAre(HasSubstr("Durable: 3 PROCESSING was shown")));
}

TEST_F(WatchValidatorTest, LegalIsBrokenByAnEdgeThatTheTableDoesNotHave) {
  WatchValidator validator;
  Show(validator, {3});
  SeenUpdate back = At(4);
  back.state = State::kCreated;
  validator.OnUpdate(back);
  EXPECT_THAT(validator.violations(), ElementsAre("Legal: from 3 PROCESSING to 4 CREATED"));
}

TEST_F(WatchValidatorTest, TerminalOnceIsBrokenByWhateverFollowsTheTerminalUpdate) {
  WatchValidator validator(3);
  Show(validator, {4});
  SeenUpdate second = At(4);
  second.sequence = 5;
  validator.OnUpdate(second);
  EXPECT_THAT(validator.violations(), Contains(StartsWith("Terminal once: 5 COMPLETED comes")));
}

TEST_F(WatchValidatorTest, TerminalOnceIsBrokenByOkWithoutTheTerminalUpdate) {
  WatchValidator early;
  Show(early, {2, 3});
  early.OnEnd(true);
  EXPECT_THAT(early.violations(), ElementsAre("Terminal once: OK without the terminal state"));
  WatchValidator empty;
  empty.OnEnd(true);
  EXPECT_THAT(empty.violations(), ElementsAre("Terminal once: OK without the terminal state"));
}

TEST_F(WatchValidatorTest, TerminalOnceIsBrokenByWhateverFollowsTheEnd) {
  WatchValidator validator(4);
  validator.OnEnd(true);
  validator.OnEnd(true);
  EXPECT_THAT(validator.violations(), ElementsAre("Terminal once: a second end"));
  Show(validator, {4});
  EXPECT_THAT(validator.violations(), Contains(HasSubstr("4 COMPLETED comes after the end")));
}

}  // namespace
}  // namespace dreamgate::fakes
