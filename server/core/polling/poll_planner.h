// When a task is polled next, by what earlier videos have taught: how long they take, and whether
// webhooks tell of their ends. Polls are placed where the end is likely, at half the cost while
// nobody waits, and hardly at all while webhooks can be relied on. What is learned is kept in the
// ledger. Owned by Poller, loop only.
#ifndef DREAMGATE_SERVER_CORE_POLLING_POLL_PLANNER_H_
#define DREAMGATE_SERVER_CORE_POLLING_POLL_PLANNER_H_

#include <cstddef>
#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/polling/completion_times.h"
#include "server/core/polling/poll_budget.h"
#include "server/core/polling/poll_schedule.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class PollPlanner {
 public:
  // Borrows all three. `budget` says how much can be borne.
  PollPlanner(const Ports& ports, const Options& options, PollBudget& budget);

  // Reads what earlier processes have learned.
  void Start();

  // The age at which to poll a task next that is `age` old and was still running at `last_poll`.
  // `started`: it is known to be processing. `awaited`: somebody waits for it. `followed`: so many
  // tasks share the budget.
  absl::Duration NextPoll(absl::Duration age, absl::Duration last_poll, bool started, bool awaited,
                          size_t followed);

  // A video was seen running at `last_poll` and ended at `found`, both ages.
  void LearnEnd(absl::Duration last_poll, absl::Duration found,
                std::optional<absl::Duration> inference_time);
  // Whether a webhook told of an end. True: webhooks were relied on, and no longer are.
  bool LearnWebhook(bool came);

  const CompletionTimes& times() const { return times_; }

 private:
  bool WebhooksReliable() const;
  void SaveLater();
  const PollSchedule& ScheduleFor(bool awaited, size_t followed);
  void ForgetSchedules();
  // The schedule, made if there is none: for so many GETs a video, with bounds so much wider.
  const PollSchedule& Built(std::optional<PollSchedule>& schedule, double gets, int rarer,
                            size_t followed);

  const Ports& ports_;
  const Options& options_;
  PollBudget& budget_;
  CompletionTimes times_;
  int unlearned_ = 0;  // ends since the schedules were built
  absl::Time built_ = absl::InfinitePast();
  std::optional<PollSchedule> awaited_schedule_;
  std::optional<PollSchedule> idle_schedule_;
  std::optional<PollSchedule> webhook_schedule_;  // while webhooks tell of every end
  std::unique_ptr<Timers::Timer> save_timer_;
  int ends_with_webhook_ = 0;  // in a row
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_POLL_PLANNER_H_
