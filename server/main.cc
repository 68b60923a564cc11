// dreamgated: signals, configuration, App, exit code. 0: left cleanly; 2: the configuration (or what it
// names) is at fault, said in one line on stderr; 1: anything else.
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/app/app.h"
#include "server/app/config.h"

namespace {

// Blocked in this thread, and so in every thread it starts; received only where it waits for them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a ledger at its size limit is ledger trouble, not the end
  return signals;
}

std::map<std::string, std::string> Environment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

int Run(const std::vector<std::string>& arguments, const sigset_t& signals) {
  const auto fail = [](const absl::Status& status) {
    std::cerr << "dreamgated: " << status.message() << std::endl;
    return 2;
  };
  const auto line = dreamgate::app::ParseCommandLine(arguments, Environment());
  if (!line.ok()) return fail(line.status());
  if (line->text.has_value()) {
    std::cout << *line->text << std::flush;
    return 0;
  }
  auto app = dreamgate::app::App::Create(line->config);
  if (!app.ok()) return fail(app.status());
  int signal = 0;
  sigwait(&signals, &signal);
  (*app)->Shutdown([&signals](absl::Duration grace) {
    const timespec most = absl::ToTimespec(grace);
    sigtimedwait(&signals, nullptr, &most);  // a second signal: no grace
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const sigset_t signals = BlockSignals();
  try {
    return Run(std::vector<std::string>(argv + 1, argv + argc), signals);
  } catch (const std::exception& error) {
    std::cerr << "dreamgated: " << error.what() << std::endl;
    return 1;
  }
}
