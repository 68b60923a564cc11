#include "server/core/polling/circuit_breaker.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/fakes/fake_random.h"

namespace dreamgate::core {
namespace {

using State = CircuitBreaker::State;

class CircuitBreakerTest : public testing::Test {
 protected:
  void Serve() {
    CircuitBreaker::Call call = circuit_.Begin(now_);
    circuit_.OnServed(call, now_);
  }
  void Fail(std::optional<absl::Duration> retry_after = std::nullopt) {
    CircuitBreaker::Call call = circuit_.Begin(now_);
    circuit_.OnFailed(call, now_, retry_after);
  }
  void Open() {
    for (int i = 0; i < CircuitBreaker::kFailuresToOpen; ++i) {
      now_ += absl::Milliseconds(100);
      Fail();
    }
    ASSERT_EQ(circuit_.state(), State::kOpen);
  }
  // Waits for the next probe and sends it.
  CircuitBreaker::Call Probe() {
    now_ = circuit_.NextCall(now_);
    EXPECT_TRUE(circuit_.MayCall(now_));
    return circuit_.Begin(now_);
  }
  // A probe is served while others wait.
  void OpenHalf() {
    CircuitBreaker::Call probe = Probe();
    EXPECT_FALSE(circuit_.MayCall(now_));
    circuit_.OnServed(probe, now_);
    ASSERT_EQ(circuit_.state(), State::kHalfOpen);
  }
  // Sends as many as it lets through.
  std::vector<CircuitBreaker::Call> SendAll() {
    std::vector<CircuitBreaker::Call> calls;
    while (circuit_.MayCall(now_)) calls.push_back(circuit_.Begin(now_));
    return calls;
  }

