#include "server/api/watch_stream.h"

#include <utility>

#include "server/core/errors.h"
#include "server/core/failpoint.h"

namespace dreamgate::api {
namespace {

absl::Status DrainingError(absl::Duration reconnect_delay) {
  core::ErrorDetails details;
  details.retry_after = reconnect_delay;
  return core::MakeError(core::Reason::kDraining,
                         "this server is leaving; watch again with the last sequence you saw",
                         details);
}

}  // namespace

void WatchStream::Begin(std::shared_ptr<const core::TransitionLog> log, size_t cursor) {
  const bool last = log->back().terminal;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    log_ = std::move(log);
    cursor_ = static_cast<uint32_t>(cursor);
  }
  host_.SchedulePump(shared_from_this());
  if (last) host_.ExpectEnd(weak_from_this());
}

void WatchStream::Beat(std::shared_ptr<const core::EncodedMessage> heartbeat) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || cancelled_) return;
    if (write_pending_) {
      const auto pending = std::chrono::steady_clock::now() - write_start_;
      if (absl::FromChrono(pending) > host_.stall_timeout()) {
        cancelled_ = true;
        writer_.Cancel();
        return;
      }
    }
    heartbeat_.swap(heartbeat);  // the replaced one is released after the lock
    if (write_pending_) return;  // WriteDone goes on with it
  }
  host_.SchedulePump(shared_from_this());
}

void WatchStream::Leave(absl::Duration reconnect_delay) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    leaving_ = true;
    reconnect_delay_ = reconnect_delay;
  }
  host_.SchedulePump(shared_from_this());
  host_.ExpectEnd(weak_from_this());
}

void WatchStream::Fail(absl::Status error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    failure_ = std::move(error);
  }
  host_.SchedulePump(shared_from_this());
  host_.ExpectEnd(weak_from_this());
}

void WatchStream::Advance(const std::shared_ptr<const core::TransitionLog>& log) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Without a Begin there is no position yet, and the Begin to come has this log or a longer one.
    if (ended_ || log_ == nullptr) return;
    if (log->size() > log_->size()) log_ = log;
    PumpLocked();
  }
  if (log->back().terminal) host_.ExpectEnd(weak_from_this());
}

void WatchStream::Pump() {
  const std::lock_guard<std::mutex> lock(mutex_);
  PumpLocked();
}

void WatchStream::BreakUnlessDone() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (done_ || cancelled_) return;
  cancelled_ = true;
  writer_.Cancel();
}

void WatchStream::WriteDone(bool ok) {
  std::shared_ptr<const core::EncodedMessage> written;  // released after the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  write_pending_ = false;
  written = std::move(writing_);
  if (ended_) return;
  if (!ok) {
    FinishLocked(absl::CancelledError("the stream is broken"));
    return;
  }
  PumpLocked();
}

void WatchStream::CallerGone() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;
  FinishLocked(absl::CancelledError("the caller has left"));
}

void WatchStream::Done() {
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
}

bool WatchStream::ended_by_hub() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ended_by_hub_;
}

absl::StatusCode WatchStream::end_code() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_code_;
}

bool WatchStream::AtTerminalEndLocked() const {
  return log_ != nullptr && !log_->empty() && log_->back().terminal;
}

void WatchStream::PumpLocked() {
  if (ended_ || write_pending_) return;
  if (!failure_.ok()) {
    ended_by_hub_ = true;
    FinishLocked(std::move(failure_));
    return;
  }
  // A leaving server still delivers a terminal transition that is there: then nobody has to come back.
  const bool terminal = AtTerminalEndLocked();
  if (leaving_ && !terminal) {
    ended_by_hub_ = true;
    WriteLastLocked(host_.EncodeReconnect(reconnect_delay_), DrainingError(reconnect_delay_));
    return;
  }
  if (log_ != nullptr && cursor_ < log_->size()) {
    const core::LogEntry& entry = (*log_)[cursor_++];
    if (!entry.terminal) {
      WriteLocked(entry.update);
    } else {
      ended_by_hub_ = true;
      WriteLastLocked(entry.update, absl::OkStatus());
    }
    return;
  }
  if (terminal) {
    ended_by_hub_ = true;
    FinishLocked(absl::OkStatus());
    return;
  }
  if (heartbeat_ != nullptr) WriteLocked(std::move(heartbeat_));
}

void WatchStream::WriteLocked(std::shared_ptr<const core::EncodedMessage> message) {
  write_pending_ = true;
  write_start_ = std::chrono::steady_clock::now();
  writing_ = std::move(message);
  writer_.Write(*writing_);
  DREAMGATE_FAILPOINT("watch.update_written");
}

void WatchStream::WriteLastLocked(std::shared_ptr<const core::EncodedMessage> message,
                                  absl::Status status) {
  EndLocked(status);
  writing_ = std::move(message);  // for as long as this object lives
  writer_.WriteAndFinish(*writing_, std::move(status));
  DREAMGATE_FAILPOINT("watch.terminal_written");
}

void WatchStream::FinishLocked(absl::Status status) {
  EndLocked(status);
  writer_.Finish(std::move(status));
}

void WatchStream::EndLocked(const absl::Status& status) {
  ended_ = true;
  end_code_ = status.code();
  log_.reset();
  heartbeat_.reset();
}

}  // namespace dreamgate::api
