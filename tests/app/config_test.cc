#include "server/app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/app/settings.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::app {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

const Environment kKey = {{"WAVESPEED_API_KEY", "secret-key-value"}};

absl::StatusOr<CommandLine> Parse(const Arguments& arguments, Environment environment = {}) {
  environment.insert(kKey.begin(), kKey.end());
  return ParseCommandLine(arguments, environment);
}

// The message, which must be one line.
std::string ErrorOf(const Arguments& arguments, const Environment& environment = {}) {
  const auto line = Parse(arguments, environment);
  EXPECT_FALSE(line.ok());
  const std::string message(line.status().message());
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  return message;
}

TEST(ConfigTest, NothingGivenMeansTheDefaults) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->text, std::nullopt);
  EXPECT_EQ(line->config.listen_address, (HostPort{"0.0.0.0", 50051}));
  EXPECT_EQ(line->config.admin_address, (HostPort{"127.0.0.1", 9090}));
  EXPECT_EQ(line->config.upstream_base_url, "https://api.wavespeed.ai");
  EXPECT_EQ(line->config.core.model, "bytedance/dreamina-v3.0-pro/text-to-video");
  EXPECT_EQ(line->config.ledger_path, "./dreamgate.db");
  EXPECT_EQ(line->config.api_key, "secret-key-value");
  EXPECT_TRUE(line->config.require_request_id);
}

TEST(ConfigTest, EveryDefaultIsAValueThatWouldBeAccepted) {
  const Config defaults;
  for (const Setting& setting : AllSettings()) {
    Config config;
    EXPECT_TRUE(setting.apply(setting.show(defaults), config).ok()) << setting.name;
    EXPECT_EQ(setting.show(config), setting.show(defaults)) << setting.name;
  }
}

TEST(ConfigTest, EverySettingCanBeGivenAsAFlag) {
  fakes::TemporaryFolder folder;
  const std::string file = folder.Write("file", "x");
  const auto line = Parse({"--listen-address=[::1]:1",
                           "--admin-address",
                           "localhost:2",
                           "--ports-file=ports",
                           "--tls-cert-file=" + file,
                           "--tls-key-file=" + file,
                           "--tls-client-ca-file=" + file,
                           "--callers-file=" + file,
                           "--upstream-base-url=http://127.0.0.1:8080/base",
                           "--upstream-model=a/b",
                           "--upstream-ca-file=" + file,
                           "--api-key-file=" + file,
                           "--webhook-public-url=https://hooks.example/dreamgate",
                           "--webhook-listen-address=[::1]:3",
                           "--webhook-secret-file=" + file,
                           "--webhook-tls-cert-file=" + file,
                           "--webhook-tls-key-file=" + file,
                           "--upstream-connect-timeout=1s",
                           "--upstream-response-timeout=2s",
                           "--max-upstream-connections=3",
                           "--ledger-path=l.db",
                           "--submit-soft-timeout=4s",
                           "--late-answer-timeout=1m5s",
                           "--unresolved-timeout=6m",
                           "--absence-settle-time=90s",
                           "--resend-after-absence=2",
                           "--request-id-retention=200h",
                           "--poll-min-interval=700ms",
                           "--poll-max-interval=8s",
                           "--gets-per-video=12.5",
                           "--max-gets-per-second=0.25",
                           "--probe-interval=18s",
                           "--heartbeat-interval=9s",
                           "--stream-stall-timeout=19s",
                           "--max-streams=10",
                           "--max-streams-per-peer=11",
                           "--max-requests=12",
                           "--max-submits-in-flight=13",
                           "--max-in-flight-per-tenant=14",
                           "--max-prompt-chars=15",
                           "--require-request-id=false",
                           "--shutdown-grace=16s",
                           "--shutdown-timeout=17s",
                           "--log-level=debug",
                           "--log-format=json"});
  ASSERT_TRUE(line.ok()) << line.status();
  const Config& config = line->config;
  EXPECT_EQ(config.listen_address, (HostPort{"::1", 1}));
  EXPECT_EQ(config.admin_address, (HostPort{"localhost", 2}));
  EXPECT_EQ(config.ports_file, "ports");
  for (const std::string& path :
       {config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file, config.callers_file,
        config.upstream_ca_file, config.api_key_file, config.webhook_secret_file,
        config.webhook_tls_cert_file, config.webhook_tls_key_file}) {
    EXPECT_EQ(path, file);
  }
  EXPECT_EQ(config.upstream_base_url, "http://127.0.0.1:8080/base");
  EXPECT_EQ(config.webhook_public_url, "https://hooks.example/dreamgate");
  EXPECT_EQ(config.webhook_listen_address, (HostPort{"::1", 3}));
  EXPECT_EQ(config.core.model, "a/b");
  EXPECT_EQ(config.upstream_connect_timeout, absl::Seconds(1));
  EXPECT_EQ(config.upstream_response_timeout, absl::Seconds(2));
  EXPECT_EQ(config.max_upstream_connections, 3);
  EXPECT_EQ(config.ledger_path, "l.db");
  EXPECT_EQ(config.core.submit_soft_timeout, absl::Seconds(4));
  EXPECT_EQ(config.late_answer_timeout, absl::Seconds(65));
  EXPECT_EQ(config.core.unresolved_timeout, absl::Minutes(6));
  EXPECT_EQ(config.core.absence_settle_time, absl::Seconds(90));
  EXPECT_EQ(config.core.resend_after_absence, 2);
  EXPECT_EQ(config.core.request_id_retention, absl::Hours(200));
  EXPECT_EQ(config.core.poll_min_interval, absl::Milliseconds(700));
  EXPECT_EQ(config.core.poll_max_interval, absl::Seconds(8));
  EXPECT_EQ(config.core.gets_per_video, 12.5);
  EXPECT_EQ(config.core.max_gets_per_second, 0.25);
  EXPECT_EQ(config.core.probe_interval, absl::Seconds(18));
  EXPECT_EQ(config.core.heartbeat_default, absl::Seconds(9));
  EXPECT_EQ(config.stream_stall_timeout, absl::Seconds(19));
  EXPECT_EQ(config.max_streams, 10);
  EXPECT_EQ(config.max_streams_per_peer, 11);
  EXPECT_EQ(config.max_requests, 12);
  EXPECT_EQ(config.core.max_submits_in_flight, 13);
  EXPECT_EQ(config.core.max_in_flight_per_tenant, 14);
  EXPECT_EQ(config.max_prompt_chars, 15);
  EXPECT_FALSE(config.require_request_id);
  EXPECT_EQ(config.shutdown_grace, absl::Seconds(16));
  EXPECT_EQ(config.shutdown_timeout, absl::Seconds(17));
  EXPECT_EQ(config.log_level, core::LogLevel::kDebug);
  EXPECT_EQ(config.log_format, telemetry::LogFormat::kJson);
}

