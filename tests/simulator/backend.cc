#include "tests/simulator/backend.h"

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "tests/simulator/control_api.h"

namespace dreamgate::simulator {

Backend::Backend(Options options, std::string base_url, std::shared_ptr<const std::string> video,
                 ScheduleWebhook schedule_webhook)
    : options_(std::move(options)),
      tasks_(options_.schedule),
      log_(options_.log_limit),
      api_(options_, tasks_, std::move(base_url), std::move(video)),
      schedule_webhook_(std::move(schedule_webhook)) {}

absl::Time Backend::Now() const {
  return started_at_ + absl::FromChrono(std::chrono::steady_clock::now() - started_);
}

void Backend::Changed() {
  ++version_;
  changed_.notify_all();
}

bool Backend::WaitUntil(const std::function<bool()>& condition, absl::Duration timeout) {
  // The system clock: its timed wait is the one that ThreadSanitizer understands everywhere.
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout);
  while (true) {
    uint64_t seen;
    {
      const std::lock_guard lock(mutex_);
      seen = version_;
    }
    if (condition()) return true;
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [&] { return version_ != seen; })) {
      lock.unlock();
      return condition();
    }
  }
}

bool Backend::AcceptsConnection() {
  const std::lock_guard lock(mutex_);
  ++connections_;
  Changed();
  return !faults_.Strike(FaultMoment::kAccept, Request());
}

bool Backend::AcceptsHeaders(const Request& request) {
  const std::lock_guard lock(mutex_);
  const auto fault = faults_.Strike(FaultMoment::kHeaders, request);
  if (fault) {
    log_.Add({request.method, request.target, request.headers, "", request.Header("authorization"),
              Now(), request.connection, 0, true});
    Changed();
  }
  return !fault;
}

WirePlan Backend::Handle(const Request& request) {
  if (absl::StartsWith(request.target, "/control/")) {
    const absl::Time now = Now();
    return PlainPlan(HandleControl(request, *this), request, HttpDate(now));
  }
  const std::lock_guard lock(mutex_);
  WirePlan plan = HandleLocked(request, Now());
  Changed();
  return plan;
}

WirePlan Backend::HandleLocked(const Request& request, absl::Time now) {
  const std::optional<Fault> fault = faults_.Strike(FaultMoment::kRequest, request);
  const bool process = !fault || fault->Processes();
  Answer answer = process ? api_.Handle(request, now) : api_.WithoutEffect();
  ScheduleNewWebhooksLocked(now);
  const int status = fault ? SeenStatus(*fault, answer) : answer.status;
  if (options_.verbose) {
    absl::PrintF("%-4s %-70s %3d%s\n", request.method, request.target, status,
                 fault ? "  fault" : "");
    std::fflush(stdout);
  }
  log_.Add({request.method, request.target, request.headers, request.body,
            request.Header("authorization"), now, request.connection, status, fault.has_value()});
  const absl::Time shown = now + options_.clock_offset;
  WirePlan plan = fault ? FaultyPlan(*fault, std::move(answer), request, shown)
                        : PlainPlan(answer, request, HttpDate(shown));
  return plan;
}

void Backend::ScheduleNewWebhooksLocked(absl::Time now) {
  for (const std::string& id : api_.TakeNewWebhookTasks()) {
    const Task& task = *tasks_.Find(id);
    const absl::Time end = tasks_.EndOf(task);
    if (end != absl::InfiniteFuture()) {
      schedule_webhook_(id, end - now + WebhookBehaviorOfLocked(task).delay);
    }
  }
}

const WebhookBehavior& Backend::WebhookBehaviorOfLocked(const Task& task) const {
  const auto own = webhook_for_prompt_.find(task.prompt);
  return own == webhook_for_prompt_.end() ? options_.webhook : own->second;
}

std::optional<WebhookMessage> Backend::TakeWebhook(const std::string& task_id) {
  const std::lock_guard lock(mutex_);
  Task* task = tasks_.Find(task_id);
  const absl::Time now = Now();
  if (task == nullptr || task->webhook_handed_over || WebhookBehaviorOfLocked(*task).silent ||
      !IsWebhookStatus(tasks_.StateOf(*task, now).status)) {
    return std::nullopt;
  }
  task->webhook_handed_over = true;
  Options options = options_;
  options.webhook = WebhookBehaviorOfLocked(*task);
  return MakeWebhookMessage(task->id, task->webhook_url, api_.WebhookBody(*task, now), options,
                            now);
}

void Backend::AddWebhookAttempt(WebhookAttempt attempt) {
  const std::lock_guard lock(mutex_);
  webhook_attempts_.push_back(std::move(attempt));
  Changed();
}

