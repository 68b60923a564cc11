#include "tests/simulation/watch_clients.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace dreamgate::simulation {
namespace {

struct Update final : core::EncodedMessage {
  explicit Update(const core::Prediction& prediction) : shown(prediction) {}
  const core::Prediction shown;
};
struct Beat final : core::EncodedMessage {};

const core::Prediction& ShownBy(const core::LogEntry& entry) {
  return static_cast<const Update&>(*entry.update).shown;
}

absl::Duration DrawPace(Chance& chance) {
  switch (chance.Weighted<int>({{85, 0}, {10, 1}, {5, 2}})) {
    case 1: return chance.Spread(absl::Milliseconds(50), absl::Seconds(5));
    case 2: return chance.Spread(absl::Seconds(5), absl::Minutes(10));  // stalls
    default: return chance.Spread(absl::Microseconds(10), absl::Milliseconds(50));
  }
}

}  // namespace

// The far end of one stream. Whatever the hub hands over may be on the wire at once; the client reads
// it later, or never, if the process ends before.
class WatchStream final : public core::Watcher, public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(WatchClients& clients, WatchClients::Client& client)
      : clients_(clients), client_(client) {}

  void Begin(std::shared_ptr<const core::TransitionLog> log, size_t cursor) override {
    if (begun_ || closed_) Complain("Begin must come first and once");
    begun_ = true;
    cursor_ = cursor;
    Take(std::move(log), cursor);
  }
  void Advance(const std::shared_ptr<const core::TransitionLog>& log) override {
    if (!begun_ || closed_) Complain("a delivery to a stream that is not open");
    if (log_ == nullptr || log->size() <= log_->size()) return;
    const size_t known = log_->size();
    Take(log, std::max(known, cursor_));
  }
  void Beat(std::shared_ptr<const core::EncodedMessage>) override {
    if (!begun_ || closed_) Complain("a heartbeat to a stream that is not open");
  }
  void Leave(absl::Duration) override { Break(absl::UnavailableError("draining")); }
  void Fail(absl::Status error) override { Break(std::move(error)); }

  // The client has hung up, or the process has ended.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  void Take(std::shared_ptr<const core::TransitionLog> log, size_t first_new) {
    log_ = std::move(log);
    for (size_t i = first_new; i < log_->size(); ++i) {
      clients_.world_.invariants.OnShown(ShownBy((*log_)[i]), "a stream");
    }
    ReadLater();
  }
  void Break(absl::Status error) {
    if (closed_) return Complain("a second end");
    closed_ = true;
    clients_.OnBroken(client_, error);
  }
  void ReadLater() {
    if (reading_ || closed_) return;
    if (cursor_ == log_->size() && !log_->back().terminal) return;
    reading_ = true;
    clients_.world_.process->agenda().Later(DrawPace(clients_.world_.chance),
                                            [self = shared_from_this()] { self->Read(); });
  }
  void Read() {
    reading_ = false;
    if (closed_) return;
    if (cursor_ < log_->size()) clients_.OnUpdate(client_, ShownBy((*log_)[cursor_++]));
    if (cursor_ == log_->size() && log_->back().terminal) {
      closed_ = true;
      clients_.OnEnd(client_);
      return;
    }
    ReadLater();
  }
  void Complain(const std::string& what) {
    clients_.world_.invariants.OnStreamViolation(client_.name, what);
  }

  WatchClients& clients_;
  WatchClients::Client& client_;
  std::shared_ptr<const core::TransitionLog> log_;
  size_t cursor_ = 0;
  bool begun_ = false;
  bool closed_ = false;
  bool reading_ = false;
};

std::shared_ptr<const core::EncodedMessage> WatchSink::EncodeUpdate(
    const core::Prediction& prediction) {
  return std::make_shared<Update>(prediction);
}

std::shared_ptr<const core::EncodedMessage> WatchSink::EncodeHeartbeat(const core::Heartbeat&) {
  return std::make_shared<Beat>();
}

void WatchSink::Deliver(std::shared_ptr<const core::TransitionLog> log,
                        absl::Span<const std::shared_ptr<core::Watcher>> watchers) {
  for (const auto& watcher : watchers) watcher->Advance(log);
}

WatchClients::~WatchClients() = default;

