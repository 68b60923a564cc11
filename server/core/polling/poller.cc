#include "server/core/polling/poller.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/gateway.h"

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

// Who asked for the state counts as watching for a while.
constexpr absl::Duration kInterest = absl::Minutes(1);
// While nobody waits, polls are this much rarer.
constexpr int kIdleFactor = 2;
// GETs a video while webhooks announce every end, the poll that each webhook brings not counted.
// A video is polled only when most would have ended.
constexpr double kNetGets = 1.2;
// So many ends in a row must have been announced before webhooks are relied on.
constexpr int kEndsToTrust = 3;
// The fewest that a schedule can be made for.
constexpr double kFewestGets = 1.1;

// Ends that are worth new schedules, while little is known.
constexpr double kEndsToRebuild = 3;
constexpr absl::Duration kSavePeriod = absl::Minutes(1);
// Polls per second while many are taken over or taken up again.
constexpr int kMostAtOnce = 200;
// While a limit or upstream's 429s hold polls back, schedules follow what can be borne.
constexpr absl::Duration kRebuildPeriod = absl::Seconds(10);

bool IsPolled(State state) { return state == State::kCreated || state == State::kProcessing; }

}  // namespace

Poller::Poller(const Ports& ports, const Options& options, PollObserver& observer)
    : ports_(ports),
      options_(options),
      observer_(observer),
      budget_(options.max_gets_per_second, ports.random),
      retry_budget_(kRetryShare, kRetryBurst) {}

Poller::~Poller() = default;

void Poller::Start() {
  ports_.ledger.Call(LoadLearnedRequest{options_.model},
                     lifeline_.Guard([this](absl::StatusOr<std::string> learned) {
                       if (!learned.ok())
                         return;  // nothing yet; or trouble, and it is learned anew
                       if (auto times = CompletionTimes::Parse(*learned)) {
                         times_ = *std::move(times);
                         ForgetSchedules();
                       }
                     }));
}

// -------------------------------------------------------------------------------------- following

void Poller::Follow(const std::shared_ptr<const Prediction>& current) {
  const PredictionKey key = KeyOf(*current);
  Task& task = tasks_[key];
  task.current = current;
  if (!IsPolled(current->state) || task.polls_under_way > 0 || task.next || paused_) return;
  const absl::Time now = ports_.clock.Now();
  if (!task.last_observed) {  // just accepted, or taken over from an earlier process
    const auto accepted =
        std::find_if(current->history.begin(), current->history.end(),
                     [](const HistoryEntry& entry) { return entry.state >= State::kCreated; });
    task.accepted = accepted->time;
    task.accepted_late = accepted->source != TransitionSource::kSubmitAnswer;
    task.last_observed = current->update_time;
    if (now - current->update_time > options_.poll_min_interval) {
      ScheduleAt(key, task, now + SpreadDelay());
      return;
    }
  }
  ScheduleNext(key, task);
}

void Poller::Leave(const PredictionKey& key) {
  budget_.Withdraw(key);
  tasks_.erase(key);
}

void Poller::SetWatched(const PredictionKey& key, bool watched) {
  Task* task = TaskOf(key);
  if (task == nullptr || task->watched == watched) return;
  task->watched = watched;
  if (watched) BringForward(key, *task);
}

void Poller::Touch(const PredictionKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr) return;
  const bool was_of_interest = IsOfInterest(*task);
  task->asked_for = ports_.clock.Now();
  if (!was_of_interest) BringForward(key, *task);
}

void Poller::PollNow(const PredictionKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr || task->polls_under_way > 0 || paused_ || !IsPolled(task->current->state)) {
    return;
  }
  ScheduleAt(key, *task, ports_.clock.Now());
}

void Poller::OnAnnounced(const PredictionKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr) return;
  task->announced = true;
  PollNow(key);
}

Poller::Task* Poller::TaskOf(const PredictionKey& key) {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}

const Poller::Task* Poller::TaskOf(const PredictionKey& key) const {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}

bool Poller::IsOfInterest(const Task& task) const {
  return task.watched || ports_.clock.Now() - task.asked_for < kInterest;
}

Heartbeat Poller::HeartbeatFor(const PredictionKey& key) const {
  Heartbeat heartbeat;
  heartbeat.prediction_id = key.second;
  const Task* task = TaskOf(key);
  if (task == nullptr) return heartbeat;
  heartbeat.last_observed = task->last_observed;
  if (task->next) {
    heartbeat.next_poll = std::max({*task->next, ports_.clock.Now(), budget_.not_before()});
  }
  if (IsPolled(task->current->state)) {
    const absl::Duration age = std::max(absl::ZeroDuration(), ports_.clock.Now() - task->accepted);
    heartbeat.estimated_time_left = times_.MedianTimeLeft(age);
    heartbeat.estimated_progress = times_.Progress(age);
  }
  return heartbeat;
}

