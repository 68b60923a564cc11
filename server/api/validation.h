// Judges requests: proto messages in, core values out, or one INVALID_REQUEST error
// that names every violation at once. Pure functions over foreign data (also a fuzz
// target's way in); any thread.
#ifndef DREAMGATE_SERVER_API_VALIDATION_H_
#define DREAMGATE_SERVER_API_VALIDATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dreamgate/v1/video_service.pb.h"
#include "server/core/gateway.h"
#include "server/core/ports.h"

namespace dreamgate::api {

struct RequestLimits {
  int max_prompt_code_points = 2000;
  bool require_request_id = true;
};

struct FieldViolation {
  std::string field;        // a path, for example `labels["team"]`
  std::string description;  // says what is allowed; never echoes a value
};

// An INVALID_REQUEST error that carries google.rpc.BadRequest. At most 20 violations are listed,
// since the details travel in trailing metadata, of which many clients accept 8 KiB.
absl::Status InvalidRequestError(const std::vector<FieldViolation>& violations);

// The bytes of a request are no message of the expected type, or hold a string that is not UTF-8.
absl::Status UnreadableRequestError();

struct ValidSubmit {
  std::string request_id;  // empty only if the limits do not require one
  core::VideoInput input;
  bool validate_only = false;
};

absl::StatusOr<ValidSubmit> ValidateSubmit(const v1::SubmitVideoRequest& request,
                                           const RequestLimits& limits);

// The prediction id.
absl::StatusOr<std::string> ValidateGet(const v1::GetPredictionRequest& request);

absl::StatusOr<core::ListQuery> ValidateList(const v1::ListPredictionsRequest& request,
                                             absl::string_view tenant);

absl::StatusOr<core::WatchRequest> ValidateWatch(const v1::WatchPredictionRequest& request,
                                                 absl::string_view tenant);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_VALIDATION_H_