void WatchClients::Add(const PredictionKey& prediction, const std::string& name) {
  auto client = std::make_unique<Client>();
  client->prediction = prediction;
  client->name = absl::StrCat("watcher ", clients_.size() + 1, " of ", name);
  if (world_.chance.Percent(40)) client->validator = fakes::WatchValidator(0);  // wants all of it
  clients_.push_back(std::move(client));
  ++open_;
  ConnectLater(*clients_.back(), world_.chance.Spread(absl::Milliseconds(1), absl::Minutes(2)));
}

void WatchClients::ConnectLater(Client& client, absl::Duration delay) {
  world_.agenda.Later(delay, [this, &client] { Connect(client); });
}

void WatchClients::Connect(Client& client) {
  if (world_.gateway == nullptr) {
    world_.KnockLater([this, &client] { Connect(client); });
    return;
  }
  ++streams_;
  const auto stream = std::make_shared<WatchStream>(*this, client);
  client.stream = stream;
  const std::optional<int64_t> after = client.validator.last_sequence();
  world_.trace.Add(client.name, " watches",
                   [&after] { return after ? absl::StrCat(" after ", *after) : ""; });
  world_.gateway->Watch({client.prediction.first, client.prediction.second, after, std::nullopt},
                        stream);
  // It stays for a while; the pauses grow, so that nobody polls a video of seven days all the time.
  // In the end it stays for as long as the slowest takes to read.
  ++client.sessions;
  const absl::Duration stay = client.sessions < 20
                                  ? world_.chance.Spread(absl::Seconds(1), absl::Minutes(5))
                                  : absl::Minutes(15);
  world_.agenda.Later(stay, [this, &client, stream] {
    if (!stream->closed()) Leave(client);
  });
}

void WatchClients::Leave(Client& client) {
  world_.trace.Add(client.name, " leaves");
  client.stream->Close();
  if (world_.gateway != nullptr) world_.gateway->Unwatch(client.stream);
  client.validator.OnEnd(false);
  client.stream.reset();
  const absl::Duration longest =
      absl::Minutes(1) * (int64_t{1} << std::min<int64_t>(client.sessions, 10));
  ConnectLater(client, client.sessions < 5 ? world_.chance.Spread(absl::Milliseconds(10), longest)
                                           : world_.chance.Uniform(absl::ZeroDuration(), longest));
}

void WatchClients::OnUpdate(Client& client, const core::Prediction& update) {
  world_.trace.Add(client.name, " sees ", [&update] { return Describe(update); });
  client.validator.OnUpdate(fakes::Seen(update));
  PassOnComplaints(client);
}

void WatchClients::OnEnd(Client& client) {
  world_.trace.Add(client.name, " has seen the end");
  client.validator.OnEnd(true);
  PassOnComplaints(client);
  client.done = true;
  --open_;
  // A stream that has ended by itself may still be taken off.
  if (world_.chance.Percent(50)) world_.gateway->Unwatch(client.stream);
  client.stream.reset();
}

void WatchClients::OnBroken(Client& client, const absl::Status& error) {
  world_.trace.Add(client.name, "'s stream breaks: ", error.message());
  client.validator.OnEnd(false);
  if (absl::IsNotFound(error) && world_.invariants.WasForgotten(client.prediction)) {
    client.done = true;
    --open_;
    client.stream.reset();
    return;
  }
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted: break;
    default:
      world_.invariants.OnStreamViolation(
          client.name,
          absl::StrCat("the stream of an acknowledged prediction ends with ", error.message()));
  }
  ConnectLater(client, world_.chance.Spread(absl::Milliseconds(100), absl::Seconds(10)));
}

void WatchClients::OnProcessEnd() {
  for (const auto& client : clients_) {
    if (client->stream == nullptr || client->stream->closed()) continue;
    client->stream->Close();
    client->stream.reset();
    client->validator.OnEnd(false);
    ConnectLater(*client, world_.chance.Spread(absl::Milliseconds(10), absl::Seconds(10)));
  }
}

void WatchClients::PassOnComplaints(Client& client) {
  const std::vector<std::string>& all = client.validator.violations();
  for (; client.complaints < all.size(); ++client.complaints) {
    world_.invariants.OnStreamViolation(client.name, all[client.complaints]);
  }
}

}  // namespace dreamgate::simulation
