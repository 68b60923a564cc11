// Reads the details of a grpc::Status the way a caller would, for tests.
#ifndef DREAMGATE_TESTS_API_ERROR_DETAILS_H_
#define DREAMGATE_TESTS_API_ERROR_DETAILS_H_

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/support/status.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace dreamgate::api {

struct ErrorDetailsSeen {
  std::string reason;
  std::string domain;
  std::map<std::string, std::string> metadata;
  std::optional<google::rpc::BadRequest> bad_request;
  std::optional<google::rpc::RetryInfo> retry;
  std::optional<google::rpc::QuotaFailure> quota;
  std::optional<google::rpc::ResourceInfo> resource;

  std::vector<std::string> fields() const {
    std::vector<std::string> fields;
    if (!bad_request) return fields;
    for (const auto& violation : bad_request->field_violations())
      fields.push_back(violation.field());
    return fields;
  }
};

// The length-delimited fields of a message whose type is not compiled in.
inline std::vector<std::pair<int, std::string>> FieldsOf(const std::string& bytes) {
  google::protobuf::Empty unknown;
  std::vector<std::pair<int, std::string>> fields;
  if (!unknown.ParseFromString(bytes)) return fields;
  const auto& set = unknown.GetReflection()->GetUnknownFields(unknown);
  for (int i = 0; i < set.field_count(); ++i) {
    fields.emplace_back(set.field(i).number(), set.field(i).length_delimited());
  }
  return fields;
}

inline ErrorDetailsSeen Details(const grpc::Status& status) {
  ErrorDetailsSeen seen;
  google::rpc::Status rpc_status;
  if (!rpc_status.ParseFromString(status.error_details())) return seen;
  if (rpc_status.code() != static_cast<int>(status.error_code())) return seen;
  const auto unpack = [](const google::protobuf::Any& any, auto& into) {
    into.emplace();
    if (!any.UnpackTo(&*into)) into.reset();
  };
  for (const google::protobuf::Any& any : rpc_status.details()) {
    if (any.type_url() == "type.googleapis.com/google.rpc.ErrorInfo") {
      for (const auto& [number, bytes] : FieldsOf(any.value())) {
        if (number == 1) seen.reason = bytes;
        if (number == 2) seen.domain = bytes;
        if (number != 3) continue;
        const auto entry = FieldsOf(bytes);
        if (entry.size() == 2) seen.metadata[entry[0].second] = entry[1].second;
      }
    }
    if (any.Is<google::rpc::BadRequest>()) unpack(any, seen.bad_request);
    if (any.Is<google::rpc::RetryInfo>()) unpack(any, seen.retry);
    if (any.Is<google::rpc::QuotaFailure>()) unpack(any, seen.quota);
    if (any.Is<google::rpc::ResourceInfo>()) unpack(any, seen.resource);
  }
  return seen;
}

}  // namespace dreamgate::api

#endif  // DREAMGATE_TESTS_API_ERROR_DETAILS_H_
