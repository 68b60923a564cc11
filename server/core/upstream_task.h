// Questions to upstream and its answers, as values that no longer know HTTP or JSON. Made by
// `wavespeed`, decided upon in core. Any thread.
#ifndef DREAMGATE_SERVER_CORE_UPSTREAM_TASK_H_
#define DREAMGATE_SERVER_CORE_UPSTREAM_TASK_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/core/errors.h"
#include "server/core/prediction.h"

namespace dreamgate::core {

// Upstream's task as one answer or webhook showed it.
struct TaskObservation {
  std::string upstream_id;  // never empty, URL-safe
  State state =
      State::kCreated;  // kCreated, kProcessing or terminal; unknown strings are kProcessing
  std::string raw_status;
  std::vector<Output> outputs;     // not empty if kCompleted
  std::optional<Failure> failure;  // set if kFailed
  std::optional<absl::Duration> inference_time;
  std::optional<absl::Time> create_time;
};

struct CreateTaskRequest {
  std::string prompt;
  AspectRatio aspect_ratio = AspectRatio::k16x9;
  int32_t seed = 0;
  std::string attempt_token;  // goes into the webhook URL when webhooks are on
};

// The outcome of one POST is exactly one of these.
struct CreateAccepted {
  TaskObservation task;
};
struct CreateRejected {  // upstream definitely refused; nothing was created
  Reason reason = Reason::kUpstreamRejected;
  int http_status = 0;
  int upstream_code = 0;  // the envelope's code, 0: none
  std::string message;
  std::optional<absl::Duration> retry_after;
};
struct CreateNotSent {
  std::string message;
};  // no byte of the POST left: safe to try again
struct CreateUnknown {
  std::string message;
};  // may have created and billed a task
using CreateOutcome = std::variant<CreateAccepted, CreateRejected, CreateNotSent, CreateUnknown>;

// The outcome of one GET of a task.
struct PollObserved {
  TaskObservation task;
};
enum class PollProblem {
  kTransient,            // 5xx, timeout, network, unreadable answer: back off and poll again
  kRateLimited,          // 429
  kCredentialsRejected,  // 401, 402, 403: pause all polling, probe, reread the key
  kNotFound,             // 404
  kRefused,              // any other 4xx or a redirect: poll again, slowly
};
struct PollFailed {
  PollProblem problem = PollProblem::kTransient;
  int http_status = 0;  // 0: no answer
  std::string message;
  std::optional<absl::Duration> retry_after;
};
using PollOutcome = std::variant<PollObserved, PollFailed>;

// The input of a task, as far as it can be compared.
struct TaskInput {
  std::string prompt;
  std::string aspect_ratio;  // upstream's spelling, for example "16:9"
  int64_t seed = 0;          // >= 0; -1: left to upstream, which we never do

  friend auto operator<=>(const TaskInput&, const TaskInput&) = default;
};

// A task as upstream's history lists it. Evidence that it exists, no more: what it has
// come to is for a GET to say.
struct HistoryItem {
  std::string upstream_id;  // never empty, URL-safe
  std::string model;        // empty: not said
  std::string raw_status;
  State state = State::kCreated;          // or kProcessing, as far as the list can be believed
  std::optional<absl::Time> create_time;  // by upstream's clock
  std::optional<TaskInput> input;         // unset: not said, or not all of it
};
struct HistoryQuery {
  absl::Time created_after;  // by upstream's clock
  int page = 1;              // from 1, newest tasks first
};
struct HistoryPage {
  std::vector<HistoryItem> items;
  bool more = false;  // there is another page
  // Upstream's clock minus ours, from the answer's Date; unset: it had none.
  std::optional<absl::Duration> clock_offset;
};
struct HistoryFailed {
  int http_status = 0;  // 0: no answer
  std::string message;
  std::optional<absl::Duration> retry_after;
};
using HistoryOutcome = std::variant<HistoryPage, HistoryFailed>;

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_UPSTREAM_TASK_H_
