#include "dreamgate/client/watch.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "dreamgate/client/video_client.h"
#include "tests/api/seen_update.h"
#include "tests/client/fake_environment.h"
#include "tests/client/fake_video_service.h"
#include "tests/fakes/watch_validator.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr auto kSubmitting = v1::PREDICTION_STATE_SUBMITTING;
constexpr auto kCreated = v1::PREDICTION_STATE_CREATED;
constexpr auto kProcessing = v1::PREDICTION_STATE_PROCESSING;
constexpr auto kCompleted = v1::PREDICTION_STATE_COMPLETED;

class WatchTest : public testing::Test {
 protected:
  VideoClient& client() {
    if (!client_) {
      client_ = std::make_unique<VideoClient>(
          grpc::CreateChannel(service_.target(), grpc::InsecureChannelCredentials()),
          ClientOptions{}, environment_);
    }
    return *client_;
  }

  // Everything a watch delivers until its end.
  struct Seen {
    std::vector<int64_t> sequences;
    std::vector<Resumption> resumptions;
    int heartbeats = 0;
    grpc::Status status;
  };

  // Watches to the end and validates: no server can make the client break the watch guarantees.
  Seen WatchAll(WatchOptions options = {}) {
    fakes::WatchValidator validator(options.after_sequence);
    Watch watch = client().Watch("p1", std::move(options));
    Seen seen;
    while (std::optional<WatchEvent> event = watch.Next()) {
      if (const auto* update = std::get_if<v1::Prediction>(&*event)) {
        seen.sequences.push_back(update->sequence());
        validator.OnUpdate(api::Seen(*update));
      } else if (const auto* resumption = std::get_if<Resumption>(&*event)) {
        seen.resumptions.push_back(*resumption);
        if (resumption->rewound) {
          EXPECT_THAT(validator.violations(), testing::IsEmpty());
          validator = fakes::WatchValidator();
        }
      } else {
        ++seen.heartbeats;
      }
    }
    seen.status = watch.status();
    validator.OnEnd(seen.status.ok());
    EXPECT_THAT(validator.violations(), testing::IsEmpty());
    return seen;
  }

  // A stream that replays from the position asked for up to the terminal sequence 4.
  void ThenReplayToTheEnd() {
    service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream& stream) {
      for (int64_t sequence = request.after_sequence() + 1; sequence <= 4; ++sequence) {
        stream.Update(sequence, StateAt(sequence));
      }
      return grpc::Status::OK;
    });
  }

  // Of the usual life.
  static v1::PredictionState StateAt(int64_t sequence) {
    const std::vector<v1::PredictionState> life = {kSubmitting, kCreated, kProcessing, kCompleted};
    return life.at(static_cast<size_t>(sequence - 1));
  }

  // A stream that shows the first two transitions and ends with `status`.
  void ThenBreakAfterTwo(grpc::Status status) {
    service_.ThenWatch([status](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
      stream.Update(1, kSubmitting);
      stream.Update(2, kCreated);
      return status;
    });
  }

  void ExpectResumedOnceAfterTwo(const Seen& seen) {
    EXPECT_TRUE(seen.status.ok()) << seen.status.error_message();
    EXPECT_EQ(seen.sequences, (std::vector<int64_t>{1, 2, 3, 4}));
    ASSERT_EQ(service_.watches().size(), 2u);
    EXPECT_EQ(service_.watches()[1].after_sequence(), 2);
    ASSERT_EQ(seen.resumptions.size(), 1u);
    EXPECT_EQ(seen.resumptions[0].after_sequence, 2);
  }

  FakeVideoService service_;
  std::shared_ptr<FakeEnvironment> environment_ = std::make_shared<FakeEnvironment>();
  std::unique_ptr<VideoClient> client_;
};

TEST_F(WatchTest, DeliversEveryTransitionAndEndsWithOkAfterTheTerminalOne) {
  ThenReplayToTheEnd();
  const Seen seen = WatchAll({.after_sequence = 0});
  EXPECT_EQ(seen.sequences, (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_TRUE(seen.status.ok());
}

TEST_F(WatchTest, WithoutAPositionItAsksForTheCurrentState) {
  service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream& stream) {
    EXPECT_FALSE(request.has_after_sequence());
    stream.Update(3, kProcessing);
    stream.Update(4, kCompleted);
    return grpc::Status::OK;
  });
  EXPECT_EQ(WatchAll().sequences, (std::vector<int64_t>{3, 4}));
}

