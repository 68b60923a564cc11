#include "server/api/watch_delivery.h"

#include <utility>

#include "dreamgate/v1/video_service.pb.h"
#include "server/api/converters.h"
#include "server/api/wire_bytes.h"
#include "server/api/wire_message.h"

namespace dreamgate::api {
namespace {

std::shared_ptr<const core::EncodedMessage> Encode(const v1::WatchPredictionResponse& response) {
  return std::make_shared<const WireMessage>(ToBytes(response));
}

}  // namespace

WatchDelivery::WatchDelivery(const Options& options, core::Events& events)
    : options_(options), fan_out_(events, options.stall_timeout) {}

std::shared_ptr<const core::EncodedMessage> WatchDelivery::EncodeUpdate(
    const core::Prediction& prediction) {
  v1::WatchPredictionResponse response;
  *response.mutable_update() = ToProto(prediction);
  return Encode(response);
}

std::shared_ptr<const core::EncodedMessage> WatchDelivery::EncodeHeartbeat(
    const core::Heartbeat& heartbeat) {
  v1::WatchPredictionResponse response;
  *response.mutable_heartbeat() = ToProto(heartbeat);
  return Encode(response);
}

std::shared_ptr<const core::EncodedMessage> WatchDelivery::EncodeReconnect(
    absl::Duration retry_delay) {
  v1::WatchPredictionResponse response;
  *response.mutable_reconnect()->mutable_retry_delay() = ToProto(retry_delay);
  return Encode(response);
}

void WatchDelivery::Deliver(std::shared_ptr<const core::TransitionLog> log,
                            absl::Span<const std::shared_ptr<core::Watcher>> watchers) {
  fan_out_.Advance(std::move(log), watchers);
}

void WatchDelivery::SchedulePump(std::shared_ptr<WatchStream> stream) {
  fan_out_.Pump(std::move(stream));
}

void WatchDelivery::ExpectEnd(std::weak_ptr<WatchStream> stream) {
  fan_out_.ExpectEnd(std::move(stream));
}

}  // namespace dreamgate::api
