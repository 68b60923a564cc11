#include "server/wavespeed/answer.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/retry_after.h"
#include "server/wavespeed/task.h"
#include "server/wavespeed/text.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;
using core::Reason;

namespace {

constexpr int kFirstTaskCode = 1000;  // smaller ones are HTTP's
constexpr int kInsufficientCredits = 1407;

// An answer, looked at but not yet judged.
struct Reading {
  // The HTTP status, or the envelope's code where HTTP said 200 and the envelope did not. Codes
  // that are no HTTP status are translated by `StatusOfEnvelopeCode`; 0: not understood.
  int status = 0;
  int code = 0;  // upstream's own code, 0: none
  std::string message;
  bool credits_are_missing = false;
  absl::StatusOr<core::TaskObservation> task = absl::InvalidArgumentError("no task in the answer");
  std::optional<absl::Duration> retry_after;
};

bool IsSuccess(int status) { return status >= 200 && status < 300; }

// Upstream's task codes turn up in envelopes, too.
int StatusOfEnvelopeCode(int code) {
  if (code >= 300 && code < 600) return code;
  if (code == kInsufficientCredits) return 402;
  if (code == 1200 || code == 1400 || code == 1401 || code == 1402) return 400;
  if (code >= 5000 && code < 6000) return 500;
  return 0;
}

bool SpeaksOfMissingCredits(absl::string_view message) {
  const std::string lower = absl::AsciiStrToLower(message);
  return absl::StrContains(lower, "insufficient") &&
         (absl::StrContains(lower, "credit") || absl::StrContains(lower, "balance") ||
          absl::StrContains(lower, "fund"));
}

// The first of the places where upstreams and their gateways put their words.
absl::string_view WordsOf(const json::object* document) {
  for (absl::string_view name : {"message", "error", "detail"}) {
    const absl::string_view words = ReasonMember(document, name);
    if (!words.empty()) return words;
  }
  return {};
}

// Codes beside a non-200 status: the envelope's "code" where it tells more than HTTP, "error_code"
// else.
int OwnCodeOf(const json::object* document, int http_status) {
  const int code = CodeMember(document, "code").value_or(0);
  const int error_code = CodeMember(document, "error_code").value_or(0);
  return (code == 0 || code == http_status) && error_code != 0 ? error_code : code;
}

Reading Read(const HttpAnswer& answer, absl::string_view known_id, const AnswerContext& context) {
  Reading reading;
  reading.status = answer.status;
  reading.retry_after = ParseRetryAfter(answer.retry_after, context.now);

  const absl::StatusOr<json::value> document = ParseJson(answer.body);
  const json::object* object = document.ok() ? ObjectOf(*document) : nullptr;
  if (object == nullptr) {
    reading.message =
        absl::StrCat("upstream answered HTTP ", answer.status, " with a body that is not JSON (",
                     answer.content_type.empty()
                         ? "no content type"
                         : MessageWithoutSecrets(answer.content_type, context.secrets, 64),
                     ", ", answer.body.size(), " bytes)");
    if (document.ok()) reading.task = absl::InvalidArgumentError("not a JSON object");
    if (!document.ok()) reading.task = document.status();
    return reading;
  }

  reading.message = MessageWithoutSecrets(WordsOf(object), context.secrets);
  const bool envelope = IsEnvelope(*object);
  if (envelope && IsSuccess(answer.status)) {
    const std::optional<int> code = CodeMember(object, "code");
    if (code.has_value() && !IsSuccess(*code)) {
      reading.code = *code;
      reading.status = StatusOfEnvelopeCode(*code);
    }
  } else if (!IsSuccess(answer.status)) {
    reading.code = OwnCodeOf(object, answer.status);
  }
  reading.credits_are_missing =
      reading.code == kInsufficientCredits ||
      (!IsSuccess(reading.status) && SpeaksOfMissingCredits(reading.message));
  if (!IsSuccess(reading.status) && reading.message.empty()) {
    reading.message =
        absl::StrCat("upstream answered ", reading.status != 0 ? reading.status : reading.code,
                     " without a message");
  }

  const json::object* task = envelope ? ObjectMember(object, "data") : object;
  if (task != nullptr) reading.task = ObservationOf(*task, known_id, context.secrets);
  if (IsSuccess(answer.status) && reading.code >= kFirstTaskCode && reading.task.ok()) {
    // A task's code on the envelope's place: the task itself is there, so it is what counts.
    reading.status = answer.status;
    std::optional<core::Failure>& failure = reading.task->failure;
    if (failure.has_value() && failure->upstream_code == 0) {
      failure->upstream_code = reading.code;
      failure->code = FailureCodeOf(reading.code);
      failure->resubmission_may_help = ResubmissionMayHelp(reading.code);
    }
  }
  return reading;
}

std::string Unreadable(const Reading& reading) {
  if (!reading.task.ok()) {
    return absl::StrCat("upstream answered ", reading.status, " but ",
                        reading.task.status().message());
  }
  return reading.message;
}

}  // namespace

