#include "server/app/settings.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/app/values.h"

namespace dreamgate::app {
namespace {

constexpr int64_t kMany = 10'000'000;

// The place of a value in a Config.
template <typename T>
using Place = T& (*)(Config&);

std::string Show(const HostPort& value) { return value.Text(); }
std::string Show(const std::string& value) { return value; }
std::string Show(absl::Duration value) { return ShowDuration(value); }
std::string Show(int value) { return absl::StrCat(value); }
std::string Show(int64_t value) { return absl::StrCat(value); }
std::string Show(double value) { return ShowNumber(value); }
std::string Show(bool value) { return value ? "true" : "false"; }
std::string Show(core::LogLevel value) { return std::string(telemetry::LogLevelName(value)); }
std::string Show(telemetry::LogFormat value) {
  return value == telemetry::LogFormat::kJson ? "json" : "logfmt";
}

// Collects settings of one group after the other.
class Table {
 public:
  void Group(std::string group) { group_ = std::move(group); }

  template <typename T, typename Parse>
  void Add(const char* name, const char* form, const char* help, Place<T> place, Parse parse) {
    Setting setting;
    setting.group = group_;
    setting.name = name;
    setting.form = form;
    setting.help = help;
    setting.apply = [place, parse = std::move(parse)](const std::string& text,
                                                      Config& config) -> absl::Status {
      auto value = parse(text);
      if (!value.ok()) return value.status();
      place(config) = static_cast<T>(*std::move(value));
      return absl::OkStatus();
    };
    setting.show = [place](const Config& config) {
      return Show(place(const_cast<Config&>(config)));  // the place is only read
    };
    settings_.push_back(std::move(setting));
  }

  void AddDuration(const char* name, const char* help, absl::Duration least, absl::Duration most,
                   Place<absl::Duration> place) {
    Add(name, "DURATION", help, place,
        [least, most](const std::string& text) { return ParseDuration(text, least, most); });
  }

  template <typename T>
  void AddNumber(const char* name, const char* help, int64_t least, int64_t most, Place<T> place) {
    Add(name, "NUMBER", help, place,
        [least, most](const std::string& text) { return ParseInteger(text, least, most); });
  }

  // An empty path means: none. That a file can be read is checked once all settings are known.
  void AddFile(const char* name, const char* help, Place<std::string> place) {
    Add(name, "FILE", help, place,
        [](const std::string& text) -> absl::StatusOr<std::string> { return text; });
  }

  std::vector<Setting> Take() { return std::move(settings_); }

