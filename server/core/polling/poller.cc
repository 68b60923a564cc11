#include "server/core/polling/poller.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/invariant.h"

namespace dreamgate::core {
namespace {

// Upstream in trouble: whatever has failed is polled again soon after the trouble has passed.
constexpr BackoffPolicy kBackoff = {absl::Seconds(2), absl::Seconds(20)};
// Trouble that only this task has.
constexpr BackoffPolicy kSlowBackoff = {absl::Seconds(2), absl::Minutes(1)};
// Retries are this share of the polls that would be made anyway, and so many at once.
constexpr double kRetryShare = 0.1;
constexpr double kRetryBurst = 10;
// Without a retry, the poll that comes next anyway is put off a little: the end of a
// video takes more than one poll to see while some fail, and all together shall not
// cost upstream more for that.
constexpr double kPutOff = 1.5;
// A poll that has been without an answer for so long gets company: upstream may be back, and it
// may never learn of that.
constexpr absl::Duration kPatience = absl::Seconds(10);
// A task that upstream says it does not know: how often and how long before we believe it. A poll
// counts only if some other GET has succeeded since the one before, so that an upstream which has
// forgotten everything for a while fails nothing.
constexpr int kNotFoundPolls = 5;
constexpr absl::Duration kNotFoundPeriod = absl::Hours(1);
constexpr absl::Duration kNotFoundInterval = absl::Minutes(5);

// A caller that has asked for the state counts as watching for so long.
constexpr absl::Duration kInterest = absl::Minutes(1);
// Polls per second while many are taken over or taken up again.
constexpr int kMostAtOnce = 200;

}  // namespace

Poller::Poller(const Ports& ports, const Options& options)
    : ports_(ports),
      options_(options),
      budget_(options.max_gets_per_second, options.most_gets_under_way, ports.random),
      planner_(ports, options, budget_),
      retry_budget_(kRetryShare, kRetryBurst) {}

Poller::~Poller() = default;

void Poller::Start() { planner_.Start(); }

// -------------------------------------------------------------------------------------- following

void Poller::Follow(const TaskKey& key, const FollowedTask& about, TaskObserver& observer) {
  const auto [position, is_new] = tasks_.try_emplace(key);
  Task& task = position->second;
  if (is_new) {
    task.about = about;
    task.observer = &observer;
  }
  if (task.polls_under_way > 0 || task.next || paused_) return;
  const absl::Time now = ports_.clock.Now();
  if (is_new && now - about.observed > options_.poll_min_interval) {  // taken over, or found
    ScheduleAt(key, task, now + SpreadDelay());
  } else {
    ScheduleNext(key, task);
  }
}

void Poller::Leave(const TaskKey& key) {
  budget_.Withdraw(key);
  tasks_.erase(key);
}

void Poller::SetInterest(const TaskKey& key, const Interest& interest) {
  Task* task = TaskOf(key);
  if (task == nullptr) return;
  const bool was_awaited = IsAwaited(*task);
  task->about.interest = interest;
  if (!was_awaited && IsAwaited(*task)) BringForward(key, *task);
}

void Poller::PollNow(const TaskKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr || task->polls_under_way > 0 || paused_) return;
  ScheduleAt(key, *task, ports_.clock.Now());
}

void Poller::OnWebhook(const TaskKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr) return;
  task->webhook_came = true;
  PollNow(key);
}

Poller::Task* Poller::TaskOf(const TaskKey& key) {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}

const Poller::Task* Poller::TaskOf(const TaskKey& key) const {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}

bool Poller::IsAwaited(const Task& task) const {
  const Interest& interest = task.about.interest;
  return interest.watched || ports_.clock.Now() - interest.asked_for < kInterest;
}

Heartbeat Poller::HeartbeatFor(const TaskKey& key) const {
  Heartbeat heartbeat;
  const Task* task = TaskOf(key);
  if (task == nullptr) return heartbeat;
  const absl::Time now = ports_.clock.Now();
  heartbeat.last_observed = task->about.observed;
  if (task->next) heartbeat.next_poll = std::max({*task->next, now, budget_.not_before()});
  const absl::Duration age = std::max(absl::ZeroDuration(), now - task->about.accepted);
  heartbeat.estimated_time_left = planner_.times().MedianTimeLeft(age);
  heartbeat.estimated_progress = planner_.times().Progress(age);
  return heartbeat;
}

// ---------------------------------------------------------------------------------------- polling

absl::Time Poller::NextDue(const Task& task, absl::Duration last_poll) {
  const absl::Time accepted = task.about.accepted;
  const absl::Duration age = std::max(absl::ZeroDuration(), ports_.clock.Now() - accepted);
  return accepted +
         planner_.NextPoll(age, last_poll, task.about.started, IsAwaited(task), tasks_.size());
}

void Poller::ScheduleNext(const TaskKey& key, Task& task) {
  ScheduleAt(key, task, NextDue(task, task.last_poll));
}

