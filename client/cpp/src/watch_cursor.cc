#include "client/cpp/src/watch_cursor.h"

#include "dreamgate/client/retry_policy.h"

namespace dreamgate::client {

WatchCursor::Arrival WatchCursor::UpdateArrived(int64_t sequence, bool terminal) {
  heard_on_stream_ = true;
  if (position_.has_value()) {
    if (sequence <= *position_) return Arrival::kDrop;
    if (sequence > *position_ + 1) return Arrival::kGap;
  }
  position_ = sequence;
  state_known_ = true;
  at_terminal_ = terminal;
  return Arrival::kDeliver;
}

WatchCursor::AfterEnd WatchCursor::StreamEnded(const grpc::Status& status) {
  if (at_terminal_) return AfterEnd::kDone;
  if (status.ok()) {
    // A stream from the terminal position ends with OK at once. Where this watch has not seen the
    // state at its position itself, that is what such an end says.
    const bool may_be_terminal = position_.has_value() && !state_known_ && !heard_on_stream_;
    return may_be_terminal ? AfterEnd::kDone : AfterEnd::kContractBroken;
  }
  switch (DecideAfterWatchError(status)) {
    case AfterWatchError::kResume: return AfterEnd::kResume;
    case AfterWatchError::kRestart:
      // Once per position: servers that disagree must not send us in circles.
      if (!position_.has_value() || !given_up_.insert(*position_).second) return AfterEnd::kGiveUp;
      position_.reset();
      state_known_ = false;
      return AfterEnd::kRestart;
    case AfterWatchError::kGiveUp: break;
  }
  return AfterEnd::kGiveUp;
}

}  // namespace dreamgate::client
