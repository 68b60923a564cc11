// The core's TransitionSink: serializes each transition once, and lets the fan-out's thread
// carry it, heartbeats and everything else the hub says to the streams. Owned by app, which
// builds it before the gateway and the server and destroys it after both. Encode, Deliver: the
// loop; the rest: any thread.
#ifndef DREAMGATE_SERVER_API_WATCH_DELIVERY_H_
#define DREAMGATE_SERVER_API_WATCH_DELIVERY_H_

#include <memory>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/api/fan_out.h"
#include "server/api/watch_stream.h"
#include "server/core/ports.h"

namespace dreamgate::api {

class WatchDelivery final : public core::TransitionSink, public StreamHost {
 public:
  struct Options {
    // See StreamHost::stall_timeout.
    absl::Duration stall_timeout = absl::Seconds(60);
  };

  // `events` is told TransitionDelivered when the last watcher of a transition was handed its write.
  WatchDelivery(const Options& options, core::Events& events);

  std::shared_ptr<const core::EncodedMessage> EncodeUpdate(
      const core::Prediction& prediction) override;
  std::shared_ptr<const core::EncodedMessage> EncodeHeartbeat(
      const core::Heartbeat& heartbeat) override;
  // Every watcher must be a WatchStream.
  void Deliver(std::shared_ptr<const core::TransitionLog> log,
               absl::Span<const std::shared_ptr<core::Watcher>> watchers) override;

  void SchedulePump(std::shared_ptr<WatchStream> stream) override;
  std::shared_ptr<const core::EncodedMessage> EncodeReconnect(absl::Duration retry_delay) override;
  absl::Duration stall_timeout() const override { return options_.stall_timeout; }
  void ExpectEnd(std::weak_ptr<WatchStream> stream) override;

  // Ends the thread; call after GrpcServer::Shutdown. What is queued, or comes later, is dropped.
  void Stop() { fan_out_.Stop(); }

 private:
  const Options options_;
  FanOut fan_out_;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_WATCH_DELIVERY_H_
