// Requests to WaveSpeed: their bodies and targets. Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WAVESPEED_REQUEST_H_
#define DREAMGATE_SERVER_WAVESPEED_REQUEST_H_

#include <string>

#include "absl/strings/string_view.h"
#include "server/core/upstream_task.h"

namespace dreamgate::wavespeed {

// The POST's JSON body: exactly prompt, aspect_ratio and seed. Undeclared fields may be refused.
std::string CreateBody(const core::CreateTaskRequest& request);

// The POST's target, for example "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video". With a
// webhook URL (https, absolute), "?webhook=" and that URL percent-encoded follow. `model` is a safe
// model path.
std::string CreateTarget(absl::string_view model, absl::string_view webhook_url);

// The target of a task's result. `task_id` is a safe one.
std::string ResultTarget(absl::string_view task_id);

// Whether an id may become a path segment: 1 to 128 of the URL-unreserved characters, not "." or
// "..".
bool IsSafeTaskId(absl::string_view task_id);

// Whether a model is a path of such segments, separated by single slashes.
bool IsSafeModelPath(absl::string_view model);

// Everything but the URL-unreserved characters as %XX.
std::string PercentEncode(absl::string_view text);

// 16 hex digits that tell one API key from another without revealing it.
std::string KeyFingerprint(absl::string_view api_key);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_REQUEST_H_
