// Messages to gRPC's byte buffers and back. All methods are served raw: gRPC 1.51 answers a typed
// request that does not parse (one bad UTF-8 byte is enough) with UNIMPLEMENTED, and a raw response
// can be serialized once for many streams. Pure functions; any thread.
#ifndef DREAMGATE_SERVER_API_WIRE_BYTES_H_
#define DREAMGATE_SERVER_API_WIRE_BYTES_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include <optional>

namespace dreamgate::api {

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message);

// False: `bytes` are no such message; `message` is then unspecified. Use FromBytes.
bool ParseBytes(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);

// nullopt: `bytes` are not a `Message`.
template <typename Message>
std::optional<Message> FromBytes(const grpc::ByteBuffer& bytes) {
  std::optional<Message> message(std::in_place);
  if (!ParseBytes(bytes, *message)) message.reset();
  return message;
}

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_WIRE_BYTES_H_
