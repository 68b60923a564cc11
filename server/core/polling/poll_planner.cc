#include "server/core/polling/poll_planner.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dreamgate::core {
namespace {

// While nobody waits, polls are this much rarer.
constexpr int kIdleFactor = 2;
// GETs a video while webhooks tell of every end, the poll that each webhook brings not counted.
// A video is polled only when most would have ended.
constexpr double kWebhookGets = 1.2;
// So many ends in a row must have come with a webhook before webhooks are relied on.
constexpr int kEndsToTrust = 3;
// The fewest that a schedule can be made for.
constexpr double kFewestGets = 1.1;

// Ends that are worth new schedules, while little is known.
constexpr double kEndsToRebuild = 3;
// While a limit or upstream's 429s hold polls back, schedules follow what can be borne.
constexpr absl::Duration kRebuildPeriod = absl::Seconds(10);
constexpr absl::Duration kSavePeriod = absl::Minutes(1);

}  // namespace

PollPlanner::PollPlanner(const Ports& ports, const Options& options, PollBudget& budget)
    : ports_(ports), options_(options), budget_(budget) {}

void PollPlanner::Start() {
  ports_.ledger.Call(LoadLearnedRequest{options_.model},
                     lifeline_.Guard([this](absl::StatusOr<std::string> learned) {
                       if (!learned.ok()) return;  // nothing yet; or trouble: it is learned anew
                       if (auto times = CompletionTimes::Parse(*learned)) {
                         times_ = *std::move(times);
                         ForgetSchedules();
                       }
                     }));
}

absl::Duration PollPlanner::NextPoll(absl::Duration age, absl::Duration last_poll, bool started,
                                     bool awaited, size_t followed) {
  // The start is no news that is worth a poll while webhooks do the rest.
  return ScheduleFor(awaited, followed)
      .NextPoll(age, last_poll, started || WebhooksReliable(), ports_.random);
}

void PollPlanner::LearnEnd(absl::Duration last_poll, absl::Duration found,
                           std::optional<absl::Duration> inference_time) {
  times_.Observe(ObservedCompletion(last_poll, std::max(last_poll, found), absl::ZeroDuration(),
                                    inference_time));
  ++unlearned_;
  SaveLater();
}

bool PollPlanner::LearnWebhook(bool came) {
  if (!options_.webhooks_expected) return false;
  const bool relied = WebhooksReliable();
  ends_with_webhook_ = came ? std::min(ends_with_webhook_ + 1, kEndsToTrust) : 0;
  if (!relied || came) return false;
  ports_.events.Log(LogLevel::kWarning, "a video ended without a webhook; polling at full speed");
  return true;
}

bool PollPlanner::WebhooksReliable() const { return ends_with_webhook_ >= kEndsToTrust; }

void PollPlanner::SaveLater() {
  if (save_timer_ != nullptr) return;
  save_timer_ = ports_.timers.After(kSavePeriod, [this] {
    save_timer_.reset();
    // If it cannot be written, what the next end teaches is written with it.
    ports_.ledger.Call(SaveLearnedRequest{options_.model, times_.Serialize()},
                       [](const absl::StatusOr<Done>&) {});
  });
}

const PollSchedule& PollPlanner::ScheduleFor(bool awaited, size_t followed) {
  const absl::Time now = ports_.clock.Now();
  const bool held_back = std::isfinite(budget_.rate(now));
  if (unlearned_ >= std::max(kEndsToRebuild, times_.weight() / 20) ||
      (held_back && now - built_ >= kRebuildPeriod)) {
    ForgetSchedules();
    built_ = now;
  }
  if (WebhooksReliable()) return Built(webhook_schedule_, kWebhookGets, 1, followed);
  if (awaited) return Built(awaited_schedule_, options_.gets_per_video, 1, followed);
  return Built(idle_schedule_, options_.gets_per_video / kIdleFactor, kIdleFactor, followed);
}

void PollPlanner::ForgetSchedules() {
  unlearned_ = 0;
  awaited_schedule_.reset();
  idle_schedule_.reset();
  webhook_schedule_.reset();
}

const PollSchedule& PollPlanner::Built(std::optional<PollSchedule>& schedule, double gets,
                                       int rarer, size_t followed) {
  if (!schedule) {
    const double bearable = budget_.SustainableGets(followed, times_.Mean(), ports_.clock.Now());
    schedule.emplace(
        times_, PollLimits{std::max(kFewestGets, std::min(gets, bearable)),
                           rarer * options_.poll_min_interval, rarer * options_.poll_max_interval});
  }
  return *schedule;
}

}  // namespace dreamgate::core
