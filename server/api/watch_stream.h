// One watch stream as a state machine, free of gRPC so that it can be tested with a fake writer and
// under ThreadSanitizer. Refcounted: held by the RPC until it is done, by the hub while it is fed,
// and by the fan-out while it is about to write.
//
// The loop only notes what is to be written (Begin, Beat, Leave, Fail) and asks the host to have
// the stream pumped; the fan-out's thread and the RPC's own reactions do the writing. One leaf
// mutex: under it nothing is called but the writer, whose calls only start an operation and
// return, and the encoder.
#ifndef DREAMGATE_SERVER_API_WATCH_STREAM_H_
#define DREAMGATE_SERVER_API_WATCH_STREAM_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::api {

// The transport under one stream. The stream starts one write at a time and ends once. Every call
// starts the operation and returns at once; none calls back into the stream from inside.
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  // Answered by WriteDone, unless `Finish` came in between and the transport is gone.
  // `message` lives until then.
  virtual void Write(const core::EncodedMessage& message) = 0;
  // Writes the last message and ends the stream in one operation; not answered.
  virtual void WriteAndFinish(const core::EncodedMessage& message, absl::Status status) = 0;
  virtual void Finish(absl::Status status) = 0;
  // Breaks the stream; answered by CallerGone.
  virtual void Cancel() = 0;
};

class WatchStream;

// The services that all streams share. Outlives them.
class StreamHost {
 public:
  virtual ~StreamHost() = default;
  // Has `stream->Pump()` called soon, on another thread. Never blocks.
  virtual void SchedulePump(std::shared_ptr<WatchStream> stream) = 0;
  virtual std::shared_ptr<const core::EncodedMessage> EncodeReconnect(
      absl::Duration retry_delay) = 0;
  // A stream whose write is pending for longer than this is broken at its next heartbeat; a caller
  // that is alive resumes.
  virtual absl::Duration stall_timeout() const = 0;
  // The hub lets go of `stream`, so no heartbeat will find it stalled any more. Has its
  // `BreakUnlessDone()` called after the stall timeout, on another thread, if it is still there.
  // Never blocks.
  virtual void ExpectEnd(std::weak_ptr<WatchStream> stream) = 0;
};

class WatchStream : public core::Watcher, public std::enable_shared_from_this<WatchStream> {
 public:
  // `writer` is called until `Done`.
  WatchStream(StreamHost& host, StreamWriter& writer) : host_(host), writer_(writer) {}
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  // From the hub, on the loop.
  void Begin(std::shared_ptr<const core::TransitionLog> log, size_t cursor) final;
  void Beat(std::shared_ptr<const core::EncodedMessage> heartbeat) final;
  void Leave(absl::Duration reconnect_delay) final;
  void Fail(absl::Status error) final;

  // From the fan-out's thread: a new log (ignored unless longer than the known one), then writes.
  void Advance(const std::shared_ptr<const core::TransitionLog>& log) override;
  // From the fan-out's thread: starts the next write if none is pending.
  void Pump();
  // From the fan-out's thread, once the stream has had its time to end: breaks one whose caller
  // does not read what is left, the end included.
  void BreakUnlessDone();

  // From the transport's reactions.
  void WriteDone(bool ok);
  void CallerGone();
  // Everything has been sent or has failed. The last reaction: the writer may die after it.
  void Done();

  // Whether the hub has already let go of this stream: it ended by itself, not by the caller.
  bool ended_by_hub() const;
  // The status it ended with; OK while it has not.
  absl::StatusCode end_code() const;

 private:
  bool AtTerminalEndLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteLocked(std::shared_ptr<const core::EncodedMessage> message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteLastLocked(std::shared_ptr<const core::EncodedMessage> message, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StreamHost& host_;
  StreamWriter& writer_;
  mutable std::mutex mutex_;  // std, not absl: ThreadSanitizer knows it without help

  // The transitions to write. The next one is (*log_)[cursor_].
  std::shared_ptr<const core::TransitionLog> log_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const core::EncodedMessage> heartbeat_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // not OK: end with this
  absl::Duration reconnect_delay_ ABSL_GUARDED_BY(mutex_);
  uint32_t cursor_ ABSL_GUARDED_BY(mutex_) = 0;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;

  // The message that is being written.
  std::shared_ptr<const core::EncodedMessage> writing_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point write_start_ ABSL_GUARDED_BY(mutex_);
  bool write_pending_ ABSL_GUARDED_BY(mutex_) = false;

  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_by_hub_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusCode end_code_ ABSL_GUARDED_BY(mutex_) = absl::StatusCode::kOk;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_WATCH_STREAM_H_