void Poller::BringForward(const TaskKey& key, Task& task) {
  if (!task.next || task.failures > 0) return;
  const absl::Time due = NextDue(task, task.last_poll);
  if (due < *task.next) ScheduleAt(key, task, due);
}

void Poller::ScheduleAt(const TaskKey& key, Task& task, absl::Time due) {
  task.next = due;
  budget_.Schedule(key, due, ports_.clock.Now());
  ArmTimer();
}

// For many that are due at once.
absl::Duration Poller::SpreadDelay() {
  const absl::Duration all = absl::Seconds(1) * static_cast<int64_t>(tasks_.size()) / kMostAtOnce;
  return UniformDelay(absl::ZeroDuration(), std::max(options_.poll_min_interval, all),
                      ports_.random);
}

void Poller::ArmTimer() {
  const absl::Time now = ports_.clock.Now();
  const std::optional<absl::Time> next = budget_.NextTime(now);
  if (timer_ != nullptr && next && next == armed_for_) return;
  timer_.reset();
  armed_for_ = next;
  if (!next) return;
  timer_ = ports_.timers.After(std::max(absl::ZeroDuration(), *next - now), [this] {
    timer_.reset();
    while (const std::optional<TaskKey> key = budget_.Take(ports_.clock.Now())) {
      if (const Task* task = TaskOf(*key); task != nullptr && !task->retry) {
        retry_budget_.OnFirstTry();
      }
      Poll(*key);
    }
    ArmTimer();
  });
}

void Poller::Poll(const TaskKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr) return;
  const absl::Time now = ports_.clock.Now();
  budget_.Withdraw(key);
  if (!paused_) budget_.Schedule(key, now + kPatience, now);  // forgotten when it is answered
  ++task->polls_under_way;
  task->next.reset();
  task->retry = false;
  DREAMGATE_FAILPOINT("track.before_poll");
  ports_.upstream.GetTask(
      key.upstream_id,
      lifeline_.Guard([this, key, sent = now, call = budget_.OnSent(now)](PollOutcome outcome) {
        TellBudget(call, outcome);
        OnAnswered(key, sent, std::move(outcome));
        ArmTimer();  // there is room for another
      }));
}

void Poller::TellBudget(CircuitBreaker::Call call, const PollOutcome& outcome) {
  const absl::Time now = ports_.clock.Now();
  const auto* failed = std::get_if<PollFailed>(&outcome);
  if (failed != nullptr && failed->problem == PollProblem::kRateLimited) {
    budget_.OnRateLimited(call, now, failed->retry_after);
  } else if (failed != nullptr && failed->problem == PollProblem::kTransient) {
    budget_.OnFailed(call, now, failed->retry_after);
  } else {
    budget_.OnServed(call, now);
  }
  const bool open = budget_.circuit() != CircuitBreaker::State::kClosed;
  if (std::exchange(circuit_reported_open_, open) != open) {
    ReportCircuit(ports_.events, "get", open, failed == nullptr ? "" : failed->message);
  }
}

void Poller::OnAnswered(const TaskKey& key, absl::Time sent, PollOutcome outcome) {
  Task* task = TaskOf(key);
  if (task != nullptr) {
    DREAMGATE_INVARIANT(task->polls_under_way > 0, "a poll that is answered was sent");
    --task->polls_under_way;
  }
  auto* observed = std::get_if<PollObserved>(&outcome);
  if (observed == nullptr) {
    const auto& failed = std::get<PollFailed>(outcome);
    // This poll has been given up: its company is in the queue, or has left and been answered.
    const bool given_up = ports_.clock.Now() - sent >= kPatience && budget_.Waits(key) && !paused_;
    if (failed.problem != PollProblem::kTransient || !given_up) OnFailed(key, failed);
    return;
  }
  Resume();
  if (task == nullptr) return;
  if (observed->task.upstream_id != key.upstream_id) {
    OnFailed(key, {PollProblem::kTransient, 200, "upstream answered with another task", {}});
    return;
  }
  OnSeen(key, *task, sent, observed->task);
}

void Poller::OnSeen(const TaskKey& key, Task& task, absl::Time sent, const TaskObservation& seen) {
  DREAMGATE_FAILPOINT("track.poll_answered");
  const absl::Time now = ports_.clock.Now();
  if (task.about.account_key == ports_.upstream.KeyFingerprint()) last_success_ = now;
  task.failures = 0;
  task.retry = false;
  task.not_found = 0;
  task.about.observed = now;
  if (IsTerminal(seen.state)) {
    LearnFrom(task, seen);
    task.observer->OnTaskSeen(key, seen);  // and leaves it, once that is durable
    return;
  }
  task.last_poll = std::max(task.last_poll, sent - task.about.accepted);
  task.about.started |= seen.state == State::kProcessing;
  const bool too_early = std::exchange(task.webhook_came, false);
  task.observer->OnTaskSeen(key, seen);
  Task* still_followed = TaskOf(key);
  if (still_followed == nullptr || still_followed->polls_under_way > 0) return;
  if (too_early) {  // the news of the webhook has not arrived there yet
    ScheduleAt(key, *still_followed, now + options_.poll_min_interval);
  } else {
    ScheduleNext(key, *still_followed);
  }
}

