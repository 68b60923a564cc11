// Carries new logs and wake-ups to watch streams on a thread of its own, so that neither the loop
// nor a gRPC thread is frozen by ten thousand writes. Work goes round in chunks of at most kChunk
// streams: a large fan-out delays other predictions' watchers by a few chunks only. Free of gRPC.
// Owned by WatchDelivery; every call is safe from any thread and none blocks, save Stop.
#ifndef DREAMGATE_SERVER_API_FAN_OUT_H_
#define DREAMGATE_SERVER_API_FAN_OUT_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/api/stopwatch.h"
#include "server/api/watch_stream.h"
#include "server/core/ports.h"

namespace dreamgate::api {

class FanOut {
 public:
  // Streams served per job before the next job has its turn: about half a millisecond's writing.
  static constexpr size_t kChunk = 32;

  // `end_timeout`: how long a stream that is expected to end may take before it is broken.
  FanOut(core::Events& events, absl::Duration end_timeout);
  ~FanOut();  // stops
  FanOut(const FanOut&) = delete;
  FanOut& operator=(const FanOut&) = delete;

  // `Advance(log)` on every watcher. Logs of one prediction arrive in
  // the order of the calls or not at all: a stream passes over a shorter one.
  void Advance(std::shared_ptr<const core::TransitionLog> log,
               absl::Span<const std::shared_ptr<core::Watcher>> watchers);
  // `Pump()` on one stream.
  void Pump(std::shared_ptr<WatchStream> stream);
  // `BreakUnlessDone()` on the stream if it is still there after the end timeout. One thread and no
  // timer watches over all; what has ended in time is forgotten.
  void ExpectEnd(std::weak_ptr<WatchStream> stream);

  // Ends the thread; what is queued, or comes later, is dropped. May be repeated.
  void Stop();

 private:
  struct Job {
    std::shared_ptr<const core::TransitionLog> log;
    std::vector<std::shared_ptr<core::Watcher>> watchers;
    size_t next = 0;
    Stopwatch age;
  };

  struct Ending {
    std::weak_ptr<WatchStream> stream;
    std::chrono::steady_clock::time_point deadline;
  };

  void Run();
  // Whether the first that was to end is overdue; forgets those before it that have ended.
  bool OverdueLocked(std::chrono::steady_clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True once every watcher had its turn.
  bool AdvanceChunk(Job& job);

  core::Events& events_;
  const std::chrono::steady_clock::duration end_timeout_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::unique_ptr<Job>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<WatchStream>> pumps_ ABSL_GUARDED_BY(mutex_);
  std::deque<Ending> endings_ ABSL_GUARDED_BY(mutex_);  // by deadline
  size_t endings_to_sweep_ ABSL_GUARDED_BY(mutex_) = kChunk;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_FAN_OUT_H_
