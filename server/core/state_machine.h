// The life of a prediction and of its attempts, as two tables, and where a crash at any point of it
// leads back to. Everything that changes a prediction asks here: the tracker before it
// proposes, the ledger before it writes, the submitter when it takes over what a dead process
// left. Pure functions, any thread.
//
//   prediction      may become
//   QUEUED          SUBMITTING FAILED CANCELLED
//   SUBMITTING      CREATED PROCESSING any terminal UNRESOLVED QUEUED
//   UNRESOLVED      CREATED PROCESSING any terminal SUBMITTING (with a new attempt, if opted in)
//   CREATED         PROCESSING any terminal
//   PROCESSING      any terminal
//   terminal        nothing
//
//   attempt         may become
//   (open)          ACCEPTED REJECTED NOT_SENT UNKNOWN ORPHANED
//   UNKNOWN         ACCEPTED REJECTED NOT_SENT ABSENT ORPHANED
//   ABSENT          ORPHANED
//   REJECTED        ORPHANED
//   NOT_SENT        ORPHANED
//   ACCEPTED        nothing
//   ORPHANED        nothing
//
// A task that an attempt has created belongs to the prediction (ACCEPTED) or, if the prediction has
// ended or gone on with another attempt by then, to nobody (ORPHANED): it was
// paid for, so it is kept.
#ifndef DREAMGATE_SERVER_CORE_STATE_MACHINE_H_
#define DREAMGATE_SERVER_CORE_STATE_MACHINE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace dreamgate::core {

// Numbers are stored in the ledger and equal those of dreamgate.v1.PredictionState: never renumber.
enum class State {
  kQueued = 1,      // durable, not yet sent upstream
  kSubmitting = 2,  // the POST is in flight
  kUnresolved = 3,  // the POST's outcome is unknown
  kCreated = 4,
  kProcessing = 5,
  kCompleted = 6,  // from here on: terminal
  kFailed = 7,
  kCancelled = 8,
  kTimedOut = 9,
  kDeleted = 10,
};

// The name as callers see it, for example "UNRESOLVED".
absl::string_view StateName(State state);

bool IsTerminal(State state);

// The table of legal edges. Everything else that is observed is dropped and counted.
bool IsLegalTransition(State from, State to);

// The result of one attempt. Numbers are stored in the ledger: never renumber.
enum class AttemptResult {
  kAccepted = 1,  // upstream created the task that the prediction follows
  kRejected = 2,  // definitely refused, nothing created
  kNotSent = 3,   // not one byte of the POST left
  kUnknown = 4,   // may have created a task
  kAbsent = 5,    // upstream's history shows that it created none
  kOrphaned = 6,  // created a task that no live prediction follows
};

absl::string_view AttemptResultName(AttemptResult result);

// `from` unset: the attempt is open, nothing is known of it.
bool IsLegalAttemptResult(std::optional<AttemptResult> from, AttemptResult to);

// The way a process goes on with a prediction that an earlier one left in this state, whatever it
// was doing when it ended: nothing is sent again on a guess.
enum class Recovery {
  kWithdraw,   // never sent, never acknowledged: the caller's retry begins anew
  kReconcile,  // the POST may have left: becomes (or stays) UNRESOLVED, evidence decides
  kFollow,     // upstream has the task: poll it until it ends
  kNothing,    // terminal
};
Recovery RecoveryOf(State left_in);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_STATE_MACHINE_H_
