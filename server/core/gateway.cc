#include "server/core/gateway.h"

#include <utility>

#include "server/core/failpoint.h"

namespace dreamgate::core {
namespace {

absl::Status Draining(absl::Duration reconnect_delay) {
  return MakeError(Reason::kDraining,
                   "this server is shutting down; try again, another one answers",
                   {.retry_after = reconnect_delay});
}

}  // namespace

Gateway::Gateway(const Ports& ports, const Options& options)
    : ports_(ports),
      options_(options),
      poller_(ports_, options_),
      tracker_(ports_, options_, poller_, *this),
      hub_(ports_, options_, tracker_),
      submitter_(ports_, options_, tracker_),
      reconciler_(ports_, options_, tracker_, submitter_, poller_),
      retention_(ports_, options_) {
  ports_.ledger.set_commit_observer(this);
}

Gateway::~Gateway() { ports_.ledger.set_commit_observer(nullptr); }

// ---------------------------------------------------------------------------- who is told of what

void Gateway::OnCommitted(const std::shared_ptr<const Prediction>& prediction) {
  hub_.OnCommitted(prediction);
}

void Gateway::OnUnresolved(const std::shared_ptr<const Prediction>&) { reconciler_.OnUnresolved(); }

void Gateway::OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) {
  reconciler_.OnUnboundTask(key, acceptance);
}

// ------------------------------------------------------------------------------------------ calls

void Gateway::Start(Completion<absl::Status> done) {
  DREAMGATE_FAILPOINT("recover.before_takeover");
  ports_.ledger.Call(
      TakeOverRequest(),
      lifeline_.Guard([this, done = std::move(done)](
                          absl::StatusOr<std::vector<Unfinished>> unfinished) mutable {
        if (!unfinished.ok()) {
          std::move(done)(unfinished.status());
          return;
        }
        DREAMGATE_FAILPOINT("recover.taken_over");
        for (const Unfinished& left_behind : *unfinished) submitter_.Recover(left_behind);
        poller_.Start();
        reconciler_.Start();
        retention_.Start();
        taken_over_ = true;
        DREAMGATE_FAILPOINT("recover.done");
        std::move(done)(absl::OkStatus());
      }));
}

void Gateway::Submit(SubmitRequest request, Completion<absl::StatusOr<SubmitAnswer>> done) {
  if (draining_) {
    ports_.executor.Post(
        [done = std::move(done), error = Draining(options_.reconnect_delay)]() mutable {
          std::move(done)(std::move(error));
        });
    return;
  }
  submitter_.Submit(std::move(request), std::move(done));
}

void Gateway::Get(const std::string& tenant, const std::string& prediction_id,
                  Completion<absl::StatusOr<std::shared_ptr<const Prediction>>> done) {
  const PredictionKey key(tenant, prediction_id);
  tracker_.Touch(key);
  if (auto followed = tracker_.Find(key); followed != nullptr && tracker_.IsShown(*followed)) {
    ports_.executor.Post([done = std::move(done), followed = std::move(followed)]() mutable {
      std::move(done)(std::move(followed));
    });
    return;
  }
  tracker_.Read(
      LoadRequest{tenant, prediction_id},
      lifeline_.Guard([this, prediction_id,
                       done = std::move(done)](absl::StatusOr<StoredPrediction> stored) mutable {
        if (stored.ok()) {
          Prediction prediction = Fold(*std::move(stored));
          if (tracker_.IsShown(prediction)) {
            std::move(done)(std::make_shared<const Prediction>(std::move(prediction)));
            return;
          }
        } else if (!absl::IsNotFound(stored.status())) {
          std::move(done)(stored.status());
          return;
        }
        std::move(done)(MakeError(
            Reason::kPredictionNotFound, "there is no such prediction",
            {.resource_type = "dreamgate.v1.Prediction", .resource_name = prediction_id}));
      }));
}

void Gateway::List(ListQuery query, Completion<absl::StatusOr<ListPage>> done) {
  tracker_.Read(std::move(query), std::move(done));
}

void Gateway::Watch(const WatchRequest& request, std::shared_ptr<Watcher> watcher) {
  if (draining_) {
    watcher->Fail(Draining(options_.reconnect_delay));
    return;
  }
  hub_.Watch(request, std::move(watcher));
}

void Gateway::Unwatch(const std::shared_ptr<Watcher>& watcher) { hub_.Unwatch(watcher); }

void Gateway::OnWebhook(std::string attempt_token, std::string upstream_id,
                        Completion<absl::Status> done) {
  // The webhook may be about a prediction that is being taken over, and would look like
  // one that nobody follows.
  if (!taken_over_) {
    ports_.executor.Post([done = std::move(done)]() mutable {
      std::move(done)(MakeError(Reason::kLedgerUnavailable, "starting"));
    });
    return;
  }
  reconciler_.OnWebhook(std::move(attempt_token), std::move(upstream_id), std::move(done));
}

void Gateway::Drain() {
  draining_ = true;
  hub_.Drain();
}

int64_t Gateway::submissions_in_flight() const { return submitter_.posts_in_flight(); }

GatewayStatus Gateway::Status() const {
  GatewayStatus status;
  status.predictions_in_flight = tracker_.in_flight();
  status.predictions_unresolved = static_cast<int64_t>(tracker_.Unresolved().size());
  status.orphans = reconciler_.orphans();
  status.watchers = hub_.watchers();
  status.polling_paused = poller_.paused();
  status.get_circuit = poller_.circuit();
  status.post_circuit = submitter_.circuit();
  status.draining = draining_;
  status.oldest = tracker_.Oldest(100);
  for (InFlight& line : status.oldest) line.watchers = hub_.WatchersOf(KeyOf(*line.prediction));
  return status;
}

}  // namespace dreamgate::core
