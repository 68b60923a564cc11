#include "server/api/error_info.h"

#include <cstdint>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace dreamgate::api {
namespace {

// A field of wire type 2: a string, or a message as bytes.
void WriteField(uint32_t number, const std::string& bytes,
                google::protobuf::io::CodedOutputStream& stream) {
  constexpr uint32_t kLengthDelimited = 2;
  stream.WriteTag((number << 3) | kLengthDelimited);
  stream.WriteVarint32(static_cast<uint32_t>(bytes.size()));
  stream.WriteString(bytes);
}

std::string EncodeMapEntry(const std::string& key, const std::string& value) {
  std::string bytes;
  google::protobuf::io::StringOutputStream output(&bytes);
  google::protobuf::io::CodedOutputStream stream(&output);
  WriteField(1, key, stream);
  WriteField(2, value, stream);
  stream.Trim();
  return bytes;
}

}  // namespace

// message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
google::protobuf::Any PackErrorInfo(const ErrorInfo& info) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  google::protobuf::io::StringOutputStream output(any.mutable_value());
  google::protobuf::io::CodedOutputStream stream(&output);
  WriteField(1, info.reason, stream);
  WriteField(2, info.domain, stream);
  for (const auto& [key, value] : info.metadata) WriteField(3, EncodeMapEntry(key, value), stream);
  stream.Trim();
  return any;
}

}  // namespace dreamgate::api