TEST(ConfigTest, EverySettingCanBeGivenInTheEnvironmentAndInTheConfigFile) {
  fakes::TemporaryFolder folder;
  Config given;
  given.listen_address = {"127.0.0.1", 7};
  given.log_format = telemetry::LogFormat::kJson;
  given.core.poll_min_interval = absl::Milliseconds(1500);
  given.core.gets_per_video = 100.0 / 3;
  Environment environment;
  std::string file;
  for (const Setting& setting : AllSettings()) {
    const std::string text = setting.show(given);
    if (text.empty()) continue;
    environment[EnvironmentName(setting.name)] = text;
    absl::StrAppend(&file, setting.name, " = \"", text, "\"\n");
  }
  const auto from_environment = Parse({}, environment);
  ASSERT_TRUE(from_environment.ok()) << from_environment.status();
  EXPECT_EQ(DescribeConfig(from_environment->config), DescribeConfig(given));
  const auto from_file = Parse({"--config", folder.Write("config.toml", file)});
  ASSERT_TRUE(from_file.ok()) << from_file.status();
  EXPECT_EQ(DescribeConfig(from_file->config), DescribeConfig(given));
}

TEST(ConfigTest, FlagsBeatTheEnvironmentWhichBeatsTheFileWhichBeatsTheDefault) {
  fakes::TemporaryFolder folder;
  const std::string file = folder.Write("config.toml",
                                        "# limits\n"
                                        "max-streams = 1\n"
                                        "max-requests = 1\n"
                                        "max-prompt-chars = 1\n");
  const auto line = Parse({"--max-streams=3", "--config=" + file},
                          {{"DREAMGATE_MAX_STREAMS", "2"}, {"DREAMGATE_MAX_REQUESTS", "2"}});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.max_streams, 3);
  EXPECT_EQ(line->config.max_requests, 2);
  EXPECT_EQ(line->config.max_prompt_chars, 1);
  EXPECT_EQ(line->config.max_streams_per_peer, Config().max_streams_per_peer);
}

