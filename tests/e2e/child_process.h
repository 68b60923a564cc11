// A program started for a test: its arguments, environment, limits, output and end. Killed, if it
// still runs, when the object goes. One thread.
#ifndef DREAMGATE_TESTS_E2E_CHILD_PROCESS_H_
#define DREAMGATE_TESTS_E2E_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::e2e {

using fakes::TemporaryFolder;

struct ChildOptions {
  std::vector<std::string> arguments = {};              // [0] is the program
  std::map<std::string, std::string> environment = {};  // added to this process's
  std::optional<uint64_t> file_size_limit =
      std::nullopt;  // bytes; writing past it fails with EFBIG
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
  // The exit code, or 128 + the signal that ended it; nullopt: it still runs after `timeout`.
  std::optional<int> Wait(absl::Duration timeout);
  bool Running();

  // Everything written so far.
  std::string StandardOutput() const;
  std::string StandardError() const;

 private:
  TemporaryFolder folder_;  // of its output
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& text);

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_CHILD_PROCESS_H_
