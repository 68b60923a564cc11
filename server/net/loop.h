// The loop: one thread that runs core, upstream, web and all timers. Owned by app, which starts it
// first and stops it last. `Post` and `OnLoop` may be called from any thread; `After` and the
// destruction of a timer belong to the loop (or to the time when its thread is not running).
// This header is free of Asio; rooms that need sockets include loop_asio.h as well.
#ifndef DREAMGATE_SERVER_NET_LOOP_H_
#define DREAMGATE_SERVER_NET_LOOP_H_

#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace boost::asio {
class io_context;
}  // namespace boost::asio

namespace dreamgate::net {

// A pending callback. Destroying it cancels it: the callback will not run afterwards. It may
// outlive the Loop.
class LoopTimer {
 public:
  virtual ~LoopTimer() = default;
};

class Loop {
 public:
  Loop();
  ~Loop();  // stops
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Starts the thread. Work posted earlier runs then. Once only.
  void Start();

  // Runs what was posted before this call, then ends the thread and joins it. Work posted later is
  // destroyed without being run. May be repeated; not to be called on the loop.
  void Stop();

  // Runs `work` on the loop, in the order posted. Safe from any thread.
  void Post(absl::AnyInvocable<void() &&> work);

  // Whether the caller is on the loop's thread.
  bool OnLoop() const;

  // Runs `callback` once on the loop, `delay` (>= 0) from now by a monotonic clock.
  [[nodiscard]] std::unique_ptr<LoopTimer> After(absl::Duration delay,
                                                 absl::AnyInvocable<void() &&> callback);

 private:
  friend boost::asio::io_context& AsioContext(Loop& loop);

  struct State;
  void RunPosted();

  std::shared_ptr<State> state_;
};

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_LOOP_H_
