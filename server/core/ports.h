// Every seam of the core on one page. The core decides; everything that touches the world (time,
// chance, REST, SQL, metrics, gRPC streams) is reached through one of these interfaces, so the same
// core runs in production on Asio and in tests on virtual time.
//
// Threads: the core is entered on one thread only, the loop. Every port is called there and every
// completion is posted back there, never run inside the call. `Executor::Post` and `Events` are the
// exceptions: they may be called from any thread. Ports are owned by app and outlive the core.
#ifndef DREAMGATE_SERVER_CORE_PORTS_H_
#define DREAMGATE_SERVER_CORE_PORTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/core/completion.h"
#include "server/core/ledger_call.h"
#include "server/core/ledger_requests.h"
#include "server/core/prediction.h"
#include "server/core/upstream_task.h"

namespace dreamgate::core {

// --------------------------------------------------------------------------------- time and chance

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;  // wall clock; not monotonic
};

class Timers {
 public:
  // Destroying a Timer cancels it: its callback will not run afterwards. A callback may destroy its
  // own Timer.
  class Timer {
   public:
    virtual ~Timer() = default;
  };

  virtual ~Timers() = default;
  // Runs `callback` once on the loop, `delay` (>= 0) from now by a monotonic clock.
  [[nodiscard]] virtual std::unique_ptr<Timer> After(absl::Duration delay,
                                                     absl::AnyInvocable<void() &&> callback) = 0;
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `work` on the loop, in the order posted. Safe from any thread. Work posted after the loop
  // has stopped is destroyed without being run.
  virtual void Post(absl::AnyInvocable<void() &&> work) = 0;
};

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Draw() = 0;                 // uniform over all 64-bit values
  virtual std::string UnguessableToken() = 0;  // 32 lower-case hex digits from the system's CSPRNG
};

// ---------------------------------------------------------------------------------------- upstream

class Upstream {
 public:
  virtual ~Upstream() = default;
  // Sends exactly one POST, at most once on the wire. The completion may come minutes later: the
  // socket is read for up to 5 minutes, because the late answer is the best evidence there is.
  virtual void CreateTask(const CreateTaskRequest& request, Completion<CreateOutcome> done) = 0;
  // One poll of one task; no retries of its own beyond a stale pooled connection.
  virtual void GetTask(const std::string& upstream_id, Completion<PollOutcome> done) = 0;
  // One page of the account's tasks of the last days. Free, but not for polling.
  virtual void ListTasks(const HistoryQuery& query, Completion<HistoryOutcome> done) = 0;
  // SHA-256 based fingerprint (16 hex digits) of the key now in use; never the key.
  virtual std::string KeyFingerprint() const = 0;
};

// ------------------------------------------------------------------------------------------ ledger

// Told of every committed transition, on the loop, in commit order, before
// the proposer's completion.
class CommitObserver {
 public:
  virtual ~CommitObserver() = default;
  virtual void OnCommitted(const std::shared_ptr<const Prediction>& prediction) = 0;
};

// Durable memory: the requests of ledger_requests.h, in the order called. An answer with
// Reason::kLedgerUnavailable means: not known to be durable; the implementation has reopened and
// reread before the next request, so a caller that wants to know reads.
class Ledger {
 public:
  virtual ~Ledger() = default;
  virtual void set_commit_observer(CommitObserver* observer) = 0;
  // `done` is called once the answer is known and the commit observer was told.
  template <typename Request>
  void Call(Request request, Completion<AnswerTo<Request>> done) {
    Enqueue(MakeLedgerCall(std::move(request), std::move(done)));
  }

 private:
  virtual void Enqueue(std::unique_ptr<LedgerCall> call) = 0;
};

// ---------------------------------------------------------------------------------------- watching

// One committed update as `api` wants it on the wire; made once a
// transition, shared by all watchers.
class EncodedMessage {
 public:
  virtual ~EncodedMessage() = default;
};

struct LogEntry {
  int64_t sequence = 0;
  bool terminal = false;
  std::shared_ptr<const EncodedMessage> update;
};
// The committed transitions of one prediction, oldest first, immutable. A longer one replaces it.
using TransitionLog = std::vector<LogEntry>;

struct Heartbeat {
  std::string prediction_id;
  std::optional<absl::Time> last_observed;  // when upstream last answered for it
  std::optional<absl::Time> next_poll;
  std::optional<absl::Duration> estimated_time_left;
  std::optional<double> estimated_progress;  // 0 .. 1
};

class WatchFeed;  // the hub's