TEST(ConfigTest, TheConfigFileCanBeNamedInTheEnvironmentAndAFlagNamesAnother) {
  fakes::TemporaryFolder folder;
  const std::string weak = folder.Write("weak.toml", "max-streams = 1\n");
  const std::string strong = folder.Write("strong.toml", "max-streams = 2\n");
  const auto one = Parse({}, {{"DREAMGATE_CONFIG", weak}});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->config.max_streams, 1);
  const auto other = Parse({"--config", strong}, {{"DREAMGATE_CONFIG", weak}});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->config.max_streams, 2);
}

TEST(ConfigTest, TheLastOfARepeatedFlagCounts) {
  const auto line = Parse({"--max-streams=1", "--max-streams=2"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.max_streams, 2);
}

TEST(ConfigTest, AnEmptyEnvironmentVariableCountsAsUnset) {
  const auto line = Parse({}, {{"DREAMGATE_MAX_STREAMS", ""}, {"DREAMGATE_CALLERS_FILE", ""}});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.max_streams, Config().max_streams);
}

TEST(ConfigTest, AnUnknownFlagIsNamedWithoutItsValue) {
  const std::string message = ErrorOf({"--api-key=secret-key-value"});
  EXPECT_THAT(message, StartsWith("--api-key: unknown setting"));
  EXPECT_THAT(message, Not(HasSubstr("secret")));
  EXPECT_THAT(ErrorOf({"--api-key", "secret-key-value"}), Not(HasSubstr("secret")));
  EXPECT_THAT(ErrorOf({"-x"}), StartsWith("-x: unknown setting"));
}

TEST(ConfigTest, AnAbbreviatedFlagIsUnknown) {
  EXPECT_THAT(ErrorOf({"--max-stream=5"}), StartsWith("--max-stream: unknown setting"));
}

TEST(ConfigTest, AnArgumentThatIsNoSettingIsNamed) {
  EXPECT_THAT(ErrorOf({"serve"}), StartsWith("serve: unexpected argument"));
}

TEST(ConfigTest, AFlagWithoutItsValueIsNamed) {
  EXPECT_EQ(ErrorOf({"--ledger-path"}), "--ledger-path: needs a value");
  EXPECT_EQ(ErrorOf({"--ledger-path", "--max-streams=1"}), "--ledger-path: needs a value");
}

TEST(ConfigTest, AnUnknownEnvironmentVariableIsNamed) {
  EXPECT_THAT(ErrorOf({}, {{"DREAMGATE_MAX_STEAMS", "5"}}),
              StartsWith("DREAMGATE_MAX_STEAMS: unknown environment variable"));
}

TEST(ConfigTest, TheCommandsOwnVariablesArePassedOver) {
  const auto line = Parse({}, {{"DREAMGATE_SERVER", "localhost:1"}, {"DREAMGATE_TOKEN", "t"}});
  EXPECT_TRUE(line.ok()) << line.status();
}

TEST(ConfigTest, VariablesThatKubernetesSetsForAServiceOfOurNameArePassedOver) {
  const auto line = Parse({}, {{"DREAMGATE_SERVICE_HOST", "10.0.0.1"},
                               {"DREAMGATE_SERVICE_PORT", "50051"},
                               {"DREAMGATE_SERVICE_PORT_GRPC", "50051"},
                               {"DREAMGATE_PORT", "tcp://10.0.0.1:50051"},
                               {"DREAMGATE_PORT_50051_TCP", "tcp://10.0.0.1:50051"},
                               {"DREAMGATE_PORT_50051_TCP_ADDR", "10.0.0.1"},
                               {"DREAMGATE_ADMIN_PORT_9090_TCP_PROTO", "tcp"}});
  EXPECT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(ErrorOf({}, {{"DREAMGATE_PORT", "50051"}}), StartsWith("DREAMGATE_PORT: "));
}

TEST(ConfigTest, AnUnknownKeyInTheConfigFileIsNamed) {
  fakes::TemporaryFolder folder;
  EXPECT_THAT(ErrorOf({"--config", folder.Write("config.toml", "max-steams = 5\n")}),
              StartsWith("max-steams: unknown setting in the --config file"));
}

TEST(ConfigTest, AMissingConfigFileIsNamed) {
  const std::string message = ErrorOf({"--config=/nowhere/config.toml"});
  EXPECT_THAT(message, StartsWith("--config: "));
  EXPECT_THAT(message, HasSubstr("/nowhere/config.toml"));
}

