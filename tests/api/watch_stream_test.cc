#include "server/api/watch_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/api/fan_out.h"
#include "server/core/errors.h"

namespace dreamgate::api {
namespace {

constexpr absl::Duration kReconnectDelay = absl::Milliseconds(500);

struct TestMessage final : core::EncodedMessage {
  explicit TestMessage(std::string message_text) : text(std::move(message_text)) {}
  const std::string text;
};

std::shared_ptr<const core::EncodedMessage> Message(std::string text) {
  return std::make_shared<const TestMessage>(std::move(text));
}

// A log of `length` entries "1", "2", ...
std::shared_ptr<const core::TransitionLog> Log(int length, bool terminal = false) {
  auto log = std::make_shared<core::TransitionLog>();
  for (int sequence = 1; sequence <= length; ++sequence) {
    log->push_back({sequence, terminal && sequence == length, Message(std::to_string(sequence))});
  }
  return log;
}

class FakeWriter : public StreamWriter {
 public:
  void Write(const core::EncodedMessage& message) override { Record(message); }
  void WriteAndFinish(const core::EncodedMessage& message, absl::Status status) override {
    Record(message);
    Finish(std::move(status));
  }
  void Finish(absl::Status status) override {
    EXPECT_FALSE(end.has_value()) << "a stream ends once";
    end = std::move(status);
  }
  void Cancel() override { ++cancels; }

  std::vector<std::string> written;
  std::optional<absl::Status> end;
  int cancels = 0;

 private:
  void Record(const core::EncodedMessage& message) {
    EXPECT_FALSE(end.has_value()) << "nothing is written after the end";
    written.push_back(static_cast<const TestMessage&>(message).text);
  }
};

// Pumps at once, as if the fan-out's thread had nothing else to do.
class InlineHost : public StreamHost {
 public:
  void SchedulePump(std::shared_ptr<WatchStream> stream) override { stream->Pump(); }
  std::shared_ptr<const core::EncodedMessage> EncodeReconnect(absl::Duration) override {
    return Message("reconnect");
  }
  absl::Duration stall_timeout() const override { return timeout; }
  void ExpectEnd(std::weak_ptr<WatchStream>) override { ++ends_expected; }

  absl::Duration timeout = absl::Minutes(1);
  int ends_expected = 0;
};

class WatchStreamTest : public testing::Test {
 protected:
  using Texts = std::vector<std::string>;

  InlineHost host_;
  FakeWriter writer_;
  std::shared_ptr<WatchStream> stream_ = std::make_shared<WatchStream>(host_, writer_);
};

TEST_F(WatchStreamTest, WritesOneEntryAtATimeAndEndsWithOkAtTheTerminalOne) {
  stream_->Begin(Log(3, true), 0);
  EXPECT_EQ(writer_.written, Texts({"1"}));
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "2"}));
  EXPECT_FALSE(writer_.end.has_value());
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "2", "3"}));
  EXPECT_EQ(writer_.end, absl::OkStatus());
  EXPECT_TRUE(stream_->ended_by_hub());
}

TEST_F(WatchStreamTest, EndsAtOnceWhenThePositionIsTheTerminalOne) {
  stream_->Begin(Log(3, true), 3);
  EXPECT_TRUE(writer_.written.empty());
  EXPECT_EQ(writer_.end, absl::OkStatus());
}

TEST_F(WatchStreamTest, GoesOnWhenALongerLogArrives) {
  stream_->Begin(Log(1), 0);
  stream_->WriteDone(true);
  stream_->Advance(Log(2));
  stream_->WriteDone(true);
  stream_->Advance(Log(3, true));
  EXPECT_EQ(writer_.written, Texts({"1", "2", "3"}));
  EXPECT_EQ(writer_.end, absl::OkStatus());
}

TEST_F(WatchStreamTest, IgnoresALogThatIsNotLonger) {
  stream_->Begin(Log(2), 2);
  stream_->Advance(Log(4));
  stream_->Advance(Log(3));
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"3", "4"}));
}