TEST_F(WatchTest, SendsPredictionIdAndHeartbeatInterval) {
  ThenReplayToTheEnd();
  WatchAll({.after_sequence = 0, .heartbeat_interval = 7500ms});
  const v1::WatchPredictionRequest request = service_.watches().at(0);
  EXPECT_EQ(request.prediction_id(), "p1");
  EXPECT_EQ(request.heartbeat_interval().seconds(), 7);
  EXPECT_EQ(request.heartbeat_interval().nanos(), 500'000'000);
}

class ResumesOn : public WatchTest, public testing::WithParamInterface<grpc::StatusCode> {};

TEST_P(ResumesOn, FromTheLastSequenceSeen) {
  ThenBreakAfterTwo({GetParam(), "x"});
  ThenReplayToTheEnd();
  ExpectResumedOnceAfterTwo(WatchAll({.after_sequence = 0}));
}

INSTANTIATE_TEST_SUITE_P(WatchTest, ResumesOn,
                         testing::Values(grpc::UNAVAILABLE, grpc::RESOURCE_EXHAUSTED,
                                         grpc::INTERNAL, grpc::UNKNOWN, grpc::CANCELLED,
                                         grpc::DEADLINE_EXCEEDED),
                         [](const auto& test) {
                           switch (test.param) {
                             case grpc::UNAVAILABLE: return "Unavailable";
                             case grpc::RESOURCE_EXHAUSTED: return "ResourceExhausted";
                             case grpc::INTERNAL: return "Internal";
                             case grpc::UNKNOWN: return "Unknown";
                             case grpc::CANCELLED: return "CancelledByTheServer";
                             default: return "DeadlineExceededAtTheServer";
                           }
                         });

class EndsOn : public WatchTest, public testing::WithParamInterface<grpc::StatusCode> {};

TEST_P(EndsOn, WithTheServersError) {
  ThenBreakAfterTwo({GetParam(), "the reason"});
  const Seen seen = WatchAll({.after_sequence = 0});
  EXPECT_EQ(seen.status.error_code(), GetParam());
  EXPECT_EQ(seen.status.error_message(), "the reason");
  EXPECT_EQ(seen.sequences, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(service_.watches().size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(WatchTest, EndsOn,
                         testing::Values(grpc::NOT_FOUND, grpc::UNAUTHENTICATED,
                                         grpc::INVALID_ARGUMENT, grpc::FAILED_PRECONDITION,
                                         grpc::UNIMPLEMENTED),
                         [](const auto& test) { return "Code" + std::to_string(test.param); });

TEST_F(WatchTest, ResumesWhenTheServerGoesAwayAndComesBack) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.WaitUntilCancelled();
    return grpc::Status::CANCELLED;
  });
  Watch watch = client().Watch("p1", {.after_sequence = 0});
  ASSERT_TRUE(watch.NextUpdate().has_value());
  service_.Stop();
  const std::optional<WatchEvent> event = watch.Next();
  ASSERT_TRUE(event.has_value());
  ASSERT_TRUE(std::holds_alternative<Resumption>(*event));
  EXPECT_EQ(std::get<Resumption>(*event).after_sequence, 1);
}

TEST_F(WatchTest, OutOfRangeStartsAgainWithoutAPosition) {
  service_.ThenWatch(ErrorWith(grpc::OUT_OF_RANGE, "x", {.reason = "SEQUENCE_OUT_OF_RANGE"}));
  service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream& stream) {
    EXPECT_FALSE(request.has_after_sequence());
    stream.Update(3, kProcessing);
    stream.Update(4, kCompleted);
    return grpc::Status::OK;
  });
  const Seen seen = WatchAll({.after_sequence = 9});
  EXPECT_TRUE(seen.status.ok());
  EXPECT_EQ(seen.sequences, (std::vector<int64_t>{3, 4}));
  ASSERT_EQ(seen.resumptions.size(), 1u);
  EXPECT_TRUE(seen.resumptions[0].rewound);
}

TEST_F(WatchTest, OutOfRangeTwiceAtOnePositionIsFinal) {
  const grpc::Status out_of_range =
      ErrorWith(grpc::OUT_OF_RANGE, "x", {.reason = "SEQUENCE_OUT_OF_RANGE"});
  service_.ThenWatch(out_of_range);
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(9, kProcessing);
    return grpc::Status(grpc::UNAVAILABLE, "x");
  });
  service_.ThenWatch(out_of_range);
  EXPECT_EQ(WatchAll({.after_sequence = 9}).status.error_code(), grpc::OUT_OF_RANGE);
  EXPECT_EQ(service_.watches().size(), 3u);
}

