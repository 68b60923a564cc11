#include "dreamgate/client/error_info.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace dreamgate::client {
namespace {

std::chrono::nanoseconds ToChrono(const google::protobuf::Duration& duration) {
  // The bounds of google.protobuf.Duration do not fit; a year is as good as for ever.
  constexpr int64_t kYear = 366LL * 24 * 3600;
  const int64_t seconds = std::clamp<int64_t>(duration.seconds(), 0, kYear);
  const int64_t nanos = std::clamp<int64_t>(duration.nanos(), 0, 999'999'999);
  return std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos);
}

// Calls `on_field` with the number and bytes of every length-delimited field of `message`, skips all
// others. False if the bytes are no message.
bool ForEachBytesField(const std::string& message,
                       const std::function<bool(int, const std::string&)>& on_field) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t*>(message.data()),
                                               static_cast<int>(message.size()));
  while (const uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&input, tag)) return false;
      continue;
    }
    std::string bytes;
    if (!WireFormatLite::ReadBytes(&input, &bytes)) return false;
    if (!on_field(WireFormatLite::GetTagFieldNumber(tag), bytes)) return false;
  }
  return input.ConsumedEntireMessage();
}

// google.rpc.ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; },
// read by hand: the error_details.proto that Debian 12 carries is older than this message.
void ReadErrorInfo(const std::string& bytes, ErrorInfo& result) {
  ErrorInfo read;
  const bool readable = ForEachBytesField(bytes, [&read](int field, const std::string& content) {
    if (field == 1) read.reason = content;
    if (field == 2) read.domain = content;
    if (field != 3) return true;
    std::string key, value;
    const bool entry_readable = ForEachBytesField(content, [&](int part, const std::string& text) {
      if (part == 1) key = text;
      if (part == 2) value = text;
      return true;
    });
    read.metadata[key] = value;
    return entry_readable;
  });
  if (!readable) return;
  result.reason = std::move(read.reason);
  result.domain = std::move(read.domain);
  result.metadata = std::move(read.metadata);
}

bool IsErrorInfo(const google::protobuf::Any& detail) {
  const std::string& url = detail.type_url();
  return url.substr(url.rfind('/') + 1) == "google.rpc.ErrorInfo";
}

}  // namespace

ErrorInfo Decode(const grpc::Status& status) {
  ErrorInfo result;
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return result;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::RetryInfo retry;
    google::rpc::BadRequest bad_request;
    google::rpc::QuotaFailure quota;
    google::rpc::ResourceInfo resource;
    if (IsErrorInfo(detail)) {
      ReadErrorInfo(detail.value(), result);
    } else if (detail.UnpackTo(&retry)) {
      result.retry_after = ToChrono(retry.retry_delay());
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        result.field_violations.push_back({violation.field(), violation.description()});
      }
    } else if (detail.UnpackTo(&quota)) {
      for (const auto& violation : quota.violations()) {
        result.quota_violations.push_back(violation.subject().empty() ? violation.description()
                                                                      : violation.subject());
      }
    } else if (detail.UnpackTo(&resource)) {
      result.resource_name = resource.resource_name();
    }
  }
  return result;
}

}  // namespace dreamgate::client
