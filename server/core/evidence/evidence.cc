#include "server/core/evidence/evidence.h"

#include <algorithm>
#include <utility>

namespace dreamgate::core {
namespace {

// Between our reservation and upstream's clock, besides what the clocks differ by.
constexpr absl::Duration kSlack = absl::Seconds(30);
// Where upstream's answers carry no date.
constexpr absl::Duration kUnknownOffset = absl::Minutes(5);
constexpr int kReadings = 3;
// Nobody else asks for a seed that we have drawn: an equal input is ours even if a clock was set.
constexpr absl::Duration kAnyClock = absl::Hours(24);

// Whether it was created after the attempt had been called absent.
bool CameAfterTheVerdict(const HistoryItem& item, const StoredAttempt& attempt,
                         absl::Duration tolerance) {
  return attempt.result == AttemptResult::kAbsent && item.create_time && attempt.result_time &&
         *item.create_time > *attempt.result_time + tolerance;
}

bool IsInFlight(const StoredAttempt& attempt) { return !attempt.result.has_value(); }

std::set<std::string> Ids(const HistoryReading& reading) {
  std::set<std::string> ids;
  for (const HistoryItem& item : reading.items) ids.insert(item.upstream_id);
  return ids;
}

std::vector<const HistoryItem*> Unbound(const HistoryReading& reading,
                                        const AttemptReview& review) {
  std::vector<const HistoryItem*> unbound;
  for (const HistoryItem& item : reading.items) {
    if (!std::binary_search(review.bound.begin(), review.bound.end(), item.upstream_id)) {
      unbound.push_back(&item);
    }
  }
  return unbound;
}

bool Older(const HistoryItem* a, const HistoryItem* b) {
  return std::tuple(a->create_time.value_or(absl::InfinitePast()), a->upstream_id) <
         std::tuple(b->create_time.value_or(absl::InfinitePast()), b->upstream_id);
}

bool OfOnePrediction(const std::vector<const StoredAttempt*>& attempts) {
  return std::all_of(attempts.begin(), attempts.end(), [&](const StoredAttempt* attempt) {
    return attempt->tenant == attempts.front()->tenant &&
           attempt->prediction_id == attempts.front()->prediction_id;
  });
}

// For absence: the tasks that nobody has, so arranged that each attempt is compared with few of
// them.
class Candidates {
 public:
  Candidates(const HistoryReading& reading, const AttemptReview& review)
      : tolerance_(ClockTolerance(reading.clock_offset)) {
    for (const HistoryItem* item : Unbound(reading, review)) {
      if (item->input) {
        by_seed_[item->input->seed].push_back(item);
      } else if (item->create_time) {
        without_input_.emplace(*item->create_time, item);
      } else {
        at_any_time_.push_back(item);
      }
    }
    for (const StoredAttempt& attempt : review.open) {
      of_prediction_[{attempt.tenant, attempt.prediction_id}].push_back(&attempt);
    }
  }

  // Whether one of the tasks may have been created by this attempt, or by an earlier one of its
  // prediction: what contradicts the verdict on that one makes history no witness for this one.
  bool MayHave(const StoredAttempt& attempt) const {
    const auto found = of_prediction_.find({attempt.tenant, attempt.prediction_id});
    return std::any_of(found->second.begin(), found->second.end(),
                       [this](const StoredAttempt* of) { return MayBeOfOne(*of); });
  }

 private:
  bool MayBeOfOne(const StoredAttempt& attempt) const {
    const auto may_be = [&](const HistoryItem* item) {
      return MayBeOf(*item, attempt, tolerance_);
    };
    // Shown in another guise, it may still be ours: the seed is ours to draw, and no guise changes
    // it. Shown as it was sent, it may be ours whatever the clocks say.
    if (const auto found = by_seed_.find(attempt.input.seed); found != by_seed_.end()) {
      for (const HistoryItem* item : found->second) {
        const bool same_model = item->model.empty() || item->model == attempt.model;
        if (may_be(item) || (same_model && *item->input == attempt.input)) return true;
      }
    }
    // A task whose input is not shown may be anybody's.
    const auto first = without_input_.lower_bound(attempt.attempt.start_time - tolerance_);
    for (auto item = first; item != without_input_.end(); ++item) {
      if (may_be(item->second)) return true;
      if (item->first > attempt.attempt.start_time + kLatestCreation + tolerance_) break;
    }
    return std::any_of(at_any_time_.begin(), at_any_time_.end(), may_be);
  }

