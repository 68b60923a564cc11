// A program started for a test or a bench: its arguments, environment, limits, input, output and end. The
// program is killed, if it still runs, when the object goes. One thread; another one, of its own, reads
// the output, so that the program never waits for a reader.
#ifndef DREAMGATE_TESTS_FAKES_CHILD_PROCESS_H_
#define DREAMGATE_TESTS_FAKES_CHILD_PROCESS_H_

#include <sys/types.h>

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::fakes {

struct ChildOptions {
  std::vector<std::string> arguments = {};              // [0] is the program
  std::map<std::string, std::string> environment = {};  // wins over this process's
  bool inherit_environment = true;                      // false: `environment` is all there is
  std::string folder = ".";                             // where it runs
  std::string input = {};                               // its stdin, at most 64 KiB
  bool terminal = false;                                // stderr is a terminal
  // In bytes; writing to a file beyond it fails with EFBIG.
  std::optional<uint64_t> file_size_limit = std::nullopt;
};

class ChildProcess {
 public:
  explicit ChildProcess(const ChildOptions& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number);
  void LiftFileSizeLimit();

  // True once stdout and stderr together contain `text`; false: it ended or a minute passed before.
  bool WaitForOutput(const std::string& text);
  // The exit code, or 128 + the signal that ended it; nullopt: it still runs after `timeout`.
  std::optional<int> Wait(absl::Duration timeout = absl::Minutes(1));
  bool Running();

  // Everything written so far; all of it once it has ended.
  std::string StandardOutput() const;
  std::string StandardError() const;

 private:
  // Until both are closed and the process has ended.
  void Read(std::array<int, 2> outputs);
  bool WaitUntil(const std::function<bool()>& condition, absl::Duration timeout);

  pid_t pid_ = -1;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::array<std::string, 2> texts_;  // of stdout and stderr
  std::optional<int> exit_code_;
  std::thread reader_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_CHILD_PROCESS_H_
