// A World whose upstream has an account: tasks that exist whatever the gateway knows of them, shown
// by history as well or as badly as the test wants, and by GETs until they end. One thread.
#ifndef DREAMGATE_TESTS_CORE_EVIDENCE_RECONCILER_WORLD_H_
#define DREAMGATE_TESTS_CORE_EVIDENCE_RECONCILER_WORLD_H_

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {

// The account's tasks, all of them, and how history shows them.
class Account {
 public:
  struct AccountTask {
    std::string upstream_id;
    TaskInput input;
    absl::Time created;  // true time, which is the gateway's
    absl::Time listed_from;
    std::string model;
    std::string listed_status = "created";
    bool input_shown = true;
  };

  explicit Account(World& world) : world_(world) {
    world.upstream.answer_lists = [this](const HistoryQuery& query) { return List(query); };
    world.upstream.answer_gets = [this](const std::string& id) { return Poll(id); };
  }

  // How history answers.
  bool inputs_shown = true;
  absl::Duration lag;           // before a task is listed
  absl::Duration clock_offset;  // upstream's clock minus ours
  bool dated = true;            // answers carry a Date
  size_t page_size = 100;
  bool endless = false;  // there is always another page
  std::optional<HistoryFailed> failure;
  std::optional<int> failing_page;
  // How GETs answer.
  absl::Duration duration = absl::Seconds(60);  // of making a video
  std::set<std::string> not_found;

  // The gateway's questions.
  std::vector<absl::Time> asked;  // times of first pages
  std::vector<HistoryQuery> queries;
  std::map<std::string, std::vector<absl::Time>> polls;  // GETs by task

  const std::vector<AccountTask>& tasks() const { return tasks_; }

  std::string Add(TaskInput input) {
    const std::string id = "task" + std::to_string(tasks_.size() + 1);
    tasks_.push_back({id, std::move(input), world_.time.Now(), world_.time.Now() + lag,
                      world_.options.model, "created", true});
    return id;
  }
  AccountTask& Find(const std::string& id) {
    return *std::find_if(tasks_.begin(), tasks_.end(),
                         [&id](const AccountTask& task) { return task.upstream_id == id; });
  }
  static std::string UrlOf(const std::string& id) { return "https://cdn.test/" + id + ".mp4"; }

 private:
  HistoryOutcome List(const HistoryQuery& query) {
    if (query.page == 1) asked.push_back(world_.time.Now());
    queries.push_back(query);
    if (failure) return *failure;
    if (failing_page == query.page) return HistoryFailed{503, "no", std::nullopt};
    std::vector<HistoryItem> items;
    for (auto task = tasks_.rbegin(); task != tasks_.rend(); ++task) {
      const absl::Time shown_time = task->created + clock_offset;
      if (shown_time < query.created_after || task->listed_from > world_.time.Now()) continue;
      HistoryItem item;
      item.upstream_id = task->upstream_id;
      item.model = task->model;
      item.raw_status = task->listed_status;
      if (task->listed_status == "processing") item.state = State::kProcessing;
      item.create_time = shown_time;
      if (inputs_shown && task->input_shown) item.input = task->input;
      items.push_back(std::move(item));
    }
    const size_t begin = std::min(items.size(), page_size * static_cast<size_t>(query.page - 1));
    const size_t end = std::min(items.size(), begin + page_size);
    HistoryPage page;
    page.more = endless || end < items.size();
    page.items.assign(items.begin() + static_cast<std::ptrdiff_t>(begin),
                      items.begin() + static_cast<std::ptrdiff_t>(end));
    if (dated) page.clock_offset = clock_offset;
    return page;
  }

  PollOutcome Poll(const std::string& id) {
    polls[id].push_back(world_.time.Now());
    const auto task =
        std::find_if(tasks_.begin(), tasks_.end(),
                     [&id](const AccountTask& candidate) { return candidate.upstream_id == id; });
    if (task == tasks_.end() || not_found.contains(id)) return Fails(PollProblem::kNotFound, 404);
    if (world_.time.Now() < task->created + duration) return Shows(id, State::kProcessing);
    TaskObservation done = fakes::Task(id, State::kCompleted);
    done.outputs = {{UrlOf(id), false}};
    return PollObserved{std::move(done)};
  }

  World& world_;
  std::vector<AccountTask> tasks_;
};

class ReconcilerWorld : public World {
 public:
  explicit ReconcilerWorld(Options given = {}, uint64_t seed = 1) : World(std::move(given), seed) {
    time.RunDue();
  }

  // With a seed of the caller's.
  std::shared_ptr<Call> SubmitSeeded(const std::string& request_id, const std::string& prompt,
                                     int32_t seed) {
    auto call = std::make_shared<Call>();
    call->request_id = request_id;
    calls.push_back(call);
    SubmitRequest request;
    request.tenant = kTenant;
    request.request_id = request_id;
    request.input.prompt = prompt;
    request.input.seed = seed;
    gateway->Submit(std::move(request), [call](absl::StatusOr<SubmitAnswer> answer) {
      ++call->answers;
      call->result = std::move(answer);
    });
    time.RunDue();
    return call;
  }

  // Upstream creates the task of the POST that waits at `index`, whatever it answers.
  std::string MakeTask(size_t index = 0) {
    const CreateTaskRequest& request = upstream.creates.at(index).request;
    return account.Add(
        {request.prompt, std::string(AspectRatioText(request.aspect_ratio)), request.seed});
  }
  // Upstream creates the task and answers so.
  std::string MakeAndAccept(size_t index = 0) {
    std::string id = MakeTask(index);
    Answer(Accepted(id), index);
    return id;
  }
  // A prediction that is UNRESOLVED because the answer to its POST was lost. `upstream_id`: the
  // task that was created all the same; empty: none was.
  struct LostSubmission {
    std::string id;
    std::string upstream_id;
    std::string token;
  };
  LostSubmission Lose(const std::string& request_id, bool created = true,
                      const std::string& prompt = "a cat",
                      std::optional<int32_t> seed = std::nullopt) {
    const auto call = seed ? SubmitSeeded(request_id, prompt, *seed) : Submit(request_id, prompt);
    LostSubmission lost;
    const size_t index = upstream.creates.size() - 1;
    lost.token = upstream.creates.at(index).request.attempt_token;
    if (created) lost.upstream_id = MakeTask(index);
    Answer(Unknown(), index);
    EXPECT_TRUE(call->result.ok()) << call->result.status();
    EXPECT_EQ(call->state(), State::kUnresolved);
    lost.id = call->id();
    return lost;
  }

  // As the ledger has it, without asking the gateway (which would count as interest in it).
  Prediction Durable(const std::string& id) const { return *ledger.Find(kTenant, id); }
  bool Reaches(const std::string& id, State state, absl::Duration limit) {
    return time.AdvanceUntil([this, &id, state] { return Durable(id).state == state; }, limit);
  }
  bool Ends(const std::string& id, absl::Duration limit = absl::Minutes(30)) {
    const bool ended =
        time.AdvanceUntil([this, &id] { return IsTerminal(Durable(id).state); }, limit);
    time.RunDue();  // the gateway knows of it as well
    return ended;
  }
  std::optional<FailureCode> FailureOf(const std::string& id) const {
    const auto failure = Durable(id).failure;
    return failure ? std::optional(failure->code) : std::nullopt;
  }
  std::optional<AttemptResult> ResultOf(const std::string& id, int attempt = 1) const {
    for (const StoredAttempt& stored : ledger.Attempts()) {
      if (stored.prediction_id == id && stored.attempt.number == attempt) return stored.result;
    }
    ADD_FAILURE() << "no attempt " << attempt << " of " << id;
    return std::nullopt;
  }

  // The answer to a webhook.
  struct WebhookAnswer {
    int answers = 0;
    absl::Status status = absl::UnknownError("not answered");
  };
  std::shared_ptr<WebhookAnswer> WebhookLater(const std::string& token,
                                              const std::string& upstream_id) {
    auto answer = std::make_shared<WebhookAnswer>();
    gateway->OnWebhook(token, upstream_id, [answer](absl::Status status) {
      ++answer->answers;
      answer->status = std::move(status);
    });
    return answer;
  }
  absl::Status Webhook(const std::string& token, const std::string& upstream_id) {
    const auto answer = WebhookLater(token, upstream_id);
    time.RunDue();
    EXPECT_EQ(answer->answers, 1);
    return answer->status;
  }

  // Every task of the account is the task of a prediction or an orphan that was polled to its
  // end, and its video is kept. `except`: foreign ones, and what nobody could tell apart.
  void ExpectNothingLost(const std::set<std::string>& except = {}) {
    for (const Account::AccountTask& task : account.tasks()) {
      if (except.contains(task.upstream_id)) continue;
      int owners = 0;
      bool video_kept = false;
      const Output video{Account::UrlOf(task.upstream_id), false};
      for (const StoredAttempt& attempt : ledger.Attempts()) {
        if (attempt.upstream_id == task.upstream_id) ++owners;
      }
      for (const auto& [id, record] : ledger.orphans()) {
        if (id == task.upstream_id) {
          EXPECT_TRUE(record.ended) << id << " is still polled";
          // One that an attempt with a task of its own has created is kept beside that.
          owners = std::max(owners, 1);
        }
        video_kept = video_kept || std::count(record.outputs.begin(), record.outputs.end(), video);
      }
      for (const auto& prediction : ledger.All()) {
        video_kept = video_kept ||
                     std::count(prediction->outputs.begin(), prediction->outputs.end(), video) > 0;
      }
      EXPECT_EQ(owners, 1) << task.upstream_id;
      EXPECT_TRUE(video_kept) << task.upstream_id;
    }
  }

  Account account{*this};
};

// Well within this, history has been asked once more after something has changed.
constexpr absl::Duration kSoon = absl::Minutes(2);

// Within this, also what has been given up has been asked for once more.
constexpr absl::Duration kWithinTheHour = absl::Minutes(70);

inline Options WithResend(int times = 1) {
  Options options;
  options.resend_after_absence = times;
  return options;
}

inline Output VideoOf(const std::string& upstream_id) {
  return {Account::UrlOf(upstream_id), false};
}

}  // namespace dreamgate::core

#endif  // DREAMGATE_TESTS_CORE_EVIDENCE_RECONCILER_WORLD_H_
