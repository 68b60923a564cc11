#include "tests/simulation/model_upstream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/core/options.h"

namespace dreamgate::simulation {
namespace {

using core::FailureCode;
using core::State;

// As upstream's client: then it closes the socket and has no answer.
constexpr absl::Duration kLongestWait = absl::Minutes(5);

core::TaskObservation Ended(State state, std::string raw_status) {
  core::TaskObservation end;
  end.state = state;
  end.raw_status = std::move(raw_status);
  return end;
}

core::TaskObservation FailedWith(FailureCode code, int upstream_code, std::string raw_status) {
  core::TaskObservation end = Ended(State::kFailed, std::move(raw_status));
  end.failure = core::Failure{code, "upstream's own words", upstream_code, upstream_code >= 5000};
  return end;
}

core::TaskObservation DrawEnd(Chance& chance, const std::string& id) {
  switch (chance.Weighted<int>({{75, 0}, {5, 1}, {4, 2}, {4, 3}, {4, 4}, {4, 5}, {4, 6}})) {
    case 1: return FailedWith(FailureCode::kModerated, 1200, "failed");
    case 2: return FailedWith(FailureCode::kUpstreamInternal, 5000, "failed");
    case 3: return FailedWith(FailureCode::kNoOutput, 0, "completed");  // without outputs
    case 4: return Ended(State::kCancelled, "cancelled");
    case 5: return Ended(State::kTimedOut, "timeout");
    case 6: return Ended(State::kDeleted, "deleted");
    default: break;
  }
  core::TaskObservation end = Ended(State::kCompleted, "completed");
  end.outputs.push_back({absl::StrCat("https://cdn.test/", id, ".mp4"), std::nullopt});
  if (chance.Percent(50)) end.outputs[0].has_nsfw_content = chance.Percent(10);
  end.inference_time = absl::Milliseconds(chance.Between(1'000, 250'000));
  return end;
}

}  // namespace

core::TaskInput InputOf(const ModelTask& task) {
  return {task.input.prompt, std::string(core::AspectRatioText(task.input.aspect_ratio)),
          task.input.seed};
}

std::string ModelUpstream::FingerprintOf(int account) {
  return account == 0 ? "0123456789abcdef" : "fedcba9876543210";
}

void ModelUpstream::ForgetCallers() {
  creates_.clear();
  gets_waiting_.clear();
  lists_waiting_.clear();
  first_post_of_process_ = posts_ + 1;
}

// ----------------------------------------------------------------------------------------------- POST

ModelUpstream::Fate ModelUpstream::DrawFate() {
  if (weather_.unreachable) return Fate::kNotSent;
  if (weather_.refuses_the_key) return Fate::kRejected;
  if (!chance_.Percent(weather_.post_trouble_percent)) return Fate::kAccepted;
  return chance_.Weighted<Fate>({{4, Fate::kRejected},
                                 {3, Fate::kNotSent},
                                 {2, Fate::kServerErrorBefore},
                                 {2, Fate::kServerErrorAfter},
                                 {2, Fate::kLostBefore},
                                 {3, Fate::kLostAfter}});
}

absl::Duration ModelUpstream::DrawAnswerDelay() {
  if (weather_.answers_late) return chance_.Spread(absl::Seconds(30), absl::Minutes(4));
  switch (chance_.Weighted<int>({{70, 0}, {15, 1}, {10, 2}, {3, 3}, {2, 4}})) {
    case 1: return chance_.Spread(absl::Seconds(2), absl::Seconds(29));
    case 2: return chance_.Spread(absl::Seconds(30), absl::Minutes(4));
    case 3: return absl::Seconds(30) + absl::Milliseconds(chance_.Between(-2, 2));
    case 4: return absl::Minutes(6);  // never received
    default: return chance_.Spread(absl::Milliseconds(1), absl::Seconds(2));
  }
}

core::CreateRejected ModelUpstream::DrawRejection() {
  using core::Reason;
  core::CreateRejected rejected;
  const auto [status, reason] = weather_.refuses_the_key
                                    ? std::pair(401, Reason::kUpstreamCredentialsRejected)
                                    : chance_.Weighted<std::pair<int, Reason>>(
                                          {{5, {400, Reason::kUpstreamRejected}},
                                           {2, {422, Reason::kUpstreamRejected}},
                                           {1, {401, Reason::kUpstreamCredentialsRejected}},
                                           {1, {403, Reason::kUpstreamCredentialsRejected}},
                                           {2, {402, Reason::kUpstreamBalanceExhausted}},
                                           {1, {404, Reason::kUpstreamModelUnavailable}},
                                           {4, {429, Reason::kUpstreamRateLimited}},
                                           {1, {302, Reason::kUpstreamMisconfigured}},
                                           {1, {413, Reason::kUpstreamRejected}}});
  rejected.http_status = status;
  rejected.reason = reason;
  rejected.message = absl::StrCat("no: ", status);
  if (status == 429 && chance_.Percent(50)) {
    rejected.retry_after = absl::Seconds(chance_.Between(1, 60));
  }
  return rejected;
}

void ModelUpstream::CreateTask(const core::CreateTaskRequest& request,
                               core::Completion<core::CreateOutcome> done) {
  const int64_t number = ++posts_;
  creates_[number] = std::move(done);
  observer_.OnPost(number, request);

  const Fate fate = DrawFate();
  if (fate != Fate::kAccepted) ++faults_;
  const absl::Duration answer_delay = DrawAnswerDelay();
  const auto answer = [this, number](absl::Duration delay, core::CreateOutcome outcome) {
    if (delay > kLongestWait) {
      delay = kLongestWait;
      outcome = core::CreateUnknown{"no answer"};
    }
    agenda_.Later(delay, [this, number, outcome = std::move(outcome)]() mutable {
      AnswerCreate(number, std::move(outcome));
    });
  };
  switch (fate) {
    case Fate::kNotSent:
      answer(chance_.Spread(absl::Milliseconds(1), absl::Seconds(12)),
             core::CreateNotSent{"connection refused"});
      return;
    case Fate::kRejected: answer(answer_delay, DrawRejection()); return;
    case Fate::kServerErrorBefore: answer(answer_delay, core::CreateUnknown{"503"}); return;
    case Fate::kLostBefore: answer(answer_delay, core::CreateUnknown{"connection reset"}); return;
    case Fate::kAccepted:
    case Fate::kServerErrorAfter:
    case Fate::kLostAfter: break;
  }

  // The task comes into being some time before the answer leaves; if the connection is lost, perhaps
  // only afterwards.
  absl::Duration creation_delay = answer_delay * chance_.Fraction();
  if (fate == Fate::kLostAfter && chance_.Percent(30)) creation_delay += absl::Minutes(2);
  ++arriving_;
  agenda_.Later(creation_delay, [this, number, account = account_, request, fate, answer,
                                 creation_delay, answer_delay] {
    --arriving_;
    // If the process is gone meanwhile, the last bytes of its POST may have gone with it.
    if (number < first_post_of_process_ && chance_.Percent(50)) return;
    const ModelTask& task = CreateTaskNow(number, account, request);
    if (fate != Fate::kAccepted) return;
    answer(answer_delay - creation_delay, core::CreateAccepted{Show(task, task.create_time)});
  });
  if (fate == Fate::kServerErrorAfter) answer(answer_delay, core::CreateUnknown{"502"});
  if (fate == Fate::kLostAfter) answer(answer_delay, core::CreateUnknown{"connection reset"});
}

void ModelUpstream::AnswerCreate(int64_t number, core::CreateOutcome outcome) {
  auto waiting = creates_.extract(number);
  if (waiting.empty()) return;  // its process is gone
  PostAnswer answer = PostAnswer::kUnknown;
  int http_status = 0;
  if (std::holds_alternative<core::CreateAccepted>(outcome)) answer = PostAnswer::kAccepted;
  if (std::holds_alternative<core::CreateNotSent>(outcome)) answer = PostAnswer::kNotSent;
  if (const auto* rejected = std::get_if<core::CreateRejected>(&outcome)) {
    answer = PostAnswer::kRejected;
    http_status = rejected->http_status;
  }
  if (answer == PostAnswer::kUnknown) ++ambiguous_answers_;
  observer_.OnPostAnswered(number, answer, http_status);
  std::move(waiting.mapped())(std::move(outcome));
}

ModelTask& ModelUpstream::AddTask(int account, const core::CreateTaskRequest& request,
                                  absl::string_view model) {
  ModelTask task;
  task.id = absl::StrFormat("task-%04d", static_cast<int>(tasks_.size()) + 1);
  task.account = account;
  task.model = std::string(model);
  task.input = request;
  task.create_time = absl::FromUnixNanos(absl::ToUnixNanos(world_.Now()));
  // One in twenty has nothing to do and is answered as it ended.
  const absl::Duration length = chance_.Percent(5)
                                    ? absl::ZeroDuration()
                                    : chance_.Spread(absl::Seconds(2), absl::Minutes(10));
  task.start_time = task.create_time;
  if (chance_.Percent(90)) task.start_time += length * chance_.Fraction();
  task.end_time = task.create_time + length;
  task.forgotten_time = absl::InfiniteFuture();
  const int oddity = chance_.Weighted<int>({{96, 0}, {2, 1}, {2, 2}});
  if (oddity == 1) task.end_time = absl::InfiniteFuture();
  if (oddity == 2) task.forgotten_time = task.create_time + length * chance_.Fraction();
  task.end = DrawEnd(chance_, task.id);
  task.created_status =
      chance_.Weighted<const char*>({{8, "created"}, {1, "pending"}, {1, "queued"}});
  task.processing_status = chance_.Weighted<const char*>({{8, "processing"}, {2, "upscaling"}});
  task.listed_time = task.create_time + manners_.lag;
  if (manners_.lag_kind == HistoryManners::Lag::kPerTask) {
    task.listed_time = task.create_time + manners_.lag * chance_.Fraction();
  }
  task.listed_with_input = chance_.Percent(manners_.input_percent);
  return tasks_[task.id] = std::move(task);
}

void ModelUpstream::AddForeignTask(const core::CreateTaskRequest& input, absl::string_view model) {
  AddTask(account_, input, model);
}

const ModelTask& ModelUpstream::CreateTaskNow(int64_t post, int account,
                                              const core::CreateTaskRequest& request) {
  ModelTask& created = AddTask(account, request, core::Options().model);
  created.post = post;
  ++tasks_created_;
  observer_.OnTaskCreated(post, created);
  return created;
}

// ------------------------------------------------------------------------------------------------ GET

core::TaskObservation ModelUpstream::Show(const ModelTask& task, absl::Time as_of) const {
  core::TaskObservation shown;
  if (as_of >= task.end_time) {
    shown = task.end;
  } else if (as_of >= task.start_time) {
    shown = Ended(State::kProcessing, task.processing_status);
  } else {
    shown = Ended(State::kCreated, task.created_status);
  }
  shown.upstream_id = task.id;
  shown.create_time = task.create_time + manners_.clock_offset;
  return shown;
}

core::PollOutcome ModelUpstream::AnswerTo(const std::string& upstream_id) {
  const absl::Time now = world_.Now();
  const ModelTask* task = FindTask(upstream_id);
  if (weather_.refuses_the_key) {
    return core::PollFailed{core::PollProblem::kCredentialsRejected, 401, "bad key", {}};
  }
  if (weather_.unreachable) {
    return core::PollFailed{core::PollProblem::kTransient, 0, "connection refused", {}};
  }
  if (task == nullptr || now >= task->forgotten_time || task->account != account_) {
    return core::PollFailed{core::PollProblem::kNotFound, 404, "no such task", {}};
  }
  if (chance_.Percent(weather_.get_trouble_percent)) {
    ++faults_;
    return DrawGetTrouble(upstream_id);
  }
  return core::PollObserved{Show(*task, now)};
}

core::PollOutcome ModelUpstream::DrawGetTrouble(const std::string& upstream_id) {
  using core::PollProblem;
  const ModelTask& task = *FindTask(upstream_id);
  switch (chance_.Weighted<int>({{6, 0}, {3, 1}, {2, 2}, {1, 3}, {1, 4}, {5, 5}, {1, 6}})) {
    case 0: return core::PollFailed{PollProblem::kTransient, 502, "bad gateway", {}};
    case 1: {
      std::optional<absl::Duration> retry_after;
      if (chance_.Percent(50)) retry_after = absl::Seconds(chance_.Between(1, 90));
      return core::PollFailed{PollProblem::kRateLimited, 429, "slow down", retry_after};
    }
    case 2: return core::PollFailed{PollProblem::kNotFound, 404, "not here yet", {}};
    case 3: return core::PollFailed{PollProblem::kRefused, 418, "no", {}};
    case 4: return core::PollFailed{PollProblem::kCredentialsRejected, 403, "no", {}};
    case 5:  // an older answer, late
      return core::PollObserved{
          Show(task, world_.Now() - chance_.Spread(absl::Seconds(1), absl::Minutes(2)))};
    default: {
      core::TaskObservation another = Show(task, world_.Now());
      another.upstream_id = "task-of-somebody-else";
      return core::PollObserved{std::move(another)};
    }
  }
}

void ModelUpstream::GetTask(const std::string& upstream_id,
                            core::Completion<core::PollOutcome> done) {
  const int64_t number = ++gets_;
  gets_waiting_[number] = std::move(done);
  // The answer is what upstream knew when it was asked; or when it answered.
  std::optional<core::PollOutcome> answer;
  if (chance_.Percent(50)) answer = AnswerTo(upstream_id);
  const absl::Duration delay = chance_.Percent(95)
                                   ? chance_.Spread(absl::Milliseconds(5), absl::Seconds(2))
                                   : chance_.Spread(absl::Seconds(2), absl::Seconds(30));
  agenda_.Later(delay, [this, number, upstream_id, answer = std::move(answer)]() mutable {
    auto waiting = gets_waiting_.extract(number);
    if (waiting.empty()) return;  // its process is gone
    if (!answer) answer = AnswerTo(upstream_id);
    std::move(waiting.mapped())(*std::move(answer));
  });
}

// ---------------------------------------------------------------------------------------------- facts

const ModelTask* ModelUpstream::FindTask(const std::string& upstream_id) const {
  const auto found = tasks_.find(upstream_id);
  return found == tasks_.end() ? nullptr : &found->second;
}

}  // namespace dreamgate::simulation
