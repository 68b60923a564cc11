#include "server/api/converters.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "server/api/utf8.h"

namespace dreamgate::api {
namespace {

template <typename Core, typename Proto>
constexpr bool SameNumber(Core core, Proto proto) {
  return static_cast<int>(core) == static_cast<int>(proto);
}

static_assert(SameNumber(core::State::kQueued, v1::PREDICTION_STATE_QUEUED));
static_assert(SameNumber(core::State::kUnresolved, v1::PREDICTION_STATE_UNRESOLVED));
static_assert(SameNumber(core::State::kCompleted, v1::PREDICTION_STATE_COMPLETED));
static_assert(SameNumber(core::State::kDeleted, v1::PREDICTION_STATE_DELETED));
static_assert(SameNumber(core::State::kDeleted, v1::PredictionState_MAX));
static_assert(SameNumber(core::AspectRatio::k16x9, v1::ASPECT_RATIO_16_9));
static_assert(SameNumber(core::AspectRatio::k1x1, v1::ASPECT_RATIO_1_1));
static_assert(SameNumber(core::AspectRatio::k9x21, v1::ASPECT_RATIO_9_21));
static_assert(SameNumber(core::AspectRatio::k9x21, v1::AspectRatio_MAX));
static_assert(SameNumber(core::FailureCode::kModerated, v1::FAILURE_CODE_MODERATED));
static_assert(SameNumber(core::FailureCode::kNoOutput, v1::FAILURE_CODE_NO_OUTPUT));
static_assert(SameNumber(core::FailureCode::kSubmitOutcomeUnknown,
                         v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN));
static_assert(SameNumber(core::FailureCode::kSubmitOutcomeUnknown, v1::FailureCode_MAX));
static_assert(SameNumber(core::TransitionSource::kGateway, v1::TRANSITION_SOURCE_GATEWAY));
static_assert(SameNumber(core::TransitionSource::kReconciliation, v1::TransitionSource_MAX));

v1::PredictionState ToProto(core::State state) { return static_cast<v1::PredictionState>(state); }

v1::TransitionSource ToProto(core::TransitionSource source) {
  return static_cast<v1::TransitionSource>(source);
}

void AddOutputs(const std::vector<core::Output>& outputs,
                google::protobuf::RepeatedPtrField<v1::Output>& proto) {
  for (const core::Output& output : outputs) {
    v1::Output& added = *proto.Add();
    added.set_url(CleanUtf8(output.url));
    if (output.has_nsfw_content) added.set_has_nsfw_content(*output.has_nsfw_content);
  }
}

}  // namespace

google::protobuf::Timestamp ToProto(absl::Time time) {
  // The contract's range: years 1 to 9999.
  constexpr int64_t kFirst = -62'135'596'800;
  constexpr int64_t kLast = 253'402'300'799;
  google::protobuf::Timestamp proto;
  const int64_t seconds = absl::ToUnixSeconds(time);  // rounds towards the past
  proto.set_seconds(std::clamp(seconds, kFirst, kLast));
  if (seconds == proto.seconds()) {
    const absl::Duration rest = time - absl::FromUnixSeconds(seconds);
    proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  }
  return proto;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  constexpr absl::Duration kLargest = absl::Seconds(315'576'000'000);
  duration = std::clamp(duration, -kLargest, kLargest);
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

v1::Prediction ToProto(const core::Prediction& prediction) {
  v1::Prediction proto;
  proto.set_id(prediction.id);
  proto.set_state(ToProto(prediction.state));
  proto.set_sequence(prediction.sequence);
  proto.set_request_id(prediction.request_id);
  proto.set_upstream_id(CleanUtf8(prediction.upstream_id));
  proto.set_upstream_status(CleanUtf8(prediction.upstream_status));
  proto.set_model(prediction.model);
  proto.set_prompt(prediction.input.prompt);
  proto.set_aspect_ratio(static_cast<v1::AspectRatio>(prediction.input.aspect_ratio));
  proto.set_seed(prediction.seed);
  proto.mutable_labels()->insert(prediction.input.labels.begin(), prediction.input.labels.end());
  AddOutputs(prediction.outputs, *proto.mutable_outputs());
  if (prediction.failure) {
    v1::PredictionError& error = *proto.mutable_error();
    error.set_failure_code(static_cast<v1::FailureCode>(prediction.failure->code));
    error.set_message(CleanUtf8(prediction.failure->message));
    error.set_upstream_code(prediction.failure->upstream_code);
    error.set_resubmission_may_help(prediction.failure->resubmission_may_help);
  }
  AddOutputs(prediction.recovered_outputs, *proto.mutable_recovered_outputs());
  if (prediction.inference_time) {
    *proto.mutable_inference_time() = ToProto(*prediction.inference_time);
  }
  *proto.mutable_create_time() = ToProto(prediction.create_time);
  if (prediction.upstream_create_time) {
    *proto.mutable_upstream_create_time() = ToProto(*prediction.upstream_create_time);
  }
  *proto.mutable_update_time() = ToProto(prediction.update_time);
  if (prediction.end_time) *proto.mutable_end_time() = ToProto(*prediction.end_time);
  for (const core::HistoryEntry& entry : prediction.history) {
    v1::HistoryEntry& added = *proto.add_history();
    added.set_state(ToProto(entry.state));
    *added.mutable_time() = ToProto(entry.time);
    added.set_source(ToProto(entry.source));
    added.set_sequence(entry.sequence);
  }
  return proto;
}

v1::Heartbeat ToProto(const core::Heartbeat& heartbeat) {
  v1::Heartbeat proto;
  if (heartbeat.last_observed) {
    *proto.mutable_last_observed_time() = ToProto(*heartbeat.last_observed);
  }
  if (heartbeat.next_poll) *proto.mutable_next_poll_time() = ToProto(*heartbeat.next_poll);
  if (heartbeat.estimated_time_left) {
    *proto.mutable_estimated_time_left() = ToProto(*heartbeat.estimated_time_left);
  }
  if (heartbeat.estimated_progress) proto.set_estimated_progress(*heartbeat.estimated_progress);
  return proto;
}

std::optional<core::AspectRatio> AspectRatioFromProto(int number) {
  if (number == v1::ASPECT_RATIO_UNSPECIFIED) return core::AspectRatio::k16x9;
  if (!v1::AspectRatio_IsValid(number)) return std::nullopt;
  return static_cast<core::AspectRatio>(number);
}

std::optional<core::State> StateFromProto(int number) {
  if (number == v1::PREDICTION_STATE_UNSPECIFIED || !v1::PredictionState_IsValid(number)) {
    return std::nullopt;
  }
  return static_cast<core::State>(number);
}

}  // namespace dreamgate::api
