#include "tests/simulator/rest_api.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "boost/json.hpp"

namespace dreamgate::simulator {
namespace {

namespace json = boost::json;

constexpr const char* kAspectRatios[] = {"16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21"};
constexpr int64_t kMaxSeed = 2147483647;
constexpr double kPriceUsd = 0.60;

Answer Success(json::value data) {
  Answer answer;
  answer.body = json::serialize(
      json::object{{"code", 200}, {"message", "success"}, {"data", std::move(data)}});
  return answer;
}

std::optional<json::object> ParseObject(const std::string& text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.as_object());
}

// Empty: valid.
std::string InputProblem(const json::object& input) {
  for (const auto& field : input) {
    const json::value& value = field.value();
    if (field.key() == "prompt") {
      if (!value.is_string() || value.as_string().empty()) return "prompt must not be empty";
    } else if (field.key() == "aspect_ratio") {
      const bool known = value.is_string() &&
                         std::any_of(std::begin(kAspectRatios), std::end(kAspectRatios),
                                     [&](const char* ratio) { return value.as_string() == ratio; });
      if (!known) return "aspect_ratio is not one of the allowed values";
    } else if (field.key() == "seed") {
      if (!value.is_int64() || value.as_int64() < -1 || value.as_int64() > kMaxSeed) {
        return "seed must be an integer from -1 to 2147483647";
      }
    } else {
      return absl::StrCat("unknown field: ", std::string(field.key()));
    }
  }
  return input.contains("prompt") ? "" : "prompt is required";
}

std::string CreatedAt(const Task& task, const Options& options) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", task.created_at + options.clock_offset,
                          absl::UTCTimeZone());
}

json::array Outputs(const Task& task, const TaskState& state, const std::string& origin) {
  json::array outputs;
  if (state.outputs) {
    for (const std::string& output : *state.outputs) outputs.emplace_back(output);
  } else if (state.status == "completed") {
    outputs.emplace_back(absl::StrCat(origin, "/outputs/", task.id, ".mp4"));
  }
  return outputs;
}

// The short shape in which failed tasks were seen.
json::object FailedTask(const Task& task, const TaskState& state) {
  json::object data{{"id", task.id}};
  if (state.code != 0) data["code"] = state.code;
  data["error"] = state.error;
  data["status"] = state.status;
  data["outputs"] = json::array();
  return data;
}

json::object FullTask(const Task& task, const TaskState& state, const Options& options,
                      const std::string& outputs_origin, const std::string& result_url) {
  const bool completed = state.status == "completed";
  json::array outputs = Outputs(task, state, outputs_origin);
  json::array flags;
  for (std::size_t i = 0; i < outputs.size(); ++i) flags.emplace_back(false);
  const int64_t inference = completed ? absl::ToInt64Milliseconds(task.schedule->inference) : 0;
  return {{"id", task.id},
          {"model", task.model},
          {"outputs", std::move(outputs)},
          {"urls", json::object{{"get", result_url}}},
          {"has_nsfw_contents", std::move(flags)},
          {"status", state.status},
          {"created_at", CreatedAt(task, options)},
          {"error", state.error},
          {"timings", json::object{{"inference", inference}}}};
}

// The one shape of a Range header that a resuming download sends: bytes=N- or bytes=N-M.
bool ParseRange(const std::string& header, std::size_t size, std::size_t& first,
                std::size_t& last) {
  if (header.compare(0, 6, "bytes=") != 0) return false;
  const std::size_t dash = header.find('-');
  if (dash == std::string::npos) return false;
  uint64_t from = 0;
  uint64_t to = size - 1;
  if (!absl::SimpleAtoi(header.substr(6, dash - 6), &from)) return false;
  const std::string end = header.substr(dash + 1);
  if (!end.empty() && !absl::SimpleAtoi(end, &to)) return false;
  first = from;
  last = std::min<uint64_t>(to, size - 1);
  return true;
}

}  // namespace

Answer ErrorAnswer(int status, const std::string& message) {
  Answer answer;
  answer.status = status;
  answer.body =
      json::serialize(json::object{{"code", status}, {"message", message}, {"data", nullptr}});
  return answer;
}

std::string WithTaskField(const std::string& body, const std::string& field,
                          const std::string& value) {
  auto envelope = ParseObject(body);
  if (!envelope || !envelope->contains("data") || !envelope->at("data").is_object()) return body;
  envelope->at("data").as_object()[field] = value;
  return json::serialize(*envelope);
}

