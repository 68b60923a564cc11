#include "tests/simulator/control_api.h"

#include <cstddef>
#include <exception>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "tests/simulator/backend.h"

namespace dreamgate::simulator {
namespace {

namespace json = boost::json;

constexpr char kTaskPrefix[] = "/control/tasks/";

Answer Ok(const json::value& body) {
  Answer answer;
  answer.body = json::serialize(body) + "\n";
  return answer;
}

std::string TextAt(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr ? "" : std::string(value->as_string());
}

int NumberAt(const json::object& object, const char* key, int otherwise) {
  const json::value* value = object.if_contains(key);
  return value == nullptr ? otherwise : value->to_number<int>();
}

bool FlagAt(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->as_bool();
}

absl::Duration DurationOf(const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) throw std::invalid_argument(text + ": no duration");
  return duration;
}

absl::Duration DurationAt(const json::object& object, const char* key, absl::Duration otherwise) {
  return object.contains(key) ? DurationOf(TextAt(object, key)) : otherwise;
}

Answer LogAnswer(const Backend& backend) {
  json::array entries;
  for (const LoggedRequest& request : backend.Log()) {
    entries.push_back(json::object{
        {"method", request.method},
        {"target", request.target},
        {"body", request.body},
        {"authorization", request.authorization},
        {"time", absl::FormatTime(absl::RFC3339_full, request.time, absl::UTCTimeZone())},
        {"connection", request.connection},
        {"status", request.status},
        {"faulted", request.faulted}});
  }
  return Ok(entries);
}

Answer CountsAnswer(const Backend& backend) {
  json::object paths;
  for (const auto& [route, count] : backend.CountsByRoute()) paths[route] = count;
  json::array violations;
  for (const std::string& violation : backend.Violations()) violations.emplace_back(violation);
  return Ok(json::object{{"posts", backend.Count("POST", "")},
                         {"submits", backend.Count("POST", backend.SubmitPath())},
                         {"gets", backend.Count("GET", "")},
                         {"tasks", backend.TasksCreated()},
                         {"connections", backend.ConnectionsAccepted()},
                         {"webhooks", backend.WebhookAttempts().size()},
                         {"violations", std::move(violations)},
                         {"paths", std::move(paths)}});
}

Answer TasksAnswer(const Backend& backend) {
  json::array tasks;
  for (const std::string& id : backend.TaskIds()) {
    const auto state = backend.StateOf(id);
    if (!state) continue;
    tasks.push_back(
        json::object{{"id", id}, {"status", state->status}, {"gets", backend.ResultRequests(id)}});
  }
  return Ok(tasks);
}

Answer SetSchedule(const json::object& body, Backend& backend) {
  Schedule schedule;
  for (const json::value& step : body.at("steps").as_array()) {
    schedule.steps.push_back(
        {DurationOf(TextAt(step.as_object(), "after")), TextAt(step.as_object(), "status")});
  }
  schedule.code = NumberAt(body, "code", 0);
  schedule.error = TextAt(body, "error");
  schedule.inference = DurationAt(body, "inference", schedule.inference);
  if (body.contains("prompt")) {
    backend.SetScheduleForPrompt(TextAt(body, "prompt"), std::move(schedule));
  } else {
    backend.SetSchedule(std::move(schedule));
  }
  return Ok(json::object{});
}

Answer SetTask(const std::string& id, const json::object& body, Backend& backend) {
  TaskState state;
  state.status = std::string(body.at("status").as_string());
  state.error = TextAt(body, "error");
  state.code = NumberAt(body, "code", 0);
  if (const json::value* outputs = body.if_contains("outputs")) {
    state.outputs.emplace();
    for (const json::value& output : outputs->as_array()) {
      state.outputs->emplace_back(output.as_string());
    }
  }
  if (!backend.SetTaskState(id, std::move(state))) return ErrorAnswer(404, "no such task");
  return Ok(json::object{});
}

Answer SetWebhooks(const json::object& body, Backend& backend) {
  WebhookBehavior behavior;
  behavior.silent = FlagAt(body, "silent");
  behavior.copies = NumberAt(body, "copies", behavior.copies);
  behavior.delay = DurationAt(body, "delay", behavior.delay);
  behavior.hold_until_next = FlagAt(body, "hold_until_next");
  behavior.forged = FlagAt(body, "forged");
  behavior.several_signatures = FlagAt(body, "several_signatures");
  behavior.timestamp_offset = DurationAt(body, "timestamp_offset", behavior.timestamp_offset);
  behavior.redeliveries = NumberAt(body, "redeliveries", behavior.redeliveries);
  behavior.redelivery_backoff = DurationAt(body, "redelivery_backoff", behavior.redelivery_backoff);
  backend.SetWebhookBehavior(behavior);
  if (body.contains("origin")) backend.SetWebhookOrigin(TextAt(body, "origin"));
  return Ok(json::object{});
}

Answer AddFault(const std::string& body, Backend& backend) {
  auto fault = FaultFromJson(body);
  if (!fault.ok()) return ErrorAnswer(400, std::string(fault.status().message()));
  return Ok(json::object{{"fault", backend.AddFault(*std::move(fault))}});
}

// Throws when the body does not have the expected shape.
Answer Post(const Request& request, const std::string& path, Backend& backend) {
  if (path == "/control/faults") return AddFault(request.body, backend);
  const json::value parsed = json::parse(request.body);
  const json::object& body = parsed.as_object();
  if (path == "/control/schedule") return SetSchedule(body, backend);
  if (path == "/control/webhooks") return SetWebhooks(body, backend);
  if (path == "/control/foreign-tasks") {
    return Ok(json::object{
        {"id", backend.AddForeignTask(TextAt(body, "prompt"), DurationAt(body, "age", {}))}});
  }
  if (absl::StartsWith(path, kTaskPrefix)) {
    return SetTask(path.substr(sizeof(kTaskPrefix) - 1), body, backend);
  }
  return ErrorAnswer(404, "no such control endpoint");
}

}  // namespace

