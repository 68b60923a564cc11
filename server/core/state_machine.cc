#include "server/core/state_machine.h"

namespace dreamgate::core {

absl::string_view StateName(State state) {
  switch (state) {
    case State::kQueued: return "QUEUED";
    case State::kSubmitting: return "SUBMITTING";
    case State::kUnresolved: return "UNRESOLVED";
    case State::kCreated: return "CREATED";
    case State::kProcessing: return "PROCESSING";
    case State::kCompleted: return "COMPLETED";
    case State::kFailed: return "FAILED";
    case State::kCancelled: return "CANCELLED";
    case State::kTimedOut: return "TIMED_OUT";
    case State::kDeleted: return "DELETED";
  }
  return "UNKNOWN";
}

bool IsTerminal(State state) { return state >= State::kCompleted; }

bool IsLegalTransition(State from, State to) {
  switch (from) {
    case State::kQueued:
      return to == State::kSubmitting || to == State::kFailed || to == State::kCancelled;
    case State::kSubmitting:
      return to == State::kCreated || to == State::kProcessing || to == State::kUnresolved ||
             to == State::kQueued || IsTerminal(to);
    case State::kUnresolved:
      return to == State::kCreated || to == State::kProcessing || to == State::kSubmitting ||
             IsTerminal(to);
    case State::kCreated: return to == State::kProcessing || IsTerminal(to);
    case State::kProcessing: return IsTerminal(to);
    case State::kCompleted:
    case State::kFailed:
    case State::kCancelled:
    case State::kTimedOut:
    case State::kDeleted: return false;
  }
  return false;
}

absl::string_view AttemptResultName(AttemptResult result) {
  switch (result) {
    case AttemptResult::kAccepted: return "ACCEPTED";
    case AttemptResult::kRejected: return "REJECTED";
    case AttemptResult::kNotSent: return "NOT_SENT";
    case AttemptResult::kUnknown: return "UNKNOWN";
    case AttemptResult::kAbsent: return "ABSENT";
    case AttemptResult::kOrphaned: return "ORPHANED";
  }
  return "UNKNOWN";
}

bool IsLegalAttemptResult(std::optional<AttemptResult> from, AttemptResult to) {
  if (!from) return to != AttemptResult::kAbsent;
  switch (*from) {
    case AttemptResult::kUnknown: return to != AttemptResult::kUnknown;
    case AttemptResult::kAbsent:
    case AttemptResult::kRejected:
    case AttemptResult::kNotSent: return to == AttemptResult::kOrphaned;
    case AttemptResult::kAccepted:
    case AttemptResult::kOrphaned: return false;
  }
  return false;
}

Recovery RecoveryOf(State left_in) {
  switch (left_in) {
    case State::kQueued: return Recovery::kWithdraw;
    case State::kSubmitting:
    case State::kUnresolved: return Recovery::kReconcile;
    case State::kCreated:
    case State::kProcessing: return Recovery::kFollow;
    case State::kCompleted:
    case State::kFailed:
    case State::kCancelled:
    case State::kTimedOut:
    case State::kDeleted: return Recovery::kNothing;
  }
  return Recovery::kNothing;
}

}  // namespace dreamgate::core
