#include "server/app/app.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "server/api/grpc_server.h"
#include "server/api/watch_delivery.h"
#include "server/app/ledger_backup.h"
#include "server/app/version.h"
#include "server/core/errors.h"
#include "server/core/gateway.h"
#include "server/ledger/ledger_thread.h"
#include "server/ledger/store.h"
#include "server/net/resolver.h"
#include "server/net/tls.h"
#include "server/net/url.h"
#include "server/upstream/api_key.h"
#include "server/upstream/wavespeed_client.h"
#include "server/web/admin_server.h"
#include "server/web/webhook_receiver.h"

namespace dreamgate::app {
namespace {

// Every stream is a descriptor, and the soft limit is often 1,024.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

absl::Status Named(absl::string_view setting, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(setting, ": ", status.message()));
}

absl::StatusOr<std::unique_ptr<upstream::ApiKey>> ReadApiKey(const Config& config,
                                                             core::Events& events) {
  if (!config.api_key_file.empty()) {
    auto key = upstream::ApiKey::FromFile(config.api_key_file, events);
    if (!key.ok()) return Named("--api-key-file", key.status());
    return key;
  }
  auto key = upstream::ApiKey::FromText(config.api_key);
  if (!key.ok()) return Named("WAVESPEED_API_KEY", key.status());
  return key;
}

upstream::WaveSpeedOptions UpstreamOptions(const Config& config) {
  upstream::WaveSpeedOptions options;
  options.base_url = config.upstream_base_url;
  options.model = config.core.model;
  options.ca_file = config.upstream_ca_file;
  options.user_agent = absl::StrCat("dreamgate/", kVersion);
  options.connect_timeout = config.upstream_connect_timeout;
  options.tls_timeout = config.upstream_connect_timeout;
  options.get_timeout = config.upstream_response_timeout;
  options.late_answer_timeout = config.late_answer_timeout;
  options.max_connections = config.max_upstream_connections;
  options.webhook_url = config.webhook_public_url;
  return options;
}

api::GrpcServerOptions GrpcOptions(const Config& config) {
  api::GrpcServerOptions options;
  options.listen_address = config.listen_address.Text();
  options.tls_certificate_file = config.tls_cert_file;
  options.tls_key_file = config.tls_key_file;
  options.tls_client_ca_file = config.tls_client_ca_file;
  options.token_file = config.callers_file;
  options.admission.streams = config.max_streams;
  options.admission.streams_per_peer = config.max_streams_per_peer;
  options.admission.requests = config.max_requests;
  options.max_prompt_code_points = config.max_prompt_chars;
  options.require_request_id = config.require_request_id;
  options.model = config.core.model;
  options.drain_retry_delay = config.core.reconnect_delay;
  return options;
}

// Names the setting at fault when the gRPC server does not start: files are read before it listens.
absl::string_view SettingAtFault(const Config& config, const absl::Status& status) {
  if (absl::IsUnavailable(status)) return "--listen-address";
  const auto mentions = [&status](const std::string& file) {
    return !file.empty() && std::string(status.message()).find(file) != std::string::npos;
  };
  if (mentions(config.callers_file)) return "--callers-file";
  if (mentions(config.tls_key_file)) return "--tls-key-file";
  if (mentions(config.tls_client_ca_file)) return "--tls-client-ca-file";
  return config.tls_cert_file.empty() ? "--listen-address" : "--tls-cert-file";
}

web::NamedValues Describe(const upstream::UpstreamHealth& health, const Config& config) {
  const auto time = [](const std::optional<absl::Time>& moment) {
    return moment.has_value()
               ? absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", *moment, absl::UTCTimeZone())
               : std::string("never");
  };
  return {{"url", config.upstream_base_url},
          {"last_success", time(health.last_success)},
          {"last_failure", time(health.last_failure)},
          {"last_failure_message", health.last_failure_message},
          {"open_connections", absl::StrCat(health.open_connections)},
          {"idle_connections", absl::StrCat(health.idle_connections)},
          {"requests_in_flight", absl::StrCat(health.requests_in_flight)},
          {"requests_waiting", absl::StrCat(health.requests_waiting)}};
}

absl::Status CannotWrite(const std::string& ports_file) {
  return absl::UnavailableError(
      absl::StrCat("--ports-file: cannot write ", ports_file, ": ", std::strerror(errno)));
}

// Writes a draft and renames it: a program that waits for the file finds it whole.
std::string DraftOf(const std::string& ports_file) { return ports_file + ".new"; }

}  // namespace

App::App(const Config& config)
    : config_(config),
      start_time_(absl::Now()),
      log_(config.log_level, config.log_format),
      metrics_(log_, {kVersion, kRevision, kCompiler}, start_time_) {}

App::~App() {
  if (stopped_) return;
  // A start failed, or the owner did not call Shutdown. RPCs are served only while the loop runs.
  if (grpc_server_ != nullptr) grpc_server_->Shutdown(absl::Now());
  if (ledger_ != nullptr) ledger_->Stop();
  if (delivery_ != nullptr) delivery_->Stop();
  loop_.Stop();
}

