// Polls upstream's tasks until they end, the predictions' own and the orphans: in which order, and
// what the answers mean. One poll at a time for each task, however many watch; another goes beside
// it only when it has been without an answer for long. When each is due says PollPlanner; what may
// go out says PollBudget, for all together. Owned by Gateway, loop only.
#ifndef DREAMGATE_SERVER_CORE_POLLING_POLLER_H_
#define DREAMGATE_SERVER_CORE_POLLING_POLLER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/circuit_breaker.h"
#include "server/core/polling/poll_budget.h"
#include "server/core/polling/poll_planner.h"
#include "server/core/polling/task_key.h"
#include "server/core/ports.h"
#include "server/core/retry.h"

namespace dreamgate::core {

// Told of what the polls of a task show. May call back into the Poller.
class TaskObserver {
 public:
  virtual ~TaskObserver() = default;
  // The task, in whatever state.
  virtual void OnTaskSeen(const TaskKey& key, const TaskObservation& task) = 0;
  // Upstream has said long enough that it does not know the task.
  virtual void OnTaskLost(const TaskKey& key) = 0;
};

// The interest that callers take in a task.
struct Interest {
  bool watched = false;
  absl::Time asked_for = absl::InfinitePast();  // latest; as good as a watcher for a while
};

// A task as it is known when it begins to be followed.
struct FollowedTask {
  absl::Time accepted;      // ages count from here
  bool typical = true;      // false: what its age is counted from says nothing of others
  bool started = false;     // it is processing
  absl::Time observed;      // the state that is known; if long ago, it is polled soon
  std::string account_key;  // fingerprint of the key that knows it; empty: not known
  Interest interest;
};

class Poller {
 public:
  // Borrows both.
  Poller(const Ports& ports, const Options& options);
  ~Poller();

  // Reads what earlier processes have learned.
  void Start();

  // Polls the task until Leave. Harmless if it is followed already: a task whose end was seen and
  // could not be recorded is then polled again. `observer` outlives this.
  void Follow(const TaskKey& key, const FollowedTask& task, TaskObserver& observer);
  void Leave(const TaskKey& key);

  void SetInterest(const TaskKey& key, const Interest& interest);
  void PollNow(const TaskKey& key);
  // A webhook tells of news: polls at once, and takes note that webhooks come.
  void OnWebhook(const TaskKey& key);

  bool follows(const TaskKey& key) const { return tasks_.contains(key); }
  // When it was and will be polled, and when it may end; empty if it is not followed.
  Heartbeat HeartbeatFor(const TaskKey& key) const;
  bool paused() const { return paused_; }
  CircuitBreaker::State circuit() const { return budget_.circuit(); }

 private:
  struct Task {
    FollowedTask about;
    TaskObserver* observer = nullptr;
    bool webhook_came = false;  // since the poll before

    int polls_under_way = 0;
    absl::Duration last_poll;  // age at the latest poll that found it running
    int failures = 0;
    bool retry = false;  // the next poll is paid for by the retry budget
    int not_found = 0;   // polls that count, see kNotFoundPolls
    absl::Time not_found_since;
    absl::Time not_found_latest;
    std::optional<absl::Time> next;
  };

  Task* TaskOf(const TaskKey& key);
  const Task* TaskOf(const TaskKey& key) const;
  bool IsAwaited(const Task& task) const;

  // Where the plan wants the next poll, if the one before was at this age.
  absl::Time NextDue(const Task& task, absl::Duration last_poll);
  // Ask the budget for a poll there; or there if that is sooner than what was asked for; or then.
  void ScheduleNext(const TaskKey& key, Task& task);
  void BringForward(const TaskKey& key, Task& task);
  void ScheduleAt(const TaskKey& key, Task& task, absl::Time due);
  absl::Duration SpreadDelay();
  void ArmTimer();
  void Poll(const TaskKey& key);

  // A poll that left at `sent` has been answered.
  void OnAnswered(const TaskKey& key, absl::Time sent, PollOutcome outcome);
  void OnSeen(const TaskKey& key, Task& task, absl::Time sent, const TaskObservation& seen);
  void OnFailed(const TaskKey& key, const PollFailed& failed);
  // When to poll again after a failure; whatever upstream's circuit makes of that.
  absl::Duration DelayAfter(const PollFailed& failed, Task& task);
  // Tells the budget, and through it the circuit, what a poll came to.
  void TellBudget(CircuitBreaker::Call call, const PollOutcome& outcome);
  // True: it counts as lost now.
  bool CountNotFound(Task& task);
  // An end teaches how long videos take, and whether webhooks can be relied on.
  void LearnFrom(const Task& task, const TaskObservation& end);

  void Pause();
  void Probe();
  void Resume();

  const Ports& ports_;
  const Options& options_;

  // Ordered, so that nothing depends on hash order.
  std::map<TaskKey, Task> tasks_;
  PollBudget budget_;
  PollPlanner planner_;
  RetryBudget retry_budget_;
  bool circuit_reported_open_ = false;
  std::unique_ptr<Timers::Timer> timer_;
  std::optional<absl::Time> armed_for_;
  std::optional<absl::Time> last_success_;  // with the key that the task was made with

  bool paused_ = false;
  TaskKey last_probed_;
  std::unique_ptr<Timers::Timer> probe_timer_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_POLLER_H_
