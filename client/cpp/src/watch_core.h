// The life of a watch: opens streams, feeds the cursor, waits between attempts. Owned by Watch.
#ifndef DREAMGATE_CLIENT_CPP_SRC_WATCH_CORE_H_
#define DREAMGATE_CLIENT_CPP_SRC_WATCH_CORE_H_

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "client/cpp/src/watch_cursor.h"
#include "client/cpp/src/watch_stream.h"
#include "dreamgate/client/environment.h"
#include "dreamgate/client/watch.h"

namespace dreamgate::client {

class Watch::Core {
 public:
  Core(std::shared_ptr<v1::VideoService::Stub> stub, ClientOptions client_options,
       std::shared_ptr<Environment> environment, std::string prediction_id, WatchOptions options);

  std::optional<WatchEvent> Next();
  void Cancel();
  const grpc::Status& status() const { return status_; }
  std::optional<int64_t> last_sequence() const { return cursor_.position(); }

 private:
  using TimePoint = Environment::TimePoint;

  struct Silence {};    // the stream is dead
  struct Cancelled {};  // by the caller
  struct TimedOut {};   // options_.timeout
  using Happening =
      std::variant<v1::WatchPredictionResponse, grpc::Status, Silence, Cancelled, TimedOut>;

  void OpenStream();
  Happening AwaitStream();
  // False: cancelled or out of time meanwhile; the watch has ended.
  bool PauseBeforeAttempt();
  std::optional<WatchEvent> OnMessage(v1::WatchPredictionResponse message);
  std::optional<WatchEvent> OnStreamEnd(const grpc::Status& status);
  std::optional<WatchEvent> OnContractBreach(const grpc::Status& breach);
  // The event that announces the next attempt; unset if the watch gives up instead.
  std::optional<WatchEvent> ResumeLater(const grpc::Status& cause, bool rewound);
  void Progress();
  void End(grpc::Status status);
  std::chrono::nanoseconds SilenceLimit() const;

  const std::shared_ptr<v1::VideoService::Stub> stub_;
  const ClientOptions client_options_;
  const std::shared_ptr<Environment> environment_;
  const std::string prediction_id_;
  const WatchOptions options_;
  const std::shared_ptr<WatchSignal> signal_ = std::make_shared<WatchSignal>();
  const TimePoint deadline_;

  // Only for the thread in Next().
  WatchCursor cursor_;
  Backoff backoff_;
  int breaches_ = 0;
  TimePoint last_contact_;
  std::optional<TimePoint> next_attempt_;  // set: wait until then before opening a stream
  std::unique_ptr<WatchStream> stream_;
  bool ended_ = false;
  grpc::Status status_;

  // Last, because it calls Cancel() from other threads until destroyed.
  std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CPP_SRC_WATCH_CORE_H_
