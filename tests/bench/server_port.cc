#include "tests/bench/server_port.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/bench/measure.h"

namespace dreamgate::bench {

int WaitForGrpcPort(fakes::ChildProcess& server, const fakes::TemporaryFolder& folder) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  std::string text;
  while ((text = folder.Read("ports")).empty()) {
    if (!server.Running() || absl::Now() > deadline) {
      Die(absl::StrCat("a server did not start:\n", server.StandardError()));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  int port = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> setting = absl::StrSplit(line, '=');
    if (setting.first == "grpc" && absl::SimpleAtoi(setting.second, &port)) return port;
  }
  Die(absl::StrCat("a server names no gRPC port: ", text));
}

}  // namespace dreamgate::bench
