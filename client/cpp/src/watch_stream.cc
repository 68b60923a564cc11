#include "client/cpp/src/watch_stream.h"

#include <utility>

#include "client/cpp/src/call_context.h"

namespace dreamgate::client {

WatchStream::WatchStream(v1::VideoService::Stub& stub, const ClientOptions& options,
                         const v1::WatchPredictionRequest& request,
                         std::shared_ptr<Environment> environment,
                         std::shared_ptr<WatchSignal> signal)
    : environment_(std::move(environment)),
      signal_(std::move(signal)),
      request_(request),
      last_sign_of_life_(environment_->Now()) {
  Authorize(context_, options);
  stub.async()->WatchPrediction(&context_, &request_, this);
  StartRead(&incoming_);
  StartCall();
}

WatchStream::~WatchStream() {
  context_.TryCancel();
  std::unique_lock lock(signal_->mutex);
  signal_->changed.wait(lock, [this] { return end_.has_value(); });
}

std::optional<v1::WatchPredictionResponse> WatchStream::TakeLocked() {
  if (arrived_.empty()) return std::nullopt;
  v1::WatchPredictionResponse message = std::move(arrived_.front());
  arrived_.pop_front();
  return message;
}

void WatchStream::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone follows
  {
    const std::lock_guard lock(signal_->mutex);
    last_sign_of_life_ = environment_->Now();
    // A reader that sleeps for a day must not find a day's heartbeats: only the newest one counts.
    if (incoming_.has_heartbeat() && !arrived_.empty() && arrived_.back().has_heartbeat()) {
      arrived_.pop_back();
    }
    arrived_.push_back(std::move(incoming_));
    signal_->changed.notify_all();
  }
  incoming_.Clear();
  StartRead(&incoming_);
}

void WatchStream::OnDone(const grpc::Status& status) {
  // From the moment the lock is released, the owner may have destroyed this.
  const std::shared_ptr<WatchSignal> signal = signal_;
  const std::lock_guard lock(signal->mutex);
  end_ = status;
  signal->changed.notify_all();
}

}  // namespace dreamgate::client
