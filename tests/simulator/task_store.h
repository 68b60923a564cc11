// The tasks of a simulated WaveSpeed account and how their status moves with time. No sockets, no
// JSON, no lock: the Backend owns it and guards it.
#ifndef DREAMGATE_TESTS_SIMULATOR_TASK_STORE_H_
#define DREAMGATE_TESTS_SIMULATOR_TASK_STORE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::simulator {

struct StatusStep {
  absl::Duration after;  // since the task's creation
  std::string status;
};

// The life of a task, fixed when it is created.
struct Schedule {
  // Ascending by `after`; the first should be at zero. Empty: "created" for ever.
  std::vector<StatusStep> steps = {};
  int code = 0;                                         // data.code of a failed task; 0: absent
  std::string error = {};                               // data.error of a failed task
  absl::Duration inference = absl::Milliseconds(3000);  // data.timings.inference when completed

  // created, then processing, then completed.
  static Schedule Completing(absl::Duration created_for, absl::Duration processing_for);
  // created, then processing, then failed.
  static Schedule Failing(absl::Duration created_for, absl::Duration processing_for, int code,
                          std::string error);
  // "created" until the test sets a status by hand. The default.
  static Schedule StepControlled() { return {}; }
};

struct TaskState {
  std::string status = "created";
  std::optional<std::vector<std::string>> outputs = {};  // nullopt: the usual ones for the status
  std::string error = {};
  int code = 0;
};

struct Task {
  std::string id;  // 32 hex digits
  std::string model;
  std::string prompt;
  std::string input_json;   // the accepted request body
  std::string webhook_url;  // empty: none registered
  absl::Time created_at;    // by this machine's clock
  bool foreign = false;     // another client's, in the same account
  bool webhook_handed_over = false;
  uint64_t result_requests = 0;  // GETs of its result
  std::shared_ptr<const Schedule> schedule;
  std::optional<TaskState> set_by_hand;
};

struct HistoryQuery {
  std::size_t page = 1;  // from 1
  std::size_t page_size = 100;
  std::string model;   // empty: any
  std::string status;  // empty: any
  absl::Time created_after = absl::InfinitePast();
  absl::Time created_before = absl::InfiniteFuture();
  absl::Duration lag;
};

struct HistoryPage {
  std::size_t total = 0;
  std::vector<const Task*> tasks;  // newest first; valid until the next change
};

class TaskStore {
 public:
  explicit TaskStore(Schedule schedule);

  // For tasks created from now on.
  void SetSchedule(Schedule schedule);
  void SetScheduleForPrompt(const std::string& prompt, Schedule schedule);

  // Takes id and schedule from the store, the rest from `task`.
  Task& Create(Task task);
  Task* Find(const std::string& id);
  const Task* Find(const std::string& id) const;
  bool Erase(const std::string& id);

  TaskState StateOf(const Task& task, absl::Time now) const;
  // When the task's schedule reaches completed or failed; InfiniteFuture: never by itself.
  absl::Time EndOf(const Task& task) const;
  HistoryPage History(const HistoryQuery& query, absl::Time now) const;

  // Not counting other clients' tasks; deleted ones still count.
  std::size_t created() const { return created_; }
  std::size_t CreatedForPrompt(const std::string& prompt) const;
  // In order of creation, deleted and other clients' left out.
  std::vector<std::string> Ids() const;

 private:
  std::string NewId();

  std::shared_ptr<const Schedule> schedule_;
  std::unordered_map<std::string, std::shared_ptr<const Schedule>> schedule_for_prompt_;
  std::unordered_map<std::string, Task> tasks_;
  std::multimap<absl::Time, std::string> by_creation_;
  std::unordered_map<std::string, std::size_t> created_for_prompt_;
  std::size_t created_ = 0;
  std::mt19937_64 random_{std::random_device{}()};
};

// True for the statuses after which WaveSpeed calls back.
bool IsWebhookStatus(const std::string& status);

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_TASK_STORE_H_
