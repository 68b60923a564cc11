#include "dreamgate/client/retry_policy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/client/fake_video_service.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

grpc::Status Error(grpc::StatusCode code) { return {code, "x"}; }

TEST(BackoffTest, WaitsAreSpreadFromZeroToACeilingThatDoublesUpToTheMaximum) {
  for (const double chance : {0.0, 0.25, 0.999999}) {
    Backoff backoff({100ms, 10s, 2.0});
    for (int failure = 0; failure < 20; ++failure) {
      const double ceiling = std::min(10.0, 0.1 * std::pow(2.0, failure));
      const double wait = std::chrono::duration<double>(backoff.Next(chance, std::nullopt)).count();
      EXPECT_NEAR(wait, ceiling * chance, 1e-6);
      EXPECT_LT(wait, ceiling);
      EXPECT_GE(wait, 0.0);
    }
  }
}

TEST(BackoffTest, TheServersRetryInfoIsAFloorWithTheJitterOnTop) {
  Backoff backoff({100ms, 10s, 2.0});
  EXPECT_EQ(backoff.Next(0.0, 3s), nanoseconds(3s));
  EXPECT_EQ(backoff.Next(0.5, 3s), nanoseconds(3s + 100ms));
}

TEST(BackoffTest, StartsSmallAgainAfterAReset) {
  Backoff backoff({100ms, 10s, 2.0});
  for (int failure = 0; failure < 5; ++failure) backoff.Next(0.5, std::nullopt);
  EXPECT_EQ(backoff.failures(), 5);
  backoff.Reset();
  EXPECT_EQ(backoff.Next(0.5, std::nullopt), nanoseconds(50ms));
}

TEST(RetryPolicyTest, CallsAreRepeatedOnlyWhereThatMayHelp) {
  for (const grpc::StatusCode code : {grpc::UNAVAILABLE, grpc::INTERNAL, grpc::UNKNOWN,
                                      grpc::CANCELLED, grpc::DEADLINE_EXCEEDED}) {
    EXPECT_TRUE(MayRetryCall(Error(code))) << code;
  }
  for (const grpc::StatusCode code :
       {grpc::INVALID_ARGUMENT, grpc::NOT_FOUND, grpc::ALREADY_EXISTS, grpc::FAILED_PRECONDITION,
        grpc::UNAUTHENTICATED, grpc::PERMISSION_DENIED, grpc::OUT_OF_RANGE, grpc::UNIMPLEMENTED}) {
    EXPECT_FALSE(MayRetryCall(Error(code))) << code;
  }
}

TEST(RetryPolicyTest, ResourceExhaustedIsRepeatedOnlyIfTheServerSaysWhenToComeBack) {
  EXPECT_FALSE(MayRetryCall(Error(grpc::RESOURCE_EXHAUSTED)));
  EXPECT_FALSE(
      MayRetryCall(ErrorWith(grpc::RESOURCE_EXHAUSTED, "x", {.reason = "TENANT_LIMIT_REACHED"})));
  EXPECT_TRUE(MayRetryCall(ErrorWith(grpc::RESOURCE_EXHAUSTED, "x",
                                     {.reason = "TOO_MANY_REQUESTS", .retry_after = 1s})));
}

TEST(RetryPolicyTest, EveryStatusCodeHasItsRuleForAWatch) {
  for (const grpc::StatusCode code : {grpc::UNAVAILABLE, grpc::RESOURCE_EXHAUSTED, grpc::INTERNAL,
                                      grpc::UNKNOWN, grpc::CANCELLED, grpc::DEADLINE_EXCEEDED}) {
    EXPECT_EQ(DecideAfterWatchError(Error(code)), AfterWatchError::kResume) << code;
  }
  EXPECT_EQ(DecideAfterWatchError(Error(grpc::OUT_OF_RANGE)), AfterWatchError::kRestart);
  for (const grpc::StatusCode code :
       {grpc::INVALID_ARGUMENT, grpc::NOT_FOUND, grpc::ALREADY_EXISTS, grpc::FAILED_PRECONDITION,
        grpc::ABORTED, grpc::UNAUTHENTICATED, grpc::PERMISSION_DENIED, grpc::UNIMPLEMENTED,
        grpc::DATA_LOSS}) {
    EXPECT_EQ(DecideAfterWatchError(Error(code)), AfterWatchError::kGiveUp) << code;
  }
}

}  // namespace
}  // namespace dreamgate::client
