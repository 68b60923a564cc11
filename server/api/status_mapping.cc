#include "server/api/status_mapping.h"

#include <cstddef>
#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/api/converters.h"
#include "server/api/error_info.h"
#include "server/api/utf8.h"
#include "server/core/errors.h"

namespace dreamgate::api {
namespace {

constexpr char kDomain[] = "dreamgate";
constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxMetadataBytes = 256;
constexpr size_t kMaxMetadataEntries = 8;

template <typename Detail>
void AddDetail(const Detail& detail, google::rpc::Status& rpc_status) {
  rpc_status.add_details()->PackFrom(detail);
}

ErrorInfo MakeErrorInfo(core::Reason reason, const core::ErrorDetails& details) {
  ErrorInfo info;
  info.reason = std::string(core::ReasonName(reason));
  info.domain = kDomain;
  for (const auto& [key, value] : details.metadata) {
    if (info.metadata.size() == kMaxMetadataEntries) break;
    info.metadata[CleanUtf8(key, kMaxMetadataBytes)] = CleanUtf8(value, kMaxMetadataBytes);
  }
  return info;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (absl::IsCancelled(status)) return grpc::Status::CANCELLED;  // nobody is there to read details
  const std::optional<core::Reason> known = core::ReasonOf(status);
  const core::Reason reason = known.value_or(core::Reason::kInternal);
  const core::ErrorDetails details = known ? core::DetailsOf(status) : core::ErrorDetails{};
  const std::string message = known ? CleanUtf8(status.message(), kMaxMessageBytes)
                                    : "internal error; the server's log has more";

  google::rpc::Status rpc_status;
  rpc_status.set_code(static_cast<int>(core::ReasonCode(reason)));
  rpc_status.set_message(message);
  *rpc_status.add_details() = PackErrorInfo(MakeErrorInfo(reason, details));
  if (const auto payload = status.GetPayload(kBadRequestPayload)) {
    google::rpc::BadRequest bad_request;
    if (bad_request.ParseFromString(std::string(*payload))) AddDetail(bad_request, rpc_status);
  }
  if (details.retry_after) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() = ToProto(*details.retry_after);
    AddDetail(retry, rpc_status);
  }
  if (!details.quota_subject.empty()) {
    google::rpc::QuotaFailure quota;
    auto* violation = quota.add_violations();
    violation->set_subject(CleanUtf8(details.quota_subject, kMaxMetadataBytes));
    violation->set_description(message);
    AddDetail(quota, rpc_status);
  }
  if (!details.resource_type.empty()) {
    google::rpc::ResourceInfo resource;
    resource.set_resource_type(CleanUtf8(details.resource_type, kMaxMetadataBytes));
    resource.set_resource_name(CleanUtf8(details.resource_name, kMaxMetadataBytes));
    resource.set_description(message);
    AddDetail(resource, rpc_status);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(rpc_status.code()), message,
                      rpc_status.SerializeAsString());
}

}  // namespace dreamgate::api
