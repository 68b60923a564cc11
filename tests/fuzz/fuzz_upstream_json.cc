// WaveSpeed's answers, as hostile as they come, against what core/ports.h promises of outcomes and
// observations. Input: three lines (HTTP status, content type, Retry-After), then the body.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "server/api/utf8.h"
#include "server/wavespeed/answer.h"
#include "server/wavespeed/request.h"
#include "server/wavespeed/task.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

using wavespeed::AnswerContext;
using wavespeed::HttpAnswer;

constexpr char kTaskId[] = "t1";
constexpr char kKey[] = "wsk_secret";  // in the dictionary, so that bodies echo it

constexpr size_t kLongestMessage = 512;
constexpr size_t kLongestStatus = 64;
constexpr size_t kLongestUrl = 16 * 1024;
constexpr size_t kMostOutputs = 64;

HttpAnswer ReadInput(absl::string_view input) {
  HttpAnswer answer;
  if (!absl::SimpleAtoi(TakeLine(input), &answer.status)) answer.status = 200;
  answer.status = std::clamp(answer.status, 100, 999);  // what an HTTP parser lets through
  answer.content_type = std::string(TakeLine(input));
  answer.retry_after = std::string(TakeLine(input));
  answer.body = std::string(input);
  return answer;
}

// The API's decoder is the judge: whatever it refuses could not be sent to a caller.
bool IsText(absl::string_view text) {
  return api::CountCodePoints(text).has_value() &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

void CheckMessage(absl::string_view message) {
  Check(!message.empty(), "a message is not empty");
  Check(IsText(message), "a message is one line of valid UTF-8", message);
  Check(message.size() <= kLongestMessage, "a message is short", message);
  Check(!absl::StrContains(message, kKey), "a message never shows the key", message);
}

void CheckRetryAfter(const std::optional<absl::Duration>& wait) {
  Check(!wait || (*wait >= absl::ZeroDuration() && *wait <= absl::Hours(1)),
        "retry_after is from 0 to 1 h");
}

void CheckTask(const core::TaskObservation& task) {
  Check(wavespeed::IsSafeTaskId(task.upstream_id), "a task id is safe in a path", task.upstream_id);
  Check(task.state == core::State::kCreated || task.state == core::State::kProcessing ||
            core::IsTerminal(task.state),
        "upstream shows only created, processing and terminal states");
  Check(IsText(task.raw_status) && task.raw_status.size() <= kLongestStatus,
        "a raw status is short text", task.raw_status);
  Check(!absl::StrContains(task.raw_status, kKey), "a raw status never shows the key");

  Check(task.state != core::State::kCompleted || !task.outputs.empty(),
        "a completed task has an output");
  Check(task.outputs.size() <= kMostOutputs, "outputs are bounded");
  for (const core::Output& output : task.outputs) {
    Check(IsText(output.url) && output.url.size() <= kLongestUrl, "a URL is text", output.url);
    Check(absl::StartsWithIgnoreCase(output.url, "https://") ||
              absl::StartsWithIgnoreCase(output.url, "http://"),
          "a URL is http(s)", output.url);
  }

  Check(task.failure.has_value() == (task.state == core::State::kFailed),
        "a failure is there exactly if the task failed");
  if (task.failure) {
    CheckMessage(task.failure->message);
    Check(!core::FailureCodeName(task.failure->code).empty(), "a failure code has a name");
  }
  Check(!task.inference_time || (*task.inference_time > absl::ZeroDuration() &&
                                 *task.inference_time <= absl::Hours(24 * 30)),
        "an inference time is positive and plausible");
  Check(!task.create_time || (*task.create_time >= absl::UnixEpoch() &&
                              *task.create_time <= absl::FromUnixSeconds(253'402'300'799)),
        "a create time fits a protobuf Timestamp");
}

void CheckCreate(const HttpAnswer& answer, const AnswerContext& context) {
  const core::CreateOutcome outcome = wavespeed::ReadCreateAnswer(answer, context);
  Check(!std::holds_alternative<core::CreateNotSent>(outcome), "an answer proves that we sent");
  if (const auto* accepted = std::get_if<core::CreateAccepted>(&outcome)) {
    CheckTask(accepted->task);
  } else if (const auto* rejected = std::get_if<core::CreateRejected>(&outcome)) {
    CheckMessage(rejected->message);
    CheckRetryAfter(rejected->retry_after);
    // Anything else may have created a task that is paid for.
    Check(rejected->http_status >= 300 && rejected->http_status < 500 &&
              rejected->http_status != 408 && rejected->http_status != 425,
          "only 3xx and 4xx reject");
    Check(answer.status < 500 && answer.status != 408 && answer.status != 425,
          "no envelope talks a doubtful HTTP status into a rejection");
    Check(
        (rejected->http_status == 429 && rejected->reason == core::Reason::kUpstreamRateLimited) ||
            rejected->reason == core::Reason::kUpstreamRejected ||
            rejected->reason == core::Reason::kUpstreamCredentialsRejected ||
            rejected->reason == core::Reason::kUpstreamBalanceExhausted ||
            rejected->reason == core::Reason::kUpstreamModelUnavailable ||
            rejected->reason == core::Reason::kUpstreamMisconfigured,
        "a rejection has one of upstream's reasons", core::ReasonName(rejected->reason));
  } else if (const auto* unknown = std::get_if<core::CreateUnknown>(&outcome)) {
    CheckMessage(unknown->message);
  }
}

void CheckPoll(const HttpAnswer& answer, const AnswerContext& context) {
  const core::PollOutcome outcome = wavespeed::ReadPollAnswer(answer, kTaskId, context);
  if (const auto* observed = std::get_if<core::PollObserved>(&outcome)) {
    CheckTask(observed->task);
    Check(observed->task.upstream_id == kTaskId, "a poll observes the task it asked for",
          observed->task.upstream_id);
    return;
  }
  const auto& failed = std::get<core::PollFailed>(outcome);
  CheckMessage(failed.message);
  CheckRetryAfter(failed.retry_after);
  Check(failed.http_status >= 100 && failed.http_status <= 999, "a poll's status is HTTP's");
  Check(answer.status < 500 || failed.problem == core::PollProblem::kTransient,
        "5xx is a passing problem, whatever the body says");
}

void CheckBareTask(absl::string_view json) {
  const absl::StatusOr<core::TaskObservation> task = wavespeed::ParseTask(json);
  if (task.ok()) CheckTask(*task);
}

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const wavespeed::HttpAnswer answer = fuzz::ReadInput(input);
  const wavespeed::AnswerContext context{absl::FromUnixSeconds(784'111'777), {fuzz::kKey}};
  fuzz::CheckCreate(answer, context);
  fuzz::CheckPoll(answer, context);
  // A webhook's body reaches the parser without any context, and so without a key to hide.
  if (!absl::StrContains(answer.body, fuzz::kKey)) fuzz::CheckBareTask(answer.body);
  return 0;
}
