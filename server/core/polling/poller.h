// Polls upstream's tasks until they end: when, in which order, and what the answers mean. One
// poll at a time for each prediction, however many watch; another goes beside it only when it has
// been without an answer for long.
//
// Polls are placed by what has been learned of how long videos take (completion_times,
// poll_schedule), at half the cost while nobody watches, and share one budget (poll_budget). While
// webhooks announce every end, a rare poll is a safety net, and the first end that no webhook has
// announced brings back full speed for all. Owned by Tracker, loop only.
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
#include "server/core/polling/completion_times.h"
#include "server/core/polling/poll_budget.h"
#include "server/core/polling/poll_schedule.h"
#include "server/core/ports.h"
#include "server/core/retry.h"

namespace dreamgate::core {

struct Ports;

// Told of what the polls show. Implemented by Tracker; may call back into the Poller.
class PollObserver {
 public:
  virtual ~PollObserver() = default;
  // The prediction's own task, in whatever state.
  virtual void OnTaskSeen(const PredictionKey& key, const TaskObservation& task) = 0;
  // Upstream has said long enough that it does not know the task.
  virtual void OnTaskLost(const PredictionKey& key) = 0;
};

class Poller {
 public:
  Poller(const Ports& ports, const Options& options, PollObserver& observer);
  ~Poller();

  // Reads what earlier processes have learned.
  void Start();

  // As of now; polled while it is CREATED or PROCESSING. Again after every transition.
  void Follow(const std::shared_ptr<const Prediction>& current);
  // It needs no poll any more.
  void Leave(const PredictionKey& key);

  // Somebody begins, or the last one ceases, to watch.
  void SetWatched(const PredictionKey& key, bool watched);
  // Somebody has asked for the state: for a while as good as a watcher.
  void Touch(const PredictionKey& key);
  void PollNow(const PredictionKey& key);
  // A webhook tells of news: poll at once, and know that webhooks come.
  void OnAnnounced(const PredictionKey& key);

  // What is known of the polls of it, and when it may end.
  Heartbeat HeartbeatFor(const PredictionKey& key) const;
  bool paused() const { return paused_; }
  CircuitBreaker::State circuit() const { return budget_.circuit(); }

 private:
  struct Task {
    std::shared_ptr<const Prediction> current;
    absl::Time accepted;         // ages count from here
    bool accepted_late = false;  // found by evidence: its age says nothing of others
    bool watched = false;
    absl::Time asked_for = absl::InfinitePast();
    bool announced = false;  // by a webhook, since the poll before

    int polls_under_way = 0;
    absl::Duration last_poll;  // age at the latest poll that found it running
    int failures = 0;
    bool retry = false;  // the next poll is paid for by the retry budget
    int not_found = 0;   // polls that count, see kNotFoundPolls
    absl::Time not_found_since;
    absl::Time not_found_latest;
    std::optional<absl::Time> last_observed;
    std::optional<absl::Time> next;
  };

  Task* TaskOf(const PredictionKey& key);
  const Task* TaskOf(const PredictionKey& key) const;
  bool IsOfInterest(const Task& task) const;

  // Where the schedule wants the next poll, if the one before was at this age.
  absl::Time NextDue(const Task& task, absl::Duration last_poll);
  // Ask the budget for a poll there; or there if that is sooner than what was asked for; or then.
  void ScheduleNext(const PredictionKey& key, Task& task);
  void BringForward(const PredictionKey& key, Task& task);
  void ScheduleAt(const PredictionKey& key, Task& task, absl::Time due);
  absl::Duration SpreadDelay();
  void ArmTimer();
  void Poll(const PredictionKey& key);

  // A poll that left at `sent` has been answered.
  void OnAnswered(const PredictionKey& key, absl::Time sent, PollOutcome outcome);
  void OnSeen(const PredictionKey& key, Task& task, absl::Time sent, const TaskObservation& seen);
  void OnFailed(const PredictionKey& key, const PollFailed& failed);
  // When to poll again after a failure; whatever upstream's circuit makes of that.
  absl::Duration DelayAfter(const PollFailed& failed, Task& task);
  // Tells the budget, and through it the circuit, what a poll came to.
  void Judge(CircuitBreaker::Call call, const PollOutcome& outcome);
  // True: it counts as lost now.
  bool CountNotFound(Task& task);

  void Pause();
  void Probe();
  void Resume();

  // What an end teaches: how long videos take, and whether webhooks can be relied on.
  void Learn(const Task& task, const TaskObservation& end);
  void SetTrust(bool announced);
  bool WebhooksAnnounce() const;
  void SaveLater();
  const PollSchedule& ScheduleFor(const Task& task);
  void ForgetSchedules();
  // The schedule, made if there is none: for so many GETs a video, with bounds so much wider.
  const PollSchedule& Built(std::optional<PollSchedule>& schedule, double gets, int rarer);

  const Ports& ports_;
  const Options& options_;
  PollObserver& observer_;

  // Ordered by tenant and time of creation, so that nothing depends on hash order.
  std::map<PredictionKey, Task> tasks_;
  PollBudget budget_;
  RetryBudget retry_budget_;
  bool circuit_reported_open_ = false;
  std::unique_ptr<Timers::Timer> timer_;
  std::optional<absl::Time> armed_for_;
  std::optional<absl::Time> last_success_;  // with the key that the prediction was made with

  CompletionTimes times_;
  int unlearned_ = 0;  // ends since the schedules were built
  absl::Time built_ = absl::InfinitePast();
  std::optional<PollSchedule> watched_schedule_;
  std::optional<PollSchedule> idle_schedule_;
  std::optional<PollSchedule> net_schedule_;  // while webhooks announce every end
  std::unique_ptr<Timers::Timer> save_timer_;
  int ends_announced_ = 0;  // in a row

  bool paused_ = false;
  PredictionKey last_probed_;
  std::unique_ptr<Timers::Timer> probe_timer_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_POLLER_H_
