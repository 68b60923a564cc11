// wavespeed-simulator: the simulator as a program, steered by flags and the /control/ endpoints.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/simulator/control_api.h"
#include "tests/simulator/simulator.h"

namespace {

using dreamgate::simulator::ControlHelp;
using dreamgate::simulator::Options;
using dreamgate::simulator::Schedule;
using dreamgate::simulator::Simulator;

struct Flags {
  Options options;
  std::string port_file;
  absl::Duration created_for = absl::Seconds(1);
  absl::Duration processing_for = absl::Seconds(3);
  absl::Duration inference = absl::InfiniteDuration();
  int fail_with = 0;
};

constexpr char kUsage[] = R"(Usage: wavespeed-simulator [FLAGS]
WaveSpeed's REST API on a loopback port, with a schedule instead of a model.

  --port N               port on 127.0.0.1 (default 0: any free one)
  --port-file FILE       write the chosen port there, atomically
  --host NAME            host in the URLs handed out (default 127.0.0.1)
  --tls-cert FILE        PEM certificate; with --tls-key: serve TLS only
  --tls-key FILE         PEM private key
  --api-key KEY          expected bearer key (default simulator-key)
  --model NAME           default bytedance/dreamina-v3.0-pro/text-to-video
  --created-for TIME     how long a task stays created (default 1s)
  --processing-for TIME  and then processing (default 3s)
  --fail-with CODE       tasks end failed with this data.code instead of completed
  --inference-ms N       timings.inference of completed tasks (default: the processing time)
  --video FILE           the MP4 served as every output
  --webhook-to ORIGIN    http origin that receives every webhook, whatever URL was registered
  --webhook-secret TEXT  default whsec_simulator-webhook-secret
  --clock-offset TIME    of the simulator's clock against this machine's
  --log-limit N          newest requests kept for /control/log (default 10000)
  --verbose              one line a request on stdout

)";

template <class Number>
bool ReadNumber(const std::string& text, Number& number) {
  return absl::SimpleAtoi(text, &number);
}

// Empty: fine. Otherwise what is wrong.
std::string ReadFlags(int argc, char** argv, Flags& flags) {
  Options& options = flags.options;
  options.log_limit = 10'000;
  const auto text = [](std::string& target) {
    return [&target](const std::string& value) {
      target = value;
      return true;
    };
  };
  const auto duration = [](absl::Duration& target) {
    return [&target](const std::string& value) { return absl::ParseDuration(value, &target); };
  };
  const std::map<std::string, std::function<bool(const std::string&)>> readers = {
      {"--port",
       [&](const std::string& value) {
         int port = 0;
         if (!ReadNumber(value, port) || port < 0 || port > 65535) return false;
         options.port = static_cast<uint16_t>(port);
         return true;
       }},
      {"--port-file", text(flags.port_file)},
      {"--host", text(options.host)},
      {"--tls-cert", text(options.tls_certificate_file)},
      {"--tls-key", text(options.tls_private_key_file)},
      {"--api-key", text(options.api_key)},
      {"--model", text(options.model)},
      {"--created-for", duration(flags.created_for)},
      {"--processing-for", duration(flags.processing_for)},
      {"--fail-with", [&](const std::string& value) { return ReadNumber(value, flags.fail_with); }},
      {"--inference-ms",
       [&](const std::string& value) {
         int milliseconds = 0;
         if (!ReadNumber(value, milliseconds)) return false;
         flags.inference = absl::Milliseconds(milliseconds);
         return true;
       }},
      {"--video", text(options.video_file)},
      {"--webhook-to", text(options.webhook_origin)},
      {"--webhook-secret", text(options.webhook_secret)},
      {"--clock-offset", duration(options.clock_offset)},
      {"--log-limit",
       [&](const std::string& value) { return ReadNumber(value, options.log_limit); }},
  };
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    std::string value;
    const std::size_t equals = name.find('=');
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else if (i + 1 < argc && readers.count(name) != 0) {
      value = argv[++i];
    }
    const auto reader = readers.find(name);
    if (reader == readers.end()) return absl::StrCat("unknown flag ", name);
    if (!reader->second(value)) return absl::StrCat("bad value for ", name, ": ", value);
  }
  if (options.tls_certificate_file.empty() != options.tls_private_key_file.empty()) {
    return "--tls-cert and --tls-key go together";
  }
  return "";
}

Schedule ScheduleFrom(const Flags& flags) {
  Schedule schedule =
      flags.fail_with == 0
          ? Schedule::Completing(flags.created_for, flags.processing_for)
          : Schedule::Failing(flags.created_for, flags.processing_for, flags.fail_with,
                              flags.fail_with == 1200
                                  ? "Content flagged as potentially sensitive"
                                  : absl::StrCat("simulated failure ", flags.fail_with));
  schedule.inference =
      flags.inference == absl::InfiniteDuration() ? flags.processing_for : flags.inference;
  return schedule;
}

bool WritePortFile(const std::string& path, uint16_t port) {
  const std::string temporary = path + ".new";
  {
    std::ofstream file(temporary);
    file << port << "\n";
    if (!file.flush()) return false;
  }
  return std::rename(temporary.c_str(), path.c_str()) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--help") {
      std::fputs((kUsage + ControlHelp()).c_str(), stdout);
      return 0;
    }
  }
  Flags flags;
  const std::string problem = ReadFlags(argc, argv, flags);
  if (!problem.empty()) {
    std::fputs(absl::StrCat("wavespeed-simulator: ", problem, "; see --help\n").c_str(), stderr);
    return 2;
  }
  flags.options.schedule = ScheduleFrom(flags);

  // Blocked before any thread exists, so that only sigwait below sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  auto simulator = Simulator::Start(std::move(flags.options));
  if (!simulator.ok()) {
    std::fputs(absl::StrCat("wavespeed-simulator: ", simulator.status().message(), "\n").c_str(),
               stderr);
    return 1;
  }
  if (!flags.port_file.empty() && !WritePortFile(flags.port_file, (*simulator)->port())) {
    std::fputs(absl::StrCat("wavespeed-simulator: cannot write ", flags.port_file, "\n").c_str(),
               stderr);
    return 1;
  }
  absl::PrintF("%-20s %-10s %s\n", "wavespeed-simulator", "listening", (*simulator)->base_url());
  std::fflush(stdout);
  int received = 0;
  sigwait(&signals, &received);
  return 0;
}