TEST_F(WatchStreamTest, ANewEntryPassesAWaitingHeartbeat) {
  stream_->Begin(Log(1), 0);
  stream_->Beat(Message("beat"));
  stream_->Advance(Log(2));
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "2", "beat"}));
}

TEST_F(WatchStreamTest, AHeartbeatNeverQueuesBehindAnother) {
  stream_->Begin(Log(1), 0);
  stream_->Beat(Message("old beat"));
  stream_->Beat(Message("new beat"));
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "new beat"}));
}

TEST_F(WatchStreamTest, ALeavingServerSaysReconnectAfterWhatIsBeingWritten) {
  stream_->Begin(Log(2), 0);
  stream_->Leave(kReconnectDelay);
  EXPECT_EQ(writer_.written, Texts({"1"}));
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "reconnect"}));
  ASSERT_TRUE(writer_.end.has_value());
  EXPECT_EQ(core::ReasonOf(*writer_.end), core::Reason::kDraining);
  EXPECT_EQ(core::DetailsOf(*writer_.end).retry_after, kReconnectDelay);
}

TEST_F(WatchStreamTest, ALeavingServerDeliversATerminalEntryThatIsThere) {
  stream_->Begin(Log(1), 0);
  stream_->Advance(Log(3, true));
  stream_->Leave(kReconnectDelay);
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1", "2", "3"}));
  EXPECT_EQ(writer_.end, absl::OkStatus());
}

TEST_F(WatchStreamTest, LeavesWithoutAPositionToo) {
  stream_->Leave(kReconnectDelay);
  EXPECT_EQ(writer_.written, Texts({"reconnect"}));
  EXPECT_TRUE(writer_.end.has_value());
}

TEST_F(WatchStreamTest, AFailureEndsTheStreamAfterThePendingWrite) {
  stream_->Begin(Log(2), 0);
  stream_->Fail(core::MakeError(core::Reason::kLedgerUnavailable, "later"));
  EXPECT_FALSE(writer_.end.has_value());
  stream_->WriteDone(true);
  EXPECT_EQ(writer_.written, Texts({"1"}));
  ASSERT_TRUE(writer_.end.has_value());
  EXPECT_EQ(core::ReasonOf(*writer_.end), core::Reason::kLedgerUnavailable);
  EXPECT_EQ(stream_->end_code(), absl::StatusCode::kUnavailable);
}

TEST_F(WatchStreamTest, ACallerThatLeavesEndsTheStreamOnceInEveryState) {
  stream_->CallerGone();  // before it began
  ASSERT_TRUE(writer_.end.has_value());
  stream_->Begin(Log(1), 0);
  stream_->Advance(Log(2, true));
  stream_->Beat(Message("beat"));
  stream_->Leave(kReconnectDelay);
  stream_->Fail(absl::InternalError("late"));
  stream_->CallerGone();
  EXPECT_TRUE(writer_.written.empty());
  EXPECT_FALSE(stream_->ended_by_hub());
  EXPECT_EQ(stream_->end_code(), absl::StatusCode::kCancelled);
}

TEST_F(WatchStreamTest, ACallerThatLeavesDuringAWriteEndsTheStreamOnce) {
  stream_->Begin(Log(2), 0);
  stream_->CallerGone();
  ASSERT_TRUE(writer_.end.has_value());
  stream_->WriteDone(false);
  EXPECT_EQ(writer_.written, Texts({"1"}));
}

TEST_F(WatchStreamTest, ABrokenWriteEndsTheStream) {
  stream_->Begin(Log(2), 0);
  stream_->WriteDone(false);
  ASSERT_TRUE(writer_.end.has_value());
  EXPECT_TRUE(absl::IsCancelled(*writer_.end));
  EXPECT_FALSE(stream_->ended_by_hub());
}

