#include "tests/e2e/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/time/clock.h"

namespace dreamgate::e2e {
namespace {

// Between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeProgram(const ChildOptions& options, char* const* arguments,
                                char* const* environment, int output, int error) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
  dup2(output, STDOUT_FILENO);
  dup2(error, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (options.file_size_limit) {
    rlimit limit = {};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = *options.file_size_limit;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execvpe(arguments[0], arguments, environment);
  dprintf(STDERR_FILENO, "exec %s: %s\n", arguments[0], strerror(errno));
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  for (const auto& [name, value] : options.environment) environment.push_back(name + "=" + value);
  std::vector<std::string> arguments = options.arguments;
  std::vector<char*> argument_pointers;
  for (std::string& argument : arguments) argument_pointers.push_back(argument.data());
  argument_pointers.push_back(nullptr);
  std::vector<char*> environment_pointers;
  for (std::string& entry : environment) environment_pointers.push_back(entry.data());
  environment_pointers.push_back(nullptr);

  const auto open_new = [this](const char* name) {
    return open(folder_.File(name).c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  };
  const int output = open_new("output");
  const int error = open_new("error");
  pid_ = fork();
  if (pid_ == 0) {
    BecomeProgram(options, argument_pointers.data(), environment_pointers.data(), output, error);
  }
  close(output);
  close(error);
}

ChildProcess::~ChildProcess() {
  if (Running()) {
    Signal(SIGKILL);
    Wait(absl::Seconds(30));
  }
}

void ChildProcess::Signal(int number) {
  if (!exit_code_ && pid_ > 0) kill(pid_, number);
}

void ChildProcess::LiftFileSizeLimit() {
  rlimit limit = {};
  prlimit(pid_, RLIMIT_FSIZE, nullptr, &limit);
  limit.rlim_cur = limit.rlim_max;
  prlimit(pid_, RLIMIT_FSIZE, &limit, nullptr);
}

std::optional<int> ChildProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!exit_code_) {
    int status = 0;
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) {
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (absl::Now() >= deadline) {
      return std::nullopt;
    } else {
      absl::SleepFor(absl::Milliseconds(2));  // waitpid knows no timeout
    }
  }
  return exit_code_;
}

bool ChildProcess::Running() { return !Wait(absl::ZeroDuration()).has_value(); }

std::string ChildProcess::StandardOutput() const { return folder_.Read("output"); }

std::string ChildProcess::StandardError() const { return folder_.Read("error"); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace dreamgate::e2e
