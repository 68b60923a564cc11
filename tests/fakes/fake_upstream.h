// Upstream under the test's control: every call waits until the test answers it, unless an automatic
// answer is set. Counts what was asked.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_UPSTREAM_H_
#define DREAMGATE_TESTS_FAKES_FAKE_UPSTREAM_H_

#include <cstddef>
#include <deque>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "server/core/ports.h"

namespace dreamgate::fakes {

// An accepted task, or what a GET of it shows.
inline core::TaskObservation Task(std::string id, core::State state, std::string raw_status = "") {
  core::TaskObservation task;
  task.upstream_id = std::move(id);
  task.state = state;
  if (raw_status.empty()) {
    raw_status = state == core::State::kCreated      ? "created"
                 : state == core::State::kProcessing ? "processing"
                 : state == core::State::kCompleted  ? "completed"
                                                     : "failed";
  }
  task.raw_status = std::move(raw_status);
  if (state == core::State::kCompleted) task.outputs = {{"https://cdn.test/video.mp4", false}};
  if (state == core::State::kFailed) {
    task.failure = core::Failure{core::FailureCode::kModerated, "flagged", 1200, false};
  }
  return task;
}

class FakeUpstream final : public core::Upstream {
 public:
  struct Create {
    core::CreateTaskRequest request;
    core::Completion<core::CreateOutcome> done;
  };
  struct Get {
    std::string upstream_id;
    core::Completion<core::PollOutcome> done;
  };

  explicit FakeUpstream(core::Executor& executor) : executor_(executor) {}

  // Answers without being asked each time. Empty: calls wait in `creates` and `gets`.
  absl::AnyInvocable<core::CreateOutcome(const core::CreateTaskRequest&)> answer_creates;
  absl::AnyInvocable<core::PollOutcome(const std::string& upstream_id)> answer_gets;
  // Empty: history cannot be read.
  absl::AnyInvocable<core::HistoryOutcome(const core::HistoryQuery&)> answer_lists;
  std::string key_fingerprint = "0123456789abcdef";

  std::deque<Create> creates;
  std::deque<Get> gets;
  int posts_counted = 0;
  int gets_counted = 0;
  int lists_counted = 0;

  // The process is gone, and with it whoever waits for an answer.
  void DropWaiting() {
    creates.clear();
    gets.clear();
  }

  // Answers the oldest waiting call, or that at `index`.
  void AnswerCreate(core::CreateOutcome outcome, size_t index = 0) {
    const auto create = creates.begin() + static_cast<std::ptrdiff_t>(index);
    auto done = std::move(create->done);
    creates.erase(create);
    executor_.Post([done = std::move(done), outcome = std::move(outcome)]() mutable {
      std::move(done)(std::move(outcome));
    });
  }
  void AnswerGet(core::PollOutcome outcome, size_t index = 0) {
    const auto get = gets.begin() + static_cast<std::ptrdiff_t>(index);
    auto done = std::move(get->done);
    gets.erase(get);
    executor_.Post([done = std::move(done), outcome = std::move(outcome)]() mutable {
      std::move(done)(std::move(outcome));
    });
  }

  void CreateTask(const core::CreateTaskRequest& request,
                  core::Completion<core::CreateOutcome> done) override {
    ++posts_counted;
    creates.push_back({request, std::move(done)});
    if (answer_creates) AnswerCreate(answer_creates(request), creates.size() - 1);
  }
  void GetTask(const std::string& upstream_id, core::Completion<core::PollOutcome> done) override {
    ++gets_counted;
    gets.push_back({upstream_id, std::move(done)});
    if (answer_gets) AnswerGet(answer_gets(upstream_id), gets.size() - 1);
  }
  void ListTasks(const core::HistoryQuery& query,
                 core::Completion<core::HistoryOutcome> done) override {
    ++lists_counted;
    core::HistoryOutcome outcome = core::HistoryFailed{503, "no history", std::nullopt};
    if (answer_lists) outcome = answer_lists(query);
    executor_.Post([done = std::move(done), outcome = std::move(outcome)]() mutable {
      std::move(done)(std::move(outcome));
    });
  }
  std::string KeyFingerprint() const override { return key_fingerprint; }

 private:
  core::Executor& executor_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_UPSTREAM_H_
