// The position of a watch, and the meaning of each message and each end of a stream at that position:
// the rules of the contract without streams, threads or time. Owned by a Watch, entered by the thread
// in Next().
#ifndef DREAMGATE_CLIENT_CPP_SRC_WATCH_CURSOR_H_
#define DREAMGATE_CLIENT_CPP_SRC_WATCH_CURSOR_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <optional>
#include <set>

namespace dreamgate::client {

class WatchCursor {
 public:
  enum class Arrival {
    kDeliver,  // the next transition
    kDrop,     // seen before
    kGap,      // a transition was left out: this stream breaks the contract
  };

  enum class AfterEnd {
    kDone,            // the terminal state has been reached
    kResume,          // from position()
    kRestart,         // position() has been given up
    kContractBroken,  // OK came too early; resume from position()
    kGiveUp,          // final
  };

  explicit WatchCursor(std::optional<int64_t> position) : position_(position) {}

  void StreamOpened() { heard_on_stream_ = false; }
  void SignOfLife() { heard_on_stream_ = true; }
  Arrival UpdateArrived(int64_t sequence, bool terminal);
  AfterEnd StreamEnded(const grpc::Status& status);

  // The last sequence delivered, or where the watch began; unset: begin with the current state.
  std::optional<int64_t> position() const { return position_; }
  bool at_terminal() const { return at_terminal_; }

 private:
  std::optional<int64_t> position_;
  bool state_known_ = false;  // the update at position_ was seen by this watch
  bool at_terminal_ = false;
  bool heard_on_stream_ = false;  // anything since StreamOpened
  std::set<int64_t> given_up_;    // positions the server called out of range
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CPP_SRC_WATCH_CURSOR_H_
