// The history of tasks of ModelUpstream: POST /predictions.
#include <optional>
#include <string>
#include <utility>

#include "tests/simulation/model_upstream.h"

namespace dreamgate::simulation {
namespace {

constexpr absl::Duration kRetention = absl::Hours(7 * 24);

}  // namespace

void ModelUpstream::ListTasks(const core::HistoryQuery& query,
                              core::Completion<core::HistoryOutcome> done) {
  const int64_t number = ++lists_;
  lists_waiting_[number] = std::move(done);
  const absl::Duration delay = chance_.Percent(95)
                                   ? chance_.Spread(absl::Milliseconds(5), absl::Seconds(2))
                                   : chance_.Spread(absl::Seconds(2), absl::Seconds(30));
  agenda_.Later(delay, [this, number, query] { AnswerList(number, query); });
}

void ModelUpstream::AnswerList(int64_t number, const core::HistoryQuery& query) {
  auto waiting = lists_waiting_.extract(number);
  if (waiting.empty()) return;  // its process is gone
  const auto answer = [&](core::HistoryOutcome outcome) {
    observer_.OnHistoryAnswered(query, outcome);
    std::move(waiting.mapped())(std::move(outcome));
  };
  if (std::optional<core::HistoryFailed> trouble = DrawListTrouble()) {
    ++faults_;
    answer(*std::move(trouble));
    return;
  }
  core::HistoryPage page = List(query);
  const absl::Time now = world_.Now();
  for (const core::HistoryItem& item : page.items) tasks_.at(item.upstream_id).shown.push_back(now);
  if (manners_.reports_clock_offset) {
    // The answer was under way for a moment since its Date was written.
    const absl::Time date =
        now + manners_.clock_offset - absl::Milliseconds(300) * chance_.Fraction();
    page.clock_offset =
        absl::FromUnixSeconds(absl::ToUnixSeconds(date)) - (now + callers_clock_error_);
  }
  answer(std::move(page));
}

std::optional<core::HistoryFailed> ModelUpstream::DrawListTrouble() {
  if (weather_.refuses_the_key) return core::HistoryFailed{401, "bad key", {}};
  if (weather_.unreachable) return core::HistoryFailed{0, "connection refused", {}};
  if (!chance_.Percent(weather_.get_trouble_percent)) return std::nullopt;
  switch (chance_.Index(4)) {
    case 0: {
      std::optional<absl::Duration> retry_after;
      if (chance_.Percent(50)) retry_after = absl::Seconds(chance_.Between(1, 90));
      return core::HistoryFailed{429, "slow down", retry_after};
    }
    case 1: return core::HistoryFailed{0, "connection reset", {}};
    case 2: return core::HistoryFailed{200, "unreadable", {}};
    default: return core::HistoryFailed{502, "bad gateway", {}};
  }
}

core::HistoryPage ModelUpstream::List(const core::HistoryQuery& query) {
  core::HistoryPage page;
  const absl::Time now = world_.Now();
  absl::Time newest = now;
  if (manners_.lag_kind == HistoryManners::Lag::kPerCall) {
    newest = now - manners_.lag * chance_.Fraction();
  }
  size_t skipped = (static_cast<size_t>(query.page) - 1) * manners_.page_size;
  for (auto next = tasks_.rbegin(); next != tasks_.rend(); ++next) {
    const ModelTask& task = next->second;
    if (task.create_time + manners_.clock_offset < query.created_after) break;
    if (task.create_time < now - kRetention) break;
    const bool shows = manners_.lag_kind == HistoryManners::Lag::kPerCall
                           ? task.create_time <= newest
                           : task.listed_time <= now;
    if (!shows || task.account != account_ || now >= task.forgotten_time) continue;
    if (skipped > 0) {
      --skipped;
      continue;
    }
    if (page.items.size() == manners_.page_size) {
      page.more = true;
      break;
    }
    page.items.push_back(ItemOf(task));
  }
  if (manners_.guesses_more && page.items.size() == manners_.page_size) {
    page.more = true;
  }
  return page;
}

core::HistoryItem ModelUpstream::ItemOf(const ModelTask& task) const {
  core::HistoryItem item;
  item.upstream_id = task.id;
  if (manners_.tells_model) item.model = task.model;
  const core::TaskObservation shown = Show(task, world_.Now());
  item.raw_status = shown.raw_status;
  item.state = std::min(shown.state, core::State::kProcessing);
  if (manners_.tells_create_time) item.create_time = task.create_time + manners_.clock_offset;
  if (task.listed_with_input) item.input = InputOf(task);
  return item;
}

}  // namespace dreamgate::simulation