bool Backend::SetTaskState(const std::string& id, TaskState state) {
  const std::lock_guard lock(mutex_);
  Task* task = tasks_.Find(id);
  if (task == nullptr) return false;
  const bool call_back = !task->webhook_url.empty() && IsWebhookStatus(state.status);
  task->set_by_hand = std::move(state);
  if (call_back) schedule_webhook_(id, WebhookBehaviorOfLocked(*task).delay);
  return true;
}

bool Backend::ResendWebhook(const std::string& id) {
  const std::lock_guard lock(mutex_);
  Task* task = tasks_.Find(id);
  if (task == nullptr || task->webhook_url.empty()) return false;
  task->webhook_handed_over = false;
  schedule_webhook_(id, absl::ZeroDuration());
  return true;
}

std::string Backend::AddForeignTask(const std::string& prompt, absl::Duration age,
                                    std::optional<int32_t> seed) {
  const std::lock_guard lock(mutex_);
  Task task;
  task.model = options_.model;
  task.prompt = prompt;
  task.input_json = InputJson(prompt, seed);
  task.created_at = Now() - age;
  task.foreign = true;
  return tasks_.Create(std::move(task)).id;
}

void Backend::SetSchedule(Schedule schedule) {
  const std::lock_guard lock(mutex_);
  tasks_.SetSchedule(std::move(schedule));
}

void Backend::SetScheduleForPrompt(const std::string& prompt, Schedule schedule) {
  const std::lock_guard lock(mutex_);
  tasks_.SetScheduleForPrompt(prompt, std::move(schedule));
}

void Backend::SetWebhookBehavior(WebhookBehavior behavior) {
  const std::lock_guard lock(mutex_);
  options_.webhook = behavior;
}

void Backend::SetWebhookBehaviorForPrompt(const std::string& prompt, WebhookBehavior behavior) {
  const std::lock_guard lock(mutex_);
  webhook_for_prompt_[prompt] = behavior;
}

void Backend::SetWebhookOrigin(std::string origin) {
  const std::lock_guard lock(mutex_);
  options_.webhook_origin = std::move(origin);
}

void Backend::SetHistory(HistoryInput input, absl::Duration lag) {
  const std::lock_guard lock(mutex_);
  options_.history_input = input;
  options_.history_lag = lag;
}

void Backend::SetClockOffset(absl::Duration offset) {
  const std::lock_guard lock(mutex_);
  options_.clock_offset = offset;
}

int Backend::AddFault(Fault fault) {
  const std::lock_guard lock(mutex_);
  return faults_.Add(std::move(fault));
}

void Backend::ClearFaults() {
  const std::lock_guard lock(mutex_);
  faults_.Clear();
}

int Backend::FaultHits(int number) const {
  const std::lock_guard lock(mutex_);
  return faults_.Hits(number);
}

std::vector<LoggedRequest> Backend::Log() const {
  const std::lock_guard lock(mutex_);
  return log_.Entries();
}

std::size_t Backend::Count(const std::string& method, const std::string& path_prefix) const {
  const std::lock_guard lock(mutex_);
  return log_.Count(method, path_prefix);
}

std::size_t Backend::TasksCreated() const {
  const std::lock_guard lock(mutex_);
  return tasks_.created();
}

std::size_t Backend::TasksCreatedForPrompt(const std::string& prompt) const {
  const std::lock_guard lock(mutex_);
  return tasks_.CreatedForPrompt(prompt);
}

std::vector<std::string> Backend::TaskIds() const {
  const std::lock_guard lock(mutex_);
  return tasks_.Ids();
}

std::optional<TaskState> Backend::StateOf(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const Task* task = tasks_.Find(id);
  if (task == nullptr) return std::nullopt;
  return tasks_.StateOf(*task, Now());
}

uint64_t Backend::ResultRequests(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const Task* task = tasks_.Find(id);
  return task == nullptr ? 0 : task->result_requests;
}

std::vector<WebhookAttempt> Backend::WebhookAttempts() const {
  const std::lock_guard lock(mutex_);
  return webhook_attempts_;
}

std::vector<std::string> Backend::Violations() const {
  const std::lock_guard lock(mutex_);
  return api_.violations();
}

uint64_t Backend::ConnectionsAccepted() const {
  const std::lock_guard lock(mutex_);
  return connections_;
}

std::map<std::string, std::size_t> Backend::CountsByRoute() const {
  const std::lock_guard lock(mutex_);
  return log_.by_route();
}

std::string Backend::SubmitPath() const { return api_.SubmitPath(); }

}  // namespace dreamgate::simulator
