#include "tests/fakes/watch_validator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace dreamgate::fakes {
namespace {

std::string Text(const std::vector<core::Output>& outputs) {
  return absl::StrJoin(outputs, " ", [](std::string* text, const core::Output& output) {
    absl::StrAppend(text, output.url, output.has_nsfw_content ? " nsfw " : "",
                    output.has_nsfw_content.value_or(false));
  });
}

std::string Text(const std::optional<core::Failure>& failure) {
  if (!failure) return "none";
  return absl::StrCat(core::FailureCodeName(failure->code), " ", failure->upstream_code, " ",
                      failure->resubmission_may_help, " ", failure->message);
}

std::string Text(const std::vector<core::HistoryEntry>& history) {
  return absl::StrJoin(history, " ", [](std::string* text, const core::HistoryEntry& entry) {
    absl::StrAppend(text, entry.sequence, " ", core::StateName(entry.state), " ",
                    core::TransitionSourceName(entry.source), " ", absl::FormatTime(entry.time));
  });
}

std::string Text(absl::Time time) { return absl::FormatTime(time); }
std::string Text(absl::Duration duration) { return absl::FormatDuration(duration); }

template <typename T>
std::string Text(const std::optional<T>& value) {
  return value ? Text(*value) : "none";
}

std::string Name(const SeenUpdate& update) {
  return absl::StrCat(update.sequence, " ", core::StateName(update.state));
}

}  // namespace

SeenUpdate Seen(const core::Prediction& update) {
  SeenUpdate seen;
  seen.prediction_id = update.id;
  seen.sequence = update.sequence;
  seen.state = update.state;
  for (const core::HistoryEntry& entry : update.history) seen.history[entry.sequence] = entry.state;
  seen.content = absl::StrCat(
      "tenant ", update.tenant, ", id ", update.id, ", request_id ", update.request_id, ", model ",
      update.model, ", input ", core::CanonicalEncoding(update.input), ", seed ", update.seed,
      ", key ", update.key_fingerprint, ", created ", Text(update.create_time));
  absl::StrAppend(&seen.content, ", ", Name(seen), ", upstream ", update.upstream_id, " ",
                  update.upstream_status, " ", Text(update.upstream_create_time), ", outputs ",
                  Text(update.outputs), ", failure ", Text(update.failure), ", took ",
                  Text(update.inference_time), ", updated ", Text(update.update_time), ", ended ",
                  Text(update.end_time), ", history ", Text(update.history));
  return seen;
}

int64_t ShownUpdates::LastSequence(const std::string& prediction_id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = shown_.find(prediction_id);
  return found == shown_.end() ? 0 : found->second.rbegin()->first;
}

SeenUpdate ShownUpdates::FirstShown(const SeenUpdate& update) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return shown_[update.prediction_id].try_emplace(update.sequence, update).first->second;
}

std::vector<std::string> ShownUpdates::MissingFrom(const SeenUpdate& now) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> missing;
  const auto found = shown_.find(now.prediction_id);
  if (found == shown_.end()) return missing;
  for (const auto& [sequence, update] : found->second) {
    const auto entry = now.history.find(sequence);
    if (entry != now.history.end() && entry->second == update.state) continue;
    missing.push_back(absl::StrCat("Durable: ", Name(update), " was shown and has not happened"));
  }
  return missing;
}

void WatchValidator::CompareWith(ShownUpdates& shown, const std::string& prediction_id) {
  shown_ = &shown;
  prediction_id_ = prediction_id;
  shown_before_ = shown.LastSequence(prediction_id);
}

void WatchValidator::OnUpdate(const SeenUpdate& update) {
  Unique(update);
  Ordered(update);
  Reliable(update);
  Resumable(update);
  Durable(update);
  Legal(update);
  TerminalOnce(update);
  seen_.push_back(update);
  begun_ = true;
}

void WatchValidator::OnEnd(bool ok) {
  if (ended_ok_) Violate("Terminal once", "a second end");
  if (ok) {
    OkMeansTerminal();
    ResumableAtTheEnd();
  }
  ended_ok_ = ok;
  position_ = last_sequence();
  begun_ = false;
}

