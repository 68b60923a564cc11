#include "server/core/evidence.h"

#include <algorithm>
#include <utility>

namespace dreamgate::core {
namespace {

// Between our reservation and upstream's clock, besides what the clocks differ by.
constexpr absl::Duration kSlack = absl::Seconds(30);
// Where upstream's answers carry no date.
constexpr absl::Duration kUnknownOffset = absl::Minutes(5);
// A POST creates its task before this, or not at all: connections do not live longer.
constexpr absl::Duration kLatestCreation = absl::Minutes(15);
constexpr int kReadings = 3;

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

// Whether one of the tasks may have been created by this attempt, or by an earlier one of its prediction:
// what contradicts the verdict on that one makes history no witness for this one. A task whose input is
// not shown, or shown in another guise, may be anybody's; the seed is ours to draw, and no guise
// changes it.
bool MayBeThere(const StoredAttempt& attempt, const std::vector<const HistoryItem*>& unbound,
                const AttemptReview& review, absl::Duration tolerance) {
  for (const StoredAttempt& of_prediction : review.open) {
    if (of_prediction.tenant != attempt.tenant ||
        of_prediction.prediction_id != attempt.prediction_id) {
      continue;
    }
    for (const HistoryItem* item : unbound) {
      if (MayBeOf(*item, of_prediction, tolerance) &&
          (!item->input || item->input->seed == attempt.input.seed)) {
        return true;
      }
    }
  }
  return false;
}

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
  const absl::Duration tolerance = ClockTolerance(reading.clock_offset);
  std::map<TaskInput, std::vector<const StoredAttempt*>> alike;
  for (const StoredAttempt& attempt : review.open) alike[attempt.input].push_back(&attempt);
  std::map<TaskInput, std::vector<const HistoryItem*>> tasks;
  for (const HistoryItem* item : Unbound(reading, review)) {
    if (item->input) tasks[*item->input].push_back(item);
  }

  Matching matching;
  for (const auto& [input, attempts] : alike) {
    const auto found = tasks.find(input);
    if (found == tasks.end()) continue;
    std::vector<const HistoryItem*> items;
    std::set<const StoredAttempt*> possible;
    for (const HistoryItem* item : found->second) {
      std::vector<const StoredAttempt*> first, second;
      for (const StoredAttempt* attempt : attempts) {
        if (!MayBeOf(*item, *attempt, tolerance)) continue;
        (CameAfterTheVerdict(*item, *attempt, tolerance) ? second : first).push_back(attempt);
      }
      const auto& of_item = first.empty() ? second : first;
      possible.insert(of_item.begin(), of_item.end());
      if (!of_item.empty()) items.push_back(item);
    }
    if (items.empty()) continue;
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
      clear = MayBeOf(*items[i], *owners[i], tolerance);
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
  if (!reading.complete) return {};
  if (!IsConsistent(reading, review)) {
    shown_.clear();
    return {};
  }

  const absl::Duration tolerance = ClockTolerance(reading.clock_offset);
  const std::vector<const HistoryItem*> unbound = Unbound(reading, review);
  std::map<Key, Shown> shown;
  std::vector<const StoredAttempt*> absent;
  for (const StoredAttempt* attempt : attempts) {
    const absl::Time start = attempt->attempt.start_time;
    if (attempt->key_fingerprint != reading.key_fingerprint || start < reading.since ||
        attempt->result_time.value_or(start) > reading.begun) {
      continue;
    }
    if (MayBeThere(*attempt, unbound, review, tolerance)) continue;
    const Key key(attempt->tenant, attempt->prediction_id, attempt->attempt.number);
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
