// Every seam of the core on one page. The core decides; everything that touches the world (time,
// chance, REST, SQL, metrics, gRPC streams) is reached through one of these interfaces, so the same
// core runs in production on Asio and in tests on virtual time.
//
// Threads: the core is entered on one thread only, the loop. Every port is called there and every
// completion is posted back there, never run inside the call. `Executor::Post` and `Events` are the
// exceptions: they may be called from any thread. Ports are owned by app and outlive the core.
#ifndef DREAMGATE_SERVER_CORE_PORTS_H_
#define DREAMGATE_SERVER_CORE_PORTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/core/errors.h"
#include "server/core/prediction.h"

namespace dreamgate::core {

// A completion: called exactly once, on the loop.
template <typename T>
using Completion = absl::AnyInvocable<void(T) &&>;

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

// Upstream's task as one answer or webhook showed it.
struct TaskObservation {
  std::string upstream_id;  // never empty, URL-safe
  State state =
      State::kCreated;  // kCreated, kProcessing or terminal; unknown strings are kProcessing
  std::string raw_status;
  std::vector<Output> outputs;     // not empty if kCompleted
  std::optional<Failure> failure;  // set if kFailed
  std::optional<absl::Duration> inference_time;
  std::optional<absl::Time> create_time;
};

struct CreateTaskRequest {
  std::string prompt;
  AspectRatio aspect_ratio = AspectRatio::k16x9;
  int32_t seed = 0;
  std::string attempt_token;  // goes into the webhook URL when webhooks are on
};

// What became of one POST. Exactly one of these.
struct CreateAccepted {
  TaskObservation task;
};
struct CreateRejected {  // upstream definitely refused; nothing was created
  Reason reason = Reason::kUpstreamRejected;
  int http_status = 0;
  int upstream_code = 0;  // the envelope's code, 0: none
  std::string message;
  std::optional<absl::Duration> retry_after;
};
struct CreateNotSent {
  std::string message;
};  // no byte of the POST left: safe to try again
struct CreateUnknown {
  std::string message;
};  // may have created and billed a task
using CreateOutcome = std::variant<CreateAccepted, CreateRejected, CreateNotSent, CreateUnknown>;

// What one GET of a task showed.
struct PollObserved {
  TaskObservation task;
};
enum class PollProblem {
  kTransient,            // 5xx, timeout, network, unreadable answer: back off and poll again
  kRateLimited,          // 429
  kCredentialsRejected,  // 401, 402, 403: pause all polling, probe, reread the key
  kNotFound,             // 404
  kRefused,              // any other 4xx or a redirect: poll again, slowly
};
struct PollFailed {
  PollProblem problem = PollProblem::kTransient;
  int http_status = 0;  // 0: no answer
  std::string message;
  std::optional<absl::Duration> retry_after;
};
using PollOutcome = std::variant<PollObserved, PollFailed>;

// What a task was asked to make, as far as it can be compared.
struct TaskInput {
  std::string prompt;
  std::string aspect_ratio;  // upstream's spelling, for example "16:9"
  int64_t seed = 0;          // >= 0; -1: left to upstream, which we never do

