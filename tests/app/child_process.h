// A program as a child of the test: its own environment, its output as text, its exit code. Every wait
// ends after a generous deadline; a child that is left over is killed with the test.
#ifndef DREAMGATE_TESTS_APP_CHILD_PROCESS_H_
#define DREAMGATE_TESTS_APP_CHILD_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace dreamgate::app {

class ChildProcess {
 public:
  ChildProcess(const std::string& program, const std::vector<std::string>& arguments,
               const std::map<std::string, std::string>& environment);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void Signal(int signal);

  // Waits until stderr holds `text`; false if the child ended, or hung, without writing it.
  bool WaitForErrorText(const std::string& text);

  // Waits for the end and returns the exit code; 128 + n if it died of signal n, -1 if it hangs.
  int Wait();

  // What has been written so far; everything after Wait.
  const std::string& output() const { return output_; }
  const std::string& error_output() const { return error_output_; }

 private:
  // Takes what the pipes hold, waiting a little; false once both are closed.
  bool Read();

  pid_t process_ = -1;
  int output_pipe_ = -1;
  int error_pipe_ = -1;
  std::string output_;
  std::string error_output_;
};

}  // namespace dreamgate::app

#endif  // DREAMGATE_TESTS_APP_CHILD_PROCESS_H_