absl::StatusOr<std::unique_ptr<App>> App::Create(const Config& config) {
  RaiseDescriptorLimit();
  std::unique_ptr<App> app(new App(config));
  if (absl::Status status = app->CheckPortsFile(); !status.ok()) return status;
  if (absl::Status status = app->ConnectUpstream(); !status.ok()) return status;
  if (absl::Status status = app->OpenLedger(); !status.ok()) return status;
  app->BuildGateway();

  // The loop does not run yet, so its queue keeps the order: first the gateway takes over what was
  // left unfinished, then it is told of the RPCs that come in as soon as the port is open. And while a
  // port may still be refused, nothing is sent upstream.
  auto recovered = std::make_shared<absl::Status>();
  auto started = std::make_shared<absl::Notification>();
  app->loop_.Post([gateway = app->gateway_.get(), recovered, started] {
    gateway->Start([recovered, started](absl::Status status) {
      *recovered = std::move(status);
      started->Notify();
    });
  });
  if (absl::Status status = app->StartAdminServer(); !status.ok()) return status;
  if (absl::Status status = app->StartWebhookReceiver(); !status.ok()) return status;
  if (absl::Status status = app->StartGrpcServer(); !status.ok()) return status;
  app->loop_.Start();
  started->WaitForNotification();
  if (!recovered->ok()) return Named("--ledger-path", *recovered);
  if (absl::Status status = app->WritePortsFile(); !status.ok()) return status;
  app->phase_ = Phase::kServing;
  app->grpc_server_->SetServing(true);
  app->LogStart();
  return app;
}

absl::Status App::ConnectUpstream() {
  absl::StatusOr<std::unique_ptr<upstream::ApiKey>> key = ReadApiKey(config_, metrics_);
  if (!key.ok()) return key.status();
  resolver_ = std::make_unique<net::Resolver>(loop_, net::ResolverOptions{});
  auto client = upstream::WaveSpeedClient::Create(loop_, *resolver_, metrics_, *std::move(key),
                                                  UpstreamOptions(config_));
  if (!client.ok()) {
    return Named(config_.upstream_ca_file.empty() ? "--upstream-base-url" : "--upstream-ca-file",
                 client.status());
  }
  upstream_ = *std::move(client);
  return absl::OkStatus();
}

absl::Status App::OpenLedger() {
  ledger::StoreOptions options;
  options.path = config_.ledger_path;
  absl::StatusOr<std::unique_ptr<ledger::Store>> store = ledger::Store::Open(std::move(options));
  if (!store.ok()) return Named("--ledger-path", store.status());
  ledger_ = std::make_unique<ledger::LedgerThread>(*std::move(store), executor_, metrics_);
  backup_ = std::make_unique<LedgerBackup>(
      config_.ledger_path,
      [this](std::string path, core::Completion<absl::Status> done) {
        ledger_->Backup(std::move(path), std::move(done));
      },
      random_);
  backup_->RemoveLeftovers();
  return absl::OkStatus();
}

void App::BuildGateway() {
  delivery_ = std::make_unique<api::WatchDelivery>(
      api::WatchDelivery::Options{.stall_timeout = config_.stream_stall_timeout}, metrics_);
  core::Options options = config_.core;
  options.webhooks_expected = !config_.webhook_public_url.empty();
  options.most_gets_under_way = MostGetsUnderWay(config_);
  gateway_ = std::make_unique<core::Gateway>(
      core::Ports{clock_, timers_, executor_, random_, *upstream_, *ledger_, *delivery_, metrics_},
      options);
}

