#include "server/app/config.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/app/settings.h"
#include "server/app/values.h"
#include "server/app/version.h"
#include "server/net/url.h"

namespace dreamgate::app {
namespace {

constexpr absl::string_view kPrefix = "DREAMGATE_";
constexpr size_t kHelpWidth = 96;

// One line whatever the parts contain.
absl::Status Problem(absl::string_view subject, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::Utf8SafeCEscape(absl::StrCat(subject, ": ", problem)));
}

// The variables of the `dreamgate` command may be set where the server is started, too.
bool IsForTheCommand(const std::string& name) {
  return name == "DREAMGATE_SERVER" || name == "DREAMGATE_TOKEN";
}

// Kubernetes tells every pod of a namespace about each Service in it. For one called dreamgate the
// names look like settings: DREAMGATE_SERVICE_HOST, DREAMGATE_PORT_50051_TCP_ADDR and so on.
bool IsKubernetesServiceVariable(const std::string& name, const std::string& value) {
  if (absl::EndsWith(name, "_SERVICE_HOST") || absl::EndsWith(name, "_SERVICE_PORT") ||
      absl::StrContains(name, "_SERVICE_PORT_")) {
    return true;
  }
  const bool is_address = absl::StartsWith(value, "tcp://") || absl::StartsWith(value, "udp://") ||
                          absl::StartsWith(value, "sctp://");
  if (absl::EndsWith(name, "_PORT") && is_address) return true;
  // ..._PORT_<number>_TCP[_PROTO|_PORT|_ADDR]
  const size_t port = name.find("_PORT_");
  return port != std::string::npos && port + 6 < name.size() &&
         absl::ascii_isdigit(static_cast<unsigned char>(name[port + 6]));
}

// The environment as arguments in front of the real ones: where an option takes its last value, flags
// then take precedence over the environment, and both over the config file.
absl::StatusOr<std::vector<std::string>> EnvironmentAsArguments(
    const std::vector<Setting>& settings, const std::map<std::string, std::string>& environment) {
  std::map<std::string, std::string> flags = {{EnvironmentName("config"), "config"}};
  for (const Setting& setting : settings) flags[EnvironmentName(setting.name)] = setting.name;
  std::vector<std::string> arguments;
  for (const auto& [name, value] : environment) {
    if (!absl::StartsWith(name, kPrefix)) continue;
    const auto flag = flags.find(name);
    if (flag != flags.end()) {
      if (!value.empty()) arguments.push_back(absl::StrCat("--", flag->second, "=", value));
    } else if (!IsForTheCommand(name) && !IsKubernetesServiceVariable(name, value)) {
      return Problem(name, "unknown environment variable; see --help");
    }
  }
  return arguments;
}

std::string Wrapped(const std::string& text, absl::string_view indent) {
  std::string lines;
  std::string line;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (!line.empty() && indent.size() + line.size() + 1 + word.size() > kHelpWidth) {
      absl::StrAppend(&lines, indent, line, "\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  return absl::StrCat(lines, indent, line, "\n");
}

std::string HelpText(const std::vector<Setting>& settings) {
  const Config defaults;
  std::string text =
      "Usage: dreamgated [SETTING]...\n\n"
      "A gRPC service in front of WaveSpeed's text-to-video API.\n\n"
      "Each setting can be given as a flag, as an environment variable or in a config file, in "
      "that\n"
      "order of precedence. Durations have units: 500ms, 1m30s. Unknown settings are errors.\n\n"
      "  --help\n      Print this and exit.\n"
      "  --version\n      Print the version and exit.\n"
      "  --config=FILE\n      DREAMGATE_CONFIG\n"
      "      A TOML file of lines like: poll-min-interval = \"2s\"\n";
  std::string group;
  for (const Setting& setting : settings) {
    if (setting.group != group) {
      group = setting.group;
      absl::StrAppend(&text, "\n", group, ":\n");
    }
    const std::string shown = setting.show(defaults);
    absl::StrAppend(&text, "  --", setting.name, "=", setting.form, "\n      ",
                    EnvironmentName(setting.name), "; default: ", shown.empty() ? "none" : shown,
                    "\n", Wrapped(setting.help, "      "));
  }
  absl::StrAppend(
      &text,
      "\nSecrets:\n  WAVESPEED_API_KEY\n"
      "      The API key itself, for a quick start; --api-key-file takes precedence.\n");
  return text;
}

// The first argument that is no setting. The part after '=' may be a secret and stays away.
absl::Status UnknownArgument(const std::vector<std::string>& unknown) {
  for (const std::string& argument : unknown) {
    if (absl::StartsWith(argument, "-")) {
      return Problem(argument.substr(0, argument.find('=')), "unknown setting; see --help");
    }
  }
  return Problem(unknown.front(), "unexpected argument; settings begin with --, see --help");
}

using TextBySetting = std::map<std::string, std::string>;

absl::StatusOr<TextBySetting> CollectTexts(const std::vector<Setting>& settings,
                                           std::vector<std::string> arguments) {
  CLI::App parser;
  parser.allow_extras();  // judged below, so that no value is ever repeated
  parser.allow_config_extras(CLI::config_extras_mode::error);
  parser.set_help_flag();  // none: both were looked for before
  CLI::Option* config =
      parser.set_config("--config")->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  for (const Setting& setting : settings) {
    parser.add_option("--" + setting.name)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
  try {
    parser.parse(arguments);
    const std::vector<std::string> unknown = parser.remaining();
    if (!unknown.empty()) return UnknownArgument(unknown);
    TextBySetting texts;
    for (const Setting& setting : settings) {
      const CLI::Option* option = parser.get_option("--" + setting.name);
      if (option->count() == 0) continue;
      const std::string text = option->as<std::string>();
      // CLI11 takes the next flag for the value of one that has none.
      if (absl::StartsWith(text, "--")) return Problem("--" + setting.name, "needs a value");
      texts[setting.name] = text;
    }
    return texts;
  } catch (const CLI::ConfigError& error) {
    std::string name = error.what();
    const absl::string_view prefix = "INI was not able to parse ";
    if (absl::StartsWith(name, prefix)) name = name.substr(prefix.size());
    return Problem(name, "unknown setting in the --config file; see --help");
  } catch (const CLI::FileError&) {
    return Problem("--config", absl::StrCat("cannot read the file ",
                                            config->count() > 0 ? config->results().back() : ""));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();  // "--name: ..."
    return Problem(text.substr(0, text.find(':')), "needs a value");
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::Utf8SafeCEscape(error.what()));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::Utf8SafeCEscape(error.what()));
  }
}

absl::Status CheckFiles(const Config& config) {
  const std::pair<const char*, const std::string&> files[] = {
      {"--tls-cert-file", config.tls_cert_file},
      {"--tls-key-file", config.tls_key_file},
      {"--tls-client-ca-file", config.tls_client_ca_file},
      {"--callers-file", config.callers_file},
      {"--upstream-ca-file", config.upstream_ca_file},
      {"--api-key-file", config.api_key_file},
      {"--webhook-secret-file", config.webhook_secret_file},
      {"--webhook-tls-cert-file", config.webhook_tls_cert_file},
      {"--webhook-tls-key-file", config.webhook_tls_key_file}};
  for (const auto& [name, path] : files) {
    if (path.empty()) continue;
    if (const absl::Status readable = CheckReadable(path); !readable.ok()) {
      return Problem(name, absl::StrCat(path, ": ", readable.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWebhooks(const Config& config) {
  if (config.webhook_tls_cert_file.empty() != config.webhook_tls_key_file.empty()) {
    return Problem(
        config.webhook_tls_cert_file.empty() ? "--webhook-tls-cert-file" : "--webhook-tls-key-file",
        "a certificate and its key must be given together");
  }
  if (config.webhook_public_url.empty()) {
    // An operator who sets these expects webhooks.
    if (!config.webhook_secret_file.empty()) {
      return Problem("--webhook-secret-file", "needs --webhook-public-url");
    }
    if (!config.webhook_tls_cert_file.empty()) {
      return Problem("--webhook-tls-cert-file", "needs --webhook-public-url");
    }
    return absl::OkStatus();
  }
  if (config.webhook_secret_file.empty()) {
    return Problem("--webhook-public-url",
                   "needs --webhook-secret-file, to tell WaveSpeed's webhooks from forged ones");
  }
  const std::string& host = config.webhook_listen_address.host;
  if (host != "localhost" && !net::IsIpLiteral(host)) {
    return Problem("--webhook-listen-address", "the host must be an IP address or localhost");
  }
  return absl::OkStatus();
}

// Checks settings that depend on one another.
absl::Status CheckTogether(const Config& config) {
  if (config.tls_cert_file.empty() != config.tls_key_file.empty()) {
    return Problem(config.tls_cert_file.empty() ? "--tls-cert-file" : "--tls-key-file",
                   "a certificate and its key must be given together");
  }
  if (!config.tls_client_ca_file.empty() && config.tls_cert_file.empty()) {
    return Problem("--tls-client-ca-file", "needs --tls-cert-file and --tls-key-file");
  }
  if (config.admin_address.host != "localhost" && !net::IsIpLiteral(config.admin_address.host)) {
    return Problem("--admin-address", "the host must be an IP address or localhost");
  }
  if (const absl::Status webhooks = CheckWebhooks(config); !webhooks.ok()) return webhooks;
  if (config.core.poll_min_interval > config.core.poll_max_interval) {
    return Problem("--poll-min-interval", "must not be longer than --poll-max-interval");
  }
  if (config.core.submit_soft_timeout > config.late_answer_timeout) {
    return Problem("--submit-soft-timeout", "must not be longer than --late-answer-timeout");
  }
  // Reconciliation relies on this: a POST that has created nothing by then never will.
  if (config.core.submit_soft_timeout + config.late_answer_timeout >
      core::kLatestCreation - absl::Minutes(1)) {
    return Problem("--late-answer-timeout",
                   "together with --submit-soft-timeout it must not exceed 14m");
  }
  if (config.api_key_file.empty() && config.api_key.empty()) {
    return Problem("--api-key-file",
                   "missing; name a file with the API key, or set WAVESPEED_API_KEY");
  }
  return CheckFiles(config);
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" ||
         (net::IsIpLiteral(host) && absl::StartsWith(host, "127."));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(
    const std::vector<std::string>& arguments,
    const std::map<std::string, std::string>& environment) {
  const std::vector<Setting> settings = AllSettings();
  // --help works although other settings are wrong: that is when it is needed most.
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") return CommandLine{{}, HelpText(settings)};
    if (argument == "--version") return CommandLine{{}, VersionLine() + "\n"};
  }
  absl::StatusOr<std::vector<std::string>> all = EnvironmentAsArguments(settings, environment);
  if (!all.ok()) return all.status();
  all->insert(all->end(), arguments.begin(), arguments.end());
  const absl::StatusOr<TextBySetting> texts = CollectTexts(settings, *std::move(all));
  if (!texts.ok()) return texts.status();
  CommandLine line;
  for (const Setting& setting : settings) {
    const auto text = texts->find(setting.name);
    if (text == texts->end()) continue;
    if (const absl::Status read = setting.apply(text->second, line.config); !read.ok()) {
      return Problem(absl::StrCat("--", setting.name), read.message());
    }
  }
  const auto key = environment.find("WAVESPEED_API_KEY");
  if (key != environment.end()) line.config.api_key = key->second;
  if (const absl::Status checked = CheckTogether(line.config); !checked.ok()) return checked;
  return line;
}

core::LogFields DescribeConfig(const Config& config) {
  core::LogFields described;
  for (const Setting& setting : AllSettings()) {
    described.emplace_back(setting.name, setting.show(config));
  }
  return described;
}

std::vector<std::string> ConfigWarnings(const Config& config) {
  std::vector<std::string> warnings;
  const absl::StatusOr<net::Url> url = net::ParseUrl(config.upstream_base_url);
  if (url.ok() && !url->https && !IsLoopback(url->host)) {
    warnings.push_back(
        "--upstream-base-url is plain http: the API key crosses the network readably");
  }
  if (!IsLoopback(config.listen_address.host) && config.callers_file.empty() &&
      config.tls_client_ca_file.empty()) {
    warnings.push_back("no --callers-file: everybody who reaches --listen-address can spend money");
  }
  if (!IsLoopback(config.listen_address.host) && !config.callers_file.empty() &&
      config.tls_cert_file.empty()) {
    warnings.push_back("no --tls-cert-file: callers' tokens cross the network readably");
  }
  const core::Options& core = config.core;
  if (core.absence_settle_time < absl::Minutes(1)) {
    warnings.push_back(
        "--absence-settle-time is below 1m: a history that lags may be mistaken for absence");
  }
  if (core.absence_settle_time >= core.unresolved_timeout) {
    warnings.push_back(
        "--absence-settle-time is not below --unresolved-timeout: a prediction is given up before "
        "history can show that it created no task");
  }
  if (core.unresolved_timeout < config.late_answer_timeout) {
    warnings.push_back(
        "--unresolved-timeout is below --late-answer-timeout: a prediction is given up while the "
        "answer that decides may still come");
  }
  if (core.resend_after_absence > 0) {
    warnings.push_back(
        "--resend-after-absence is above 0: a request_id pays more than once if upstream's history "
        "is wrong");
  }
  return warnings;
}

int MostGetsUnderWay(const Config& config) {
  const int all = config.max_upstream_connections;
  const int kept = std::max(1, all / 4);
  return std::clamp(all - config.core.max_submits_in_flight, kept, std::max(kept, all - kept));
}

}  // namespace dreamgate::app
