// The real program as its operator meets it: exit codes, the one line that says what is wrong, signals,
// the admin port. DREAMGATED is the program's path.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/web/raw_client.h"

namespace dreamgate::app {
namespace {

using fakes::ChildOptions;
using fakes::ChildProcess;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

const Environment kKey = {{"WAVESPEED_API_KEY", "secret-key-value"}};

// A port that somebody else listens on.
class OccupiedPort {
 public:
  OccupiedPort() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
        listen(socket_, 1) == 0) {
      getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
      port_ = ntohs(address.sin_port);
    }
  }
  ~OccupiedPort() { close(socket_); }
  std::string Address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int socket_;
  uint16_t port_ = 0;
};

class AppTest : public ::testing::Test {
 protected:
  // The arguments that a start needs to succeed, followed by `more`. Nothing ever leaves this machine.
  Arguments Serving(const Arguments& more = {}) const {
    Arguments arguments = {"--listen-address=127.0.0.1:0",
                           "--admin-address=127.0.0.1:0",
                           "--upstream-base-url=http://127.0.0.1:9",
                           "--shutdown-grace=0",
                           "--ledger-path=" + folder_.File("ledger.db"),
                           "--ports-file=" + folder_.File("ports")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  static std::unique_ptr<ChildProcess> Run(Arguments arguments,
                                           const Environment& environment = kKey) {
    arguments.insert(arguments.begin(), DREAMGATED);
    return std::make_unique<ChildProcess>(ChildOptions{.arguments = std::move(arguments),
                                                       .environment = environment,
                                                       .inherit_environment = false});
  }

  std::unique_ptr<ChildProcess> Serve(const Arguments& more = {}) const {
    auto child = Run(Serving(more));
    EXPECT_TRUE(child->WaitForOutput("serving")) << child->StandardError();
    return child;
  }

  // The port called `name` in the ports file.
  uint16_t Port(const std::string& name) const {
    std::ifstream file(folder_.File("ports"));
    for (std::string line; std::getline(file, line);) {
      if (line.rfind(name + "=", 0) == 0) {
        return static_cast<uint16_t>(std::stoi(line.substr(name.size() + 1)));
      }
    }
    return 0;
  }

  std::string GetPage(const std::string& path) const {
    return web::Exchange(Port("admin"), "GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n");
  }

  // Runs a start that must fail, and returns its one line.
  static std::string Refusal(const Arguments& arguments, const Environment& environment = kKey) {
    const auto child = Run(arguments, environment);
    EXPECT_EQ(child->Wait(), 2);
    EXPECT_EQ(child->StandardOutput(), "");
    const std::string text = child->StandardError();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_THAT(text, AllOf(StartsWith("dreamgated: "), EndsWith("\n")));
    EXPECT_THAT(text, Not(HasSubstr("secret-key-value")));
    return text;
  }

  fakes::TemporaryFolder folder_;
};

TEST_F(AppTest, HelpGoesToStdoutAndIsNoError) {
  const auto child = Run({"--help"}, {});
  EXPECT_EQ(child->Wait(), 0);
  EXPECT_THAT(child->StandardOutput(),
              AllOf(HasSubstr("--listen-address=HOST:PORT"),
                    HasSubstr("DREAMGATE_POLL_MIN_INTERVAL; default: 2s")));
  EXPECT_EQ(child->StandardError(), "");
}

TEST_F(AppTest, VersionGoesToStdout) {
  const auto child = Run({"--version"}, {});
  EXPECT_EQ(child->Wait(), 0);
  EXPECT_THAT(child->StandardOutput(), MatchesRegex("dreamgate [0-9.]+ \\(.+\\)\n"));
}

TEST_F(AppTest, AnUnknownFlagStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--bogus=1"})), HasSubstr("--bogus"));
}

TEST_F(AppTest, AnUnknownVariableStopsTheStart) {
  Environment environment = kKey;
  environment["DREAMGATE_BOGUS"] = "1";
  EXPECT_THAT(Refusal(Serving(), environment), HasSubstr("DREAMGATE_BOGUS"));
}

TEST_F(AppTest, ABadUrlStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--upstream-base-url=wavespeed"})),
              HasSubstr("--upstream-base-url"));
}

TEST_F(AppTest, AMissingKeyFileStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--api-key-file=" + folder_.File("none")})),
              HasSubstr("--api-key-file"));
}

