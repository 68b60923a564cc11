// A watcher that reads everything at once, and the sink that encodes for it. What it saw goes through
// the watch validator.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_WATCHER_H_
#define DREAMGATE_TESTS_FAKES_FAKE_WATCHER_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/ports.h"
#include "tests/fakes/watch_validator.h"

namespace dreamgate::fakes {

struct FakeMessage final : core::EncodedMessage {
  std::optional<core::Prediction> update;
  std::optional<core::Heartbeat> heartbeat;
  ShownUpdates* shown = nullptr;  // by the sink, to all its watchers
};

class FakeWatcher final : public core::Watcher {
 public:
  explicit FakeWatcher(std::optional<int64_t> after_sequence = std::nullopt)
      : validator(after_sequence) {}

  void Begin(std::shared_ptr<const core::TransitionLog> log, size_t cursor) override {
    if (begun || ended()) broken_rules.push_back("Begin must come first and once");
    begun = true;
    log_ = std::move(log);
    cursor_ = cursor;
    const FakeMessage& latest = MessageAt(log_->size() - 1);
    validator.CompareWith(*latest.shown, latest.update->id);
    Read();
  }
  void Advance(const std::shared_ptr<const core::TransitionLog>& log) override {
    if (!begun || ended()) broken_rules.push_back("a delivery to a stream that is not open");
    if (log_ == nullptr || log->size() <= log_->size()) return;
    log_ = log;
    Read();
  }
  void Beat(std::shared_ptr<const core::EncodedMessage> heartbeat) override {
    if (!begun || ended()) broken_rules.push_back("a heartbeat to a stream that is not open");
    heartbeats.push_back(*static_cast<const FakeMessage&>(*heartbeat).heartbeat);
  }
  void Leave(absl::Duration delay) override {
    if (ended()) broken_rules.push_back("Leave after the end");
    reconnect_delay = delay;
    validator.OnEnd(false);
  }
  void Fail(absl::Status status) override {
    if (ended()) broken_rules.push_back("Fail after the end");
    error = std::move(status);
    validator.OnEnd(false);
  }

  bool ended() const { return ended_ok || reconnect_delay.has_value() || !error.ok(); }
  std::vector<core::State> states() const {
    std::vector<core::State> seen;
    for (const core::Prediction& update : updates) seen.push_back(update.state);
    return seen;
  }
  // The violations of the watch guarantees and of the port's rules; empty: there are none.
  std::vector<std::string> violations() const {
    std::vector<std::string> all = validator.violations();
    all.insert(all.end(), broken_rules.begin(), broken_rules.end());
    return all;
  }

  WatchValidator validator;
  bool begun = false;
  bool ended_ok = false;
  std::vector<core::Prediction> updates;
  std::vector<core::Heartbeat> heartbeats;
  std::optional<absl::Duration> reconnect_delay;
  absl::Status error;
  std::vector<std::string> broken_rules;

 private:
  void Read() {
    for (; cursor_ < log_->size(); ++cursor_) {
      updates.push_back(*MessageAt(cursor_).update);
      validator.OnUpdate(Seen(updates.back()));
    }
    if (!log_->back().terminal) return;
    ended_ok = true;
    validator.OnEnd(true);
  }

  const FakeMessage& MessageAt(size_t position) const {
    return static_cast<const FakeMessage&>(*(*log_)[position].update);
  }

  std::shared_ptr<const core::TransitionLog> log_;
  size_t cursor_ = 0;
};

class FakeSink final : public core::TransitionSink {
 public:
  int updates_encoded = 0;
  int deliveries = 0;

  std::shared_ptr<const core::EncodedMessage> EncodeUpdate(
      const core::Prediction& prediction) override {
    ++updates_encoded;
    auto message = std::make_shared<FakeMessage>();
    message->update = prediction;
    message->shown = &shown_;
    return message;
  }
  std::shared_ptr<const core::EncodedMessage> EncodeHeartbeat(
      const core::Heartbeat& beat) override {
    auto message = std::make_shared<FakeMessage>();
    message->heartbeat = beat;
    return message;
  }
  void Deliver(std::shared_ptr<const core::TransitionLog> log,
               absl::Span<const std::shared_ptr<core::Watcher>> watchers) override {
    ++deliveries;
    for (const auto& watcher : watchers) watcher->Advance(log);
  }

 private:
  ShownUpdates shown_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_WATCHER_H_