TEST(ConfigTest, ABadValueIsRefusedWithTheSettingsName) {
  struct BadValue {
    std::string argument;
    std::string message;  // a part of it
  };
  const BadValue values[] = {
      {"--listen-address=50051", "HOST:PORT"},
      {"--listen-address=:50051", "HOST"},
      {"--listen-address=::1:50051", "HOST:PORT"},
      {"--listen-address=[::1:50051", "HOST:PORT"},
      {"--listen-address=unix:/run/x", "port"},
      {"--listen-address=localhost:65536", "65535"},
      {"--listen-address=localhost:-1", "port"},
      {"--listen-address=local host:1", "HOST:PORT"},
      {"--admin-address=example.com:9090", "IP address or localhost"},
      {"--upstream-base-url=api.wavespeed.ai", ""},
      {"--upstream-base-url=ftp://api.wavespeed.ai", ""},
      {"--upstream-base-url=https://user:password@api.wavespeed.ai", ""},
      {"--upstream-base-url=https://api.wavespeed.ai/?key=1", "query"},
      {"--upstream-model=../v2/balance", "segments"},
      {"--upstream-model=", "value"},
      {"--upstream-model=a//b", "segments"},
      {"--upstream-model=a?b", "segments"},
      {"--poll-min-interval=2", "unit"},
      {"--poll-min-interval=soon", "1m30s"},
      {"--poll-min-interval=-2s", "from"},
      {"--poll-min-interval=0", "from"},
      {"--poll-min-interval=inf", "from"},
      {"--poll-min-interval=11m", "--poll-max-interval"},
      {"--gets-per-video=1.9", "number from 2 to 1000"},
      {"--gets-per-video=1000.5", "from 2 to 1000"},
      {"--gets-per-video=nan", "number"},
      {"--gets-per-video=inf", "number"},
      {"--gets-per-video=1e999", "number"},
      {"--gets-per-video=20,5", "number"},
      {"--gets-per-video=20x", "number"},
      {"--gets-per-video= 20", "number"},
      {"--gets-per-video=0x20", "number"},
      {"--gets-per-video=twenty", "number"},
      {"--gets-per-video=", "value"},
      {"--max-gets-per-second=-1", "0 or a number from 0.01"},
      {"--max-gets-per-second=0.001", "0 or a number from 0.01"},
      {"--max-gets-per-second=100001", "to 100000"},
      {"--max-gets-per-second=-nan", "0 or a number"},
      {"--heartbeat-interval=4s", "from 5s to 25s"},
      {"--heartbeat-interval=26s", "from 5s to 25s"},
      {"--stream-stall-timeout=999ms", "from 1s to 1h"},
      {"--stream-stall-timeout=61m", "from 1s to 1h"},
      {"--stream-stall-timeout=60", "unit"},
      {"--submit-soft-timeout=6m", "--late-answer-timeout"},
      {"--absence-settle-time=99ms", "from 100ms"},
      {"--resend-after-absence=-1", "from 0 to 10"},
      {"--resend-after-absence=11", "from 0 to 10"},
      {"--request-id-retention=191h59m", "from 192h"},
      {"--request-id-retention=87601h", "to 87600h"},
      {"--shutdown-timeout=2h", "1h"},
      {"--max-streams=-1", "whole number"},
      {"--max-streams=1e3", "whole number"},
      {"--max-streams=", "value"},
      {"--max-streams=99999999999999999999", "whole number"},
      {"--max-submits-in-flight=0", "from 1"},
      {"--require-request-id=yes", "true or false"},
      {"--log-level=verbose", "debug, info"},
      {"--log-format=xml", "logfmt or json"},
      {"--ledger-path=", "value"},
      {"--api-key-file=/nowhere/key", "/nowhere/key: cannot read"},
      {"--callers-file=/", "cannot read"},
      {"--upstream-ca-file=/nowhere/ca", "cannot read"},
      {"--tls-client-ca-file=/nowhere/ca", "--tls-cert-file"},
      {"--webhook-public-url=http://hooks.example/", "https"},
      {"--webhook-public-url=hooks.example", ""},
      {"--webhook-public-url=https://hooks.example/?a=b", "query"},
      {"--webhook-public-url=https://hooks.example/", "--webhook-secret-file"},
      {"--webhook-secret-file=/nowhere/secret", "--webhook-public-url"},
      {"--webhook-listen-address=8080", "HOST:PORT"},
  };
  for (const auto& [argument, part] : values) {
    const std::string message = ErrorOf({argument});
    EXPECT_THAT(message, StartsWith(argument.substr(0, argument.find('=')) + ": "));
    EXPECT_THAT(message, HasSubstr(part)) << argument;
  }
}

