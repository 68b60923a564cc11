// Everything an operator can set, in one struct: parsed and checked once at the start, constant
// afterwards. Precedence: flag, environment variable, config file, default. Plain values, any thread.
#ifndef DREAMGATE_SERVER_APP_CONFIG_H_
#define DREAMGATE_SERVER_APP_CONFIG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/telemetry/log.h"

namespace dreamgate::app {

struct HostPort {
  std::string host;   // a name or an address; an IPv6 literal without its brackets
  uint16_t port = 0;  // 0: any free one

  std::string Text() const;  // brackets around IPv6
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// The initial values are the defaults. settings.cc says what each is called and which values it takes.
struct Config {
  // Serving.
  HostPort listen_address{"0.0.0.0", 50051};
  HostPort admin_address{"127.0.0.1", 9090};
  std::string ports_file;
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;
  std::string callers_file;

  // Webhooks from upstream; without the URL there are none.
  std::string webhook_public_url;
  HostPort webhook_listen_address{"0.0.0.0", 8080};
  std::string webhook_secret_file;
  std::string webhook_tls_cert_file;
  std::string webhook_tls_key_file;

  // Upstream. The model is in `core`.
  std::string upstream_base_url = "https://api.wavespeed.ai";
  std::string upstream_ca_file;
  std::string api_key_file;
  std::string api_key;  // from WAVESPEED_API_KEY, used if there is no file; never shown
  absl::Duration upstream_connect_timeout = absl::Seconds(5);
  absl::Duration upstream_response_timeout = absl::Seconds(30);
  absl::Duration late_answer_timeout = absl::Minutes(5);
  int max_upstream_connections = 112;

  std::string ledger_path = "./dreamgate.db";

  absl::Duration stream_stall_timeout = absl::Minutes(1);

  // Limits of the gRPC side; 0 means no limit.
  int64_t max_streams = 50'000;
  int64_t max_streams_per_peer = 20'000;
  int64_t max_requests = 4'096;
  int max_prompt_chars = 2'000;  // code points
  bool require_request_id = true;

  // Leaving.
  absl::Duration shutdown_grace = absl::Seconds(5);
  absl::Duration shutdown_timeout = absl::Seconds(20);

  core::LogLevel log_level = core::LogLevel::kInfo;
  telemetry::LogFormat log_format = telemetry::LogFormat::kLogfmt;

  core::Options core;
};

// The command line's wish: to serve with `config`, or to print `text` and be done.
struct CommandLine {
  Config config;
  std::optional<std::string> text;  // --help, --version
};

// `arguments` without the program's name. From `environment` only DREAMGATE_... and WAVESPEED_API_KEY
// are looked at; an empty variable counts as unset, and what the `dreamgate` command reads, or
// Kubernetes sets for a Service called dreamgate, is passed over. Checks every value and that every
// file named can be read.
// Errors: InvalidArgument, one line that names the setting and never shows a secret.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const std::map<std::string, std::string>& environment);

// Every setting as text, in the order of --help, without secrets.
core::LogFields DescribeConfig(const Config& config);

// Polls that may be under way at once: the connections that submissions leave, and never fewer than
// those that upstream's client keeps for them.
int MostGetsUnderWay(const Config& config);

// Warnings about values that are allowed but risky, one line each.
std::vector<std::string> ConfigWarnings(const Config& config);

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_CONFIG_H_