TEST_F(AppTest, AnUnusableKeyStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--api-key-file=" + folder_.Write("empty", "\n")})),
              HasSubstr("--api-key-file"));
  EXPECT_THAT(Refusal(Serving(), {}), HasSubstr("WAVESPEED_API_KEY"));
  EXPECT_THAT(Refusal(Serving(), {{"WAVESPEED_API_KEY", "two words"}}),
              HasSubstr("WAVESPEED_API_KEY"));
}

TEST_F(AppTest, ABadCaFileStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--upstream-base-url=https://127.0.0.1:9",
                               "--upstream-ca-file=" + folder_.Write("ca.pem", "no certificate")})),
              HasSubstr("--upstream-ca-file"));
}

TEST_F(AppTest, BadCertificatesStopTheStart) {
  const std::string pem = folder_.Write("cert.pem", "no certificate");
  EXPECT_THAT(Refusal(Serving({"--tls-cert-file=" + pem, "--tls-key-file=" + pem})),
              HasSubstr("--tls-"));
}

TEST_F(AppTest, ACertificateWithAnotherKeyStopsTheStart) {
  const auto make = [this](const std::string& name) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        "-subj /CN=localhost -keyout '" +
        folder_.Write(name + ".key", "") + "' -out '" + folder_.Write(name + ".pem", "") +
        "' 2>/dev/null";
    return std::system(command.c_str());
  };
  ASSERT_EQ(make("one"), 0);
  ASSERT_EQ(make("other"), 0);
  EXPECT_THAT(Refusal(Serving({"--tls-cert-file=" + folder_.File("one.pem"),
                               "--tls-key-file=" + folder_.File("other.key")})),
              HasSubstr("--tls-cert-file"));
}

TEST_F(AppTest, ABadCallersFileStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--callers-file=" + folder_.Write("callers", "only-one-word\n")})),
              HasSubstr("--callers-file"));
}

TEST_F(AppTest, WebhooksThatCannotBeReceivedStopTheStart) {
  const OccupiedPort occupied;
  const std::string secret = folder_.Write("secret", "whsec_text\n");
  const auto refusal = [this](const std::string& secret_file, const std::string& more) {
    return Refusal(Serving({"--webhook-public-url=https://hooks.example/",
                            "--webhook-listen-address=127.0.0.1:0",
                            "--webhook-secret-file=" + secret_file, more}));
  };
  EXPECT_THAT(refusal(folder_.Write("empty-secret", "\n"), "--log-level=info"),
              HasSubstr("--webhook-secret-file"));
  EXPECT_THAT(refusal(secret, "--webhook-listen-address=" + occupied.Address()),
              AllOf(HasSubstr("--webhook-listen-address"), HasSubstr(occupied.Address())));
  const std::string pem = folder_.Write("hook.pem", "no certificate");
  EXPECT_THAT(Refusal(Serving({"--webhook-public-url=https://hooks.example/",
                               "--webhook-secret-file=" + secret, "--webhook-tls-cert-file=" + pem,
                               "--webhook-tls-key-file=" + pem})),
              HasSubstr("--webhook-tls-"));
}

TEST_F(AppTest, ALedgerThatCannotBeWrittenStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--ledger-path=" + folder_.File("no/such/folder/ledger.db")})),
              HasSubstr("--ledger-path"));
  EXPECT_THAT(Refusal(Serving({"--ledger-path=" + folder_.Write("text", "not a ledger at all")})),
              HasSubstr("--ledger-path"));
}

TEST_F(AppTest, APortInUseStopsTheStart) {
  const OccupiedPort occupied;
  EXPECT_THAT(Refusal(Serving({"--listen-address=" + occupied.Address()})),
              AllOf(HasSubstr("--listen-address"), HasSubstr(occupied.Address())));
  EXPECT_THAT(Refusal(Serving({"--admin-address=" + occupied.Address()})),
              AllOf(HasSubstr("--admin-address"), HasSubstr(occupied.Address())));
}