TEST_F(WatchStreamTest, AHeartbeatThatFindsAStalledWriteBreaksTheStreamOnce) {
  host_.timeout = -absl::Nanoseconds(1);  // any pending write has stalled
  stream_->Begin(Log(1), 1);
  stream_->Beat(Message("fine, nothing is pending"));
  EXPECT_EQ(writer_.cancels, 0);
  stream_->Beat(Message("stalled"));
  stream_->Beat(Message("stalled"));
  EXPECT_EQ(writer_.cancels, 1);
  stream_->CallerGone();
  EXPECT_TRUE(writer_.end.has_value());
}

TEST_F(WatchStreamTest, IsExpectedToEndOnceTheHubLetsGoOfIt) {
  stream_->Begin(Log(1), 0);
  stream_->Advance(Log(2));
  stream_->Beat(Message("beat"));
  EXPECT_EQ(host_.ends_expected, 0);
  stream_->Advance(Log(3, true));
  EXPECT_EQ(host_.ends_expected, 1);
  const auto letting_go = [this](auto let_go) {
    host_.ends_expected = 0;
    FakeWriter writer;
    let_go(*std::make_shared<WatchStream>(host_, writer));
    return host_.ends_expected;
  };
  EXPECT_EQ(letting_go([](WatchStream& stream) { stream.Begin(Log(3, true), 1); }), 1);
  EXPECT_EQ(letting_go([](WatchStream& stream) { stream.Leave(kReconnectDelay); }), 1);
  EXPECT_EQ(letting_go([](WatchStream& stream) { stream.Fail(absl::InternalError("x")); }), 1);
}

TEST_F(WatchStreamTest, IsBrokenOnceUnlessItsTransportIsDone) {
  stream_->Begin(Log(1), 0);
  stream_->Advance(Log(2, true));  // waits behind a write that does not end
  stream_->BreakUnlessDone();
  stream_->BreakUnlessDone();
  EXPECT_EQ(writer_.cancels, 1);
  stream_->CallerGone();
  EXPECT_TRUE(writer_.end.has_value());

  FakeWriter writer;
  const auto other = std::make_shared<WatchStream>(host_, writer);
  other->Begin(Log(1, true), 0);  // the end is under way
  EXPECT_TRUE(writer.end.has_value());
  other->Done();
  other->BreakUnlessDone();
  EXPECT_EQ(writer.cancels, 0);
}

TEST_F(WatchStreamTest, LetsGoOfTheLogWhenItHasEnded) {
  auto log = Log(2);
  stream_->Begin(log, 2);
  EXPECT_EQ(log.use_count(), 2);
  stream_->CallerGone();
  EXPECT_EQ(log.use_count(), 1);
}

// --------------------------------------------------------------------------------------- fan-out

class CountingEvents : public core::Events {
 public:
  void TransitionDelivered(absl::Duration, int64_t watchers) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    delivered_.push_back(watchers);
  }
  std::vector<int64_t> delivered() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return delivered_;
  }

 private:
  std::mutex mutex_;
  std::vector<int64_t> delivered_;
};

// Waits for a condition that other threads bring about.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class FanOutHost : public InlineHost {
 public:
  explicit FanOutHost(core::Events& events, absl::Duration end_timeout = absl::Minutes(1))
      : fan_out(events, end_timeout) {}
  void SchedulePump(std::shared_ptr<WatchStream> stream) override {
    fan_out.Pump(std::move(stream));
  }
  void ExpectEnd(std::weak_ptr<WatchStream> stream) override {
    fan_out.ExpectEnd(std::move(stream));
  }
  FanOut fan_out;
};

// A transport that answers from a thread of its own, as gRPC does, and checks what may not happen.
class AsyncTransport : public StreamWriter {
 public:
  void Write(const core::EncodedMessage&) override {
    EXPECT_FALSE(write_pending_.exchange(true)) << "two writes at once";
    EXPECT_FALSE(ended_.load());
  }
  void WriteAndFinish(const core::EncodedMessage&, absl::Status) override {
    EXPECT_FALSE(write_pending_.load()) << "two writes at once";
    EXPECT_FALSE(ended_.exchange(true)) << "two ends";
  }
  void Finish(absl::Status) override { EXPECT_FALSE(ended_.exchange(true)) << "two ends"; }
  void Cancel() override {
    EXPECT_FALSE(done_.load()) << "the transport is gone";
    ++cancels_;
  }

