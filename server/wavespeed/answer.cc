#include "server/wavespeed/answer.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/reading.h"
#include "server/wavespeed/task.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;
using core::Reason;

namespace {

constexpr int kFirstTaskCode = 1000;  // smaller ones are HTTP's

// An answer that should carry a task.
struct TaskReading : Reading {
  absl::StatusOr<core::TaskObservation> task = absl::InvalidArgumentError("no task in the answer");
};

TaskReading ReadTask(const HttpAnswer& answer, absl::string_view known_id,
                     const AnswerContext& context) {
  TaskReading reading{ReadAnswer(answer, context)};
  if (!reading.document.ok()) {
    reading.task = reading.document.status();
    return reading;
  }
  const json::object* object = ObjectOf(*reading.document);
  const json::object* task = IsEnvelope(*object) ? ObjectMember(object, "data") : object;
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

std::string Unreadable(const TaskReading& reading) {
  if (!reading.task.ok()) {
    return absl::StrCat("upstream answered ", reading.status, " but ",
                        reading.task.status().message());
  }
  return reading.message;
}

}  // namespace

core::CreateOutcome ReadCreateAnswer(const HttpAnswer& answer, const AnswerContext& context) {
  TaskReading reading = ReadTask(answer, "", context);
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
  TaskReading reading = ReadTask(answer, task_id, context);
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
