// Upstream's task JSON -> core's observation. Forgiving where upstream is known to vary, strict
// where a mistake would cost: ids, output URLs, terminal states. Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WAVESPEED_TASK_H_
#define DREAMGATE_SERVER_WAVESPEED_TASK_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/upstream_task.h"

namespace dreamgate::wavespeed {

// Reads a task, wrapped ({"code", "message", "data": {...}}) or bare (as webhooks send it). All
// text in the result is valid UTF-8. InvalidArgument if it is not JSON, has no usable id, or is an
// envelope that carries no task.
absl::StatusOr<core::TaskObservation> ParseTask(absl::string_view json);

// The failure that a task's code means. Codes we do not know are kExecutionFailed.
core::FailureCode FailureCodeOf(int upstream_code);

// Whether the same request, submitted anew, may well succeed.
bool ResubmissionMayHelp(int upstream_code);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_TASK_H_
