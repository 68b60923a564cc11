// What must hold when everything is over and the power has failed a last time: about money, above all.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/prediction.h"
#include "tests/simulation/invariants.h"

namespace dreamgate::simulation {
namespace {

using core::AttemptResult;
using core::FailureCode;
using core::State;

constexpr absl::Duration kClockError = absl::Seconds(10);
// History is asked for everything open once an hour; and it takes a moment.
constexpr absl::Duration kLongestUntilAsked = absl::Minutes(70);

std::string Name(const RequestKey& key) { return absl::StrCat(key.first, "/", key.second); }

core::TaskInput InputOf(const core::Prediction& prediction) {
  return {prediction.input.prompt,
          std::string(core::AspectRatioText(prediction.input.aspect_ratio)), prediction.seed};
}

bool FailedWith(const core::Prediction& prediction, FailureCode code) {
  return prediction.failure && prediction.failure->code == code;
}

bool IsIn(const std::vector<std::string>& sorted, const std::string& id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

// The upstream id of the orphan that an output came from is in its URL.
bool IsOutputOf(const ModelTask& task, const core::Output& output) {
  return std::find(task.end.outputs.begin(), task.end.outputs.end(), output) !=
         task.end.outputs.end();
}

}  // namespace

void Invariants::OnEnd(const TheEnd& end, const ModelUpstream& upstream) {
  for (const core::Prediction& last : end.listed) {
    if (!core::IsTerminal(last.state)) {
      Complain("Everything ends", absl::StrCat(last.request_id, " is still ", Describe(last)));
    }
    PredictionsTellTheTruthAboutTheirTasks(last, upstream);
  }
  for (const auto& [key, on_disk] : disk_) {
    UnresolvedEndsInTime(on_disk.stored, end);
    AbsenceIsTrueAsFarAsHistoryShowed(on_disk.stored, end, upstream);
    AmbiguousEvidenceBindsNothing(on_disk.stored, end, upstream);
  }
  NoTwoShareATask(end);
  EveryTaskIsAccountedFor(end, upstream);
  EvidenceOfHistoryIsUsed(end, upstream);
}

// ---------------------------------------------------------------------------------------- predictions

void Invariants::PredictionsTellTheTruthAboutTheirTasks(const core::Prediction& prediction,
                                                        const ModelUpstream& upstream) {
  const auto complain = [&](absl::string_view what) {
    Complain("Predictions tell the truth about their tasks",
             absl::StrCat(prediction.request_id, " ", Describe(prediction), ": ", what));
  };
  for (const core::Output& output : prediction.recovered_outputs) {
    const bool ours =
        std::any_of(upstream.tasks().begin(), upstream.tasks().end(), [&](const auto& task) {
          return InputOf(task.second) == InputOf(prediction) && IsOutputOf(task.second, output);
        });
    if (!ours) complain(absl::StrCat(output.url, " was recovered, which is somebody else's"));
  }
  if (prediction.upstream_id.empty()) {
    if (!prediction.failure) complain("it ended without a task and without a failure");
    return;
  }
  const ModelTask* task = upstream.FindTask(prediction.upstream_id);
  if (task == nullptr) return complain("there is no such task");
  if (InputOf(*task) != InputOf(prediction)) return complain("the task is somebody else's");
  if (FailedWith(prediction, FailureCode::kUpstreamExpired)) return;
  if (FailedWith(prediction, FailureCode::kUpstreamNotFound)) {
    if (task->forgotten_time == absl::InfiniteFuture()) complain("upstream knows it still");
    return;
  }
  if (prediction.state != task->end.state || prediction.outputs != task->end.outputs ||
      prediction.failure != task->end.failure) {
    complain(absl::StrCat("the task ended as ", core::StateName(task->end.state)));
  }
}

// UNRESOLVED lasts no longer than the option says, but for the time in which nobody was there to end
// it, or no ledger to write it down.
void Invariants::UnresolvedEndsInTime(const core::StoredPrediction& stored, const TheEnd& end) {
  const core::Transition* before = nullptr;
  for (const core::Transition& transition : stored.transitions) {
    if (before != nullptr && before->state == State::kUnresolved) {
      absl::Time limit = std::max(before->time + end.options.unresolved_timeout, end.healed);
      for (const absl::Time start : end.process_starts) {
        if (start < transition.time) {
          limit = std::max(limit, start + 2 * end.options.absence_settle_time);
        }
      }
      limit += absl::Minutes(1) + kClockError;
      if (transition.time > limit) {
        Complain("UNRESOLVED ends in time",
                 absl::StrCat(stored.initial.request_id, " was UNRESOLVED for ",
                              absl::FormatDuration(transition.time - before->time)));
      }
    }
    before = &transition;
  }
}

// "There is no such task" is said of nothing that history was showing meanwhile, and of nothing that
// another account's history would have shown.
void Invariants::AbsenceIsTrueAsFarAsHistoryShowed(const core::StoredPrediction& stored,
                                                   const TheEnd& end,
                                                   const ModelUpstream& upstream) {
  const RequestKey request(stored.initial.tenant, stored.initial.request_id);
  const core::Transition* before = nullptr;
  for (const core::Transition& verdict : stored.transitions) {
    const core::Transition* const previous = std::exchange(before, &verdict);
    if (previous == nullptr || previous->state != State::kUnresolved) continue;
    const bool gives_up =
        verdict.failure && verdict.failure->code == FailureCode::kSubmitNotCreated;
    if (!gives_up && verdict.state != State::kSubmitting) continue;
    const bool by_history = verdict.source == core::TransitionSource::kReconciliation;
    if (by_history) ++absences_;
    const std::string token = LatestTokenBefore(verdict.time, stored.initial);
    for (const auto& [id, task] : upstream.tasks()) {
      if (task.post == 0 || task.input.attempt_token != token) continue;
      const auto complain = [&](absl::string_view what) {
        Complain("Absence is true as far as history showed",
                 absl::StrCat(Name(request), " ", core::StateName(verdict.state), " ",
                              verdict.sequence, ", but ", id, " ", what));
      };
      if (!by_history && task.create_time < verdict.time - kClockError) complain("exists");
      if (!by_history) continue;
      const absl::Time settling = verdict.time - end.options.absence_settle_time;
      const bool was_shown =
          std::any_of(task.shown.begin(), task.shown.end(), [&](absl::Time shown) {
            return shown > settling + kClockError && shown < verdict.time - kClockError;
          });
      if (was_shown) complain("was shown by history meanwhile");
      if (task.listed_time < settling - kClockError && task.forgotten_time > verdict.time) {
        complain("was there for history to show all the time");
      }
    }
  }
}

// --------------------------------------------------------------------------------------------- money

const Invariants::Attempt* Invariants::AttemptOf(const ModelTask& task) const {
  if (task.post == 0) return nullptr;
  const auto found = attempts_.find(posts_.at(task.post).token);
  return found == attempts_.end() ? nullptr : &found->second;
}

std::string Invariants::LatestTokenBefore(absl::Time time,
                                          const core::Prediction& prediction) const {
  std::string latest;
  for (const std::string& token : tokens_of_prediction_.at({prediction.tenant, prediction.id})) {
    if (attempts_.at(token).intent.start_time < time) latest = token;
  }
  return latest;
}

void Invariants::NoTwoShareATask(const TheEnd& end) {
  std::map<std::string, std::string> holders;  // by upstream id and URL
  const auto hold = [&](const std::string& what, const std::string& who) {
    const auto [held, is_first] = holders.emplace(what, who);
    if (is_first) return;
    Complain("No two predictions share a task",
             absl::StrCat(what, " belongs to ", held->second, " and to ", who));
  };
  for (const core::Prediction& prediction : end.listed) {
    const std::string who = absl::StrCat(prediction.tenant, "/", prediction.request_id);
    if (!prediction.upstream_id.empty()) hold(prediction.upstream_id, who);
    for (const core::Output& output : prediction.outputs) hold(output.url, who);
    for (const core::Output& output : prediction.recovered_outputs) hold(output.url, who);
  }
  for (const core::Orphan& orphan : end.orphans) {
    hold(orphan.upstream_id, absl::StrCat("an orphan of ", orphan.prediction_id));
  }
}

void Invariants::EveryTaskIsAccountedFor(const TheEnd& end, const ModelUpstream& upstream) {
  std::map<std::string, PredictionKey> followed;  // by upstream id
  for (const auto& [key, on_disk] : disk_) {
    if (!on_disk.now.upstream_id.empty()) followed[on_disk.now.upstream_id] = key;
  }
  for (const auto& [id, task] : upstream.tasks()) {
    const Attempt* attempt = AttemptOf(task);
    if (attempt == nullptr || WasForgotten(attempt->prediction)) continue;
    const auto holder = disk_.find(attempt->prediction);
    if (holder == disk_.end()) {
      Complain("The intent is durable before the POST leaves",
               absl::StrCat(id, " was paid for, and ", Name(attempt->request), " is gone"));
      continue;
    }
    if (followed.contains(id)) continue;
    if (IsIn(end.review.bound, id)) {
      ++orphans_;
      OrphansGiveTheirVideos(task, holder->second, end);
    } else {
      VideosOutOfSightAreOwnedUpTo(task, *attempt, end);
    }
  }
}

void Invariants::OrphansGiveTheirVideos(const ModelTask& task, const OnDisk& holder,
                                        const TheEnd& end) {
  if (task.end.outputs.empty() || task.end_time > end.now - absl::Hours(1) ||
      task.forgotten_time < absl::InfiniteFuture() || task.account != 0) {
    return;  // there is nothing to have; or only with the other account's key, which is gone
  }
  // It can be polled with the key of its account only, and at intervals that grow meanwhile.
  if (end.healed > end.now - absl::Minutes(15)) return;
  for (const core::Orphan& orphan : end.orphans) {
    if (orphan.upstream_id == task.id && orphan.found_time > end.now - absl::Hours(1)) return;
  }
  // It may have been kept with the prediction of a request for just the same video.
  for (const auto& [key, on_disk] : disk_) {
    const core::Prediction& prediction = on_disk.now;
    if (InputOf(prediction) != InputOf(holder.now)) continue;
    if (std::any_of(prediction.recovered_outputs.begin(), prediction.recovered_outputs.end(),
                    [&](const core::Output& output) { return IsOutputOf(task, output); })) {
      return;
    }
  }
  Complain("Videos of orphans are recovered",
           absl::StrCat(task.id, " is an orphan of ", holder.now.request_id,
                        ", and its video is nowhere"));
}

// A video nobody knows of: there must have been no evidence, and nobody may have been told otherwise.
void Invariants::VideosOutOfSightAreOwnedUpTo(const ModelTask& task, const Attempt& attempt,
                                              const TheEnd& end) {
  ++videos_lost_sight_of_;
  const auto complain = [&](absl::string_view what) {
    Complain("Every video that was paid for is in the ledger as soon as there is evidence",
             absl::StrCat(task.id, " of ", Name(attempt.request), ": ", what));
  };
  if (called_back_.contains(task.id)) complain("its webhook was taken");
  const Post& post = posts_.at(task.post);
  if (post.answer == PostAnswer::kAccepted) {
    const auto next_start =
        std::upper_bound(end.process_starts.begin(), end.process_starts.end(), post.answer_time);
    const bool lived_on = next_start == end.process_starts.end() ||
                          *next_start > post.answer_time + absl::Minutes(30);
    if (lived_on) complain("the answer to its POST was received");
  }
  const core::Prediction& prediction = disk_.at(attempt.prediction).now;
  const bool owned_up = FailedWith(prediction, FailureCode::kSubmitOutcomeUnknown) ||
                        FailedWith(prediction, FailureCode::kSubmitNotCreated);
  const bool has_another = end.options.resend_after_absence > 0;
  if (owned_up || has_another) return;
  // Just the same was asked for by somebody else, and the two were exchanged.
  if (!prediction.upstream_id.empty() && prediction.upstream_id != task.id) return;
  complain(absl::StrCat("the prediction is ", Describe(prediction)));
}

// Where history shows the inputs, and as many tasks that nobody has as there are attempts that may have
// created them, each has found its place.
void Invariants::EvidenceOfHistoryIsUsed(const TheEnd& end, const ModelUpstream& upstream) {
  struct Group {
    int tasks = 0;
    int attempts = 0;
    bool in_time = true;  // history was asked for all of it, and everything in it was shown
    bool clear = true;    // no other client has asked for the same
    std::string name;
  };
  std::map<core::TaskInput, Group> groups;
  const absl::Time last_start = end.process_starts.back();
  for (const auto& [id, task] : upstream.tasks()) {
    // Another client's may even have been taken for ours, while history did not show ours yet.
    if (task.post == 0) groups[InputOf(task)].clear = false;
    if (IsIn(end.review.bound, id)) continue;
    Group& group = groups[InputOf(task)];
    ++group.tasks;
    absl::StrAppend(&group.name, " ", id);
    const absl::Time asked =
        std::max({task.listed_time, last_start, end.healed}) + kLongestUntilAsked;
    // A history some of whose machines are behind shows each task sooner or later.
    if (!task.listed_with_input || task.account != 0 || asked > end.now ||
        task.forgotten_time < asked) {
      group.in_time = false;
    }
    if (const Attempt* attempt = AttemptOf(task)) {
      if (asked > attempt->intent.start_time + end.options.upstream_retention ||
          WasForgotten(attempt->prediction)) {  // it was bound as long as the ledger kept it
        group.in_time = false;
      }
    }
  }
  for (const core::StoredAttempt& open : end.review.open) {
    const auto group = groups.find(open.input);
    if (group == groups.end()) continue;
    ++group->second.attempts;
    if (open.key_fingerprint != ModelUpstream::FingerprintOf(0) ||
        open.attempt.start_time + end.options.upstream_retention <
            std::max(last_start, end.healed) + kLongestUntilAsked) {
      group->second.in_time = false;
    }
  }
  for (const auto& [input, group] : groups) {
    if (!group.in_time || !group.clear || group.tasks == 0 || group.tasks != group.attempts)
      continue;
    Complain("Every video that was paid for is in the ledger as soon as there is evidence",
             absl::StrCat("history shows", group.name, " to be what ", group.attempts,
                          " attempts asked for"));
  }
}

// One attempt asked for it, and history showed two such tasks that nobody had, both of its time: then
// it took neither.
void Invariants::AmbiguousEvidenceBindsNothing(const core::StoredPrediction& stored,
                                               const TheEnd& end, const ModelUpstream& upstream) {
  if (upstream.manners().lag_kind == HistoryManners::Lag::kPerCall) return;
  const core::TaskInput input = InputOf(stored.initial);
  const Attempt* only = nullptr;
  for (const auto& [token, attempt] : attempts_) {
    if (attempt.input != input) continue;
    if (only != nullptr) return;
    only = &attempt;
  }
  for (const core::Transition& bound : stored.transitions) {
    if (bound.source != core::TransitionSource::kReconciliation || !bound.upstream_id) continue;
    const ModelTask* const taken = upstream.FindTask(*bound.upstream_id);
    if (taken == nullptr) continue;  // complained about already
    for (const auto& [id, task] : upstream.tasks()) {
      // Two of history's readings that follow one another are farther apart than any two clocks.
      const bool was_shown = std::any_of(task.shown.begin(), task.shown.end(),
                                         [&](absl::Time shown) { return shown < bound.time; });
      const bool was_there = was_shown && id != *bound.upstream_id && InputOf(task) == input &&
                             task.listed_with_input && task.account == taken->account &&
                             task.create_time > only->intent.start_time + kClockError &&
                             task.create_time < only->intent.start_time + absl::Minutes(10) &&
                             task.forgotten_time > bound.time && task.model == stored.initial.model;
      if (!was_there || only->prediction.second != stored.initial.id ||
          IsIn(end.review.bound, id)) {
        continue;
      }
      Complain("Ambiguous evidence binds nothing",
               absl::StrCat(stored.initial.request_id, " has taken ", *bound.upstream_id,
                            ", and history showed ", id, " as well"));
    }
  }
}

}  // namespace dreamgate::simulation
