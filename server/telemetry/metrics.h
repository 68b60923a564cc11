// Prometheus metrics: the core's Events port in production, which counts events and passes log events
// on to EventLog. Owned by app, outlives everything that reports; safe from any thread. Handles of what is
// counted often are looked up once, when this object is made.
#ifndef DREAMGATE_SERVER_TELEMETRY_METRICS_H_
#define DREAMGATE_SERVER_TELEMETRY_METRICS_H_

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/telemetry/log.h"

namespace dreamgate::telemetry {

struct BuildInfo {
  std::string version;   // "0.1.0"
  std::string revision;  // of the source; may be empty
  std::string compiler;  // "GCC 12.2.0"
};

class Metrics final : public core::Events {
 public:
  Metrics(EventLog& log, const BuildInfo& build, absl::Time start_time);
  ~Metrics() override;

  // Everything in Prometheus' text format (version 0.0.4).
  std::string RenderText();

  void Log(core::LogLevel level, absl::string_view message,
           const core::LogFields& fields = {}) override;
  void SubmissionFinished(absl::string_view outcome, absl::Duration took) override;
  void UpstreamRequest(absl::string_view operation, int http_status, absl::Duration took) override;
  void TransitionCommitted(core::State state, core::TransitionSource source) override;
  void ObservationDropped(absl::string_view why) override;
  void LedgerCommit(absl::Duration took, int operations, bool ok) override;
  void PredictionsInFlight(int64_t count) override;
  void StreamOpened() override;
  void StreamClosed(absl::string_view status_code) override;
  void TransitionDelivered(absl::Duration took, int64_t watchers) override;
  void RpcFinished(absl::string_view method, absl::string_view status_code,
                   absl::Duration took) override;
  void OrphanRecorded() override;
  void Reconciled(absl::string_view evidence) override;
  void PredictionsUnresolved(int64_t count) override;
  void PollingPaused(bool paused) override;
  void CircuitChanged(absl::string_view call, bool open) override;
  void OrphansFollowed(int64_t count) override;
  void WebhookReceived(absl::string_view outcome) override;

 private:
  struct Series;
  EventLog& log_;
  std::unique_ptr<Series> series_;
};

}  // namespace dreamgate::telemetry

#endif  // DREAMGATE_SERVER_TELEMETRY_METRICS_H_