  // Completes the pending write, if any.
  void Answer(WatchStream& stream) {
    if (write_pending_.exchange(false)) stream.WriteDone(true);
  }
  // The transport's last reaction.
  void Die(WatchStream& stream) {
    stream.Done();
    done_ = true;
  }
  bool ended() const { return ended_.load(); }
  int cancels() const { return cancels_.load(); }

 private:
  std::atomic<bool> write_pending_ = false;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> done_ = false;
  std::atomic<int> cancels_ = 0;
};

struct Rpc {
  explicit Rpc(StreamHost& host) : stream(std::make_shared<WatchStream>(host, transport)) {}
  AsyncTransport transport;
  std::shared_ptr<WatchStream> stream;
};

TEST(FanOutTest, ReportsATransitionOnceItsLastWatcherWasHandedIt) {
  CountingEvents events;
  FanOutHost host(events);
  std::vector<std::unique_ptr<Rpc>> rpcs;
  std::vector<std::shared_ptr<core::Watcher>> watchers;
  for (size_t i = 0; i < 3 * FanOut::kChunk + 1; ++i) {
    rpcs.push_back(std::make_unique<Rpc>(host));
    rpcs.back()->stream->Begin(Log(1), 1);
    watchers.push_back(rpcs.back()->stream);
  }
  host.fan_out.Advance(Log(2, true), watchers);
  ASSERT_TRUE(Eventually([&] { return events.delivered().size() == 1; }));
  EXPECT_EQ(events.delivered().front(), static_cast<int64_t>(watchers.size()));
  for (const auto& rpc : rpcs) EXPECT_TRUE(rpc->transport.ended());
}

// Holds the fan-out's thread inside a write until it is let go.
class GateWriter : public FakeWriter {
 public:
  void Write(const core::EncodedMessage& message) override {
    reached_.set_value();
    gate_.get_future().wait();
    FakeWriter::Write(message);
  }
  void AwaitReached() { reached_.get_future().wait(); }
  void Open() { gate_.set_value(); }

 private:
  std::promise<void> reached_;
  std::promise<void> gate_;
};

// Notes in which order streams were written to.
class OrderWriter : public FakeWriter {
 public:
  OrderWriter(std::vector<char>& order, char name) : order_(order), name_(name) {}
  void Write(const core::EncodedMessage&) override { order_.push_back(name_); }

 private:
  std::vector<char>& order_;
  const char name_;
};

TEST(FanOutTest, ALargeFanOutDelaysAnotherPredictionByOneChunkOnly) {
  CountingEvents events;
  FanOutHost host(events);
  std::vector<char> order;  // only the fan-out's thread writes it
  std::vector<std::unique_ptr<OrderWriter>> writers;
  const auto make_watchers = [&](size_t count, char name) {
    std::vector<std::shared_ptr<core::Watcher>> watchers;
    for (size_t i = 0; i < count; ++i) {
      writers.push_back(std::make_unique<OrderWriter>(order, name));
      auto stream = std::make_shared<WatchStream>(host, *writers.back());
      stream->Begin(Log(1), 1);
      watchers.push_back(std::move(stream));
    }
    return watchers;
  };
  const auto many = make_watchers(4 * FanOut::kChunk, 'm');
  const auto one = make_watchers(1, 'o');

  GateWriter gate;
  auto blocker = std::make_shared<WatchStream>(host, gate);
  blocker->Begin(Log(1), 0);
  gate.AwaitReached();
  host.fan_out.Advance(Log(2), many);
  host.fan_out.Advance(Log(2), one);
  gate.Open();
  ASSERT_TRUE(Eventually([&] { return events.delivered().size() == 2; }));
  EXPECT_EQ(events.delivered(), std::vector<int64_t>({1, static_cast<int64_t>(many.size())}));
  ASSERT_EQ(order.size(), many.size() + 1);
  EXPECT_EQ(order[FanOut::kChunk], 'o');
}

