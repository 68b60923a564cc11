#include "tests/client/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <utility>

extern char** environ;

namespace dreamgate::client {
namespace {

constexpr int kPatienceMilliseconds = 60'000;

struct Channel {
  int parent = -1;
  int child = -1;
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

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(std::map<std::string, std::string> values) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    values.emplace(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
  }
  std::vector<std::string> result;
  for (const auto& [name, value] : values) result.push_back(name + "=" + value);
  return result;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, const ChildOptions& options) {
  const Channel input = Pipe();  // its read end is the child's
  const Channel out = Pipe();
  const Channel err = options.terminal ? Terminal() : Pipe();
  out_ = out.parent;
  err_ = err.parent;

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());
  posix_spawn_file_actions_adddup2(&actions, input.parent, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.child, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.child, STDERR_FILENO);
  std::vector<std::string> argument_texts = arguments;
  std::vector<std::string> environment_texts = Environment(options.environment);
  const std::vector<char*> argv = Pointers(argument_texts);
  const std::vector<char*> envp = Pointers(environment_texts);
  if (posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), envp.data()) != 0) pid_ = -1;
  posix_spawn_file_actions_destroy(&actions);

  close(input.parent);
  close(out.child);
  close(err.child);
  if (!options.input.empty() && write(input.child, options.input.data(), options.input.size()) < 0)
    abort();
  close(input.child);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (out_ >= 0) close(out_);
  if (err_ >= 0) close(err_);
}

bool ChildProcess::AwaitOutput(const std::string& text) {
  while ((result_.out + result_.err).find(text) == std::string::npos) {
    if (!ReadMore()) return false;
  }
  return true;
}

void ChildProcess::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

ChildResult ChildProcess::Finish() {
  while (ReadMore()) continue;
  int status = 0;
  if (pid_ > 0) waitpid(std::exchange(pid_, -1), &status, 0);
  result_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

bool ChildProcess::ReadMore() {
  std::array<pollfd, 2> ready = {pollfd{out_, POLLIN, 0},
                                 pollfd{err_, POLLIN, 0}};  // -1 is skipped
  if (out_ < 0 && err_ < 0) return false;
  if (poll(ready.data(), ready.size(), kPatienceMilliseconds) <= 0) {
    Signal(SIGKILL);  // hangs: the test fails by its exit code
    return false;
  }
  std::array<char, 4096> piece;
  for (size_t i = 0; i < ready.size(); ++i) {
    if (ready[i].revents == 0) continue;
    int& descriptor = i == 0 ? out_ : err_;
    std::string& text = i == 0 ? result_.out : result_.err;
    const ssize_t count = read(descriptor, piece.data(), piece.size());
    if (count > 0) {
      text.append(piece.data(), static_cast<size_t>(count));
    } else {
      close(std::exchange(descriptor, -1));  // a terminal ends with an error, a pipe with nothing
    }
  }
  return out_ >= 0 || err_ >= 0;
}

}  // namespace dreamgate::client