std::string WithoutTaskField(const std::string& body, const std::string& field) {
  auto envelope = ParseObject(body);
  if (!envelope || !envelope->contains("data") || !envelope->at("data").is_object()) return body;
  envelope->at("data").as_object().erase(field);
  return json::serialize(*envelope);
}

RestApi::RestApi(const Options& options, TaskStore& tasks, std::string base_url,
                 std::shared_ptr<const std::string> video)
    : options_(options), tasks_(tasks), base_url_(std::move(base_url)), video_(std::move(video)) {}

std::string RestApi::SubmitPath() const { return "/api/v3/" + options_.model; }

std::string RestApi::ResultUrl(const Task& task) const {
  return absl::StrCat(base_url_, "/api/v3/predictions/", task.id, "/result");
}

std::vector<std::string> RestApi::TakeNewWebhookTasks() {
  return std::exchange(new_webhook_tasks_, {});
}

Answer RestApi::Handle(const Request& request, absl::Time now) {
  const std::string path = request.Path();
  if (path.compare(0, 9, "/outputs/") == 0) return Output(request, path, now);
  if (request.Header("authorization") != "Bearer " + options_.api_key) {
    return ErrorAnswer(401, "Invalid API key");
  }
  const bool get = request.method == "GET";
  if (!get && request.method != "POST") return ErrorAnswer(405, "method not allowed");
  if (!get && request.Header("content-type").compare(0, 16, "application/json") != 0) {
    return ErrorAnswer(400, "Content-Type must be application/json");
  }
  if (get) {
    constexpr absl::string_view kPrefix = "/api/v3/predictions/";
    absl::string_view id = path;
    if (absl::ConsumePrefix(&id, kPrefix) && absl::ConsumeSuffix(&id, "/result")) {
      return Result(std::string(id), now);
    }
    if (path == "/api/v3/balance") return Success(json::object{{"balance", options_.balance_usd}});
    if (path == "/api/v3/models") return Models();
    if (path == "/api/v3/webhook/secret")
      return Success(json::object{{"secret", options_.webhook_secret}});
  } else {
    if (path == SubmitPath()) return Submit(request, now);
    if (path == "/api/v3/predictions") return History(request, now);
    if (path == "/api/v3/predictions/delete") return Delete(request);
    if (path == "/api/v3/model/price") return Price(request);
  }
  return ErrorAnswer(404, "not found");
}

Answer RestApi::WithoutEffect() const {
  return Success(json::object{{"id", std::string(32, '0')}, {"status", "created"}});
}

Answer RestApi::Submit(const Request& request, absl::Time now) {
  const auto input = ParseObject(request.body);
  if (!input) return ErrorAnswer(400, "the body is not a JSON object");
  const std::string problem = InputProblem(*input);
  if (!problem.empty()) return ErrorAnswer(400, problem);
  Task wanted;
  wanted.model = options_.model;
  wanted.prompt = std::string(input->at("prompt").as_string());
  wanted.input_json = request.body;
  wanted.webhook_url = request.Query("webhook");
  wanted.created_at = now;
  const Task& task = tasks_.Create(std::move(wanted));
  if (!task.webhook_url.empty()) new_webhook_tasks_.push_back(task.id);
  return Success(FullTask(task, tasks_.StateOf(task, now), options_, options_.outputs_origin,
                          ResultUrl(task)));
}

Answer RestApi::Result(const std::string& id, absl::Time now) {
  Task* task = tasks_.Find(id);
  if (task == nullptr) return ErrorAnswer(404, "prediction not found");
  ++task->result_requests;
  const TaskState state = tasks_.StateOf(*task, now);
  if (state.status == "failed") return Success(FailedTask(*task, state));
  return Success(FullTask(*task, state, options_, options_.outputs_origin, ResultUrl(*task)));
}

std::string RestApi::WebhookBody(const Task& task, absl::Time now) const {
  json::object body =
      FullTask(task, tasks_.StateOf(task, now), options_, options_.outputs_origin, ResultUrl(task));
  body["input"] = json::parse(task.input_json);
  body["executionTime"] = absl::ToInt64Milliseconds(now - task.created_at);
  return json::serialize(body);
}

