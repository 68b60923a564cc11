// The google.rpc details of an error of the service, decoded: all that it says beyond its code and
// message. Plain values; safe from any thread.
#ifndef DREAMGATE_CLIENT_ERROR_INFO_H_
#define DREAMGATE_CLIENT_ERROR_INFO_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dreamgate::client {

// One thing that is wrong with a request.
struct FieldViolation {
  std::string field;        // for example "seed"
  std::string description;  // for people
};

struct ErrorInfo {
  std::string reason;  // stable, for example "REQUEST_ID_CONFLICT"; may be empty
  std::string domain;  // "dreamgate" if the service itself made the error
  std::map<std::string, std::string> metadata;          // depends on the reason
  std::optional<std::chrono::nanoseconds> retry_after;  // come back no sooner; never negative
  std::vector<FieldViolation> field_violations;         // all of them at once
  std::vector<std::string> quota_violations;            // which limit was reached
  std::string resource_name;                            // what was not found
};

// Empty for a status without details, for example one that gRPC made itself (connection refused).
// Details that cannot be read are left out.
ErrorInfo Decode(const grpc::Status& status);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_ERROR_INFO_H_
