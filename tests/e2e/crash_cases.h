// Every failpoint of the server: in which situation it is passed, and what becomes then of the
// submission that was under way. The crash tests kill the server at each of them, the crash loop at any.
// tests/walls holds this list against the DREAMGATE_FAILPOINT lines in server/.
#ifndef DREAMGATE_TESTS_E2E_CRASH_CASES_H_
#define DREAMGATE_TESTS_E2E_CRASH_CASES_H_

#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace dreamgate::e2e {

enum class Situation {
  kPlain,       // submitted, created, watched to the end
  kLongPrompt,  // the POST needs more than one write
  kQueued,      // waits until the only slot is free
  kRejected,    // upstream answers 400
  kSlow,        // upstream answers after the soft timeout
  kCreated500,  // upstream creates the task and answers 500
  kAbsent500,   // upstream answers 500 and creates nothing
  kResent,      // the same, and --resend-after-absence=1
  kOrphaned,    // history hid a task until a second one had been made
  kBlind,       // the task is created, the answer lost, and history cannot be read
  kStarting,    // a new ledger is made
  kRecovering,  // an earlier server died with several submissions under way
  kBackingUp,   // a backup is being made
  kPruning,     // predictions are old enough to be forgotten
  kLeaving,     // SIGTERM
};

enum class Ending {
  kCompleted,   // one task, or one beside the orphan; its video
  kNotCreated,  // no task; FAILED with SUBMIT_NOT_CREATED
  kUnknown,     // FAILED with SUBMIT_OUTCOME_UNKNOWN, and its video in recovered_outputs
  kRejected,    // no task; the remembered error
};

struct CrashCase {
  std::string failpoint;
  Situation situation = Situation::kPlain;
  std::optional<Ending> ending = std::nullopt;  // unset: depends on what came first
  int pass = 1;                                 // the server dies at this pass
};

inline std::ostream& operator<<(std::ostream& out, const CrashCase& crash) {
  return out << crash.failpoint << ":" << crash.pass;
}

const std::vector<CrashCase>& CrashCases();

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_CRASH_CASES_H_
