// The core's front door: the one class that `api` and `web` talk to. Owns everything else in core,
// says who is told of what, and passes calls on. Owned by app; entered on the loop only, so callers
// on other threads go through `Executor::Post`. Completions run on the loop, exactly once while the
// Gateway lives; it may be destroyed with work under way, which then ends without a word.
#ifndef DREAMGATE_SERVER_CORE_GATEWAY_H_
#define DREAMGATE_SERVER_CORE_GATEWAY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/evidence/reconciler.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/poller.h"
#include "server/core/ports.h"
#include "server/core/prediction.h"
#include "server/core/retention.h"
#include "server/core/submission/submitter.h"
#include "server/core/tracking/tracker.h"
#include "server/core/watching/watch_hub.h"

namespace dreamgate::core {

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

class Gateway final : private TrackingObserver {
 public:
  Gateway(const Ports& ports, const Options& options);
  ~Gateway() override;
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
  // The one place that says who is told of what.
  void OnCommitted(const std::shared_ptr<const Prediction>& prediction) override;
  void OnUnresolved(const std::shared_ptr<const Prediction>& prediction) override;
  void OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) override;

  const Ports ports_;
  const Options options_;
  bool taken_over_ = false;  // what an earlier process left behind
  bool draining_ = false;
  // Each knows those above it.
  Poller poller_;
  Tracker tracker_;
  WatchHub hub_;
  Submitter submitter_;
  Reconciler reconciler_;
  Retention retention_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_GATEWAY_H_