Answer RestApi::History(const Request& request, absl::Time now) {
  const auto body = ParseObject(request.body);
  if (!body) return ErrorAnswer(400, "the body is not a JSON object");
  HistoryQuery query;
  query.lag = options_.history_lag;
  bool inputs = options_.history_input == HistoryInput::kAlways;
  for (const auto& field : *body) {
    const json::value& value = field.value();
    if (value.is_null()) continue;
    if (field.key() == "page" || field.key() == "page_size") {
      const bool page = field.key() == "page";
      if (!value.is_int64() || value.as_int64() < 1 || (!page && value.as_int64() > 100)) {
        return ErrorAnswer(400, "page starts at 1 and page_size goes from 1 to 100");
      }
      (page ? query.page : query.page_size) = static_cast<std::size_t>(value.as_int64());
    } else if (field.key() == "include_inputs") {
      if (!value.is_bool()) return ErrorAnswer(400, "include_inputs must be true or false");
      if (value.as_bool() && options_.history_input == HistoryInput::kWhenAsked) inputs = true;
    } else if (!value.is_string()) {
      return ErrorAnswer(400, "a filter must be a string");
    } else if (field.key() == "model") {
      query.model = std::string(value.as_string());
    } else if (field.key() == "status") {
      query.status = std::string(value.as_string());
    } else if (field.key() == "created_after" || field.key() == "created_before") {
      absl::Time time;
      if (!absl::ParseTime(absl::RFC3339_full, std::string(value.as_string()), &time, nullptr)) {
        return ErrorAnswer(400, "not an RFC 3339 time");
      }
      (field.key() == "created_after" ? query.created_after : query.created_before) =
          time - options_.clock_offset;
    }
  }
  const HistoryPage page = tasks_.History(query, now);
  json::array items;
  for (const Task* task : page.tasks) {
    const TaskState state = tasks_.StateOf(*task, now);
    json::object item = FullTask(*task, state, options_, options_.outputs_origin, ResultUrl(*task));
    if (state.code != 0) item["code"] = state.code;
    if (inputs) item["input"] = json::parse(task->input_json);
    items.push_back(std::move(item));
  }
  return Success(
      json::object{{"page", query.page}, {"total", page.total}, {"items", std::move(items)}});
}

Answer RestApi::Delete(const Request& request) {
  const auto body = ParseObject(request.body);
  const json::value* ids = body ? body->if_contains("ids") : nullptr;
  if (ids == nullptr || !ids->is_array()) return ErrorAnswer(400, "ids must be an array");
  for (const json::value& id : ids->as_array()) {
    if (id.is_string()) tasks_.Erase(std::string(id.as_string()));
  }
  return Success(nullptr);
}

Answer RestApi::Price(const Request& request) {
  const auto body = ParseObject(request.body);
  const json::value* model = body ? body->if_contains("model_id") : nullptr;
  if (model == nullptr || !model->is_string()) return ErrorAnswer(400, "model_id is required");
  if (model->as_string() != options_.model) return ErrorAnswer(404, "model not found");
  return Success(json::object{{"model_id", options_.model},
                              {"price", kPriceUsd},
                              {"discounted_price", kPriceUsd},
                              {"currency", "USD"}});
}

Answer RestApi::Models() {
  return Success(json::array{json::object{{"model_id", options_.model},
                                          {"name", options_.model},
                                          {"base_price", kPriceUsd},
                                          {"type", "text-to-video"}}});
}

Answer RestApi::Output(const Request& request, const std::string& path, absl::Time now) {
  if (!request.Header("authorization").empty()) {
    violations_.push_back("Authorization sent to " + path);
    return ErrorAnswer(400, "the API key must never be sent to the outputs");
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return ErrorAnswer(405, "method not allowed");
  }
  absl::string_view id = path;
  const bool shaped = absl::ConsumePrefix(&id, "/outputs/") && absl::ConsumeSuffix(&id, ".mp4");
  const Task* task = shaped ? tasks_.Find(std::string(id)) : nullptr;
  if (task == nullptr || tasks_.StateOf(*task, now).status != "completed") {
    return ErrorAnswer(404, "no such output");
  }
  Answer answer;
  answer.content_type = "video/mp4";
  answer.headers = {{"Accept-Ranges", "bytes"}};
  answer.file = video_;
  answer.file_length = video_->size();
  std::size_t first = 0;
  std::size_t last = 0;
  if (!ParseRange(request.Header("range"), video_->size(), first, last)) return answer;
  if (first > last) {
    Answer refused = ErrorAnswer(416, "range not satisfiable");
    refused.headers = {{"Content-Range", absl::StrCat("bytes */", video_->size())}};
    return refused;
  }
  answer.status = 206;
  answer.file_offset = first;
  answer.file_length = last - first + 1;
  answer.headers.emplace_back("Content-Range",
                              absl::StrCat("bytes ", first, "-", last, "/", video_->size()));
  return answer;
}

}  // namespace dreamgate::simulator
