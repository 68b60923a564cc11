#include "tests/app/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <utility>

namespace dreamgate::app {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::seconds kDeadline(60);

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Closes and forgets the pipe at its end.
void ReadFrom(int& pipe, std::string& text) {
  std::array<char, 4096> chunk;
  const ssize_t count = read(pipe, chunk.data(), chunk.size());
  if (count > 0) {
    text.append(chunk.data(), static_cast<size_t>(count));
  } else {
    close(std::exchange(pipe, -1));
  }
}

}  // namespace

ChildProcess::ChildProcess(const std::string& program, const std::vector<std::string>& arguments,
                           const std::map<std::string, std::string>& environment) {
  std::vector<std::string> texts = {program};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  const std::vector<char*> argv = Pointers(texts);
  const std::vector<char*> envp = Pointers(variables);
  int output[2];
  int error[2];
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0) return;
  process_ = fork();
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output[1], STDOUT_FILENO);
    dup2(error[1], STDERR_FILENO);
    execve(program.c_str(), argv.data(), envp.data());
    _exit(127);
  }
  close(output[1]);
  close(error[1]);
  output_pipe_ = output[0];
  error_pipe_ = error[0];
}

ChildProcess::~ChildProcess() {
  if (process_ > 0) {
    Signal(SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  if (output_pipe_ >= 0) close(output_pipe_);
  if (error_pipe_ >= 0) close(error_pipe_);
}

void ChildProcess::Signal(int signal) {
  if (process_ > 0) kill(process_, signal);
}

bool ChildProcess::Read() {
  if (output_pipe_ < 0 && error_pipe_ < 0) return false;
  std::array<pollfd, 2> pipes = {pollfd{output_pipe_, POLLIN, 0}, pollfd{error_pipe_, POLLIN, 0}};
  poll(pipes.data(), pipes.size(), 1000);
  if (pipes[0].revents != 0) ReadFrom(output_pipe_, output_);
  if (pipes[1].revents != 0) ReadFrom(error_pipe_, error_output_);
  return true;
}

bool ChildProcess::WaitForErrorText(const std::string& text) {
  const auto deadline = steady_clock::now() + kDeadline;
  while (error_output_.find(text) == std::string::npos) {
    if (!Read() || steady_clock::now() > deadline) return false;
  }
  return true;
}

int ChildProcess::Wait() {
  if (process_ <= 0) return -1;
  const auto deadline = steady_clock::now() + kDeadline;
  while (Read()) {
    if (steady_clock::now() > deadline) return -1;
  }
  int status = 0;
  waitpid(std::exchange(process_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace dreamgate::app
