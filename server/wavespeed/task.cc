#include "server/wavespeed/task.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/request.h"
#include "server/wavespeed/text.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;

namespace {

constexpr size_t kLongestStatus = 64;
constexpr size_t kLongestUrl = 16 * 1024;  // signed CDN URLs reach a few kilobytes
constexpr size_t kMostOutputs = 64;

bool IsHttpUrl(absl::string_view url) {
  const std::string lower = absl::AsciiStrToLower(url.substr(0, 8));
  size_t host = 0;
  if (absl::StartsWith(lower, "https://")) host = 8;
  if (absl::StartsWith(lower, "http://")) host = 7;
  if (host == 0 || url.size() <= host || url.size() > kLongestUrl) return false;
  if (absl::StrContains("/?#", url[host])) return false;
  return std::none_of(url.begin(), url.end(),
                      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

// true, "true" or nothing usable.
std::optional<bool> FlagOf(const json::value& value) {
  if (const bool* flag = value.if_bool()) return *flag;
  if (const json::string* text = value.if_string()) {
    const std::string lower = absl::AsciiStrToLower(absl::string_view(text->data(), text->size()));
    if (lower == "true") return true;
    if (lower == "false") return false;
  }
  return std::nullopt;
}

absl::string_view UrlOf(const json::value& item) {
  if (const json::string* text = item.if_string()) return {text->data(), text->size()};
  return TextMember(item.if_object(), "url");
}

std::vector<core::Output> OutputsOf(const json::object& task) {
  std::vector<core::Output> outputs;
  const json::value* value = Member(&task, "outputs");
  if (value == nullptr) return outputs;
  json::array lone;  // a lone string or object counts as a list of one
  if (!value->is_array()) lone.push_back(*value);
  const json::array& items = value->is_array() ? value->get_array() : lone;

  const json::value* flags_value = Member(&task, "has_nsfw_contents");
  const json::array* flags = flags_value == nullptr ? nullptr : flags_value->if_array();
  for (size_t i = 0; i < items.size() && outputs.size() < kMostOutputs; ++i) {
    const std::string url =
        ValidUtf8(absl::StripAsciiWhitespace(UrlOf(items[i]).substr(0, kLongestUrl + 1)));
    if (!IsHttpUrl(url)) continue;
    core::Output output;
    output.url = url;
    if (flags != nullptr && i < flags->size()) output.has_nsfw_content = FlagOf((*flags)[i]);
    outputs.push_back(std::move(output));
  }
  return outputs;
}

// timings.inference, or a webhook's executionTime; milliseconds. Zero is upstream's "not yet".
std::optional<absl::Duration> InferenceTimeOf(const json::object& task) {
  std::optional<double> milliseconds =
      NumberOf(Member(ObjectMember(&task, "timings"), "inference"));
  if (!milliseconds.has_value()) milliseconds = NumberOf(Member(&task, "executionTime"));
  if (!milliseconds.has_value() || *milliseconds <= 0) return std::nullopt;
  const absl::Duration time = absl::Milliseconds(*milliseconds);
  if (time > absl::Hours(24 * 30)) return std::nullopt;
  return time;
}

// A task's own `code`; 0 and 200 are what some bodies carry beside a good task.
int TaskCodeOf(const json::object& task) {
  for (absl::string_view name : {"code", "error_code"}) {
    const std::optional<int> code = CodeMember(&task, name);
    if (code.has_value() && *code != 0 && *code != 200) return *code;
  }
  return 0;
}

core::Failure FailureOf(const json::object& task, const std::vector<std::string>& secrets) {
  core::Failure failure;
  failure.upstream_code = TaskCodeOf(task);
  failure.code = FailureCodeOf(failure.upstream_code);
  failure.resubmission_may_help = ResubmissionMayHelp(failure.upstream_code);
  for (absl::string_view name : {"error", "message"}) {
    if (!failure.message.empty()) break;
    failure.message = MessageWithoutSecrets(ReasonMember(&task, name), secrets);
  }
  if (failure.message.empty()) failure.message = "upstream gave no reason";
  return failure;
}

core::Failure NoOutput() {
  core::Failure failure;
  failure.code = core::FailureCode::kNoOutput;
  failure.message = "upstream reports the task as completed but gave no usable output";
  failure.resubmission_may_help = true;
  return failure;
}

}  // namespace

std::optional<absl::Time> CreateTimeOf(const json::object& task) {
  const absl::string_view text = TextMember(&task, "created_at");
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return std::nullopt;
  // ParseTime also knows "infinite-past" and years no protobuf Timestamp can hold.
  const absl::Time first = absl::FromUnixSeconds(0);
  const absl::Time last = absl::FromCivil(absl::CivilYear(3000), absl::UTCTimeZone());
  if (time < first || time > last) return std::nullopt;
  return time;
}

core::State StateOf(absl::string_view status) {
  // No status at all proves only that the task exists; kCreated can be followed by anything.
  if (status.empty() || status == "created" || status == "pending" || status == "queued") {
    return core::State::kCreated;
  }
  if (status == "completed") return core::State::kCompleted;
  if (status == "failed") return core::State::kFailed;
  if (status == "cancelled") return core::State::kCancelled;
  if (status == "timeout") return core::State::kTimedOut;
  if (status == "deleted") return core::State::kDeleted;
  return core::State::kProcessing;  // any other string means: keep polling
}

std::string RawStatusOf(const json::object& task, const std::vector<std::string>& secrets) {
  return MessageWithoutSecrets(TextMember(&task, "status"), secrets, kLongestStatus);
}

core::FailureCode FailureCodeOf(int upstream_code) {
  switch (upstream_code) {
    case 1200: return core::FailureCode::kModerated;
    case 1400:
    case 1401: return core::FailureCode::kInvalidInput;
    case 1402: return core::FailureCode::kMediaAccess;
    case 1407: return core::FailureCode::kInsufficientCredits;
    case 5000:
    case 5003:
    case 5004: return core::FailureCode::kUpstreamInternal;
    default: return core::FailureCode::kExecutionFailed;  // 1403, 1405, 1406 and what is unknown
  }
}

bool ResubmissionMayHelp(int upstream_code) {
  switch (upstream_code) {
    case 1403:  // execution failed
    case 1405:
    case 1406:  // upstream's own retries are exhausted
    case 5000:  // internal
    case 5003:  // unavailable
    case 5004:  // timeout
      return true;
    default: return false;
  }
}

absl::StatusOr<core::TaskObservation> ObservationOf(const json::object& task,
                                                    absl::string_view known_id,
                                                    const std::vector<std::string>& secrets) {
  core::TaskObservation observation;
  const absl::string_view id = Member(&task, "id") == nullptr ? known_id : TextMember(&task, "id");
  if (!IsSafeTaskId(id)) return absl::InvalidArgumentError("the task has no usable id");
  observation.upstream_id = std::string(id);

  observation.raw_status = RawStatusOf(task, secrets);
  observation.state = StateOf(TextMember(&task, "status"));
  observation.outputs = OutputsOf(task);
  observation.inference_time = InferenceTimeOf(task);
  observation.create_time = CreateTimeOf(task);
  if (observation.state == core::State::kFailed) observation.failure = FailureOf(task, secrets);
  if (observation.state == core::State::kCompleted && observation.outputs.empty()) {
    observation.state = core::State::kFailed;
    observation.failure = NoOutput();
  }
  return observation;
}

absl::StatusOr<core::TaskObservation> ParseTask(absl::string_view text) {
  const absl::StatusOr<json::value> document = ParseJson(text);
  if (!document.ok()) return document.status();
  const json::object* object = ObjectOf(*document);
  if (object == nullptr) return absl::InvalidArgumentError("not a JSON object");
  if (!IsEnvelope(*object)) return ObservationOf(*object, "", {});
  const json::object* data = ObjectMember(object, "data");
  if (data == nullptr) return absl::InvalidArgumentError("the envelope carries no task");
  return ObservationOf(*data, "", {});
}

}  // namespace dreamgate::wavespeed