// No transition is shown twice.
void WatchValidator::Unique(const SeenUpdate& update) {
  const auto is_same = [&](const SeenUpdate& seen) { return seen.sequence == update.sequence; };
  if (std::any_of(seen_.begin(), seen_.end(), is_same)) {
    Violate("Unique", absl::StrCat(Name(update), " is shown again"));
  }
}

// Sequences rise.
void WatchValidator::Ordered(const SeenUpdate& update) {
  if (!seen_.empty() && update.sequence < seen_.back().sequence) {
    Violate("Ordered", absl::StrCat(Name(update), " follows ", Name(seen_.back())));
  }
}

// No transition is missing between two that were shown.
void WatchValidator::Reliable(const SeenUpdate& update) {
  if (!seen_.empty() && update.sequence > seen_.back().sequence + 1) {
    Violate("Reliable", absl::StrCat(Name(update), " follows ", Name(seen_.back())));
  }
}

// After a position comes exactly the rest, and whatever stream shows a transition shows the same.
void WatchValidator::Resumable(const SeenUpdate& update) {
  if (!begun_ && position_ && update.sequence != *position_ + 1) {
    Violate("Resumable", absl::StrCat(Name(update), " is the first after position ", *position_));
  }
  if (shown_ == nullptr) return;
  if (const SeenUpdate first = shown_->FirstShown(update); first.content != update.content) {
    Violate("Resumable", absl::StrCat(Name(update), " is shown as\n  ", update.content,
                                      "\nand was shown before as\n  ", first.content, "\n"));
  }
}

// A transition that was shown is never withdrawn: no stream begins before it, no history contradicts it.
void WatchValidator::Durable(const SeenUpdate& update) {
  if (!begun_ && !position_ && update.sequence < shown_before_) {
    Violate("Durable", absl::StrCat("the current state is ", Name(update), ", but ", shown_before_,
                                    " had been shown before"));
  }
  for (const SeenUpdate& seen : seen_) {
    const auto entry = update.history.find(seen.sequence);
    if (entry != update.history.end() && entry->second != seen.state) {
      Violate("Durable", absl::StrCat(Name(seen), " was shown; the history of ", Name(update),
                                      " says ", core::StateName(entry->second)));
    }
  }
}

// A prediction moves along the edges of the contract's table.
void WatchValidator::Legal(const SeenUpdate& update) {
  if (!seen_.empty() && !core::IsLegalTransition(seen_.back().state, update.state)) {
    Violate("Legal", absl::StrCat("from ", Name(seen_.back()), " to ", Name(update)));
  }
}

// The terminal update is the last one, and nothing follows OK.
void WatchValidator::TerminalOnce(const SeenUpdate& update) {
  if (ended_ok_ || TerminalSeen()) {
    Violate("Terminal once", absl::StrCat(Name(update), " comes after the end"));
  }
}

// Only a watch that resumes at the terminal transition sees no update and ends with OK.
void WatchValidator::OkMeansTerminal() {
  const bool resumed_at_the_end = seen_.empty() && position_.has_value();
  if (!TerminalSeen() && !resumed_at_the_end) {
    Violate("Terminal once", "OK without the terminal state");
  }
}

void WatchValidator::ResumableAtTheEnd() {
  if (shown_ == nullptr || !position_ || begun_) return;
  if (const int64_t last = shown_->LastSequence(prediction_id_); last > *position_) {
    Violate("Resumable",
            absl::StrCat("nothing comes after position ", *position_, " of ", last, " and more"));
  }
}

std::optional<int64_t> WatchValidator::last_sequence() const {
  return seen_.empty() ? position_ : seen_.back().sequence;
}

bool WatchValidator::TerminalSeen() const {
  return std::any_of(seen_.begin(), seen_.end(),
                     [](const SeenUpdate& seen) { return core::IsTerminal(seen.state); });
}

void WatchValidator::Violate(absl::string_view guarantee, absl::string_view how) {
  violations_.push_back(absl::StrCat(guarantee, ": ", how));
}

}  // namespace dreamgate::fakes
