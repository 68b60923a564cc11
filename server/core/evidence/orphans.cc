#include "server/core/evidence/orphans.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr BackoffPolicy kRecordBackoff = {absl::Milliseconds(200), absl::Seconds(10)};
constexpr BackoffPolicy kPollBackoff = {absl::Seconds(4), absl::Minutes(10)};

}  // namespace

Orphans::Orphans(const Ports& ports, const Options& options, Tracker& tracker)
    : ports_(ports), options_(options), tracker_(tracker) {}

void Orphans::Start() { FollowRecorded(/*news=*/false); }

void Orphans::OnAnnounced(const StoredAttempt& attempt) {
  if (followed_.contains(attempt.upstream_id)) {
    PollAfter(absl::ZeroDuration(), attempt.upstream_id);
  } else if (attempt.result == AttemptResult::kOrphaned) {
    FollowRecorded(/*news=*/true);
  }
}

void Orphans::Record(const PredictionKey& key, const AttemptOutcome& acceptance,
                     Completion<absl::Status> done) {
  DREAMGATE_FAILPOINT("reconcile.orphan_found");
  OrphanRecord record;
  record.orphan = {key.first, key.second, acceptance.number, acceptance.upstream_id,
                   ports_.clock.Now()};
  Write(std::move(record), 0, std::move(done));
}

void Orphans::Write(OrphanRecord record, int failures, Completion<absl::Status> done) {
  OrphanRecord sent = record;
  ports_.ledger.Call(
      std::move(sent),
      lifeline_.Guard([this, record = std::move(record), failures,
                       done = std::move(done)](absl::StatusOr<OrphanResult> written) mutable {
        if (ReasonOf(written.status()) == Reason::kLedgerUnavailable) {
          Later(FullJitter(kRecordBackoff, failures, ports_.random),
                [this, record = std::move(record), failures]() mutable {
                  Write(std::move(record), failures + 1, [](absl::Status) {});
                });
          std::move(done)(written.status());
          return;
        }
        OnWritten(record, written);
        // What was reported as failed before may have been durable all the same, and news then.
        if (failures > 0 && written.ok() && !written->news) FollowRecorded(/*news=*/true);
        std::move(done)(written.status());
      }));
}

void Orphans::OnWritten(const OrphanRecord& record, const absl::StatusOr<OrphanResult>& written) {
  const Orphan& orphan = record.orphan;
  if (!written.ok()) {
    ports_.events.Log(LogLevel::kError,
                      "upstream has a task for a prediction that the ledger no longer has",
                      {{"prediction", orphan.prediction_id}, {"upstream_id", orphan.upstream_id}});
    return;
  }
  tracker_.Refresh(written->prediction);
  DREAMGATE_FAILPOINT("reconcile.orphan_recorded");
  if (written->news && !record.ended) Announce(orphan);
}

void Orphans::Announce(const Orphan& orphan) {
  ports_.events.OrphanRecorded();
  ports_.events.Log(LogLevel::kError, "upstream has created a task that no live prediction follows",
                    {{"prediction", orphan.prediction_id},
                     {"attempt", absl::StrCat(orphan.attempt_number)},
                     {"upstream_id", orphan.upstream_id}});
  Follow(orphan);
}

void Orphans::FollowRecorded(bool news) {
  ports_.ledger.Call(OpenOrphansQuery(),
                     lifeline_.Guard([this, news](absl::StatusOr<std::vector<Orphan>> orphans) {
                       if (!orphans.ok()) {
                         Later(kRecordBackoff.maximum, [this, news] { FollowRecorded(news); });
                         return;
                       }
                       for (const Orphan& orphan : *orphans) {
                         if (followed_.contains(orphan.upstream_id)) continue;
                         if (news) {
                           Announce(orphan);
                         } else {
                           Follow(orphan);
                         }
                       }
                     }));
}

void Orphans::Follow(Orphan orphan) {
  const std::string upstream_id = orphan.upstream_id;
  followed_[upstream_id].orphan = std::move(orphan);
  ports_.events.OrphansFollowed(followed());
  PollAfter(UniformDelay(absl::ZeroDuration(), options_.poll_min_interval, ports_.random),
            upstream_id);
}

void Orphans::PollAfter(absl::Duration delay, const std::string& upstream_id) {
  followed_[upstream_id].timer = ports_.timers.After(delay, [this, upstream_id] {
    ports_.upstream.GetTask(upstream_id, lifeline_.Guard([this, upstream_id](PollOutcome outcome) {
      OnPolled(upstream_id, std::move(outcome));
    }));
  });
}

void Orphans::OnPolled(const std::string& upstream_id, PollOutcome outcome) {
  const auto found = followed_.find(upstream_id);
  if (found == followed_.end()) return;
  Followed& task = found->second;
  const auto* observed = std::get_if<PollObserved>(&outcome);
  const bool ended = observed != nullptr && observed->task.upstream_id == upstream_id &&
                     IsTerminal(observed->task.state);
  const bool expired = ports_.clock.Now() > task.orphan.found_time + options_.upstream_retention;
  if (!ended && !expired) {
    PollAfter(
        std::max(options_.poll_min_interval, FullJitter(kPollBackoff, task.polls++, ports_.random)),
        upstream_id);
    return;
  }
  DREAMGATE_FAILPOINT("reconcile.orphan_ended");
  OrphanRecord record;
  record.orphan = std::move(task.orphan);
  record.ended = true;
  if (ended) record.outputs = observed->task.outputs;
  followed_.erase(found);
  ports_.events.OrphansFollowed(followed());
  Write(std::move(record), 0, [](absl::Status) {});
}

void Orphans::Later(absl::Duration delay, absl::AnyInvocable<void() &&> work) {
  const uint64_t number = next_later_++;
  later_[number] = ports_.timers.After(delay, [this, number, work = std::move(work)]() mutable {
    const std::unique_ptr<Timers::Timer> done = std::move(later_[number]);
    later_.erase(number);
    std::move(work)();
  });
}

}  // namespace dreamgate::core