 private:
  std::string group_;
  std::vector<Setting> settings_;
};

absl::StatusOr<double> ParseGetsPerVideo(const std::string& text) {
  return ParseNumber(text, 2, 1000);
}

absl::StatusOr<double> ParseRate(const std::string& text) {
  const absl::StatusOr<double> rate = ParseNumber(text, 0, 100'000);
  // Less than this would look like standing still.
  if (!rate.ok() || (*rate > 0 && *rate < 0.01)) {
    return absl::InvalidArgumentError("must be 0 or a number from 0.01 to 100000");
  }
  return rate;
}

absl::StatusOr<std::string> ParseLedgerPath(const std::string& text) {
  if (text.empty()) return absl::InvalidArgumentError("must name a file");
  return text;
}

void AddServing(Table& table) {
  table.Group("Serving");
  table.Add<HostPort>(
      "listen-address", "HOST:PORT", "Where gRPC is served. Port 0: any free one.",
      [](Config& c) -> HostPort& { return c.listen_address; }, ParseHostPort);
  table.Add<HostPort>(
      "admin-address", "HOST:PORT",
      "Where /livez, /readyz, /metrics, /statusz and, for this machine alone, /backup are served, "
      "over plain HTTP. HOST must be an IP address or localhost.",
      [](Config& c) -> HostPort& { return c.admin_address; }, ParseHostPort);
  table.AddFile(
      "ports-file",
      "Once serving, write the ports here as grpc=PORT and admin=PORT, and webhook=PORT if "
      "there are webhooks.",
      [](Config& c) -> std::string& { return c.ports_file; });
  table.AddFile("tls-cert-file", "Certificate chain (PEM) for gRPC. Without it gRPC is plain text.",
                [](Config& c) -> std::string& { return c.tls_cert_file; });
  table.AddFile("tls-key-file", "Private key (PEM) of the certificate.",
                [](Config& c) -> std::string& { return c.tls_key_file; });
  table.AddFile("tls-client-ca-file",
                "Authorities (PEM) that clients' certificates must come from.",
                [](Config& c) -> std::string& { return c.tls_client_ca_file; });
  table.AddFile(
      "callers-file",
      "Who may call: lines of `tenant token`. Reread when it changes. Without it everybody "
      "may, as one tenant.",
      [](Config& c) -> std::string& { return c.callers_file; });
}

void AddUpstream(Table& table) {
  table.Group("Upstream");
  table.Add<std::string>(
      "upstream-base-url", "URL", "WaveSpeed's address.",
      [](Config& c) -> std::string& { return c.upstream_base_url; }, ParseBaseUrl);
  table.Add<std::string>(
      "upstream-model", "NAME", "The model to call.",
      [](Config& c) -> std::string& { return c.core.model; }, ParseModel);
  table.AddFile(
      "upstream-ca-file",
      "Authorities (PEM) that upstream's certificate must come from, instead of the system's.",
      [](Config& c) -> std::string& { return c.upstream_ca_file; });
  table.AddFile(
      "api-key-file",
      "File with the WaveSpeed API key. Reread when it changes. Without it the environment "
      "variable WAVESPEED_API_KEY must hold the key.",
      [](Config& c) -> std::string& { return c.api_key_file; });
  table.AddDuration("upstream-connect-timeout", "Time to resolve the name and connect.",
                    absl::Milliseconds(100), absl::Minutes(2),
                    [](Config& c) -> absl::Duration& { return c.upstream_connect_timeout; });
  table.AddDuration("upstream-response-timeout", "Time to answer a poll of a task.",
                    absl::Milliseconds(100), absl::Minutes(10),
                    [](Config& c) -> absl::Duration& { return c.upstream_response_timeout; });
  table.AddNumber<int>("max-upstream-connections", "Connections to upstream at once.", 2, 10'000,
                       [](Config& c) -> int& { return c.max_upstream_connections; });
}

void AddWebhooks(Table& table) {
  table.Group("Webhooks");
  table.Add<std::string>(
      "webhook-public-url", "URL",
      "Where WaveSpeed can call back: an https URL that is routed to --webhook-listen-address with "
      "its path unchanged. Without it there are no webhooks.",
      [](Config& c) -> std::string& { return c.webhook_public_url; }, ParseWebhookUrl);
  table.Add<HostPort>(
      "webhook-listen-address", "HOST:PORT",
      "Where webhooks arrive. HOST must be an IP address or localhost. Port 0: any free one.",
      [](Config& c) -> HostPort& { return c.webhook_listen_address; }, ParseHostPort);
  table.AddFile("webhook-secret-file",
                "The secret that WaveSpeed signs webhooks with (whsec_...), or two on a line each "
                "while one takes the other's place. Reread when it changes.",
                [](Config& c) -> std::string& { return c.webhook_secret_file; });
  table.AddFile(
      "webhook-tls-cert-file",
      "Certificate chain (PEM) for webhooks. Reread when it or the key changes. Without it they "
      "come in plain HTTP, from an ingress that ends TLS.",
      [](Config& c) -> std::string& { return c.webhook_tls_cert_file; });
  table.AddFile("webhook-tls-key-file", "Private key (PEM) of that certificate.",
                [](Config& c) -> std::string& { return c.webhook_tls_key_file; });
}

void AddPredictions(Table& table) {
  table.Group("Predictions");
  table.Add<std::string>(
      "ledger-path", "FILE", "The ledger (SQLite). Made if there is none; one process at a time.",
      [](Config& c) -> std::string& { return c.ledger_path; }, ParseLedgerPath);
  table.AddDuration(
      "submit-soft-timeout",
      "After this long without upstream's answer a submission's caller is told UNRESOLVED.",
      absl::Milliseconds(100), absl::Minutes(10),
      [](Config& c) -> absl::Duration& { return c.core.submit_soft_timeout; });
  table.AddDuration("late-answer-timeout",
                    "How long upstream's answer to a submission is waited for all the same.",
                    absl::Milliseconds(100), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.late_answer_timeout; });
  table.AddDuration("unresolved-timeout",
                    "An UNRESOLVED prediction without any evidence by then becomes FAILED.",
                    absl::Milliseconds(100), absl::Hours(7 * 24),
                    [](Config& c) -> absl::Duration& { return c.core.unresolved_timeout; });
  table.AddDuration(
      "absence-settle-time",
      "How long upstream's history must consistently show no task for an UNRESOLVED prediction "
      "before that is believed. Below 1m a history that lags may be mistaken for absence.",
      absl::Milliseconds(100), absl::Hours(24),
      [](Config& c) -> absl::Duration& { return c.core.absence_settle_time; });
  table.AddNumber<int>(
      "resend-after-absence",
      "How often a prediction may be sent again once upstream's history shows that its POST "
      "created no task; 0: never. More than 0 weakens \"never paid twice\": if history is wrong, "
      "the video is paid for again.",
      0, 10, [](Config& c) -> int& { return c.core.resend_after_absence; });
  table.AddDuration(
      "request-id-retention",
      "How long a prediction and its request id are remembered after its end. A request id reused "
      "after that pays again. At least 192h: longer than upstream keeps tasks, so that late "
      "evidence finds its prediction.",
      absl::Hours(8 * 24), absl::Hours(10 * 365 * 24),
      [](Config& c) -> absl::Duration& { return c.core.request_id_retention; });
  table.AddDuration("poll-min-interval", "Shortest time between two polls of one prediction.",
                    absl::Milliseconds(10), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.core.poll_min_interval; });
  table.AddDuration(
      "poll-max-interval",
      "Longest time between two polls of one prediction: how late the news of a video "
      "may be that takes far longer than others do.",
      absl::Milliseconds(10), absl::Hours(24),
      [](Config& c) -> absl::Duration& { return c.core.poll_max_interval; });
  table.Add<double>(
      "gets-per-video", "NUMBER",
      "Polls that one video may cost on average while somebody watches. More polls, earlier "
      "news.",
      [](Config& c) -> double& { return c.core.gets_per_video; }, ParseGetsPerVideo);
  table.Add<double>(
      "max-gets-per-second", "NUMBER",
      "Polls of all predictions together; 0: no limit but upstream's own.",
      [](Config& c) -> double& { return c.core.max_gets_per_second; }, ParseRate);
  table.AddDuration("probe-interval",
                    "While upstream refuses the API key: time between two attempts to poll again.",
                    absl::Milliseconds(100), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.core.probe_interval; });
}