std::string InputJson(const std::string& prompt, std::optional<int32_t> seed) {
  json::object input{{"prompt", prompt}};
  if (seed.has_value()) input["seed"] = *seed;
  return json::serialize(input);
}

Answer HandleControl(const Request& request, Backend& backend) {
  const std::string path = request.Path();
  if (request.method == "GET") {
    if (path == "/control/log") return LogAnswer(backend);
    if (path == "/control/counts") return CountsAnswer(backend);
    if (path == "/control/tasks") return TasksAnswer(backend);
  }
  if (request.method == "DELETE" && path == "/control/faults") {
    backend.ClearFaults();
    return Ok(json::object{});
  }
  if (request.method != "POST") return ErrorAnswer(404, "no such control endpoint");
  try {
    return Post(request, path, backend);
  } catch (const std::exception& problem) {
    return ErrorAnswer(400, problem.what());
  }
}

std::string ControlHelp() {
  constexpr std::size_t kNamesPerLine = 4;
  std::string actions;
  std::size_t count = 0;
  for (const std::string& name : FaultActionNames()) {
    absl::StrAppend(&actions, count++ % kNamesPerLine == 0 ? "\n      " : " ", name);
  }
  return absl::StrCat(R"(Control endpoints (JSON, no authorization, not logged):
  GET    /control/counts         posts, submits, gets, tasks, connections, webhooks, violations, paths
  GET    /control/log            every request: method, target, body, authorization, time, status
  GET    /control/tasks          id, status and number of result GETs of every task
  POST   /control/tasks/{id}     {"status", "outputs"?, "error"?, "code"?}: from now on, by hand
  POST   /control/foreign-tasks  {"prompt", "age"?}: a task of another client of the same account
  POST   /control/schedule       {"steps": [{"status", "after"}], "code"?, "error"?, "inference"?,
                                 "prompt"?}: for tasks created from now on (with that prompt)
  POST   /control/webhooks       {"silent"?, "copies"?, "delay"?, "hold_until_next"?, "forged"?,
                                 "several_signatures"?, "timestamp_offset"?, "redeliveries"?,
                                 "redelivery_backoff"?, "origin"?}
  POST   /control/faults         {"action", ...}: one fault; DELETE forgets all
    which requests: method path_prefix task_id body_contains skip times probability seed
    how:            create_task delay status code count bytes interval body content_type location
                    retry_after text headers
    actions:)",
                      actions, "\nDurations are written 250ms, 1.5s, 2m.\n");
}

}  // namespace dreamgate::simulator