void Poller::OnFailed(const TaskKey& key, const PollFailed& failed) {
  ports_.events.Log(LogLevel::kDebug, "poll failed",
                    {{"prediction", key.prediction.second},
                     {"http_status", absl::StrCat(failed.http_status)},
                     {"problem", failed.message}});
  if (failed.problem == PollProblem::kCredentialsRejected || paused_) {
    Pause();  // or stay paused, and probe again, whatever became of the prediction probed with
    return;
  }
  const absl::Time now = ports_.clock.Now();
  Task* task = TaskOf(key);
  if (task == nullptr) return;

  absl::Duration delay = DelayAfter(failed, *task);
  if (failed.problem == PollProblem::kNotFound) {
    if (CountNotFound(*task)) {
      task->observer->OnTaskLost(key);
      return;
    }
    // Seldom in the long run, soon at first: a task may be new to the machine that answered.
    const absl::Duration unknown_for =
        task->not_found == 0 ? kNotFoundInterval : now - task->not_found_since;
    delay = std::max(delay, std::min(kNotFoundInterval, unknown_for));
  }
  ScheduleAt(key, *task,
             now + std::max({delay, options_.poll_min_interval,
                             failed.retry_after.value_or(absl::ZeroDuration())}));
}

absl::Duration Poller::DelayAfter(const PollFailed& failed, Task& task) {
  const int failures = task.failures++;
  // The task waits in the queue; the circuit says when a poll may go.
  if (budget_.circuit() != CircuitBreaker::State::kClosed) return absl::ZeroDuration();
  const BackoffPolicy& backoff =
      failed.problem == PollProblem::kTransient || failed.problem == PollProblem::kRateLimited
          ? kBackoff
          : kSlowBackoff;
  task.retry = retry_budget_.TrySpend();
  if (task.retry) return FullJitter(backoff, failures, ports_.random);
  // No retry, then, but the poll that would have come anyway.
  const absl::Time now = ports_.clock.Now();
  return std::min((NextDue(task, now - task.about.accepted) - now) * kPutOff,
                  UniformDelay(backoff.maximum / 2, backoff.maximum, ports_.random));
}

bool Poller::CountNotFound(Task& task) {
  const absl::Time now = ports_.clock.Now();
  if (task.about.account_key != ports_.upstream.KeyFingerprint()) {
    task.not_found = 0;  // another account's key does not know the task; that says nothing about it
    return false;
  }
  if (task.not_found == 0) task.not_found_since = now;
  if (task.not_found == 0 ||
      (now - task.not_found_latest >= kNotFoundInterval && last_success_ > task.not_found_latest)) {
    ++task.not_found;
    task.not_found_latest = now;
  }
  return task.not_found >= kNotFoundPolls && now - task.not_found_since >= kNotFoundPeriod;
}

void Poller::LearnFrom(const Task& task, const TaskObservation& end) {
  if (task.about.typical) {
    planner_.LearnEnd(task.last_poll, ports_.clock.Now() - task.about.accepted, end.inference_time);
  }
  if (!planner_.LearnWebhook(task.webhook_came)) return;
  for (auto& [key, other] : tasks_) BringForward(key, other);
}

// --------------------------------------------------------------------------- a key that is refused

void Poller::Pause() {
  if (!paused_) {
    paused_ = true;
    ports_.events.PollingPaused(true);
    ports_.events.Log(
        LogLevel::kError,
        "upstream refuses the API key or account while polling; polling pauses and probes",
        {{"probe_interval", absl::FormatDuration(options_.probe_interval)}});
    budget_.WithdrawAll();
    timer_.reset();
    for (auto& [key, task] : tasks_) task.next.reset();
  }
  if (probe_timer_ == nullptr) {
    probe_timer_ = ports_.timers.After(options_.probe_interval, [this] {
      probe_timer_.reset();
      Probe();
    });
  }
}

// One GET for all, of a different task each time: a single task that stays refused must not
// keep the others from being polled.
void Poller::Probe() {
  auto candidate = tasks_.upper_bound(last_probed_);
  for (size_t polled = 0; polled < tasks_.size(); ++polled, ++candidate) {
    if (candidate == tasks_.end()) candidate = tasks_.begin();
    if (candidate->second.polls_under_way > 0) continue;
    last_probed_ = candidate->first;
    Poll(last_probed_);
    return;
  }
  Resume();  // nobody left to ask with; the next poll will tell
}

void Poller::Resume() {
  if (!paused_) return;
  paused_ = false;
  ports_.events.PollingPaused(false);
  probe_timer_.reset();
  ports_.events.Log(LogLevel::kInfo, "polling resumes");
  const absl::Time now = ports_.clock.Now();
  for (auto& [key, task] : tasks_) {
    if (task.polls_under_way == 0) ScheduleAt(key, task, now + SpreadDelay());
  }
}

}  // namespace dreamgate::core