TEST(FanOutTest, BreaksWhatDoesNotEndInTimeAndNothingElse) {
  CountingEvents events;
  FanOutHost host(events, absl::Milliseconds(20));
  constexpr size_t kStreams = 5 * FanOut::kChunk;
  std::vector<std::unique_ptr<Rpc>> rpcs;
  std::vector<std::shared_ptr<core::Watcher>> watchers;
  for (size_t i = 0; i < kStreams; ++i) {
    rpcs.push_back(std::make_unique<Rpc>(host));
    rpcs.back()->stream->Begin(Log(1), 1);
    watchers.push_back(rpcs.back()->stream);
  }
  Rpc open(host);
  open.stream->Begin(Log(1), 1);
  for (size_t i = 0; i < kStreams; i += 2) {  // done, and held by somebody all the same
    rpcs[i]->stream->CallerGone();
    rpcs[i]->transport.Die(*rpcs[i]->stream);
    host.fan_out.ExpectEnd(rpcs[i]->stream);
  }
  host.fan_out.Advance(Log(2, true), watchers);
  ASSERT_TRUE(Eventually([&] {
    for (size_t i = 1; i < kStreams; i += 2) {
      if (rpcs[i]->transport.cancels() != 1) return false;
    }
    return true;
  }));
  host.fan_out.Stop();
  for (size_t i = 0; i < kStreams; i += 2) EXPECT_EQ(rpcs[i]->transport.cancels(), 0);
  EXPECT_EQ(open.transport.cancels(), 0);
}

TEST(FanOutTest, DropsWhatComesAfterItStopped) {
  CountingEvents events;
  FanOutHost host(events);
  host.fan_out.Stop();
  Rpc rpc(host);
  rpc.stream->Begin(Log(1), 0);
  host.fan_out.Advance(Log(2), {rpc.stream});
  host.fan_out.Stop();
  EXPECT_EQ(rpc.stream.use_count(), 1);
}

TEST(FanOutTest, KeepsEveryRuleOfAStreamUnderThreadsThatRace) {
  CountingEvents events;
  FanOutHost host(events);
  constexpr int kStreams = 400;
  constexpr int kLogs = 6;
  std::vector<std::unique_ptr<Rpc>> rpcs;
  for (int i = 0; i < kStreams; ++i) rpcs.push_back(std::make_unique<Rpc>(host));
  std::vector<std::shared_ptr<core::Watcher>> watchers;
  for (const auto& rpc : rpcs) watchers.push_back(rpc->stream);

  std::atomic<bool> over = false;
  std::thread transport([&] {
    while (!over.load()) {
      for (const auto& rpc : rpcs) rpc->transport.Answer(*rpc->stream);
    }
  });
  std::thread callers([&] {
    for (int i = 0; i < kStreams; i += 3) {
      rpcs[static_cast<size_t>(i)]->stream->CallerGone();
      std::this_thread::yield();
    }
  });
  // The test's thread is the loop.
  for (const auto& watcher : watchers) watcher->Begin(Log(1), 0);
  for (int length = 2; length <= kLogs; ++length) {
    host.fan_out.Advance(Log(length, length == kLogs), watchers);
    for (const auto& watcher : watchers) watcher->Beat(Message("beat"));
    if (length == 3) {
      for (size_t i = 1; i < watchers.size(); i += 3) watchers[i]->Leave(kReconnectDelay);
    }
    if (length == 4) {
      for (size_t i = 4; i < watchers.size(); i += 9) {
        watchers[i]->Fail(core::MakeError(core::Reason::kLedgerUnavailable, "later"));
      }
    }
  }
  EXPECT_TRUE(Eventually([&] {
    for (const auto& rpc : rpcs) {
      if (!rpc->transport.ended()) return false;
    }
    return true;
  }));
  callers.join();
  over = true;
  transport.join();
  host.fan_out.Stop();
}

}  // namespace
}  // namespace dreamgate::api