absl::Status App::StartAdminServer() {
  web::HttpOptions options;
  options.host = config_.admin_address.host;
  options.port = config_.admin_address.port;
  web::AdminPages pages;
  pages.readiness = [this] { return CurrentReadiness(); };
  pages.metrics = [this] { return metrics_.RenderText(); };
  pages.status = [this] { return StatusOnLoop(); };
  pages.backup = [this](core::Completion<absl::StatusOr<web::BackupCopy>> done) {
    backup_->Make([this, done = std::move(done)](absl::StatusOr<web::BackupCopy> copy) mutable {
      LogBackup(copy);
      std::move(done)(std::move(copy));
    });
  };
  auto server = web::StartAdminServer(loop_, std::move(options), std::move(pages));
  if (!server.ok()) {
    return Named("--admin-address",
                 absl::Status(server.status().code(),
                              absl::StrCat("cannot listen on ", config_.admin_address.Text(), ": ",
                                           server.status().message())));
  }
  admin_server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status App::StartWebhookReceiver() {
  if (config_.webhook_public_url.empty()) return absl::OkStatus();
  const absl::StatusOr<net::Url> url = net::ParseUrl(config_.webhook_public_url);
  if (!url.ok()) return Named("--webhook-public-url", url.status());
  web::WebhookOptions options;
  options.host = config_.webhook_listen_address.host;
  options.port = config_.webhook_listen_address.port;
  options.path = std::string(absl::StripSuffix(url->path, "/"));
  if (!config_.webhook_tls_cert_file.empty()) {
    auto tls =
        net::ServerTls::FromFiles(config_.webhook_tls_cert_file, config_.webhook_tls_key_file);
    if (!tls.ok()) return Named("--webhook-tls-cert-file, --webhook-tls-key-file", tls.status());
    options.tls = *std::move(tls);
  }
  auto secrets = web::WebhookSecrets::FromFile(config_.webhook_secret_file, metrics_);
  if (!secrets.ok()) return Named("--webhook-secret-file", secrets.status());
  auto receiver = web::StartWebhookReceiver(
      loop_, std::move(options), *std::move(secrets), clock_, metrics_,
      [this](std::string token, std::string upstream_id, core::Completion<absl::Status> done) {
        gateway_->OnWebhook(std::move(token), std::move(upstream_id), std::move(done));
      });
  if (!receiver.ok()) {
    return Named(
        "--webhook-listen-address",
        absl::Status(receiver.status().code(),
                     absl::StrCat("cannot listen on ", config_.webhook_listen_address.Text(), ": ",
                                  receiver.status().message())));
  }
  webhook_receiver_ = *std::move(receiver);
  return absl::OkStatus();
}

absl::Status App::StartGrpcServer() {
  if (!config_.tls_cert_file.empty()) {
    // gRPC would notice a certificate without its key only when the first client comes.
    const auto pair = net::MakeServerTls(config_.tls_cert_file, config_.tls_key_file);
    if (!pair.ok()) return Named("--tls-cert-file, --tls-key-file", pair.status());
  }
  auto server =
      api::GrpcServer::Start(GrpcOptions(config_), *gateway_, executor_, metrics_, *delivery_);
  if (!server.ok()) return Named(SettingAtFault(config_, server.status()), server.status());
  grpc_server_ = *std::move(server);
  return absl::OkStatus();
}

// Comes first: a server that cannot report its ports must begin nothing.
absl::Status App::CheckPortsFile() const {
  if (config_.ports_file.empty()) return absl::OkStatus();
  const bool writable = std::ofstream(DraftOf(config_.ports_file), std::ios::app).is_open();
  return writable ? absl::OkStatus() : CannotWrite(config_.ports_file);
}

absl::Status App::WritePortsFile() const {
  if (config_.ports_file.empty()) return absl::OkStatus();
  const std::string draft = DraftOf(config_.ports_file);
  std::ofstream file(draft, std::ios::trunc);
  file << "grpc=" << grpc_port() << "\nadmin=" << admin_port() << "\n";
  if (webhook_receiver_ != nullptr) file << "webhook=" << webhook_port() << "\n";
  file.close();
  const bool written = file.good() && std::rename(draft.c_str(), config_.ports_file.c_str()) == 0;
  return written ? absl::OkStatus() : CannotWrite(config_.ports_file);
}

void App::LogStart() {
  for (const std::string& warning : ConfigWarnings(config_)) {
    log_.Write(core::LogLevel::kWarning, warning);
  }
  log_.Write(core::LogLevel::kDebug, "configuration", DescribeConfig(config_));
  HostPort listen = config_.listen_address;
  listen.port = static_cast<uint16_t>(grpc_port());
  HostPort admin = config_.admin_address;
  admin.port = static_cast<uint16_t>(admin_port());
  log_.Write(core::LogLevel::kInfo, absl::StrCat("dreamgate ", kVersion, " serving"),
             {{"listen", listen.Text()},
              {"admin", admin.Text()},
              {"upstream", config_.upstream_base_url},
              {"webhooks", config_.webhook_public_url.empty() ? "off" : config_.webhook_public_url},
              {"ledger", config_.ledger_path}});
}

int App::grpc_port() const { return grpc_server_->port(); }

int App::admin_port() const { return admin_server_->port(); }

int App::webhook_port() const {
  return webhook_receiver_ == nullptr ? 0 : webhook_receiver_->port();
}

// Ledger trouble does not count: there is one replica, and the watches still work.
web::Readiness App::CurrentReadiness() const {
  switch (phase_) {
    case Phase::kStarting: return {false, "starting"};
    case Phase::kServing: return {true, "serving"};
    case Phase::kLeaving: return {false, "shutting down"};
  }
  return {false, ""};
}

web::StatusReport App::StatusOnLoop() const {
  web::StatusReport report;
  report.now = absl::Now();
  report.start_time = start_time_;
  const web::Readiness readiness = CurrentReadiness();
  report.ready = readiness.ready;
  report.ready_reason = readiness.reason;
  report.build = {{"version", kVersion}, {"revision", kRevision}, {"compiler", kCompiler}};
  report.configuration = DescribeConfig(config_);
  report.upstream = Describe(upstream_->Health(), config_);
  report.gateway = gateway_->Status();
  return report;
}

void App::LogBackup(const absl::StatusOr<web::BackupCopy>& copy) {
  if (copy.ok()) {
    log_.Write(core::LogLevel::kInfo, "the ledger was copied for a backup",
               {{"bytes", absl::StrCat(copy->size())}});
  } else {
    log_.Write(core::LogLevel::kWarning, "no backup was made",
               {{"error", std::string(copy.status().message())}});
  }
}

}  // namespace dreamgate::app