  friend auto operator<=>(const TaskInput&, const TaskInput&) = default;
};

// A task as upstream's history lists it. Evidence that it exists, no more: what it has
// come to is for a GET to say.
struct HistoryItem {
  std::string upstream_id;  // never empty, URL-safe
  std::string model;        // empty: not said
  std::string raw_status;
  std::optional<absl::Time> create_time;  // by upstream's clock
  std::optional<TaskInput> input;         // unset: not said, or not all of it
};
struct HistoryQuery {
  absl::Time created_after;  // by upstream's clock
  int page = 1;              // from 1, newest tasks first
};
struct HistoryPage {
  std::vector<HistoryItem> items;
  bool more = false;  // there is another page
  // Upstream's clock minus ours, from the answer's Date; unset: it had none.
  std::optional<absl::Duration> clock_offset;
};
struct HistoryFailed {
  int http_status = 0;  // 0: no answer
  std::string message;
  std::optional<absl::Duration> retry_after;
};
using HistoryOutcome = std::variant<HistoryPage, HistoryFailed>;

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

// One try to create the task upstream; a row of its own.
struct Attempt {
  int number = 1;     // from 1
  std::string token;  // unguessable; ties a webhook to this attempt
  absl::Time start_time;
};

struct AttemptOutcome {
  int number = 1;
  AttemptResult result = AttemptResult::kUnknown;
  absl::Time time;
  std::string upstream_id;  // if accepted or orphaned
  int http_status = 0;
  std::string message;
};

// The intent, durable before the POST leaves.
struct Reservation {
  Prediction prediction;        // sequence 0: the fixed fields only
  std::string canonical;        // CanonicalEncoding(prediction.input)
  Transition first_transition;  // sequence 1, kSubmitting or kQueued
  Attempt attempt;
};

// A definite rejection as it is remembered under its request_id.
struct Rejection {
  Reason reason = Reason::kUpstreamRejected;
  std::string message;
  std::map<std::string, std::string> metadata;
};

struct Reserved {
  std::shared_ptr<const Prediction> prediction;
};  // ours now: go and send
struct ReserveExisting {
  std::shared_ptr<const Prediction> prediction;
};  // same id, same payload
struct ReserveRemembered {
  Rejection rejection;
};                          // same id and payload, rejected earlier (400, 422)
struct ReserveConflict {};  // same id, other payload
using ReserveResult = std::variant<Reserved, ReserveExisting, ReserveRemembered, ReserveConflict>;

// Compare and set: takes effect only if the prediction still is at `expected_sequence`.
struct Proposal {
  std::string tenant;
  std::string prediction_id;
  int64_t expected_sequence = 0;
  Transition transition;  // sequence == expected_sequence + 1
  std::optional<AttemptOutcome> attempt_outcome;
  // A further attempt that this transition begins, durable before its POST leaves.
  std::optional<Attempt> new_attempt = std::nullopt;
};
struct Committed {
  std::shared_ptr<const Prediction> prediction;
};
struct ProposalConflict {
  std::shared_ptr<const Prediction> current;
};  // null: no such prediction
using ProposeResult = std::variant<Committed, ProposalConflict>;

struct RejectRequest {
  std::string tenant;
  std::string prediction_id;
  AttemptOutcome attempt_outcome;
  std::optional<Rejection> remember;  // unset: the request_id is free again
};

// A prediction with its whole past. `initial` is as reserved, sequence 0.
struct StoredPrediction {
  Prediction initial;
  std::vector<Transition> transitions;
};

// As of its last transition.
inline Prediction Fold(StoredPrediction stored) {
  Prediction prediction = std::move(stored.initial);
  for (const Transition& transition : stored.transitions) {
    prediction = Apply(std::move(prediction), transition);
  }
  return prediction;
}

struct ListQuery {
  std::string tenant;
  std::vector<State> states;                  // empty: all
  std::map<std::string, std::string> labels;  // all must match
  int page_size = 50;                         // 1 .. 1000
  std::string before_id;                      // exclusive start, empty: newest
};
struct ListPage {
  std::vector<std::shared_ptr<const Prediction>> predictions;  // newest first, visible ones only
  bool more = false;
};

// What is not terminal, as found at the start.
struct Unfinished {
  std::shared_ptr<const Prediction> prediction;
  Attempt last_attempt;
};

// An attempt and what is needed to recognise the task that it may have created.
struct StoredAttempt {
  std::string tenant;
  std::string prediction_id;
  Attempt attempt;
  std::optional<AttemptResult> result;  // unset: not known yet
  std::optional<absl::Time> result_time;
  std::string upstream_id;           // if accepted or orphaned
  bool latest = true;                // the prediction has no later attempt
  State state = State::kSubmitting;  // the prediction's
  TaskInput input;
  bool seed_drawn = false;  // by the gateway: nobody else asks for this input
  std::string model;
  std::string key_fingerprint;
};

// What the ledger knows about a piece of upstream's history, as of one moment.
struct AttemptReviewQuery {
  absl::Time started_after;  // attempts that began earlier are left out of `open` and `accepted`
  std::vector<std::string> upstream_ids;  // as history shows them
  bool with_accepted = true;              // false: leave `accepted` empty
};
struct AttemptReview {
  // Attempts that may have created a task which nobody has: result unset, UNKNOWN or ABSENT. Oldest
  // first.
  std::vector<StoredAttempt> open;
  // Those of the query's upstream ids that some attempt has, orphans included. Sorted.
  std::vector<std::string> bound;
  // Tasks that upstream must know, accepted for attempts that began after `started_after`.
  struct Accepted {
    std::string upstream_id;
    absl::Time start_time;   // of its attempt
    absl::Time result_time;  // when the ledger learned of it
    std::string key_fingerprint;
  };
  std::vector<Accepted> accepted;
};

// A task that was paid for and that no live prediction follows.
struct Orphan {
  std::string tenant;
  std::string prediction_id;
  int attempt_number = 1;
  std::string upstream_id;
  absl::Time found_time;
};
struct OrphanRecord {
  Orphan orphan;
  bool ended = false;           // it need not be polled any more
  std::vector<Output> outputs;  // its videos; become the prediction's recovered outputs
};
struct OrphanResult {
  bool news = false;  // false: the ledger had all of this already, or an attempt has the task
  std::shared_ptr<const Prediction> prediction;  // as it is now
};

// Told of every committed transition, on the loop, in commit order, before
// the proposer's completion.
class CommitObserver {
 public:
  virtual ~CommitObserver() = default;
  virtual void OnCommitted(const std::shared_ptr<const Prediction>& prediction) = 0;
};

// Durable memory. Operations take effect in the order called. An error Status means: not known
// to be durable; the implementation has reopened and reread before the next operation, so a
// caller that wants to know reads. Such errors carry Reason::kLedgerUnavailable. Any other
// error is final: the operation breaks a rule (rejecting what is not there or has been shown)
// and has changed nothing.
class Ledger {
 public:
  virtual ~Ledger() = default;
  virtual void set_commit_observer(CommitObserver* observer) = 0;
  virtual void Reserve(Reservation reservation, Completion<absl::StatusOr<ReserveResult>> done) = 0;
  virtual void Propose(Proposal proposal, Completion<absl::StatusOr<ProposeResult>> done) = 0;
  virtual void Reject(RejectRequest request, Completion<absl::Status> done) = 0;
  // NotFoundError (absl) if there is none for this tenant. Finds rejected and invisible ones too.
  virtual void Load(std::string tenant, std::string prediction_id,
                    Completion<absl::StatusOr<StoredPrediction>> done) = 0;
  virtual void List(ListQuery query, Completion<absl::StatusOr<ListPage>> done) = 0;
  // Takes ownership (owner epoch and lease) of everything not terminal and returns it.
  virtual void TakeOverUnfinished(Completion<absl::StatusOr<std::vector<Unfinished>>> done) = 0;

