#include "server/api/wire_bytes.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/config.h>

namespace dreamgate::api {

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message) {
  using Traits = grpc::SerializationTraits<google::protobuf::MessageLite>;
  grpc::ByteBuffer bytes;
  bool owned = false;  // always true for messages: nobody else holds the buffer
  (void)Traits::Serialize(message, &bytes, &owned);  // fails only above 2 GiB
  return bytes;
}

bool ParseBytes(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::ByteBuffer shared = bytes;  // parsing empties its argument; this shares the slices
  return grpc::SerializationTraits<google::protobuf::MessageLite>::Deserialize(&shared, &message)
      .ok();
}

}  // namespace dreamgate::api
