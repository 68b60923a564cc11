#include "tests/simulator/task_store.h"

#include <cstdio>
#include <utility>

namespace dreamgate::simulator {

Schedule Schedule::Completing(absl::Duration created_for, absl::Duration processing_for) {
  Schedule schedule;
  schedule.steps = {{absl::ZeroDuration(), "created"},
                    {created_for, "processing"},
                    {created_for + processing_for, "completed"}};
  return schedule;
}

Schedule Schedule::Failing(absl::Duration created_for, absl::Duration processing_for, int code,
                           std::string error) {
  Schedule schedule = Completing(created_for, processing_for);
  schedule.steps.back().status = "failed";
  schedule.code = code;
  schedule.error = std::move(error);
  return schedule;
}

bool IsWebhookStatus(const std::string& status) {
  return status == "completed" || status == "failed";
}

TaskStore::TaskStore(Schedule schedule) { SetSchedule(std::move(schedule)); }

void TaskStore::SetSchedule(Schedule schedule) {
  schedule_ = std::make_shared<const Schedule>(std::move(schedule));
}

void TaskStore::SetScheduleForPrompt(const std::string& prompt, Schedule schedule) {
  schedule_for_prompt_[prompt] = std::make_shared<const Schedule>(std::move(schedule));
}

std::string TaskStore::NewId() {
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(random_()),
                static_cast<unsigned long long>(random_()));
  return text;
}

Task& TaskStore::Create(Task task) {
  task.id = NewId();
  const auto own = schedule_for_prompt_.find(task.prompt);
  task.schedule = own == schedule_for_prompt_.end() ? schedule_ : own->second;
  if (!task.foreign) {
    ++created_;
    ++created_for_prompt_[task.prompt];
  }
  by_creation_.emplace(task.created_at, task.id);
  std::string id = task.id;
  return tasks_.emplace(std::move(id), std::move(task)).first->second;
}

Task* TaskStore::Find(const std::string& id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

const Task* TaskStore::Find(const std::string& id) const {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

bool TaskStore::Erase(const std::string& id) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return false;
  auto [begin, end] = by_creation_.equal_range(found->second.created_at);
  while (begin != end && begin->second != id) ++begin;
  if (begin != end) by_creation_.erase(begin);
  tasks_.erase(found);
  return true;
}

TaskState TaskStore::StateOf(const Task& task, absl::Time now) const {
  if (task.set_by_hand) return *task.set_by_hand;
  TaskState state;
  for (const StatusStep& step : task.schedule->steps) {
    if (now - task.created_at < step.after) break;
    state.status = step.status;
  }
  if (state.status == "failed") {
    state.error = task.schedule->error;
    state.code = task.schedule->code;
  }
  return state;
}

absl::Time TaskStore::EndOf(const Task& task) const {
  for (const StatusStep& step : task.schedule->steps) {
    if (IsWebhookStatus(step.status)) return task.created_at + step.after;
  }
  return absl::InfiniteFuture();
}

HistoryPage TaskStore::History(const HistoryQuery& query, absl::Time now) const {
  HistoryPage page;
  const std::size_t first = (query.page - 1) * query.page_size;
  for (auto entry = by_creation_.rbegin(); entry != by_creation_.rend(); ++entry) {
    const Task& task = tasks_.at(entry->second);
    if (task.created_at < query.created_after) break;
    if (task.created_at > query.created_before || now - task.created_at < query.lag) continue;
    if (!query.model.empty() && task.model != query.model) continue;
    if (!query.status.empty() && StateOf(task, now).status != query.status) continue;
    if (page.total >= first && page.tasks.size() < query.page_size) page.tasks.push_back(&task);
    ++page.total;
  }
  return page;
}

std::size_t TaskStore::CreatedForPrompt(const std::string& prompt) const {
  const auto found = created_for_prompt_.find(prompt);
  return found == created_for_prompt_.end() ? 0 : found->second;
}

std::vector<std::string> TaskStore::Ids() const {
  std::vector<std::string> ids;
  for (const auto& [created_at, id] : by_creation_) {
    if (!tasks_.at(id).foreign) ids.push_back(id);
  }
  return ids;
}

}  // namespace dreamgate::simulator