void AddLimits(Table& table) {
  table.Group("Callers and limits");
  table.AddDuration("heartbeat-interval", "Time between two heartbeats on a quiet watch stream.",
                    absl::Seconds(5), absl::Seconds(25),
                    [](Config& c) -> absl::Duration& { return c.core.heartbeat_default; });
  table.AddDuration("stream-stall-timeout",
                    "A watch stream whose caller has taken nothing of a write for this long is "
                    "broken. A caller that lives resumes.",
                    absl::Seconds(1), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.stream_stall_timeout; });
  table.AddNumber<int64_t>("max-streams", "Watch streams at once; 0: no limit.", 0, kMany,
                           [](Config& c) -> int64_t& { return c.max_streams; });
  table.AddNumber<int64_t>("max-streams-per-peer", "Watch streams of one address; 0: no limit.", 0,
                           kMany, [](Config& c) -> int64_t& { return c.max_streams_per_peer; });
  table.AddNumber<int64_t>("max-requests", "Unary calls at once; 0: no limit.", 0, kMany,
                           [](Config& c) -> int64_t& { return c.max_requests; });
  table.AddNumber<int>("max-submits-in-flight",
                       "Submissions on their way upstream at once; more wait as QUEUED.", 1, 10'000,
                       [](Config& c) -> int& { return c.core.max_submits_in_flight; });
  table.AddNumber<int64_t>(
      "max-in-flight-per-tenant", "Predictions of one tenant that are not terminal; 0: no limit.",
      0, kMany, [](Config& c) -> int64_t& { return c.core.max_in_flight_per_tenant; });
  table.AddNumber<int>("max-prompt-chars", "Longest prompt, in code points.", 1, 100'000,
                       [](Config& c) -> int& { return c.max_prompt_chars; });
  table.Add<bool>(
      "require-request-id", "true|false",
      "false: draw a request id where the caller gives none. A retry then pays twice.",
      [](Config& c) -> bool& { return c.require_request_id; }, ParseBool);
}

void AddOperation(Table& table) {
  table.Group("Operation");
  table.AddDuration("shutdown-grace",
                    "After a signal: go on serving for this long as NOT_SERVING, so that load "
                    "balancers look away.",
                    absl::ZeroDuration(), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.shutdown_grace; });
  table.AddDuration("shutdown-timeout",
                    "After the grace: time for streams to leave and submissions to be answered.",
                    absl::ZeroDuration(), absl::Hours(1),
                    [](Config& c) -> absl::Duration& { return c.shutdown_timeout; });
  table.Add<core::LogLevel>(
      "log-level", "LEVEL", "debug, info, warning or error.",
      [](Config& c) -> core::LogLevel& { return c.log_level; }, ParseLogLevel);
  table.Add<telemetry::LogFormat>(
      "log-format", "FORMAT", "logfmt or json, one line per event on stderr.",
      [](Config& c) -> telemetry::LogFormat& { return c.log_format; }, ParseLogFormat);
}

}  // namespace

std::vector<Setting> AllSettings() {
  Table table;
  AddServing(table);
  AddUpstream(table);
  AddWebhooks(table);
  AddPredictions(table);
  AddLimits(table);
  AddOperation(table);
  return table.Take();
}

std::string EnvironmentName(const std::string& setting) {
  return absl::StrCat("DREAMGATE_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(setting, {{"-", "_"}})));
}

}  // namespace dreamgate::app
