#include "server/core/invariant.h"

#include <gtest/gtest.h>

namespace dreamgate::core {
namespace {

TEST(InvariantDeathTest, ABrokenInvariantEndsTheProcessAndSaysWhatAndWhere) {
  const int slots = -1;
  EXPECT_DEATH(DREAMGATE_INVARIANT(slots >= 0, "slots are not negative"),
               "an invariant is broken.*slots are not negative.*invariant_test\\.cc:[0-9]+");
}

TEST(InvariantTest, AConditionThatHoldsIsEvaluatedOnceAndPasses) {
  int evaluated = 0;
  DREAMGATE_INVARIANT(++evaluated == 1, "a condition is evaluated once");
  EXPECT_EQ(evaluated, 1);
}

}  // namespace
}  // namespace dreamgate::core
