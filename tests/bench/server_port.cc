#include "tests/bench/server_port.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace dreamgate::bench {

absl::StatusOr<int> WaitForGrpcPort(e2e::ChildProcess& server, const std::string& ports_file) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  std::string text;
  while ((text = e2e::ReadFile(ports_file)).empty()) {
    if (!server.Running() || absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("a server did not start:\n", server.StandardError()));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  int port = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> setting = absl::StrSplit(line, '=');
    if (setting.first == "grpc" && absl::SimpleAtoi(setting.second, &port)) return port;
  }
  return absl::DataLossError(absl::StrCat("a server names no gRPC port: ", text));
}

}  // namespace dreamgate::bench
