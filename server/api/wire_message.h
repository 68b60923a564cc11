// A watch message as gRPC sends it. Made by WatchDelivery once, shared by every stream that
// sends it, read on any thread.
#ifndef DREAMGATE_SERVER_API_WIRE_MESSAGE_H_
#define DREAMGATE_SERVER_API_WIRE_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>

#include <utility>

#include "server/core/ports.h"

namespace dreamgate::api {

// The bytes of one WatchPredictionResponse.
struct WireMessage final : core::EncodedMessage {
  explicit WireMessage(grpc::ByteBuffer message_bytes) : bytes(std::move(message_bytes)) {}
  const grpc::ByteBuffer bytes;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_WIRE_MESSAGE_H_
