#include "server/upstream/https_client.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/core/failpoint.h"
#include "server/net/monotonic_clock.h"

namespace dreamgate::upstream {

namespace {

using ConnectionPtr = std::shared_ptr<HttpsConnection>;

}  // namespace

// Shared with the callbacks of its connections.
class HttpsClient::Pool : public std::enable_shared_from_this<Pool> {
 public:
  Pool(net::Loop& loop, net::Resolver& resolver, HttpsClientOptions options)
      : loop_(loop), resolver_(resolver), options_(std::move(options)) {
    if (!options_.now) options_.now = net::MonotonicNow;
    options_.max_connections = std::max(options_.max_connections, 1);
  }

  void Send(HttpRequest request, Done done) {
    auto call = std::make_shared<Call>();
    call->request = std::move(request);
    call->done = std::move(done);
    if (closed_) {
      loop_.Post([self = shared_from_this(), call] {
        self->Fail(*call, /*sent=*/false, "the client is closed");
      });
      return;
    }
    waiting_[call->Kind()].push_back(call);
    StartWaiting();
    if (call->connection != nullptr) return;
    call->queue_timer = loop_.After(
        options_.queue_timeout, [self = shared_from_this(), waiting = std::weak_ptr<Call>(call)] {
          if (const std::shared_ptr<Call> late = waiting.lock()) self->GiveUpWaiting(late);
        });
  }

  void Close(absl::AnyInvocable<void() &&> done) {
    closed_ = true;
    for (auto& queue : waiting_) {
      for (const std::shared_ptr<Call>& call : queue) {
        call->queue_timer.reset();
        loop_.Post([self = shared_from_this(), call] {
          self->Fail(*call, /*sent=*/false, "the client is closing");
        });
      }
      queue.clear();
    }
    for (const Idle& idle : std::exchange(idle_, {})) idle.connection->Shut();
    // Each posts its completion before `done` is posted.
    for (const auto& calls : in_flight_) {
      for (const std::shared_ptr<Call>& call : calls) call->connection->Shut();
    }
    if (done) loop_.Post(std::move(done));
  }

  PoolCounts Counts() const {
    PoolCounts counts;
    counts.idle = static_cast<int>(idle_.size());
    counts.in_flight = InFlight();
    counts.open = counts.idle + counts.in_flight;
    counts.waiting = static_cast<int>(waiting_[0].size() + waiting_[1].size());
    return counts;
  }

 private:
  struct Call {
    HttpRequest request;
    Done done;
    ConnectionPtr connection;  // null: waiting
    bool pooled = false;       // the connection had served before
    std::unique_ptr<net::LoopTimer> queue_timer;

    size_t Kind() const { return request.idempotent ? 1 : 0; }
  };

  struct Idle {
    ConnectionPtr connection;
    absl::Time since;
  };

  // ---- waiting

  // Starts what may start. The two kinds take turns, each in the order sent.
  void StartWaiting() {
    while (true) {
      if (waiting_[turn_].empty() || !HasRoomFor(turn_)) turn_ = 1 - turn_;
      if (waiting_[turn_].empty() || !HasRoomFor(turn_)) return;
      const std::shared_ptr<Call> call = std::move(waiting_[turn_].front());
      waiting_[turn_].pop_front();
      turn_ = 1 - turn_;
      call->queue_timer.reset();
      Start(call);
    }
  }

  // A quarter of the connections is kept from each kind, so that POSTs which wait minutes for a
  // late answer cannot stop the polling, and the other way round.
  bool HasRoomFor(size_t kind) const {
    const int limit = options_.max_connections;
    const int share = limit == 1 ? 1 : limit - std::max(1, limit / 4);
    return InFlight() < limit && static_cast<int>(in_flight_[kind].size()) < share;
  }

  int InFlight() const { return static_cast<int>(in_flight_[0].size() + in_flight_[1].size()); }

  void GiveUpWaiting(const std::shared_ptr<Call>& call) {
    // All wait equally long, so it is at the front or near it: whoever came before has been started or
    // given up. Both looking and erasing there cost the same however many wait behind.
    auto& queue = waiting_[call->Kind()];
    const auto found = std::find(queue.begin(), queue.end(), call);
    if (found != queue.end()) queue.erase(found);
    Fail(*call, /*sent=*/false,
         "no connection became free in time: more connections to upstream are needed "
         "(max-upstream-connections)");
  }

  // ---- in flight

  void Start(const std::shared_ptr<Call>& call) {
    in_flight_[call->Kind()].push_back(call);
    call->connection = TakeIdle(call->request.idempotent);
    if (call->connection != nullptr) {
      call->pooled = true;
      Exchange(call);
    } else {
      Open(call);
    }
  }

