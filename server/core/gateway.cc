#include "server/core/gateway.h"

#include <utility>

#include "server/core/evidence/reconciler.h"
#include "server/core/failpoint.h"
#include "server/core/retention.h"
#include "server/core/submission/submitter.h"
#include "server/core/tracking/tracker.h"
#include "server/core/watching/watch_hub.h"

namespace dreamgate::core {
namespace {

absl::Status Draining(absl::Duration reconnect_delay) {
  return MakeError(Reason::kDraining,
                   "this server is shutting down; try again, another one answers",
                   {.retry_after = reconnect_delay});
}

}  // namespace

Gateway::Gateway(const Ports& ports, const Options& options)
    : ports_(ports), options_(options), hub_(std::make_unique<WatchHub>(ports, options)) {
  tracker_ = std::make_unique<Tracker>(ports, options, *hub_);
  submitter_ = std::make_unique<Submitter>(ports, options, *tracker_);
  reconciler_ = std::make_unique<Reconciler>(ports, options, *tracker_, *submitter_);
  retention_ = std::make_unique<Retention>(ports, options);
  hub_->set_tracker(tracker_.get());
  tracker_->set_evidence_sink(reconciler_.get());
  ports_.ledger.set_commit_observer(hub_.get());
}

Gateway::~Gateway() { ports_.ledger.set_commit_observer(nullptr); }

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
        for (const Unfinished& left_behind : *unfinished) submitter_->Recover(left_behind);
        tracker_->poller().Start();
        reconciler_->Start();
        retention_->Start();
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
  submitter_->Submit(std::move(request), std::move(done));
}

void Gateway::Get(const std::string& tenant, const std::string& prediction_id,
                  Completion<absl::StatusOr<std::shared_ptr<const Prediction>>> done) {
  const PredictionKey key(tenant, prediction_id);
  const auto visible = [this, key](const Prediction& prediction) {
    return IsVisible(prediction) || tracker_->AcknowledgedEarly(key);
  };
  tracker_->poller().Touch(key);
  if (auto followed = tracker_->Find(key); followed != nullptr && visible(*followed)) {
    ports_.executor.Post([done = std::move(done), followed = std::move(followed)]() mutable {
      std::move(done)(std::move(followed));
    });
    return;
  }
  ports_.ledger.Call(
      LoadRequest{tenant, prediction_id},
      lifeline_.Guard([prediction_id, visible,
                       done = std::move(done)](absl::StatusOr<StoredPrediction> stored) mutable {
        if (stored.ok()) {
          Prediction prediction = Fold(*std::move(stored));
          if (visible(prediction)) {
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
  ports_.ledger.Call(std::move(query),
                     lifeline_.Guard([this, done = std::move(done)](auto page) mutable {
                       if (page.ok()) {
                         for (const auto& shown : page->predictions) tracker_->Learn(shown);
                       }
                       std::move(done)(std::move(page));
                     }));
}

void Gateway::Watch(const WatchRequest& request, std::shared_ptr<Watcher> watcher) {
  if (draining_) {
    watcher->Fail(Draining(options_.reconnect_delay));
    return;
  }
  hub_->Watch(request, std::move(watcher));
}

void Gateway::Unwatch(const std::shared_ptr<Watcher>& watcher) { hub_->Unwatch(watcher); }

void Gateway::OnWebhook(std::string attempt_token, std::string upstream_id,
                        Completion<absl::Status> done) {
  // It may be about a prediction that is being taken over, and would look like
  // one that nobody follows.
  if (!taken_over_) {
    ports_.executor.Post([done = std::move(done)]() mutable {
      std::move(done)(MakeError(Reason::kLedgerUnavailable, "starting"));
    });
    return;
  }
  reconciler_->OnWebhook(std::move(attempt_token), std::move(upstream_id), std::move(done));
}

void Gateway::Drain() {
  draining_ = true;
  hub_->Drain();
}

int64_t Gateway::submissions_in_flight() const { return submitter_->posts_in_flight(); }

GatewayStatus Gateway::Status() const {
  GatewayStatus status;
  status.predictions_in_flight = tracker_->in_flight();
  status.predictions_unresolved = static_cast<int64_t>(tracker_->Unresolved().size());
  status.orphans = reconciler_->orphans();
  status.watchers = hub_->watchers();
  status.polling_paused = tracker_->poller().paused();
  status.get_circuit = tracker_->poller().circuit();
  status.post_circuit = submitter_->circuit();
  status.draining = draining_;
  status.oldest = tracker_->Oldest(100);
  for (InFlight& line : status.oldest) line.watchers = hub_->WatchersOf(KeyOf(*line.prediction));
  return status;
}

}  // namespace dreamgate::core