// ---------------------------------------------------------------------------------------- polling

absl::Time Poller::NextDue(const Task& task, absl::Duration last_poll) {
  const absl::Duration age = std::max(absl::ZeroDuration(), ports_.clock.Now() - task.accepted);
  // The start is no news that is worth a poll while webhooks do the rest.
  const bool started = task.current->state == State::kProcessing || WebhooksAnnounce();
  return task.accepted + ScheduleFor(task).NextPoll(age, last_poll, started, ports_.random);
}

void Poller::ScheduleNext(const PredictionKey& key, Task& task) {
  ScheduleAt(key, task, NextDue(task, task.last_poll));
}

void Poller::BringForward(const PredictionKey& key, Task& task) {
  if (!task.next || task.failures > 0) return;
  const absl::Time due = NextDue(task, task.last_poll);
  if (due < *task.next) ScheduleAt(key, task, due);
}

void Poller::ScheduleAt(const PredictionKey& key, Task& task, absl::Time due) {
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
    while (const std::optional<PredictionKey> key = budget_.Take(ports_.clock.Now())) {
      if (const Task* task = TaskOf(*key); task != nullptr && !task->retry) {
        retry_budget_.OnFirstTry();
      }
      Poll(*key);
    }
    ArmTimer();
  });
}

void Poller::Poll(const PredictionKey& key) {
  Task* task = TaskOf(key);
  if (task == nullptr || !IsPolled(task->current->state)) return;
  const absl::Time now = ports_.clock.Now();
  budget_.Withdraw(key);
  if (!paused_) budget_.Schedule(key, now + kPatience, now);  // forgotten when it is answered
  ++task->polls_under_way;
  task->next.reset();
  task->retry = false;
  DREAMGATE_FAILPOINT("track.before_poll");
  ports_.upstream.GetTask(
      task->current->upstream_id,
      lifeline_.Guard([this, key, sent = now, call = budget_.OnSent(now)](PollOutcome outcome) {
        Judge(call, outcome);
        OnAnswered(key, sent, std::move(outcome));
        ArmTimer();  // there is room for another
      }));
}