TEST(ConfigTest, ANumberMayHaveAFractionAndAnExponentAndNeedsNoQuotesInAFile) {
  fakes::TemporaryFolder folder;
  const std::string file =
      folder.Write("config.toml", "gets-per-video = 7.5\nmax-gets-per-second = 20\n");
  const auto from_file = Parse({"--config", file});
  ASSERT_TRUE(from_file.ok()) << from_file.status();
  EXPECT_EQ(from_file->config.core.gets_per_video, 7.5);
  EXPECT_EQ(from_file->config.core.max_gets_per_second, 20);
  const auto flag = Parse({"--gets-per-video=1e3", "--max-gets-per-second=0"});
  ASSERT_TRUE(flag.ok()) << flag.status();
  EXPECT_EQ(flag->config.core.gets_per_video, 1000);
  EXPECT_EQ(flag->config.core.max_gets_per_second, 0);
}

TEST(ConfigTest, ABadValueInTheEnvironmentOrTheFileIsRefusedToo) {
  fakes::TemporaryFolder folder;
  EXPECT_THAT(ErrorOf({"--config", folder.Write("number.toml", "gets-per-video = inf\n")}),
              StartsWith("--gets-per-video: "));
  EXPECT_THAT(ErrorOf({}, {{"DREAMGATE_POLL_MIN_INTERVAL", "often"}}),
              StartsWith("--poll-min-interval: "));
  EXPECT_THAT(ErrorOf({"--config", folder.Write("config.toml", "poll-min-interval = 2\n")}),
              StartsWith("--poll-min-interval: "));
}

TEST(ConfigTest, ACertificateNeedsItsKeyAndTheOtherWayRound) {
  fakes::TemporaryFolder folder;
  const std::string file = folder.Write("pem", "x");
  EXPECT_THAT(ErrorOf({"--tls-cert-file", file}), StartsWith("--tls-key-file: "));
  EXPECT_THAT(ErrorOf({"--tls-key-file", file}), StartsWith("--tls-cert-file: "));
}

TEST(ConfigTest, WebhooksNeedWhatBelongsToThem) {
  fakes::TemporaryFolder folder;
  const std::string file = folder.Write("file", "x");
  const std::vector<std::string> on = {"--webhook-public-url=https://hooks.example",
                                       "--webhook-secret-file=" + file};
  EXPECT_TRUE(Parse(on).ok());
  const auto with = [&on](const std::string& more) {
    std::vector<std::string> arguments = on;
    arguments.push_back(more);
    return ErrorOf(arguments);
  };
  EXPECT_THAT(with("--webhook-tls-cert-file=" + file), StartsWith("--webhook-tls-key-file: "));
  EXPECT_THAT(with("--webhook-tls-key-file=" + file), StartsWith("--webhook-tls-cert-file: "));
  EXPECT_THAT(with("--webhook-listen-address=hooks.example:80"),
              StartsWith("--webhook-listen-address: "));
  EXPECT_THAT(with("--webhook-secret-file=/nowhere/secret"), StartsWith("--webhook-secret-file: "));
  EXPECT_THAT(ErrorOf({"--webhook-tls-cert-file=" + file, "--webhook-tls-key-file=" + file}),
              HasSubstr("--webhook-public-url"));
}

TEST(ConfigTest, WithoutAnApiKeyTheSettingsThatGiveOneAreNamed) {
  const auto line = ParseCommandLine({}, {});
  ASSERT_FALSE(line.ok());
  EXPECT_THAT(std::string(line.status().message()), StartsWith("--api-key-file: missing"));
  EXPECT_THAT(std::string(line.status().message()), HasSubstr("WAVESPEED_API_KEY"));
}

TEST(ConfigTest, ALineBreakInAnArgumentDoesNotBreakTheLine) {
  EXPECT_THAT(ErrorOf({"--bad\nflag"}), StartsWith("--bad\\nflag: unknown setting"));
  EXPECT_THAT(ErrorOf({"--api-key-file=/no\nwhere"}), StartsWith("--api-key-file: "));
}

