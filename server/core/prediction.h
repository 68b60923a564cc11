// The prediction, and what each transition changes; which transitions are legal is in
// state_machine.h. Plain values, no I/O; safe to copy and, once shared as `const`, to read from any
// thread.
//
// A prediction is the fold of its transitions over the reservation it began with. Ledger, watch hub
// and API all rebuild past and present from the same function, `Apply`.
#ifndef DREAMGATE_SERVER_CORE_PREDICTION_H_
#define DREAMGATE_SERVER_CORE_PREDICTION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/state_machine.h"

namespace dreamgate::core {

// Numbers are stored in the ledger and equal those of dreamgate.v1.FailureCode: never renumber.
enum class FailureCode {
  kModerated = 1,
  kInvalidInput = 2,
  kMediaAccess = 3,
  kExecutionFailed = 4,
  kInsufficientCredits = 5,
  kUpstreamInternal = 6,
  kNoOutput = 7,
  kUpstreamNotFound = 8,
  kUpstreamExpired = 9,
  kSubmitNotCreated = 10,
  kSubmitOutcomeUnknown = 11,
};

absl::string_view FailureCodeName(FailureCode code);

// Numbers are stored in the ledger and equal those of dreamgate.v1.AspectRatio: never renumber.
enum class AspectRatio { k16x9 = 1, k4x3 = 2, k1x1 = 3, k3x4 = 4, k9x16 = 5, k21x9 = 6, k9x21 = 7 };

// Upstream's spelling, for example "16:9".
absl::string_view AspectRatioText(AspectRatio ratio);

// The source of a transition. Numbers are stored and equal those of dreamgate.v1.TransitionSource.
enum class TransitionSource {
  kGateway = 1,       // decided here: reserved, sent, given up
  kSubmitAnswer = 2,  // the answer to the POST, also a late one
  kPoll = 3,
  kWebhook = 4,
  kReconciliation = 5,
};

absl::string_view TransitionSourceName(TransitionSource source);

struct Output {
  std::string url;
  std::optional<bool> has_nsfw_content;  // unset: upstream did not say

  friend bool operator==(const Output&, const Output&) = default;
};

struct Failure {
  FailureCode code = FailureCode::kExecutionFailed;
  std::string message;    // for people; upstream's words where it gave any
  int upstream_code = 0;  // upstream's task code, 0: none given
  bool resubmission_may_help = false;

  friend bool operator==(const Failure&, const Failure&) = default;
};

// The caller's wish, validated, defaults applied.
struct VideoInput {
  std::string prompt;
  AspectRatio aspect_ratio = AspectRatio::k16x9;
  std::optional<int32_t> seed;  // 0 .. 2147483647; unset: random, the gateway draws one
  std::map<std::string, std::string> labels;

  friend bool operator==(const VideoInput&, const VideoInput&) = default;
};

// The versioned canonical encoding: two payloads are equal when these bytes
// are. Stored and compared.
std::string CanonicalEncoding(const VideoInput& input);

// One committed step in a prediction's life: what changed, and nothing else. Unset means unchanged.
struct Transition {
  int64_t sequence = 0;  // 1 for the reservation, then rising by one
  State state = State::kQueued;
  absl::Time time;  // when the gateway learned it
  TransitionSource source = TransitionSource::kGateway;
  std::optional<std::string> upstream_id;
  std::optional<std::string> upstream_status;  // the raw string, also when unknown to us
  std::optional<std::vector<Output>> outputs;
  std::optional<Failure> failure;
  std::optional<absl::Duration> inference_time;
  std::optional<absl::Time> upstream_create_time;

  friend bool operator==(const Transition&, const Transition&) = default;
};

struct HistoryEntry {
  State state = State::kQueued;
  absl::Time time;
  TransitionSource source = TransitionSource::kGateway;
  int64_t sequence = 0;

  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

struct Prediction {
  // Fixed at the reservation.
  std::string tenant;
  std::string id;          // the gateway's own: opaque, time-sortable, never the upstream id
  std::string request_id;  // unique per tenant
  std::string model;
  VideoInput input;             // as asked for
  int32_t seed = 0;             // as sent: the asked one, or the drawn one
  std::string key_fingerprint;  // which upstream key paid for it; never the key
  absl::Time create_time;

  // Videos paid for beside this prediction or after it had been given up. Found late and no
  // transition: the one thing that may still change once the state is terminal.
  std::vector<Output> recovered_outputs;

  // Changed by transitions.
  State state = State::kQueued;
  int64_t sequence = 0;
  std::string upstream_id;
  std::string upstream_status;
  std::vector<Output> outputs;
  std::optional<Failure> failure;
  std::optional<absl::Duration> inference_time;
  std::optional<absl::Time> upstream_create_time;
  absl::Time update_time;
  std::optional<absl::Time> end_time;  // set once the state is terminal
  std::vector<HistoryEntry> history;   // one entry a transition, oldest first

  friend bool operator==(const Prediction&, const Prediction&) = default;
};

// Tenant and prediction id.
using PredictionKey = std::pair<std::string, std::string>;

inline PredictionKey KeyOf(const Prediction& prediction) {
  return {prediction.tenant, prediction.id};
}

// `prediction` as of `transition`. The transition must carry the next sequence.
Prediction Apply(Prediction prediction, const Transition& transition);

// A prediction that was never acknowledged to anybody (its POST may still be rejected) is shown to
// nobody: nothing is shown that could be withdrawn. It becomes visible
// when accepted or UNRESOLVED.
bool IsVisible(const Prediction& prediction);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_PREDICTION_H_