core::CreateOutcome ReadCreateAnswer(const HttpAnswer& answer, const AnswerContext& context) {
  Reading reading = Read(answer, "", context);
  const auto rejected = [&reading](Reason reason) -> core::CreateOutcome {
    return core::CreateRejected{reason, reading.status, reading.code, std::move(reading.message),
                                reading.retry_after};
  };

  // An envelope code that nobody knows: an id is evidence enough, anything else is doubt.
  if (IsSuccess(reading.status) || reading.status == 0) {
    if (reading.task.ok()) return core::CreateAccepted{*std::move(reading.task)};
    return core::CreateUnknown{Unreadable(reading)};
  }
  // 408 and 425: the request may have been read before upstream gave up on us.
  if (reading.status >= 500 || reading.status == 408 || reading.status == 425 ||
      reading.status < 200) {
    return core::CreateUnknown{std::move(reading.message)};
  }
  if (reading.status < 400) return rejected(Reason::kUpstreamMisconfigured);
  if (reading.credits_are_missing) return rejected(Reason::kUpstreamBalanceExhausted);
  switch (reading.status) {
    case 401:
    case 403: return rejected(Reason::kUpstreamCredentialsRejected);
    case 402: return rejected(Reason::kUpstreamBalanceExhausted);
    case 404: return rejected(Reason::kUpstreamModelUnavailable);
    case 429: return rejected(Reason::kUpstreamRateLimited);
    default: return rejected(Reason::kUpstreamRejected);  // 400, 422 and every other 4xx
  }
}

core::PollOutcome ReadPollAnswer(const HttpAnswer& answer, absl::string_view task_id,
                                 const AnswerContext& context) {
  Reading reading = Read(answer, task_id, context);
  const auto failed = [&reading, &answer](core::PollProblem problem,
                                          std::string message) -> core::PollOutcome {
    return core::PollFailed{problem, reading.status == 0 ? answer.status : reading.status,
                            std::move(message), reading.retry_after};
  };

  if (IsSuccess(reading.status)) {
    if (!reading.task.ok()) return failed(core::PollProblem::kTransient, Unreadable(reading));
    if (reading.task->upstream_id != task_id) {
      return failed(core::PollProblem::kTransient, "upstream answered about another task");
    }
    return core::PollObserved{*std::move(reading.task)};
  }
  if (reading.status < 300 || reading.status >= 500) {  // also an envelope code nobody knows
    return failed(core::PollProblem::kTransient, std::move(reading.message));
  }
  if (reading.status >= 400 && reading.credits_are_missing) {
    return failed(core::PollProblem::kCredentialsRejected, std::move(reading.message));
  }
  switch (reading.status) {
    case 401:
    case 402:
    case 403: return failed(core::PollProblem::kCredentialsRejected, std::move(reading.message));
    case 404: return failed(core::PollProblem::kNotFound, std::move(reading.message));
    case 408:
    case 425: return failed(core::PollProblem::kTransient, std::move(reading.message));
    case 429: return failed(core::PollProblem::kRateLimited, std::move(reading.message));
    default: return failed(core::PollProblem::kRefused, std::move(reading.message));
  }
}

}  // namespace dreamgate::wavespeed