TEST(ConfigTest, HelpNamesEverySettingWithItsDefaultAndVariable) {
  const auto line = ParseCommandLine({"--bogus", "--help"}, {{"DREAMGATE_BOGUS", "1"}});
  ASSERT_TRUE(line.ok()) << line.status();
  ASSERT_TRUE(line->text.has_value());
  const Config defaults;
  for (const Setting& setting : AllSettings()) {
    EXPECT_THAT(*line->text, HasSubstr(absl::StrCat("\n  --", setting.name, "=")));
    const std::string shown = setting.show(defaults);
    EXPECT_THAT(*line->text, HasSubstr(absl::StrCat(EnvironmentName(setting.name), "; default: ",
                                                    shown.empty() ? "none" : shown, "\n")));
  }
}

TEST(ConfigTest, VersionIsOneLine) {
  const auto line = ParseCommandLine({"--version"}, {});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->text.value_or(""), ::testing::MatchesRegex("dreamgate [0-9.]+ \\(.+\\)\n"));
}

TEST(ConfigTest, TheDescriptionHoldsEverySettingAndNoSecret) {
  const auto line = Parse({"--max-streams=77"});
  ASSERT_TRUE(line.ok()) << line.status();
  const core::LogFields described = DescribeConfig(line->config);
  EXPECT_EQ(described.size(), AllSettings().size());
  EXPECT_THAT(described, Contains(Pair("max-streams", "77")));
  for (const auto& [name, value] : described) EXPECT_THAT(value, Not(HasSubstr("secret"))) << name;
}

TEST(ConfigTest, PlainHttpToAnotherMachineIsWarnedOf) {
  const auto warnings = [](const std::string& url) {
    const auto line = Parse({"--listen-address=127.0.0.1:0", "--upstream-base-url=" + url});
    EXPECT_TRUE(line.ok()) << line.status();
    return ConfigWarnings(line->config);
  };
  EXPECT_THAT(warnings("http://example.com"), ElementsAre(HasSubstr("--upstream-base-url")));
  EXPECT_THAT(warnings("http://localhost:8080"), IsEmpty());
  EXPECT_THAT(warnings("http://127.0.0.1:8080"), IsEmpty());
  EXPECT_THAT(warnings("http://[::1]:8080"), IsEmpty());
  EXPECT_THAT(warnings("https://example.com"), IsEmpty());
}

TEST(ConfigTest, AServerThatLetsEverybodyInIsWarnedOf) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(ConfigWarnings(line->config), ElementsAre(HasSubstr("--callers-file")));
}

TEST(ConfigTest, TimesAndResendsThatWeakenWhatIsPromisedAreWarnedOf) {
  const auto warnings = [](const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"--listen-address=127.0.0.1:0"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const auto line = Parse(all);
    EXPECT_TRUE(line.ok()) << line.status();
    return ConfigWarnings(line->config);
  };
  EXPECT_THAT(warnings({"--absence-settle-time=1m"}), IsEmpty());
  EXPECT_THAT(warnings({"--absence-settle-time=59s"}),
              ElementsAre(AllOf(HasSubstr("--absence-settle-time"), HasSubstr("lags"))));
  EXPECT_THAT(warnings({"--resend-after-absence=1"}),
              ElementsAre(AllOf(HasSubstr("--resend-after-absence"), HasSubstr("pays"))));
  EXPECT_THAT(warnings({"--absence-settle-time=15m"}),
              ElementsAre(HasSubstr("not below --unresolved-timeout")));
  EXPECT_THAT(warnings({"--unresolved-timeout=299s", "--late-answer-timeout=5m",
                        "--absence-settle-time=1m"}),
              ElementsAre(AllOf(HasSubstr("--unresolved-timeout"), HasSubstr("may still come"))));
  EXPECT_THAT(
      warnings({"--unresolved-timeout=5m", "--late-answer-timeout=5m", "--absence-settle-time=1m"}),
      IsEmpty());
}

TEST(ConfigTest, PollsGetTheConnectionsThatSubmissionsLeaveAndAQuarterAtLeast) {
  const auto polls = [](int connections, int submits) {
    Config config;
    config.max_upstream_connections = connections;
    config.core.max_submits_in_flight = submits;
    return MostGetsUnderWay(config);
  };
  EXPECT_EQ(polls(Config().max_upstream_connections, core::Options().max_submits_in_flight), 48);
  EXPECT_EQ(polls(112, 100), 28) << "a quarter is kept for them";
  EXPECT_EQ(polls(112, 1), 84) << "and a quarter for submissions";
  EXPECT_EQ(polls(2, 64), 1);
  EXPECT_EQ(polls(4, 1), 3);
}

}  // namespace
}  // namespace dreamgate::app