TEST_F(AppTest, APortsFileThatCannotBeWrittenStopsTheStart) {
  EXPECT_THAT(Refusal(Serving({"--ports-file=" + folder_.File("no/such/folder/ports")})),
              HasSubstr("--ports-file"));
}

TEST_F(AppTest, ASecondProcessOnTheSameLedgerIsRefusedAndTheFirstGoesOn) {
  const auto first = Serve();
  EXPECT_THAT(Refusal(Serving({"--ports-file=" + folder_.File("other-ports")})),
              AllOf(HasSubstr("--ledger-path"), HasSubstr("another process")));
  EXPECT_THAT(GetPage("/livez"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AppTest, OneLineSaysWhereItServes) {
  const auto child = Serve();
  EXPECT_NE(Port("grpc"), 0);
  EXPECT_NE(Port("admin"), 0);
  EXPECT_NE(Port("grpc"), Port("admin"));
  EXPECT_TRUE(child->WaitForOutput(" listen=127.0.0.1:" + std::to_string(Port("grpc")) +
                                   " admin=127.0.0.1:" + std::to_string(Port("admin")) +
                                   " upstream=http://"));
}

TEST_F(AppTest, SigtermEndsItCleanlyAndFreesTheLedger) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto child = Serve();
    child->Signal(signal);
    EXPECT_EQ(child->Wait(), 0) << child->StandardError();
    EXPECT_EQ(child->StandardOutput(), "");
    EXPECT_THAT(child->StandardError(), HasSubstr("info stopped"));
  }
}

TEST_F(AppTest, ABrokenPipeDoesNotEndIt) {
  const auto child = Serve();
  child->Signal(SIGPIPE);
  EXPECT_THAT(GetPage("/livez"), StartsWith("HTTP/1.1 200"));
}

TEST_F(AppTest, DuringTheGraceItIsAliveButNotReadyAndASecondSignalEndsTheGrace) {
  const auto child = Serve({"--shutdown-grace=1h"});
  EXPECT_THAT(GetPage("/readyz"), StartsWith("HTTP/1.1 200"));
  child->Signal(SIGTERM);
  ASSERT_TRUE(child->WaitForOutput("leaving")) << child->StandardError();
  std::string readiness = GetPage("/readyz");
  for (int tries = 0; tries < 10'000 && readiness.find(" 200 ") != std::string::npos; ++tries) {
    readiness = GetPage("/readyz");
  }
  EXPECT_THAT(readiness, AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("shutting down")));
  EXPECT_THAT(GetPage("/livez"), StartsWith("HTTP/1.1 200"));
  child->Signal(SIGTERM);
  EXPECT_EQ(child->Wait(), 0) << child->StandardError();
}

TEST_F(AppTest, TheAdminPortShowsMetricsAndStatus) {
  const auto child = Serve({"--max-streams=77"});
  EXPECT_THAT(GetPage("/metrics"), HasSubstr("dreamgate_build_info{"));
  EXPECT_THAT(GetPage("/statusz"),
              AllOf(HasSubstr("\"max-streams\":\"77\""), HasSubstr("\"predictions_in_flight\":0"),
                    HasSubstr("\"last_success\":\"never\"")));
}

TEST_F(AppTest, TheKeyIsShownNowhere) {
  const auto child = Serve({"--log-level=debug", "--log-format=json"});
  for (const std::string path : {"/metrics", "/statusz", "/readyz"}) {
    EXPECT_THAT(GetPage(path), Not(HasSubstr("secret-key-value"))) << path;
  }
  child->Signal(SIGTERM);
  EXPECT_EQ(child->Wait(), 0);
  EXPECT_THAT(child->StandardError(), Not(HasSubstr("secret-key-value")));
  EXPECT_THAT(child->StandardError(), HasSubstr("\"message\":\"configuration\""));
}

TEST_F(AppTest, WarningsComeBeforeTheStartLine) {
  const auto child = Serve({"--listen-address=0.0.0.0:0"});
  const std::string text = child->StandardError();
  EXPECT_LT(text.find("--callers-file"), text.find("serving")) << text;
}

}  // namespace
}  // namespace dreamgate::app
