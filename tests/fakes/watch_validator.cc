#include "tests/fakes/watch_validator.h"

#include "absl/strings/str_cat.h"

namespace dreamgate::fakes {

void WatchValidator::OnUpdate(int64_t sequence, core::State state) {
  if (ended_ok_) violations_.push_back(absl::StrCat("update ", sequence, " after the end"));
  if (terminal_seen_) {
    violations_.push_back(
        absl::StrCat("Terminal once: update ", sequence, " after the terminal one"));
  }
  if (last_sequence_ && sequence <= *last_sequence_) {
    violations_.push_back(absl::StrCat("Unique, Ordered: ", sequence, " after ", *last_sequence_));
  } else if (last_sequence_ && sequence != *last_sequence_ + 1) {
    violations_.push_back(absl::StrCat("Reliable: ", sequence, " follows ", *last_sequence_));
  }
  if (!seen_.empty() && !core::IsLegalTransition(seen_.back().state, state)) {
    violations_.push_back(absl::StrCat("illegal transition from ",
                                       core::StateName(seen_.back().state), " to ",
                                       core::StateName(state)));
  }
  last_sequence_ = sequence;
  seen_.push_back({sequence, state});
  if (core::IsTerminal(state)) terminal_seen_ = true;
}

void WatchValidator::OnEnd(bool ok) {
  if (ended_ok_) violations_.push_back("a second end");
  // Only a watch that resumes at the terminal transition sees no update and ends with OK.
  const bool resumed_at_the_end = seen_.empty() && last_sequence_.has_value();
  if (ok && !terminal_seen_ && !resumed_at_the_end) {
    violations_.push_back("OK without the terminal state");
  }
  ended_ok_ = ok;
}

}  // namespace dreamgate::fakes