TEST_F(WatchTest, AReconnectMessageResumesAfterExactlyTheGivenDelay) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.Update(2, kCreated);
    stream.Reconnect(1250ms);
    stream.WaitUntilCancelled();
    return grpc::Status(grpc::UNAVAILABLE, "draining");
  });
  ThenReplayToTheEnd();
  const Seen seen = WatchAll({.after_sequence = 0});
  ExpectResumedOnceAfterTwo(seen);
  EXPECT_TRUE(seen.resumptions[0].cause.ok());
  EXPECT_EQ(environment_->pauses(), (std::vector<nanoseconds>{1250ms}));
}

TEST_F(WatchTest, AnUpdateSeenBeforeIsNotDeliveredAgain) {
  ThenBreakAfterTwo({grpc::UNAVAILABLE, "x"});
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    for (int64_t sequence = 1; sequence <= 4; ++sequence) {
      stream.Update(sequence, StateAt(sequence));
    }
    return grpc::Status::OK;
  });
  EXPECT_EQ(WatchAll({.after_sequence = 0}).sequences, (std::vector<int64_t>{1, 2, 3, 4}));
}

TEST_F(WatchTest, AGapIsNotDeliveredButResumedFromTheLastSequence) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.Update(2, kCreated);
    stream.Update(4, kCompleted);
    return grpc::Status::OK;
  });
  ThenReplayToTheEnd();
  const Seen seen = WatchAll({.after_sequence = 0});
  ExpectResumedOnceAfterTwo(seen);
  EXPECT_EQ(seen.resumptions[0].cause.error_code(), grpc::DATA_LOSS);
}

TEST_F(WatchTest, OkBeforeTheTerminalStateIsResumed) {
  ThenBreakAfterTwo(grpc::Status::OK);
  ThenReplayToTheEnd();
  ExpectResumedOnceAfterTwo(WatchAll({.after_sequence = 0}));
}

TEST_F(WatchTest, OkAtOnceFromTheTerminalPositionIsTheEnd) {
  service_.ThenWatch(grpc::Status::OK);
  const Seen seen = WatchAll({.after_sequence = 4});
  EXPECT_TRUE(seen.status.ok());
  EXPECT_TRUE(seen.sequences.empty());
}

TEST_F(WatchTest, AServerThatKeepsBreakingTheContractEndsTheWatch) {
  for (int stream = 0; stream < 3; ++stream) ThenBreakAfterTwo(grpc::Status::OK);
  const Seen seen = WatchAll({.after_sequence = 0, .max_contract_breaches = 3});
  EXPECT_EQ(seen.status.error_code(), grpc::DATA_LOSS);
  EXPECT_EQ(service_.watches().size(), 3u);
}

TEST_F(WatchTest, AnErrorAfterTheTerminalUpdateDoesNotMatter) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kCompleted);
    return grpc::Status(grpc::UNAVAILABLE, "x");
  });
  const Seen seen = WatchAll({.after_sequence = 0});
  EXPECT_TRUE(seen.status.ok());
  EXPECT_EQ(service_.watches().size(), 1u);
}

TEST_F(WatchTest, AMessageFromANewerServerIsIgnored) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Unknown();
    stream.Update(1, kCompleted);
    return grpc::Status::OK;
  });
  EXPECT_EQ(WatchAll({.after_sequence = 0}).sequences, (std::vector<int64_t>{1}));
}

TEST_F(WatchTest, AStreamSilentForTwoAndAHalfHeartbeatsAndTheSlackIsDead) {
  std::promise<void> second_update_seen;
  service_.ThenWatch([&](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.Update(2, kCreated);
    second_update_seen.get_future().wait();
    environment_->Advance(30s);  // 2.5 x 10 s + 5 s
    stream.WaitUntilCancelled();
    return grpc::Status::CANCELLED;
  });
  ThenReplayToTheEnd();
  Watch watch = client().Watch("p1", {.after_sequence = 0, .heartbeat_interval = 10s});
  EXPECT_EQ(watch.NextUpdate()->sequence(), 1);
  EXPECT_EQ(watch.NextUpdate()->sequence(), 2);
  second_update_seen.set_value();
  const std::optional<WatchEvent> event = watch.Next();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<Resumption>(*event).cause.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(watch.NextUpdate()->sequence(), 3);
  EXPECT_EQ(watch.NextUpdate()->sequence(), 4);
  EXPECT_EQ(watch.NextUpdate(), std::nullopt);
  EXPECT_TRUE(watch.status().ok());
}

