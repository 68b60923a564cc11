// The one place where an absl::Status becomes what a caller sees: a grpc::Status with google.rpc
// details. Knows no single reason; everything comes from core/errors.h. Pure; any thread.
#ifndef DREAMGATE_SERVER_API_STATUS_MAPPING_H_
#define DREAMGATE_SERVER_API_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace dreamgate::api {

// The payload under which a Status carries a serialized google.rpc.BadRequest.
inline constexpr char kBadRequestPayload[] = "type.googleapis.com/google.rpc.BadRequest";

// ErrorInfo always (domain "dreamgate"); BadRequest, RetryInfo, QuotaFailure and ResourceInfo where
// the error has them. A Status that core::MakeError did not make is a fault of this server: it
// becomes INTERNAL with a message that reveals nothing. Texts are cut so that the trailing metadata
// stays below the 8 KiB which many clients accept.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_STATUS_MAPPING_H_
