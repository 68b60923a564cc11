// Ctrl-C (and SIGTERM) as a std::stop_token. Owned by main, made before any other thread: it blocks the
// signals in the calling thread and in all that follow, and waits for them in a thread of its own.
#ifndef DREAMGATE_CLIENT_CLI_INTERRUPT_H_
#define DREAMGATE_CLIENT_CLI_INTERRUPT_H_

#include <atomic>
#include <stop_token>
#include <thread>

namespace dreamgate::client {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Stopped by the first signal. The second one ends the process at once.
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::atomic<bool> leaving_ = false;
  std::thread waiter_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_INTERRUPT_H_
