// One WatchPrediction stream: reads as fast as the server sends and keeps what arrived until it is
// taken. Owned by a Watch; gRPC's threads fill it, the thread in Next() empties it. Destroying it
// cancels what is left and waits until gRPC is done with it.
#ifndef DREAMGATE_CLIENT_CPP_SRC_WATCH_STREAM_H_
#define DREAMGATE_CLIENT_CPP_SRC_WATCH_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "dreamgate/client/environment.h"
#include "dreamgate/client/video_client.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::client {

// Shared by a watch and its streams: one lock, one condition.
struct WatchSignal {
  std::mutex mutex;
  std::condition_variable changed;
  bool cancelled = false;  // guarded by mutex
};

class WatchStream final : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  // Opens the stream.
  WatchStream(v1::VideoService::Stub& stub, const ClientOptions& options,
              const v1::WatchPredictionRequest& request, std::shared_ptr<Environment> environment,
              std::shared_ptr<WatchSignal> signal);

  // Takes no network. Not with the mutex held, nor on a gRPC thread.
  ~WatchStream() override;

  // The oldest message not taken yet. Needs signal->mutex.
  std::optional<v1::WatchPredictionResponse> TakeLocked();

  // Set once the stream has ended. Messages may still wait to be taken. Needs signal->mutex.
  const std::optional<grpc::Status>& EndLocked() const { return end_; }

  // When the last message arrived, or the stream was opened. Needs signal->mutex.
  Environment::TimePoint LastSignOfLifeLocked() const { return last_sign_of_life_; }

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::shared_ptr<Environment> environment_;
  const std::shared_ptr<WatchSignal> signal_;
  grpc::ClientContext context_;
  const v1::WatchPredictionRequest request_;
  v1::WatchPredictionResponse incoming_;  // gRPC's while a read is pending

  std::deque<v1::WatchPredictionResponse> arrived_;  // guarded by signal_->mutex, as what follows
  std::optional<grpc::Status> end_;
  Environment::TimePoint last_sign_of_life_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CPP_SRC_WATCH_STREAM_H_