  const absl::Duration tolerance_;
  std::map<int64_t, std::vector<const HistoryItem*>> by_seed_;
  std::multimap<absl::Time, const HistoryItem*> without_input_;
  std::vector<const HistoryItem*> at_any_time_;
  std::map<std::pair<std::string, std::string>, std::vector<const StoredAttempt*>> of_prediction_;
};

}  // namespace

absl::Duration ClockTolerance(std::optional<absl::Duration> clock_offset) {
  return kSlack + (clock_offset ? absl::AbsDuration(*clock_offset) : kUnknownOffset);
}

bool MayBeOf(const HistoryItem& item, const StoredAttempt& attempt, absl::Duration tolerance) {
  if (!item.model.empty() && item.model != attempt.model) return false;
  if (!item.create_time) return true;
  if (*item.create_time < attempt.attempt.start_time - tolerance) return false;
  return IsInFlight(attempt) ||
         *item.create_time <= attempt.attempt.start_time + kLatestCreation + tolerance;
}

absl::Time EarliestStart(const HistoryReading& reading) {
  return reading.since - kLatestCreation - 2 * ClockTolerance(reading.clock_offset);
}

Matching MatchTasks(const HistoryReading& reading, const AttemptReview& review,
                    const OnTheWire& on_the_wire) {
  if (reading.cut_short) return {};  // there may be an equal task in the rest
  const absl::Duration tolerance = ClockTolerance(reading.clock_offset);
  std::map<TaskInput, std::vector<const StoredAttempt*>> alike;
  for (const StoredAttempt& attempt : review.open) {
    // In another account, an equal input that a caller has fixed may be anybody's.
    if (attempt.seed_drawn || attempt.key_fingerprint == reading.key_fingerprint) {
      alike[attempt.input].push_back(&attempt);
    }
  }
  std::map<TaskInput, std::vector<const HistoryItem*>> tasks;
  for (const HistoryItem* item : Unbound(reading, review)) {
    if (item->input) tasks[*item->input].push_back(item);
  }

  Matching matching;
  for (const auto& [input, attempts] : alike) {
    const auto found = tasks.find(input);
    if (found == tasks.end()) continue;
    std::vector<const HistoryItem*> items;
    std::set<const StoredAttempt*> possible, called_absent;
    for (const HistoryItem* item : found->second) {
      std::vector<const StoredAttempt*> first, second;
      for (const StoredAttempt* attempt : attempts) {
        if (!MayBeOf(*item, *attempt, attempt->seed_drawn ? kAnyClock : tolerance)) continue;
        (CameAfterTheVerdict(*item, *attempt, tolerance) ? second : first).push_back(attempt);
      }
      const auto& of_item = first.empty() ? second : first;
      possible.insert(of_item.begin(), of_item.end());
      called_absent.insert(second.begin(), second.end());
      if (!of_item.empty()) items.push_back(item);
    }
    if (items.empty()) continue;
    // More tasks than attempts to expect them of: some verdict came before its task.
    if (items.size() > possible.size()) {
      possible.insert(called_absent.begin(), called_absent.end());
    }
    std::sort(items.begin(), items.end(), Older);
    std::vector<const StoredAttempt*> owners;  // oldest first, as in the review
    for (const StoredAttempt* attempt : attempts) {
      if (possible.contains(attempt)) owners.push_back(attempt);
    }
    const bool answer_decides =
        std::any_of(owners.begin(), owners.end(), [&](const StoredAttempt* attempt) {
          return IsInFlight(*attempt) || (owners.size() > 1 && on_the_wire(*attempt));
        });
    if (answer_decides) continue;
    if (items.size() < owners.size() && OfOnePrediction(owners)) {
      // Whichever attempt it was: the caller's video. The latest attempts get it, so that a live
      // prediction does.
      owners.erase(owners.begin(), owners.end() - static_cast<std::ptrdiff_t>(items.size()));
    }
    bool clear = items.size() == owners.size();
    for (size_t i = 0; clear && i < items.size(); ++i) {
      clear = MayBeOf(*items[i], *owners[i], owners[i]->seed_drawn ? kAnyClock : tolerance);
    }
    if (!clear) {
      ++matching.ambiguous;
      continue;
    }
    for (size_t i = 0; i < items.size(); ++i) matching.matches.push_back({owners[i], items[i]});
  }
  return matching;
}

std::vector<const StoredAttempt*> AbsenceEvidence::Add(
    const HistoryReading& reading, const AttemptReview& review,
    const std::vector<const StoredAttempt*>& attempts) {
  if (!reading.complete) {
    // The reading shows what there is, not what there is not.
    for (const HistoryItem& item : reading.items) latest_[item.upstream_id] = item.create_time;
    const Candidates candidates(reading, review);
    for (const StoredAttempt* attempt : attempts) {
      if (candidates.MayHave(*attempt)) shown_.erase(KeyOf(*attempt));
    }
    return {};
  }
  if (!IsConsistent(reading, review)) {
    shown_.clear();
    return {};
  }

  const Candidates candidates(reading, review);
  std::map<Key, Shown> shown;
  std::vector<const StoredAttempt*> absent;
  for (const StoredAttempt* attempt : attempts) {
    const absl::Time start = attempt->attempt.start_time;
    if (attempt->key_fingerprint != reading.key_fingerprint || start < reading.since ||
        attempt->result_time.value_or(start) > reading.begun) {
      continue;
    }
    if (candidates.MayHave(*attempt)) continue;
    const Key key = KeyOf(*attempt);
    Shown& now = shown[key];
    if (const auto before = shown_.find(key); before != shown_.end()) {
      now = before->second;
    } else {
      now.first = reading.begun;
    }
    ++now.readings;
    if (now.readings >= kReadings && reading.begun - now.first >= settle_time_) {
      absent.push_back(attempt);
    }
  }
  shown_ = std::move(shown);
  return absent;
}

AbsenceEvidence::Key AbsenceEvidence::KeyOf(const StoredAttempt& attempt) {
  return {attempt.tenant, attempt.prediction_id, attempt.attempt.number};
}

bool AbsenceEvidence::IsConsistent(const HistoryReading& reading, const AttemptReview& review) {
  const std::set<std::string> ids = Ids(reading);
  // Tasks near the edge of what was asked for may have fallen out of it.
  const absl::Time surely_shown = reading.since + ClockTolerance(reading.clock_offset);
  bool consistent = true;
  for (const auto& [id, create_time] : latest_) {
    if (create_time && *create_time > surely_shown && !ids.contains(id)) consistent = false;
  }
  for (const AttemptReview::Accepted& accepted : review.accepted) {
    if (accepted.key_fingerprint == reading.key_fingerprint &&
        accepted.start_time > reading.since &&
        accepted.result_time + settle_time_ <= reading.begun &&
        !ids.contains(accepted.upstream_id)) {
      consistent = false;  // it lags, or leaves out
    }
  }
  latest_.clear();
  for (const HistoryItem& item : reading.items) latest_[item.upstream_id] = item.create_time;
  return consistent;
}

}  // namespace dreamgate::core
