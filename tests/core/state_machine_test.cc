#include "server/core/state_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace dreamgate::core {
namespace {

const std::vector<State> kStates = {
    State::kQueued,    State::kSubmitting, State::kUnresolved, State::kCreated,  State::kProcessing,
    State::kCompleted, State::kFailed,     State::kCancelled,  State::kTimedOut, State::kDeleted};
const std::set<State> kTerminal = {State::kCompleted, State::kFailed, State::kCancelled,
                                   State::kTimedOut, State::kDeleted};
const std::vector<AttemptResult> kResults = {AttemptResult::kAccepted, AttemptResult::kRejected,
                                             AttemptResult::kNotSent,  AttemptResult::kUnknown,
                                             AttemptResult::kAbsent,   AttemptResult::kOrphaned};

std::set<State> OrTerminal(std::set<State> states) {
  states.insert(kTerminal.begin(), kTerminal.end());
  return states;
}

TEST(StateMachineTest, EveryPairOfStatesIsLegalExactlyAsTheContractSays) {
  const std::map<State, std::set<State>> table = {
      {State::kQueued, {State::kSubmitting, State::kFailed, State::kCancelled}},
      {State::kSubmitting,
       OrTerminal({State::kCreated, State::kProcessing, State::kUnresolved, State::kQueued})},
      {State::kUnresolved, OrTerminal({State::kCreated, State::kProcessing, State::kSubmitting})},
      {State::kCreated, OrTerminal({State::kProcessing})},
      {State::kProcessing, kTerminal},
      {State::kCompleted, {}},
      {State::kFailed, {}},
      {State::kCancelled, {}},
      {State::kTimedOut, {}},
      {State::kDeleted, {}},
  };
  for (const State from : kStates) {
    for (const State to : kStates) {
      EXPECT_EQ(IsLegalTransition(from, to), table.at(from).contains(to))
          << StateName(from) << " to " << StateName(to);
    }
  }
}

TEST(StateMachineTest, EveryPairOfAttemptResultsIsLegalExactlyAsTheTableSays) {
  using enum AttemptResult;
  const std::map<std::optional<AttemptResult>, std::set<AttemptResult>> table = {
      {std::nullopt, {kAccepted, kRejected, kNotSent, kUnknown, kOrphaned}},
      {kUnknown, {kAccepted, kRejected, kNotSent, kAbsent, kOrphaned}},
      {kAbsent, {kOrphaned}},
      {kRejected, {kOrphaned}},
      {kNotSent, {kOrphaned}},
      {kAccepted, {}},
      {kOrphaned, {}},
  };
  std::vector<std::optional<AttemptResult>> all = {std::nullopt};
  all.insert(all.end(), kResults.begin(), kResults.end());
  for (const auto& from : all) {
    for (const AttemptResult to : kResults) {
      EXPECT_EQ(IsLegalAttemptResult(from, to), table.at(from).contains(to))
          << (from ? AttemptResultName(*from) : "(open)") << " to " << AttemptResultName(to);
    }
  }
}

TEST(StateMachineTest, ExactlyTheFiveEndsAreTerminal) {
  for (const State state : kStates) {
    EXPECT_EQ(IsTerminal(state), kTerminal.contains(state)) << StateName(state);
  }
}

TEST(StateMachineTest, WhateverAProcessLeftBehindIsTakenUpWithoutSendingItAgain) {
  const std::map<State, Recovery> table = {
      {State::kQueued, Recovery::kWithdraw},      {State::kSubmitting, Recovery::kReconcile},
      {State::kUnresolved, Recovery::kReconcile}, {State::kCreated, Recovery::kFollow},
      {State::kProcessing, Recovery::kFollow},    {State::kCompleted, Recovery::kNothing},
      {State::kFailed, Recovery::kNothing},       {State::kCancelled, Recovery::kNothing},
      {State::kTimedOut, Recovery::kNothing},     {State::kDeleted, Recovery::kNothing},
  };
  for (const State state : kStates) {
    EXPECT_EQ(RecoveryOf(state), table.at(state)) << StateName(state);
  }
}

TEST(StateMachineTest, AnAttemptThatCreatedATaskKeepsItForever) {
  for (const AttemptResult to : kResults) {
    EXPECT_FALSE(IsLegalAttemptResult(AttemptResult::kAccepted, to));
    EXPECT_FALSE(IsLegalAttemptResult(AttemptResult::kOrphaned, to));
  }
}

TEST(StateMachineTest, StatesAndAttemptResultsHaveTheNamesThatTheTablesUse) {
  std::vector<std::string> states;
  for (const State state : kStates) states.emplace_back(StateName(state));
  EXPECT_THAT(states,
              testing::ElementsAre("QUEUED", "SUBMITTING", "UNRESOLVED", "CREATED", "PROCESSING",
                                   "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "DELETED"));
  std::vector<std::string> results;
  for (const AttemptResult result : kResults) results.emplace_back(AttemptResultName(result));
  EXPECT_THAT(results, testing::ElementsAre("ACCEPTED", "REJECTED", "NOT_SENT", "UNKNOWN", "ABSENT",
                                            "ORPHANED"));
}

TEST(StateMachineTest, NumbersStayBecauseTheyAreStored) {
  for (size_t i = 0; i < kStates.size(); ++i) {
    EXPECT_EQ(static_cast<int>(kStates[i]), static_cast<int>(i) + 1);
  }
  for (size_t i = 0; i < kResults.size(); ++i) {
    EXPECT_EQ(static_cast<int>(kResults[i]), static_cast<int>(i) + 1);
  }
}

}  // namespace
}  // namespace dreamgate::core
