#include "server/api/validation.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "server/api/converters.h"
#include "server/api/page_token.h"
#include "server/api/status_mapping.h"
#include "server/api/utf8.h"
#include "server/core/errors.h"

namespace dreamgate::api {
namespace {

constexpr size_t kMaxListedViolations = 20;
constexpr size_t kMaxRequestIdLength = 128;
constexpr size_t kMaxPredictionIdLength = 64;
constexpr size_t kMaxLabels = 16;
constexpr size_t kMaxLabelKeyCodePoints = 63;
constexpr size_t kMaxLabelValueCodePoints = 256;
constexpr int kDefaultPageSize = 50;
constexpr int kMaxPageSize = 1000;
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;  // google.protobuf.Duration's own bound
constexpr int32_t kNanosPerSecond = 1'000'000'000;

class Violations {
 public:
  void Add(absl::string_view field, absl::string_view description) {
    violations_.push_back({std::string(field), std::string(description)});
  }
  bool empty() const { return violations_.empty(); }
  absl::Status ToStatus() const { return InvalidRequestError(violations_); }

 private:
  std::vector<FieldViolation> violations_;
};

bool IsLabelKey(absl::string_view key) {
  const std::optional<size_t> length = CountCodePoints(std::string(key));
  return length && *length >= 1 && *length <= kMaxLabelKeyCodePoints &&
         std::none_of(key.begin(), key.end(),
                      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

// A key that is not valid is not echoed: it may be long, or no text at all.
std::string LabelField(absl::string_view key) {
  return IsLabelKey(key) ? absl::StrCat("labels[\"", key, "\"]") : "labels";
}

template <typename ProtoMap>
std::map<std::string, std::string> CheckLabels(const ProtoMap& labels, Violations& violations) {
  if (labels.size() > kMaxLabels) violations.Add("labels", "at most 16 labels");
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  for (const auto& [key, value] : sorted) {
    if (!IsLabelKey(key)) {
      violations.Add(LabelField(key),
                     "a key has 1 to 63 characters, none of them a control character");
    }
    const std::optional<size_t> length = CountCodePoints(value);
    if (!length) {
      violations.Add(LabelField(key), "a value is valid UTF-8");
    } else if (*length > kMaxLabelValueCodePoints) {
      violations.Add(LabelField(key), "a value has at most 256 characters");
    }
  }
  return sorted;
}

void CheckPrompt(const std::string& prompt, const RequestLimits& limits, Violations& violations) {
  const std::optional<size_t> length = CountCodePoints(prompt);
  if (prompt.empty()) {
    violations.Add("prompt", "required");
  } else if (!length) {
    violations.Add("prompt", "must be valid UTF-8");
  } else if (IsBlank(prompt)) {
    violations.Add("prompt", "must not be blank");
  } else if (*length > static_cast<size_t>(limits.max_prompt_code_points)) {
    violations.Add("prompt", absl::StrCat("at most ", limits.max_prompt_code_points,
                                          " characters; this one has ", *length));
  }
  if (prompt.find('\0') != std::string::npos) {
    violations.Add("prompt", "must not hold a NUL character");
  }
}

void CheckRequestId(const std::string& request_id, const RequestLimits& limits,
                    Violations& violations) {
  if (request_id.empty()) {
    if (limits.require_request_id) {
      violations.Add("request_id",
                     "required: a new UUID for every new video, the same one for a retry");
    }
    return;
  }
  const bool printable = std::all_of(request_id.begin(), request_id.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (request_id.size() > kMaxRequestIdLength || !printable) {
    violations.Add("request_id", "1 to 128 printable ASCII characters without spaces");
  }
}

void CheckPredictionId(const std::string& id, Violations& violations) {
  if (id.empty()) {
    violations.Add("prediction_id", "required");
    return;
  }
  const bool url_safe = std::all_of(id.begin(), id.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return absl::ascii_isalnum(u) || c == '-' || c == '_' || c == '.' || c == '~';
  });
  if (id.size() > kMaxPredictionIdLength || !url_safe) {
    violations.Add("prediction_id", "at most 64 URL-safe characters, as SubmitVideo returned it");
  }
}

std::optional<absl::Duration> CheckHeartbeat(const google::protobuf::Duration& interval,
                                             Violations& violations) {
  const bool in_range = interval.seconds() >= 0 && interval.seconds() <= kMaxDurationSeconds &&
                        interval.nanos() >= 0 && interval.nanos() < kNanosPerSecond;
  if (!in_range) {
    violations.Add("heartbeat_interval", "a valid duration that is not negative");
    return std::nullopt;
  }
  return absl::Seconds(interval.seconds()) + absl::Nanoseconds(interval.nanos());
}

}  // namespace

absl::Status InvalidRequestError(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest bad_request;
  for (const FieldViolation& violation : violations) {
    if (static_cast<size_t>(bad_request.field_violations_size()) == kMaxListedViolations) break;
    auto* listed = bad_request.add_field_violations();
    listed->set_field(violation.field);
    listed->set_description(violation.description);
  }
  std::string message = "the request is not valid";
  if (!violations.empty()) {
    const FieldViolation& first = violations.front();
    absl::StrAppend(&message, ": ", first.field, first.field.empty() ? "" : ": ",
                    first.description);
  }
  if (violations.size() > 1) absl::StrAppend(&message, " (and ", violations.size() - 1, " more)");
  absl::Status status = core::MakeError(core::Reason::kInvalidRequest, message);
  status.SetPayload(kBadRequestPayload, absl::Cord(bad_request.SerializeAsString()));
  return status;
}

absl::Status UnreadableRequestError() {
  return InvalidRequestError(
      {{"", "the bytes are not a message of the expected type; every string must be valid UTF-8"}});
}

absl::StatusOr<ValidSubmit> ValidateSubmit(const v1::SubmitVideoRequest& request,
                                           const RequestLimits& limits) {
  Violations violations;
  CheckPrompt(request.prompt(), limits, violations);
  const std::optional<core::AspectRatio> ratio = AspectRatioFromProto(request.aspect_ratio());
  if (!ratio) violations.Add("aspect_ratio", "unknown value");
  if (request.has_seed() && request.seed() < -1) {
    violations.Add("seed", "-1 (random) or 0 to 2147483647");
  }
  CheckRequestId(request.request_id(), limits, violations);
  std::map<std::string, std::string> labels = CheckLabels(request.labels(), violations);
  if (!violations.empty()) return violations.ToStatus();

  ValidSubmit valid;
  valid.request_id = request.request_id();
  valid.input.prompt = request.prompt();
  valid.input.aspect_ratio = *ratio;
  if (request.has_seed() && request.seed() >= 0) valid.input.seed = request.seed();
  valid.input.labels = std::move(labels);
  valid.validate_only = request.validate_only();
  return valid;
}

absl::StatusOr<std::string> ValidateGet(const v1::GetPredictionRequest& request) {
  Violations violations;
  CheckPredictionId(request.prediction_id(), violations);
  if (!violations.empty()) return violations.ToStatus();
  return request.prediction_id();
}

absl::StatusOr<core::ListQuery> ValidateList(const v1::ListPredictionsRequest& request,
                                             absl::string_view tenant) {
  Violations violations;
  core::ListQuery query;
  query.tenant = std::string(tenant);
  if (request.page_size() < 0) violations.Add("page_size", "0 (the default) or more");
  query.page_size =
      request.page_size() == 0 ? kDefaultPageSize : std::min(request.page_size(), kMaxPageSize);
  for (int i = 0; i < request.states_size(); ++i) {
    if (const std::optional<core::State> state = StateFromProto(request.states(i))) {
      query.states.push_back(*state);
    } else {
      violations.Add(absl::StrCat("states[", i, "]"), "unknown or unspecified");
    }
  }
  std::sort(query.states.begin(), query.states.end());
  query.states.erase(std::unique(query.states.begin(), query.states.end()), query.states.end());
  query.labels = CheckLabels(request.labels(), violations);
  // A token is bound to the filters, so it can only be judged with valid ones.
  if (!request.page_token().empty() && violations.empty()) {
    absl::StatusOr<std::string> before_id = ReadPageToken(query, request.page_token());
    if (before_id.ok()) {
      query.before_id = *std::move(before_id);
    } else {
      violations.Add("page_token", before_id.status().message());
    }
  }
  if (!violations.empty()) return violations.ToStatus();
  return query;
}

absl::StatusOr<core::WatchRequest> ValidateWatch(const v1::WatchPredictionRequest& request,
                                                 absl::string_view tenant) {
  Violations violations;
  core::WatchRequest watch;
  watch.tenant = std::string(tenant);
  watch.prediction_id = request.prediction_id();
  CheckPredictionId(request.prediction_id(), violations);
  if (request.has_after_sequence()) {
    if (request.after_sequence() < 0) violations.Add("after_sequence", "0 or more");
    watch.after_sequence = request.after_sequence();
  }
  if (request.has_heartbeat_interval()) {
    watch.heartbeat_interval = CheckHeartbeat(request.heartbeat_interval(), violations);
  }
  if (!violations.empty()) return violations.ToStatus();
  return watch;
}

}  // namespace dreamgate::api