void Poller::Judge(CircuitBreaker::Call call, const PollOutcome& outcome) {
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

void Poller::OnAnswered(const PredictionKey& key, absl::Time sent, PollOutcome outcome) {
  Task* task = TaskOf(key);
  if (task != nullptr) --task->polls_under_way;
  auto* observed = std::get_if<PollObserved>(&outcome);
  if (observed == nullptr) {
    const auto& failed = std::get<PollFailed>(outcome);
    // It has been given up: its company is in the queue, or has left and been answered.
    const bool given_up = ports_.clock.Now() - sent >= kPatience && budget_.Waits(key) && !paused_;
    if (failed.problem != PollProblem::kTransient || !given_up) OnFailed(key, failed);
    return;
  }
  Resume();
  if (task == nullptr) return;
  if (observed->task.upstream_id != task->current->upstream_id) {
    OnFailed(key, {PollProblem::kTransient, 200, "upstream answered with another task", {}});
    return;
  }
  OnSeen(key, *task, sent, observed->task);
}

void Poller::OnSeen(const PredictionKey& key, Task& task, absl::Time sent,
                    const TaskObservation& seen) {
  DREAMGATE_FAILPOINT("track.poll_answered");
  const absl::Time now = ports_.clock.Now();
  if (task.current->key_fingerprint == ports_.upstream.KeyFingerprint()) last_success_ = now;
  task.failures = 0;
  task.retry = false;
  task.not_found = 0;
  task.last_observed = now;
  if (IsTerminal(seen.state)) {
    Learn(task, seen);
  } else {
    task.last_poll = std::max(task.last_poll, sent - task.accepted);
    if (std::exchange(task.announced, false)) {
      ScheduleAt(key, task,
                 now + options_.poll_min_interval);  // the news has not arrived there yet
    } else {
      ScheduleNext(key, task);
    }
  }
  observer_.OnTaskSeen(key, seen);
}

void Poller::OnFailed(const PredictionKey& key, const PollFailed& failed) {
  ports_.events.Log(LogLevel::kDebug, "poll failed",
                    {{"prediction", key.second},
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
      observer_.OnTaskLost(key);
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
  // It waits in the queue; the circuit says when one may go.
  if (budget_.circuit() != CircuitBreaker::State::kClosed) return absl::ZeroDuration();
  const BackoffPolicy& backoff =
      failed.problem == PollProblem::kTransient || failed.problem == PollProblem::kRateLimited
          ? kBackoff
          : kSlowBackoff;
  task.retry = retry_budget_.TrySpend();
  if (task.retry) return FullJitter(backoff, failures, ports_.random);
  // No retry, then, but the poll that would have come anyway.
  const absl::Time now = ports_.clock.Now();
  return std::min((NextDue(task, now - task.accepted) - now) * kPutOff,
                  UniformDelay(backoff.maximum / 2, backoff.maximum, ports_.random));
}

bool Poller::CountNotFound(Task& task) {
  const absl::Time now = ports_.clock.Now();
  if (task.current->key_fingerprint != ports_.upstream.KeyFingerprint()) {
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

// One GET for all, of a different prediction each time: a single task that stays refused must not
// keep the others from being polled.
void Poller::Probe() {
  auto candidate = tasks_.upper_bound(last_probed_);
  for (size_t polled = 0; polled < tasks_.size(); ++polled, ++candidate) {
    if (candidate == tasks_.end()) candidate = tasks_.begin();
    if (!IsPolled(candidate->second.current->state) || candidate->second.polls_under_way > 0) {
      continue;
    }
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
    if (!IsPolled(task.current->state) || task.polls_under_way > 0) continue;
    ScheduleAt(key, task, now + SpreadDelay());
  }
}

// --------------------------------------------------------------------------------------- learning

void Poller::Learn(const Task& task, const TaskObservation& end) {
  SetTrust(task.announced);
  if (task.accepted_late) return;
  const absl::Duration found = ports_.clock.Now() - task.accepted;
  times_.Observe(ObservedCompletion(task.last_poll, std::max(task.last_poll, found),
                                    absl::ZeroDuration(), end.inference_time));
  ++unlearned_;
  SaveLater();
}

void Poller::SetTrust(bool announced) {
  if (!options_.webhooks_expected) return;
  const bool relied = WebhooksAnnounce();
  ends_announced_ = announced ? std::min(ends_announced_ + 1, kEndsToTrust) : 0;
  if (!relied || WebhooksAnnounce()) return;
  ports_.events.Log(LogLevel::kWarning, "a video ended without a webhook; polling at full speed");
  for (auto& [key, task] : tasks_) {
    BringForward(key, task);
  }
}

bool Poller::WebhooksAnnounce() const { return ends_announced_ >= kEndsToTrust; }

void Poller::SaveLater() {
  if (save_timer_ != nullptr) return;
  save_timer_ = ports_.timers.After(kSavePeriod, [this] {
    save_timer_.reset();
    // If it cannot be written, what the next end teaches is written with it.
    ports_.ledger.Call(SaveLearnedRequest{options_.model, times_.Serialize()},
                       [](const absl::StatusOr<Done>&) {});
  });
}

const PollSchedule& Poller::ScheduleFor(const Task& task) {
  const absl::Time now = ports_.clock.Now();
  const bool held_back = std::isfinite(budget_.rate(now));
  if (unlearned_ >= std::max(kEndsToRebuild, times_.weight() / 20) ||
      (held_back && now - built_ >= kRebuildPeriod)) {
    ForgetSchedules();
    built_ = now;
  }
  if (WebhooksAnnounce()) return Built(net_schedule_, kNetGets, 1);
  if (IsOfInterest(task)) return Built(watched_schedule_, options_.gets_per_video, 1);
  return Built(idle_schedule_, options_.gets_per_video / kIdleFactor, kIdleFactor);
}

void Poller::ForgetSchedules() {
  unlearned_ = 0;
  watched_schedule_.reset();
  idle_schedule_.reset();
  net_schedule_.reset();
}

const PollSchedule& Poller::Built(std::optional<PollSchedule>& schedule, double gets, int rarer) {
  if (!schedule) {
    const double bearable =
        budget_.SustainableGets(tasks_.size(), times_.Mean(), ports_.clock.Now());
    schedule.emplace(
        times_, PollLimits{std::max(kFewestGets, std::min(gets, bearable)),
                           rarer * options_.poll_min_interval, rarer * options_.poll_max_interval});
  }
  return *schedule;
}

}  // namespace dreamgate::core