  fakes::FakeRandom random_;
  CircuitBreaker circuit_{std::numeric_limits<int>::max(), random_};
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
};

TEST_F(CircuitBreakerTest, FailuresInARowOpenIt) {
  for (int i = 1; i < CircuitBreaker::kFailuresToOpen; ++i) {
    now_ += absl::Milliseconds(100);
    Fail();
    EXPECT_EQ(circuit_.state(), State::kClosed);
    EXPECT_TRUE(circuit_.MayCall(now_));
  }
  Fail();
  EXPECT_EQ(circuit_.state(), State::kOpen);
  EXPECT_FALSE(circuit_.MayCall(now_));
}

TEST_F(CircuitBreakerTest, AnythingServedBeginsTheRowAnew) {
  for (int i = 0; i < 1000; ++i) {
    now_ += absl::Seconds(1);
    if (i % CircuitBreaker::kFailuresToOpen == 0) {
      Serve();
    } else {
      Fail();
    }
    ASSERT_EQ(circuit_.state(), State::kClosed);
  }
}

TEST_F(CircuitBreakerTest, AnUpstreamThatFailsHalfOfItsCallsDoesNotOpenIt) {
  for (int i = 0; i < 100'000; ++i) {
    now_ += absl::Milliseconds(100);
    if (random_.Draw() % 2 == 0) {
      Serve();
    } else {
      Fail();
    }
    ASSERT_EQ(circuit_.state(), State::kClosed) << i;
  }
}

TEST_F(CircuitBreakerTest, AnUpstreamThatServesMillionsAndThenNothingIsFoundOutAsSoon) {
  for (int i = 0; i < 100'000; ++i) Serve();
  Open();
}

TEST_F(CircuitBreakerTest, AMomentInWhichAllConnectionsBreakDoesNotOpenIt) {
  std::vector<CircuitBreaker::Call> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(circuit_.Begin(now_));
  for (CircuitBreaker::Call& call : calls) circuit_.OnFailed(call, now_, std::nullopt);
  EXPECT_EQ(circuit_.state(), State::kClosed);
  now_ += CircuitBreaker::kTimeToOpen;
  Fail();
  EXPECT_EQ(circuit_.state(), State::kOpen) << "and still nothing works";
}

TEST_F(CircuitBreakerTest, NoMoreCallsThanAllowedAreUnderWayWhileItIsClosed) {
  CircuitBreaker circuit(3, random_);
  CircuitBreaker::Call first = circuit.Begin(now_);
  circuit.Begin(now_);
  circuit.Begin(now_);
  EXPECT_EQ(circuit.NextCall(now_), absl::InfiniteFuture());
  circuit.OnServed(first, now_);
  EXPECT_EQ(circuit.NextCall(now_), now_);
}

TEST_F(CircuitBreakerTest, AnOpenCircuitLetsOneProbeThroughEachIntervalAnsweredOrNot) {
  Open();
  absl::Duration before = absl::ZeroDuration();
  for (int i = 0; i < 12; ++i) {
    const absl::Time last = now_;
    Probe();  // never answered
    EXPECT_FALSE(circuit_.MayCall(now_));
    const absl::Duration waited = now_ - last;
    EXPECT_GE(waited, CircuitBreaker::kLeastShareOfInterval * CircuitBreaker::kFirstProbe);
    EXPECT_LE(waited, CircuitBreaker::kLongestProbe);
    if (i < 6) {
      EXPECT_GT(waited / CircuitBreaker::kLeastShareOfInterval, before);
    }
    before = waited;
  }
  EXPECT_GE(before, CircuitBreaker::kLeastShareOfInterval * CircuitBreaker::kLongestProbe);
}

TEST_F(CircuitBreakerTest, AServedProbeClosesItIfNobodyWaits) {
  Open();
  CircuitBreaker::Call probe = Probe();
  circuit_.OnServed(probe, now_);
  EXPECT_EQ(circuit_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AServedProbeOpensAWindowThatGrowsWithEveryOneServed) {
  Open();
  OpenHalf();
  size_t window = CircuitBreaker::kFirstWindow;
  std::vector<CircuitBreaker::Call> calls = SendAll();
  while (circuit_.state() == State::kHalfOpen) {
    ASSERT_EQ(calls.size(), window);
    circuit_.OnServed(calls.front(), now_);
    calls.erase(calls.begin());
    if (++window == CircuitBreaker::kFullWindow) break;
    for (const CircuitBreaker::Call& call : SendAll()) calls.push_back(call);
  }
  EXPECT_EQ(circuit_.state(), State::kClosed);
  EXPECT_EQ(window, size_t{CircuitBreaker::kFullWindow});
}

TEST_F(CircuitBreakerTest, TheWindowClosesItAsSoonAsNobodyHasToWait) {
  Open();
  OpenHalf();
  CircuitBreaker::Call last = circuit_.Begin(now_);
  circuit_.OnServed(last, now_);
  EXPECT_EQ(circuit_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, FailuresInTheWindowOpenItAgainAndTheProbesStayRare) {
  Open();
  for (int i = 0; i < 10; ++i) Probe();
  OpenHalf();
  for (CircuitBreaker::Call& call : SendAll()) circuit_.OnFailed(call, now_, std::nullopt);
  EXPECT_EQ(circuit_.state(), State::kOpen);
  EXPECT_GE(circuit_.NextCall(now_),
            now_ + CircuitBreaker::kLeastShareOfInterval * CircuitBreaker::kLongestProbe);
}

TEST_F(CircuitBreakerTest, TheCircuitClosesAlthoughAThirdOfTheCallsStillFails) {
  for (int round = 0; round < 20; ++round) {
    Open();
    for (int i = 0; i < 10'000 && circuit_.state() != State::kClosed; ++i) {
      now_ = std::max(now_, circuit_.NextCall(now_));
      for (CircuitBreaker::Call& call : SendAll()) {
        if (random_.Draw() % 3 == 0) {
          circuit_.OnFailed(call, now_, std::nullopt);
        } else {
          circuit_.OnServed(call, now_);
        }
      }
    }
    ASSERT_EQ(circuit_.state(), State::kClosed);
  }
}

TEST_F(CircuitBreakerTest, AWindowFullOfHangingCallsIsProbedAllTheSame) {
  Open();
  OpenHalf();
  SendAll();
  const absl::Time next = circuit_.NextCall(now_);
  EXPECT_GT(next, now_);
  EXPECT_LE(next, now_ + CircuitBreaker::kLongestProbe);
}

TEST_F(CircuitBreakerTest, AnswersToCallsFromBeforeAChangeAreNotCounted) {
  CircuitBreaker::Call old = circuit_.Begin(now_);
  CircuitBreaker::Call older = circuit_.Begin(now_);
  Open();
  circuit_.OnServed(old, now_);
  EXPECT_EQ(circuit_.state(), State::kOpen);
  CircuitBreaker::Call hanging = Probe();
  OpenHalf();
  circuit_.OnFailed(hanging, now_, std::nullopt);
  circuit_.OnFailed(older, now_, std::nullopt);
  EXPECT_EQ(circuit_.state(), State::kHalfOpen);
  EXPECT_EQ(SendAll().size(), size_t{CircuitBreaker::kFirstWindow});
}

TEST_F(CircuitBreakerTest, ACallThatHasHungSinceBeforeUpstreamServedAgainIsNoNewFailure) {
  std::vector<CircuitBreaker::Call> hanging;
  for (int i = 0; i < 100; ++i) hanging.push_back(circuit_.Begin(now_));
  now_ += absl::Seconds(30);
  Serve();
  for (CircuitBreaker::Call& call : hanging) {
    now_ += absl::Milliseconds(100);
    circuit_.OnFailed(call, now_, std::nullopt);
  }
  EXPECT_EQ(circuit_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AFailureCountsOnceAndALateAnswerStillCounts) {
  Open();
  CircuitBreaker::Call probe = Probe();
  circuit_.OnFailed(probe, now_, std::nullopt);
  circuit_.OnFailed(probe, now_, std::nullopt);
  EXPECT_EQ(circuit_.state(), State::kOpen);
  circuit_.OnServed(probe, now_);
  EXPECT_EQ(circuit_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, NoProbeGoesOutBeforeRetryAfterWithinReason) {
  Open();
  CircuitBreaker::Call probe = Probe();
  circuit_.OnFailed(probe, now_, absl::Seconds(90));
  EXPECT_EQ(circuit_.NextCall(now_), now_ + absl::Seconds(90));
  circuit_.OnFailed(probe, now_, absl::Hours(1000));
  EXPECT_EQ(circuit_.NextCall(now_), now_ + CircuitBreaker::kLongestPause);
}

TEST_F(CircuitBreakerTest, AClockThatIsSetBackDelaysNoProbe) {
  Open();
  now_ -= absl::Hours(3);
  EXPECT_LE(circuit_.NextCall(now_), now_ + CircuitBreaker::kFirstProbe);
}

}  // namespace
}  // namespace dreamgate::core