TEST_F(WatchTest, HeartbeatsKeepAStreamAlive) {
  Watch watch = client().Watch("p1", {.after_sequence = 0, .heartbeat_interval = 10s});
  std::promise<void> first_heartbeat_seen;
  service_.ThenWatch([&](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Heartbeat(0.5);
    first_heartbeat_seen.get_future().wait();
    environment_->Advance(29s);  // alive for 30 s after a heartbeat
    stream.Heartbeat(0.6);
    stream.Update(1, kCompleted);
    return grpc::Status::OK;
  });
  std::optional<WatchEvent> event = watch.Next();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<v1::Heartbeat>(*event).estimated_progress(), 0.5);
  first_heartbeat_seen.set_value();
  event = watch.Next();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<v1::Heartbeat>(*event).estimated_progress(), 0.6);
  EXPECT_EQ(watch.NextUpdate()->sequence(), 1);
  EXPECT_EQ(watch.NextUpdate(), std::nullopt);
  EXPECT_EQ(service_.watches().size(), 1u);
}

TEST_F(WatchTest, HonoursRetryInfo) {
  service_.ThenWatch(
      ErrorWith(grpc::RESOURCE_EXHAUSTED, "x", {.reason = "TOO_MANY_STREAMS", .retry_after = 4s}));
  ThenReplayToTheEnd();
  WatchAll({.after_sequence = 0});
  EXPECT_EQ(environment_->pauses(), (std::vector<nanoseconds>{4s + 50ms}));
}

TEST_F(WatchTest, PausesGrowWhileNothingArrivesAndStartSmallAfterProgress) {
  for (int failure = 0; failure < 3; ++failure)
    service_.ThenWatch(grpc::Status(grpc::UNAVAILABLE, "x"));
  ThenBreakAfterTwo({grpc::UNAVAILABLE, "x"});
  ThenReplayToTheEnd();
  WatchAll({.after_sequence = 0});
  EXPECT_EQ(environment_->pauses(), (std::vector<nanoseconds>{50ms, 100ms, 200ms, 50ms}));
}

TEST_F(WatchTest, GivesUpWithTheLastErrorOnceNothingWasReceivedForTooLong) {
  for (int failure = 0; failure < 10; ++failure)
    service_.ThenWatch(grpc::Status(grpc::UNAVAILABLE, "gone"));
  const Seen seen = WatchAll({.give_up_after = 1s});
  EXPECT_EQ(seen.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(seen.status.error_message(), "gone");
  EXPECT_EQ(service_.watches().size(),
            5u);  // pauses of 50, 100, 200, 400 ms, and 800 would be too much
}

TEST_F(WatchTest, TheTimeoutOfTheWatchIsFinal) {
  service_.ThenWatch([this](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    environment_->Advance(20s);
    stream.WaitUntilCancelled();
    return grpc::Status::CANCELLED;
  });
  const Seen seen = WatchAll({.timeout = 20s});
  EXPECT_EQ(seen.status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(service_.watches().size(), 1u);
}

TEST_F(WatchTest, CancelFromAnotherThreadEndsABlockedNextAndTheStream) {
  std::promise<void> stream_cancelled;
  service_.ThenWatch([&](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.WaitUntilCancelled();
    stream_cancelled.set_value();
    return grpc::Status::CANCELLED;
  });
  Watch watch = client().Watch("p1", {.after_sequence = 0});
  ASSERT_TRUE(watch.NextUpdate().has_value());
  std::thread canceller([&watch] { watch.Cancel(); });
  EXPECT_EQ(watch.NextUpdate(), std::nullopt);
  canceller.join();
  EXPECT_EQ(watch.status().error_code(), grpc::CANCELLED);
  EXPECT_EQ(watch.last_sequence(), 1);
  EXPECT_EQ(stream_cancelled.get_future().wait_for(30s), std::future_status::ready);
}

TEST_F(WatchTest, CancelEndsAPauseBetweenAttempts) {
  environment_->hold_pauses = true;
  service_.ThenWatch(grpc::Status(grpc::UNAVAILABLE, "x"));
  std::stop_source stop;
  Watch watch = client().Watch("p1", {.stop = stop.get_token()});
  std::thread canceller([&] {
    while (!environment_->pausing) std::this_thread::yield();
    stop.request_stop();
  });
  EXPECT_EQ(watch.NextUpdate(), std::nullopt);
  canceller.join();
  EXPECT_EQ(watch.status().error_code(), grpc::CANCELLED);
}

TEST_F(WatchTest, DestroyingAWatchCancelsItsStream) {
  std::promise<void> stream_cancelled;
  service_.ThenWatch([&](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(1, kSubmitting);
    stream.WaitUntilCancelled();
    stream_cancelled.set_value();
    return grpc::Status::CANCELLED;
  });
  {
    Watch watch = client().Watch("p1");
    ASSERT_TRUE(watch.NextUpdate().has_value());
  }
  EXPECT_EQ(stream_cancelled.get_future().wait_for(30s), std::future_status::ready);
}

}  // namespace
}  // namespace dreamgate::client
