// Runs a program as a user would: own process, pipes (or a terminal for stderr), signals. Owned by one
// test and its thread. Every wait has a generous deadline; a child still running is killed at the end.
#ifndef DREAMGATE_TESTS_CLIENT_CHILD_PROCESS_H_
#define DREAMGATE_TESTS_CLIENT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace dreamgate::client {

struct ChildOptions {
  std::map<std::string, std::string> environment{};  // on top of this process's own
  std::string folder = "/";                          // where it runs
  std::string input{};                               // its stdin
  bool terminal = false;                             // stderr is a terminal
};

struct ChildResult {
  int exit_code = -1;  // 128 + n after signal n
  std::string out;
  std::string err;
};

class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& arguments,
                        const ChildOptions& options = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // True once stdout and stderr together contain `text`; false if the child ended before.
  bool AwaitOutput(const std::string& text);

  void Signal(int signal);

  // Reads to the end and waits for it.
  ChildResult Finish();

 private:
  // Waits for more output. False at the end of both.
  bool ReadMore();

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  ChildResult result_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_CHILD_PROCESS_H_
