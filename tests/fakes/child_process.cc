#include "tests/fakes/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace dreamgate::fakes {
namespace {

struct Channel {
  int read = -1;
  int write = -1;
};

Channel Pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) abort();
  return {ends[0], ends[1]};
}

Channel Terminal() {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  grantpt(master);
  unlockpt(master);
  return {master, open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC)};
}

std::vector<std::string> Environment(const ChildOptions& options) {
  std::map<std::string, std::string> values = options.environment;
  for (char** entry = environ; options.inherit_environment && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    values.emplace(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
  }
  std::vector<std::string> result;
  for (const auto& [name, value] : values) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeProgram(const ChildOptions& options, char* const* arguments,
                                char* const* environment, int input, int output, int error) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
  dup2(input, STDIN_FILENO);
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
  if (chdir(options.folder.c_str()) == 0) execvpe(arguments[0], arguments, environment);
  dprintf(STDERR_FILENO, "exec %s: %s\n", arguments[0], strerror(errno));
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  std::vector<std::string> argument_texts = options.arguments;
  std::vector<std::string> environment_texts = Environment(options);
  const std::vector<char*> arguments = Pointers(argument_texts);
  const std::vector<char*> environment = Pointers(environment_texts);
  const Channel input = Pipe();
  const Channel output = Pipe();
  const Channel error = options.terminal ? Terminal() : Pipe();
  if (write(input.write, options.input.data(), options.input.size()) < 0) abort();
  close(input.write);
  pid_ = fork();
  if (pid_ == 0) {
    BecomeProgram(options, arguments.data(), environment.data(), input.read, output.write,
                  error.write);
  }
  close(input.read);
  close(output.write);
  close(error.write);
  reader_ = std::thread([this, output, error] { Read({output.read, error.read}); });
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  reader_.join();
}

void ChildProcess::Read(std::array<int, 2> outputs) {
  std::array<pollfd, 2> open = {pollfd{outputs[0], POLLIN, 0}, pollfd{outputs[1], POLLIN, 0}};
  std::array<char, 4096> piece;
  while (open[0].fd >= 0 || open[1].fd >= 0) {
    poll(open.data(), open.size(), -1);
    for (size_t i = 0; i < open.size(); ++i) {
      if (open[i].fd < 0 || open[i].revents == 0) continue;
      const ssize_t count = read(open[i].fd, piece.data(), piece.size());
      if (count <= 0) open[i].fd = -1;  // a terminal ends with an error, a pipe with nothing
      const std::lock_guard<std::mutex> lock(mutex_);
      if (count > 0) texts_[i].append(piece.data(), static_cast<size_t>(count));
      changed_.notify_all();
    }
  }
  for (const int descriptor : outputs) close(descriptor);
  siginfo_t ignored = {};
  waitid(P_PID, static_cast<id_t>(pid_), &ignored, WEXITED | WNOWAIT);
  // Nobody may signal a process id that is free again.
  const std::lock_guard<std::mutex> lock(mutex_);
  int status = 0;
  waitpid(pid_, &status, 0);
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  changed_.notify_all();
}

void ChildProcess::Signal(int number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!exit_code_ && pid_ > 0) kill(pid_, number);
}

void ChildProcess::LiftFileSizeLimit() {
  rlimit limit = {};
  prlimit(pid_, RLIMIT_FSIZE, nullptr, &limit);
  limit.rlim_cur = limit.rlim_max;
  prlimit(pid_, RLIMIT_FSIZE, &limit, nullptr);
}

bool ChildProcess::WaitUntil(const std::function<bool()>& condition, absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), condition);
}

bool ChildProcess::WaitForOutput(const std::string& text) {
  const auto written = [&] { return (texts_[0] + texts_[1]).find(text) != std::string::npos; };
  WaitUntil([&] { return written() || exit_code_.has_value(); }, absl::Minutes(1));
  const std::lock_guard<std::mutex> lock(mutex_);
  return written();
}

std::optional<int> ChildProcess::Wait(absl::Duration timeout) {
  WaitUntil([&] { return exit_code_.has_value(); }, timeout);
  const std::lock_guard<std::mutex> lock(mutex_);
  return exit_code_;
}

bool ChildProcess::Running() { return !Wait(absl::ZeroDuration()).has_value(); }

std::string ChildProcess::StandardOutput() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return texts_[0];
}

std::string ChildProcess::StandardError() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return texts_[1];
}

}  // namespace dreamgate::fakes
