// The composition root: the only place that knows every concrete type. Builds the gateway from a
// Config, owns all of it, and takes it down in the right order. Main thread only.
#ifndef DREAMGATE_SERVER_APP_APP_H_
#define DREAMGATE_SERVER_APP_APP_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/api/library_logs.h"
#include "server/app/config.h"
#include "server/app/loop_ports.h"
#include "server/net/loop.h"
#include "server/telemetry/log.h"
#include "server/telemetry/metrics.h"

namespace dreamgate::api {
class GrpcServer;
class WatchDelivery;
}  // namespace dreamgate::api
namespace dreamgate::core {
class Gateway;
}  // namespace dreamgate::core
namespace dreamgate::ledger {
class LedgerThread;
}  // namespace dreamgate::ledger
namespace dreamgate::net {
class Resolver;
}  // namespace dreamgate::net
namespace dreamgate::upstream {
class WaveSpeedClient;
}  // namespace dreamgate::upstream
namespace dreamgate::web {
class BackupCopy;
class HttpServer;
struct Readiness;
struct StatusReport;
}  // namespace dreamgate::web

namespace dreamgate::app {

class LedgerBackup;

class App {
 public:
  // Serving when it returns. Errors are one line that names the setting at fault; nothing has been
  // sent upstream then, unless what an earlier process left unfinished had been taken over already.
  static absl::StatusOr<std::unique_ptr<App>> Create(const Config& config);

  // Stops at once if Shutdown was not called.
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  int grpc_port() const;
  int admin_port() const;
  int webhook_port() const;  // 0: there are no webhooks

  // Leaves in order: NOT_SERVING; everything is still served for the grace period; then streams are
  // told to leave, RPCs and POSTs in flight have until the shutdown timeout; then all is flushed and
  // closed. `wait` is called once with the grace period and returns after it, or earlier to hurry.
  void Shutdown(absl::AnyInvocable<void(absl::Duration grace)> wait);

 private:
  using Done = absl::AnyInvocable<void() &&>;
  enum class Phase { kStarting, kServing, kLeaving };

  explicit App(const Config& config);

  // The parts of Create, in this order.
  absl::Status ConnectUpstream();
  absl::Status OpenLedger();
  void BuildGateway();
  absl::Status StartAdminServer();
  absl::Status StartWebhookReceiver();
  absl::Status StartGrpcServer();
  absl::Status CheckPortsFile() const;
  absl::Status WritePortsFile() const;
  void LogStart();

  web::Readiness CurrentReadiness() const;
  web::StatusReport StatusOnLoop() const;
  void LogBackup(const absl::StatusOr<web::BackupCopy>& copy);

  // Runs `work` on the loop and waits until it has called `done` there, `most` long.
  bool RunOnLoop(absl::AnyInvocable<void(Done done) &&> work,
                 absl::Duration most = absl::InfiniteDuration());
  void WaitForSubmissions(absl::Time deadline);
  void CloseUpstream();
  void SettleLedger();

  const Config config_;
  const absl::Time start_time_;
  telemetry::EventLog log_;
  telemetry::Metrics metrics_;
  api::LibraryLogs library_logs_{metrics_};
  std::atomic<Phase> phase_{Phase::kStarting};
  bool stopped_ = false;

  // Each needs those above it. Destroyed in reverse once the loop has stopped, so that no completion
  // can run any more. The completions that App makes rely on this; those of the core check a Lifeline.
  net::Loop loop_;
  SystemClock clock_;
  LoopTimers timers_{loop_};
  LoopExecutor executor_{loop_};
  SystemRandom random_;
  std::unique_ptr<net::Resolver> resolver_;
  std::unique_ptr<upstream::WaveSpeedClient> upstream_;
  std::unique_ptr<ledger::LedgerThread> ledger_;
  std::unique_ptr<LedgerBackup> backup_;
  std::unique_ptr<api::WatchDelivery> delivery_;
  std::unique_ptr<core::Gateway> gateway_;
  std::unique_ptr<web::HttpServer> admin_server_;
  std::unique_ptr<web::HttpServer> webhook_receiver_;  // null: there are no webhooks
  std::unique_ptr<api::GrpcServer> grpc_server_;
};

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_APP_H_