  void Open(const std::shared_ptr<Call>& call) {
    call->pooled = false;
    if (Counts().open > options_.max_connections && !idle_.empty()) {
      idle_.front().connection->Shut();  // the one idle longest makes room
      idle_.erase(idle_.begin());
    }
    call->connection = MakeHttpsConnection(loop_, resolver_, options_.connection);
    call->connection->Open([self = shared_from_this(), call](absl::Status status) {
      DREAMGATE_FAILPOINT("upstream.connected");
      if (status.ok() && !self->closed_) return self->Exchange(call);
      call->connection->Shut();
      self->EndFlight(call);
      self->Fail(*call, /*sent=*/false,
                 status.ok() ? "the client is closing" : std::string(status.message()));
      self->StartWaiting();
    });
  }

  void Exchange(const std::shared_ptr<Call>& call) {
    const HttpRequest& request = call->request;
    call->connection->Exchange(request.text, request.timeout, request.body_limit,
                               [self = shared_from_this(), call](ExchangeResult result) {
                                 self->OnExchanged(call, std::move(result));
                               });
  }

  void OnExchanged(const std::shared_ptr<Call>& call, ExchangeResult result) {
    if (result.reusable && !closed_) {
      KeepIdle(call->connection);
    } else {
      call->connection->Shut();
    }
    // The peer closed the pooled connection just before we used it. That is nobody's failure; a GET
    // goes out again at once, on a new connection.
    const bool stale =
        !result.answer.has_value() && call->pooled && !result.response_started && !result.timed_out;
    if (stale && call->request.idempotent && !closed_) return Open(call);

    EndFlight(call);
    if (result.answer.has_value()) {
      std::move(call->done)(*std::move(result.answer));
    } else {
      Fail(*call, /*sent=*/true, std::move(result.problem));
    }
    StartWaiting();
  }

  void EndFlight(const std::shared_ptr<Call>& call) {
    call->connection.reset();
    auto& calls = in_flight_[call->Kind()];
    std::swap(*std::find(calls.begin(), calls.end(), call), calls.back());
    calls.pop_back();
  }

  void Fail(Call& call, bool sent, std::string problem) {
    std::move(call.done)(HttpFailure{sent, std::move(problem)});
  }

  // ---- idle

  void KeepIdle(const ConnectionPtr& connection) {
    idle_.push_back({connection, options_.now()});
    connection->WatchIdle(options_.idle_timeout,
                          [self = weak_from_this(), leaving = connection.get()] {
                            if (const std::shared_ptr<Pool> pool = self.lock()) {
                              pool->Evict(leaving);
                            }
                          });
  }

  void Evict(HttpsConnection* leaving) {
    const auto found = std::find_if(idle_.begin(), idle_.end(), [leaving](const Idle& idle) {
      return idle.connection.get() == leaving;
    });
    if (found == idle_.end()) return;
    const ConnectionPtr connection = found->connection;
    idle_.erase(found);
    connection->Shut();
  }

  // The connection used last, which is the least likely to be dead; null if none is fit.
  ConnectionPtr TakeIdle(bool idempotent) {
    while (!idle_.empty()) {
      if (!idempotent && options_.now() - idle_.back().since >= options_.fresh_window) break;
      const ConnectionPtr connection = std::move(idle_.back().connection);
      idle_.pop_back();
      if (connection->TakeFromIdle()) return connection;
      connection->Shut();
    }
    return nullptr;
  }

  net::Loop& loop_;
  net::Resolver& resolver_;
  HttpsClientOptions options_;
  bool closed_ = false;
  std::array<std::deque<std::shared_ptr<Call>>, 2> waiting_;     // by Call::Kind
  size_t turn_ = 0;                                              // the kind to look at first
  std::array<std::vector<std::shared_ptr<Call>>, 2> in_flight_;  // likewise
  std::vector<Idle> idle_;                                       // longest idle first
};

HttpsClient::HttpsClient(net::Loop& loop, net::Resolver& resolver, HttpsClientOptions options)
    : pool_(std::make_shared<Pool>(loop, resolver, std::move(options))) {}

HttpsClient::~HttpsClient() { pool_->Close(nullptr); }

void HttpsClient::Send(HttpRequest request, Done done) {
  pool_->Send(std::move(request), std::move(done));
}

void HttpsClient::Close(absl::AnyInvocable<void() &&> done) { pool_->Close(std::move(done)); }

PoolCounts HttpsClient::Counts() const { return pool_->Counts(); }

}  // namespace dreamgate::upstream
