// Everything the simulated account is, behind one lock: tasks, faults, log, settings. The server's
// thread and the test's threads both enter it. No sockets.
#ifndef DREAMGATE_TESTS_SIMULATOR_BACKEND_H_
#define DREAMGATE_TESTS_SIMULATOR_BACKEND_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/simulator/fault.h"
#include "tests/simulator/message.h"
#include "tests/simulator/options.h"
#include "tests/simulator/request_log.h"
#include "tests/simulator/rest_api.h"
#include "tests/simulator/task_store.h"
#include "tests/simulator/webhook_message.h"

namespace dreamgate::simulator {

class Backend {
 public:
  // Called with the lock held, so it must only note what is to be done.
  using ScheduleWebhook = absl::AnyInvocable<void(const std::string& task_id, absl::Duration wait)>;

  Backend(Options options, std::string base_url, std::shared_ptr<const std::string> video,
          ScheduleWebhook schedule_webhook);

  // For the server's thread.
  bool AcceptsConnection();
  bool AcceptsHeaders(const Request& request);
  WirePlan Handle(const Request& request);
  // The delivery for a task whose webhook is due, once; nullopt when it already went out, the task is
  // not terminal or behavior says silence.
  std::optional<WebhookMessage> TakeWebhook(const std::string& task_id);
  void AddWebhookAttempt(WebhookAttempt attempt);

  // For tests; each reads or changes what its name says, under the lock.
  void SetSchedule(Schedule schedule);
  void SetScheduleForPrompt(const std::string& prompt, Schedule schedule);
  void SetWebhookBehavior(WebhookBehavior behavior);
  void SetWebhookBehaviorForPrompt(const std::string& prompt, WebhookBehavior behavior);
  void SetWebhookOrigin(std::string origin);
  void SetHistory(HistoryInput input, absl::Duration lag);
  void SetClockOffset(absl::Duration offset);
  bool SetTaskState(const std::string& id, TaskState state);
  bool ResendWebhook(const std::string& id);
  // Another client's task, `age` old; returns its id. Without a seed, as most clients ask.
  std::string AddForeignTask(const std::string& prompt, absl::Duration age,
                             std::optional<int32_t> seed = std::nullopt);
  int AddFault(Fault fault);
  void ClearFaults();
  int FaultHits(int number) const;
  std::vector<LoggedRequest> Log() const;
  std::size_t Count(const std::string& method, const std::string& path_prefix) const;
  std::size_t TasksCreated() const;
  std::size_t TasksCreatedForPrompt(const std::string& prompt) const;
  std::vector<std::string> TaskIds() const;
  std::optional<TaskState> StateOf(const std::string& id) const;
  uint64_t ResultRequests(const std::string& id) const;
  std::vector<WebhookAttempt> WebhookAttempts() const;
  std::vector<std::string> Violations() const;
  uint64_t ConnectionsAccepted() const;
  std::map<std::string, std::size_t> CountsByRoute() const;
  std::string SubmitPath() const;

  // Waits until `condition`, which is called without the lock held, holds; false: `timeout` passed.
  // It is looked at after every request, webhook attempt and connection.
  bool WaitUntil(const std::function<bool()>& condition, absl::Duration timeout);

 private:
  // Monotonic time of this machine: timers and schedules agree on it.
  absl::Time Now() const;
  WirePlan HandleLocked(const Request& request, absl::Time now);
  void ScheduleNewWebhooksLocked(absl::Time now);
  const WebhookBehavior& WebhookBehaviorOfLocked(const Task& task) const;
  void Changed();

  const absl::Time started_at_ = absl::Now();
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t version_ = 0;  // counts changes, for WaitUntil
  Options options_;
  TaskStore tasks_;
  FaultTable faults_;
  RequestLog log_;
  RestApi api_;
  std::map<std::string, WebhookBehavior> webhook_for_prompt_;
  std::vector<WebhookAttempt> webhook_attempts_;
  uint64_t connections_ = 0;
  ScheduleWebhook schedule_webhook_;
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_BACKEND_H_
