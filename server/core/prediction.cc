#include "server/core/prediction.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/invariant.h"

namespace dreamgate::core {

absl::string_view FailureCodeName(FailureCode code) {
  switch (code) {
    case FailureCode::kModerated: return "MODERATED";
    case FailureCode::kInvalidInput: return "INVALID_INPUT";
    case FailureCode::kMediaAccess: return "MEDIA_ACCESS";
    case FailureCode::kExecutionFailed: return "EXECUTION_FAILED";
    case FailureCode::kInsufficientCredits: return "INSUFFICIENT_CREDITS";
    case FailureCode::kUpstreamInternal: return "UPSTREAM_INTERNAL";
    case FailureCode::kNoOutput: return "NO_OUTPUT";
    case FailureCode::kUpstreamNotFound: return "UPSTREAM_NOT_FOUND";
    case FailureCode::kUpstreamExpired: return "UPSTREAM_EXPIRED";
    case FailureCode::kSubmitNotCreated: return "SUBMIT_NOT_CREATED";
    case FailureCode::kSubmitOutcomeUnknown: return "SUBMIT_OUTCOME_UNKNOWN";
  }
  return "UNKNOWN";
}

absl::string_view AspectRatioText(AspectRatio ratio) {
  switch (ratio) {
    case AspectRatio::k16x9: return "16:9";
    case AspectRatio::k4x3: return "4:3";
    case AspectRatio::k1x1: return "1:1";
    case AspectRatio::k3x4: return "3:4";
    case AspectRatio::k9x16: return "9:16";
    case AspectRatio::k21x9: return "21:9";
    case AspectRatio::k9x21: return "9:21";
  }
  return "16:9";
}

absl::string_view TransitionSourceName(TransitionSource source) {
  switch (source) {
    case TransitionSource::kGateway: return "gateway";
    case TransitionSource::kSubmitAnswer: return "submit answer";
    case TransitionSource::kPoll: return "poll";
    case TransitionSource::kWebhook: return "webhook";
    case TransitionSource::kReconciliation: return "reconciliation";
  }
  return "unknown";
}

std::string CanonicalEncoding(const VideoInput& input) {
  // Version 1. Every variable part is preceded by its length in bytes, so that no two inputs share
  // an encoding. std::map keeps the labels sorted.
  std::string encoding = "dreamgate-input-1\n";
  const auto append = [&encoding](absl::string_view part) {
    absl::StrAppend(&encoding, part.size(), ":", part, "\n");
  };
  append(input.prompt);
  append(AspectRatioText(input.aspect_ratio));
  append(input.seed ? absl::StrCat(*input.seed) : "random");
  for (const auto& [key, value] : input.labels) {
    append(key);
    append(value);
  }
  return encoding;
}

Prediction Apply(Prediction prediction, const Transition& transition) {
  DREAMGATE_INVARIANT(transition.sequence == prediction.sequence + 1,
                      "transitions follow one another");
  prediction.state = transition.state;
  prediction.sequence = transition.sequence;
  prediction.update_time = transition.time;
  if (IsTerminal(transition.state) && !prediction.end_time) prediction.end_time = transition.time;
  if (transition.upstream_id) prediction.upstream_id = *transition.upstream_id;
  if (transition.upstream_status) prediction.upstream_status = *transition.upstream_status;
  if (transition.outputs) prediction.outputs = *transition.outputs;
  if (transition.failure) prediction.failure = *transition.failure;
  if (transition.inference_time) prediction.inference_time = *transition.inference_time;
  if (transition.upstream_create_time) {
    prediction.upstream_create_time = *transition.upstream_create_time;
  }
  prediction.history.push_back(
      {transition.state, transition.time, transition.source, transition.sequence});
  return prediction;
}

bool IsVisible(const Prediction& prediction) {
  for (const HistoryEntry& entry : prediction.history) {
    if (entry.state != State::kQueued && entry.state != State::kSubmitting) return true;
  }
  return false;
}

}  // namespace dreamgate::core