// The far end of one watch stream, implemented by `api`. The hub calls it on the loop. It never
// blocks and never calls back into the hub from inside these calls.
class Watcher {
 public:
  virtual ~Watcher() = default;
  // The stream's position: the next entry to write is `log[cursor]`. Called once, first.
  virtual void Begin(std::shared_ptr<const TransitionLog> log, size_t cursor) = 0;
  // The log has grown. Called by whoever delivers, on any thread; a shorter one is passed over.
  virtual void Advance(const std::shared_ptr<const TransitionLog>& log) = 0;
  // A waiting heartbeat is replaced; one never queues behind another.
  virtual void Beat(std::shared_ptr<const EncodedMessage> heartbeat) = 0;
  // Writes `reconnect` after what is being written, then ends with UNAVAILABLE, DRAINING.
  virtual void Leave(absl::Duration reconnect_delay) = 0;
  // Ends the stream with this error.
  virtual void Fail(absl::Status error) = 0;

 private:
  friend class WatchHub;
  // The hub's bookkeeping; loop only.
  WatchFeed* feed_ = nullptr;
  uint32_t feed_index_ = 0;
  uint32_t wheel_slot_ = 0;
  uint32_t wheel_index_ = 0;
  uint32_t heartbeat_seconds_ = 15;
};

// Implemented by `api`: turns values into bytes, and carries a new log to many watchers without
// freezing the loop.
class TransitionSink {
 public:
  virtual ~TransitionSink() = default;
  virtual std::shared_ptr<const EncodedMessage> EncodeUpdate(const Prediction& prediction) = 0;
  virtual std::shared_ptr<const EncodedMessage> EncodeHeartbeat(const Heartbeat& heartbeat) = 0;
  // Once per transition. `watchers` is only valid during the call.
  virtual void Deliver(std::shared_ptr<const TransitionLog> log,
                       absl::Span<const std::shared_ptr<Watcher>> watchers) = 0;
};

// ------------------------------------------------------------------------------------------ events

enum class LogLevel { kDebug, kInfo, kWarning, kError };
using LogFields = std::vector<std::pair<std::string, std::string>>;

// Events, for metrics and the log. Implemented by `telemetry`; safe from any thread. The
// defaults do nothing, so that a fake overrides only what it needs.
class Events {
 public:
  virtual ~Events() = default;
  // `fields` never hold a key or a prompt.
  virtual void Log(LogLevel, absl::string_view /*message*/, const LogFields& /*fields*/ = {}) {}
  // outcome: "accepted", "replayed", "rejected", "unresolved", "not_sent", "refused"
  // (by the gateway itself).
  virtual void SubmissionFinished(absl::string_view /*outcome*/, absl::Duration /*took*/) {}
  // operation: "create", "get", "list"; status: HTTP status, 0 for none.
  virtual void UpstreamRequest(absl::string_view /*operation*/, int /*http_status*/,
                               absl::Duration /*took*/) {}
  virtual void TransitionCommitted(State /*state*/, TransitionSource /*source*/) {}
  // why: "illegal", "repeated", "conflict", "unbound".
  virtual void ObservationDropped(absl::string_view /*why*/) {}
  virtual void LedgerCommit(absl::Duration /*took*/, int /*operations*/, bool /*ok*/) {}
  virtual void PredictionsInFlight(int64_t /*count*/) {}
  virtual void StreamOpened() {}
  virtual void StreamClosed(absl::string_view /*status_code*/) {}
  // From commit to the last watcher's write being handed to the transport.
  virtual void TransitionDelivered(absl::Duration /*took*/, int64_t /*watchers*/) {}
  virtual void RpcFinished(absl::string_view /*method*/, absl::string_view /*status_code*/,
                           absl::Duration /*took*/) {}
  // A video was paid for and is bound to no live prediction.
  virtual void OrphanRecorded() {}
  // An UNRESOLVED prediction was decided, by this evidence: "answer", "webhook", "history",
  // "absence", "none" (given up).
  virtual void Reconciled(absl::string_view /*evidence*/) {}
  // How many are UNRESOLVED now.
  virtual void PredictionsUnresolved(int64_t /*count*/) {}
  // Upstream refuses the key while polling: nothing is polled until it is accepted again.
  virtual void PollingPaused(bool /*paused*/) {}
  // Upstream fails every call of a kind ("get", "post"), and few or none are sent; or no longer.
  virtual void CircuitChanged(absl::string_view /*call*/, bool /*open*/) {}
  // Orphans whose tasks have not ended.
  virtual void OrphansFollowed(int64_t /*count*/) {}
  // The outcome of a request to the webhook receiver: "accepted", or why it was refused.
  virtual void WebhookReceived(absl::string_view /*outcome*/) {}
};

// ------------------------------------------------------------------------------------- all of them

// Borrowed by the core for its whole life.
struct Ports {
  Clock& clock;
  Timers& timers;
  Executor& executor;
  Random& random;
  Upstream& upstream;
  Ledger& ledger;
  TransitionSink& sink;
  Events& events;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_PORTS_H_
