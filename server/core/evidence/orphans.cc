#include "server/core/evidence/orphans.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/invariant.h"

namespace dreamgate::core {
namespace {

TaskKey TaskKeyOf(const Orphan& orphan) {
  return {{orphan.tenant, orphan.prediction_id}, orphan.upstream_id};
}

}  // namespace

Orphans::Orphans(const Ports& ports, const Options& options, Tracker& tracker, Poller& poller)
    : ports_(ports), options_(options), tracker_(tracker), poller_(poller), durable_(ports) {}

void Orphans::Start() { FollowRecorded(/*news=*/false); }

void Orphans::OnWebhook(const StoredAttempt& attempt) {
  const TaskKey key{{attempt.tenant, attempt.prediction_id}, attempt.upstream_id};
  if (attempt.result == AttemptResult::kOrphaned && !followed_.contains(key)) {
    FollowRecorded(/*news=*/true);
  }
}

void Orphans::Record(const PredictionKey& key, const AttemptOutcome& acceptance,
                     Completion<absl::Status> done) {
  DREAMGATE_FAILPOINT("reconcile.orphan_found");
  OrphanRecord record;
  record.orphan = {key.first, key.second, acceptance.number, acceptance.upstream_id,
                   ports_.clock.Now()};
  Write(std::move(record), std::move(done));
}

void Orphans::Write(OrphanRecord record, Completion<absl::Status> done) {
  durable_.Call(
      record, [this, record, done = std::move(done)](absl::StatusOr<OrphanResult> written) mutable {
        const bool tried_before = done == nullptr;
        const absl::Status status = written.status();
        if (written.ok()) {
          OnWritten(record, tried_before, *written);
        } else if (!IsLedgerTrouble(status)) {
          ports_.events.Log(LogLevel::kError,
                            "upstream has a task for a prediction that the ledger no longer has",
                            {{"prediction", record.orphan.prediction_id},
                             {"upstream_id", record.orphan.upstream_id}});
        }
        if (!tried_before) std::exchange(done, nullptr)(status);
      });
}

void Orphans::OnWritten(const OrphanRecord& record, bool tried_before,
                        const OrphanResult& written) {
  tracker_.Refresh(written.prediction);
  DREAMGATE_FAILPOINT("reconcile.orphan_recorded");
  if (written.news) {
    if (!record.ended) Announce(record.orphan);
  } else if (tried_before) {
    // A write that was reported as failed may have been durable all the same, and news then.
    FollowRecorded(/*news=*/true);
  }
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
  durable_.Call(OpenOrphansQuery(), [this, news](absl::StatusOr<std::vector<Orphan>> orphans) {
    if (!orphans.ok()) return;  // it is asked again
    for (const Orphan& orphan : *orphans) {
      if (followed_.contains(TaskKeyOf(orphan))) continue;
      if (news) {
        Announce(orphan);
      } else {
        Follow(orphan);
      }
    }
  });
}

void Orphans::Follow(Orphan orphan) {
  const TaskKey key = TaskKeyOf(orphan);
  DREAMGATE_INVARIANT(!key.upstream_id.empty(), "an orphan names its task");
  const absl::Time found = orphan.found_time;
  Followed& followed_one = followed_[key];
  followed_one.orphan = std::move(orphan);
  const absl::Duration left = found + options_.upstream_retention - ports_.clock.Now();
  followed_one.expiry =
      ports_.timers.After(std::max(absl::ZeroDuration(), left), [this, key] { End(key, {}); });
  ports_.events.OrphansFollowed(followed());
  // Which account made it is not known here, so it is never taken for lost. It has most likely
  // ended long ago: it is polled soon.
  poller_.Follow(key,
                 {.accepted = found,
                  .typical = false,
                  .observed = absl::InfinitePast(),
                  .account_key = "",
                  .interest = {}},
                 *this);
}

void Orphans::OnTaskSeen(const TaskKey& key, const TaskObservation& task) {
  if (IsTerminal(task.state)) End(key, task.outputs);
}

void Orphans::End(const TaskKey& ended, std::vector<Output> outputs) {
  const TaskKey key = ended;  // it may be the poller's, or the timer's
  const auto found = followed_.find(key);
  if (found == followed_.end()) return;
  DREAMGATE_FAILPOINT("reconcile.orphan_ended");
  OrphanRecord record;
  record.orphan = std::move(found->second.orphan);
  record.ended = true;
  record.outputs = std::move(outputs);
  followed_.erase(found);
  poller_.Leave(key);
  ports_.events.OrphansFollowed(followed());
  Write(std::move(record), [](const absl::Status&) {});
}

}  // namespace dreamgate::core