  virtual void ReviewAttempts(AttemptReviewQuery query,
                              Completion<absl::StatusOr<AttemptReview>> done) = 0;
  // NotFoundError (absl) if no attempt has this token.
  virtual void FindAttempt(std::string token, Completion<absl::StatusOr<StoredAttempt>> done) = 0;
  // The attempt becomes ORPHANED if that is legal; one that has a task of its own keeps it, and the
  // orphan is kept beside it. NotFoundError (absl) if there is no such attempt (any more).
  virtual void RecordOrphan(OrphanRecord record, Completion<absl::StatusOr<OrphanResult>> done) = 0;
  // The orphans that have not ended, oldest first.
  virtual void ListOrphans(Completion<absl::StatusOr<std::vector<Orphan>>> done) = 0;
  // Forgets at most `most` predictions that ended before `time`, oldest first, and their request
  // ids. Answers how many; fewer than `most`: there are no more.
  virtual void Prune(absl::Time ended_before, int most, Completion<absl::StatusOr<int>> done) = 0;

  // What has been learned of a model, as bytes that only their author understands. Load:
  // NotFoundError (absl) if nothing is stored. Save replaces.
  virtual void LoadLearned(std::string model, Completion<absl::StatusOr<std::string>> done) = 0;
  virtual void SaveLearned(std::string model, std::string bytes, Completion<absl::Status> done) = 0;
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

// The far end of one watch stream, implemented by `api`. The hub calls it on the loop. It never
// blocks and never calls back into the hub from inside these calls.
class Watcher {
 public:
  virtual ~Watcher() = default;
  // The stream's position: the next entry to write is `log[cursor]`. Called once, first.
  virtual void Begin(std::shared_ptr<const TransitionLog> log, size_t cursor) = 0;
  // A waiting heartbeat is replaced; one never queues behind another.
  virtual void Beat(std::shared_ptr<const EncodedMessage> heartbeat) = 0;
  // Writes `reconnect` after what is being written, then ends with UNAVAILABLE, DRAINING.
  virtual void Leave(absl::Duration reconnect_delay) = 0;
  // Ends the stream with this error.
  virtual void Fail(absl::Status error) = 0;

 private:
  friend class WatchHub;
  // The hub's bookkeeping; loop only.
  void* feed_ = nullptr;
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

// What happened, for metrics and the log. Implemented by `telemetry`; safe from any thread. The
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
  // What evidence an UNRESOLVED prediction was decided by: "answer", "webhook", "history",
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
  // What became of a request to the webhook receiver: "accepted", or why it was refused.
  virtual void WebhookReceived(absl::string_view /*outcome*/) {}
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_PORTS_H_
