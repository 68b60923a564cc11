// The core's front door: the one class that `api` and `web` talk to. Builds submitter, tracker and
// watch hub over the ports and passes calls on. Owned by app; entered on the loop only, so callers
// on other threads go through `Executor::Post`. Completions run on the loop, exactly once while the
// Gateway lives; it may be destroyed with work under way, which then ends without a word.
#ifndef DREAMGATE_SERVER_CORE_GATEWAY_H_
#define DREAMGATE_SERVER_CORE_GATEWAY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/circuit_breaker.h"
#include "server/core/ports.h"
#include "server/core/prediction.h"

namespace dreamgate::core {

class Reconciler;
class Retention;
class Submitter;
class Tracker;
class WatchHub;

struct SubmitRequest {
  std::string tenant;
  std::string request_id;  // not empty
  VideoInput input;        // validated
  // Asked once, just before the POST: true if the caller no longer wants it. May be empty.
  absl::AnyInvocable<bool()> cancelled;
  // When the caller stops listening. While upstream cannot be reached, the caller is told before.
  absl::Time deadline = absl::InfiniteFuture();
};

struct SubmitAnswer {
  std::shared_ptr<const Prediction> prediction;
  bool replayed = false;
};

struct WatchRequest {
  std::string tenant;
  std::string prediction_id;
  std::optional<int64_t> after_sequence;             // >= 0
  std::optional<absl::Duration> heartbeat_interval;  // clamped to the options' bounds
};

// A line of /statusz.
struct InFlight {
  std::shared_ptr<const Prediction> prediction;
  std::optional<absl::Time> last_observed;
  std::optional<absl::Time> next_poll;
  int64_t watchers = 0;
};

struct GatewayStatus {
  int64_t predictions_in_flight = 0;
  int64_t predictions_unresolved = 0;
  int64_t orphans = 0;  // tasks that no prediction follows, polled until they end
  int64_t watchers = 0;
  bool polling_paused = false;  // upstream refused the key while polling
  CircuitBreaker::State get_circuit = CircuitBreaker::State::kClosed;   // of polls
  CircuitBreaker::State post_circuit = CircuitBreaker::State::kClosed;  // of submissions
  bool draining = false;
  std::vector<InFlight> oldest;  // at most 100
};

class Gateway {
 public:
  Gateway(const Ports& ports, const Options& options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Takes over what an earlier process left unfinished and goes on with it. Call first.
  void Start(Completion<absl::Status> done);

  // Errors: see proto/README.md ("Errors"); all made by MakeError.
  void Submit(SubmitRequest request, Completion<absl::StatusOr<SubmitAnswer>> done);
  void Get(const std::string& tenant, const std::string& prediction_id,
           Completion<absl::StatusOr<std::shared_ptr<const Prediction>>> done);
  void List(ListQuery query, Completion<absl::StatusOr<ListPage>> done);

  // Begins to feed `watcher`: Begin, then whatever follows; or Fail. The hub keeps a reference
  // until the terminal update was delivered, Leave or Fail was called, or Unwatch.
  void Watch(const WatchRequest& request, std::shared_ptr<Watcher> watcher);
  // Forgets the watcher; harmless if it is not (or no longer) known.
  void Unwatch(const std::shared_ptr<Watcher>& watcher);

  // A verified webhook for the attempt with this token: evidence that upstream created this task
  // for it, whatever the POST was answered. Binds it if need be and polls the task at once.
  // `done` is called once it is durable: NotFoundError (absl) if no attempt has the token, a
  // MakeError of LEDGER_UNAVAILABLE if upstream should call again.
  void OnWebhook(std::string attempt_token, std::string upstream_id, Completion<absl::Status> done);

  // Tells every watcher to leave and refuses new submissions and watches with DRAINING. What was
  // sent upstream goes on.
  void Drain();

  // POSTs in flight; shutdown waits for zero.
  int64_t submissions_in_flight() const;

  GatewayStatus Status() const;

 private:
  const Ports ports_;
  const Options options_;
  bool taken_over_ = false;  // what an earlier process left behind
  bool draining_ = false;
  std::unique_ptr<Tracker> tracker_;
  std::unique_ptr<Submitter> submitter_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<Retention> retention_;
  std::unique_ptr<WatchHub> hub_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_GATEWAY_H_
