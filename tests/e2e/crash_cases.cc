#include "tests/e2e/crash_cases.h"

namespace dreamgate::e2e {

const std::vector<CrashCase>& CrashCases() {
  using enum Situation;
  constexpr Ending kDone = Ending::kCompleted;
  constexpr Ending kNothing = Ending::kNotCreated;
  static const auto* const cases = new std::vector<CrashCase>{
      // On the way to the reservation: nothing is durable, the retry begins anew.
      {"api.submit_received", kPlain, kDone},
      {"submit.before_reserve", kPlain, kDone},
      {"ledger.before_begin", kPlain, std::nullopt, 3},
      {"ledger.before_commit", kPlain, std::nullopt, 4},
      {"ledger.committed", kPlain, std::nullopt, 5},
      {"ledger.posted", kPlain, std::nullopt, 6},
      // Reserved, but the POST has not left or not all of it: history proves that there is no task.
      {"submit.reserved", kPlain, kNothing},
      {"submit.before_post", kPlain, kNothing},
      {"submit.post_handed_over", kPlain, kNothing},
      {"upstream.connected", kPlain, kNothing},
      {"upstream.write_started", kLongPrompt, kNothing},
      // In the queue nothing has been sent, so the retry begins anew.
      {"submit.queued", kQueued, kDone},
      {"submit.leaving_queue", kQueued, kDone},
      {"submit.left_queue", kQueued, kNothing},
      // The POST has left: history shows the task.
      {"upstream.written", kPlain, kDone},
      {"upstream.answer_read", kPlain, kDone},
      {"submit.answer_known", kPlain, kDone},
      {"track.before_writing", kPlain, kDone},
      {"track.written", kPlain, kDone},
      {"submit.recorded", kPlain, kDone},
      {"api.before_answer", kPlain, kDone},
      {"api.after_answer", kPlain, kDone},
      {"submit.soft_timeout", kSlow, kDone},
      {"submit.outcome_unknown", kCreated500, kDone},
      // A rejection counts once it is recorded.
      {"submit.rejected", kRejected, kNothing},
      {"submit.withdrawing", kRejected, kNothing},
      {"submit.rejection_recorded", kRejected, Ending::kRejected},
      // Looking for evidence.
      {"reconcile.before_asking", kCreated500, kDone, 2},
      {"reconcile.page_read", kCreated500, kDone},
      {"reconcile.before_judging", kCreated500, kDone},
      {"reconcile.before_binding", kCreated500, kDone},
      {"reconcile.bound", kCreated500, kDone},
      {"reconcile.absence_concluded", kAbsent500, kNothing},
      {"reconcile.before_resending", kResent, kNothing},
      {"reconcile.orphan_found", kOrphaned, kDone},
      {"reconcile.orphan_recorded", kOrphaned, kDone},
      {"reconcile.orphan_ended", kOrphaned, kDone},
      {"track.giving_up", kBlind, Ending::kUnknown},
      // Following the task and showing it.
      {"track.before_poll", kPlain, kDone},
      {"track.poll_answered", kPlain, kDone},
      {"watch.subscribed", kPlain, kDone},
      {"watch.not_delivered", kPlain, kDone},
      {"watch.terminal_not_delivered", kPlain, kDone},
      {"watch.update_written", kPlain, kDone, 2},
      {"watch.terminal_written", kPlain, kDone},
      // Starting and leaving.
      {"ledger.before_schema_step", kStarting, kDone, 2},
      {"ledger.epoch_raised", kStarting, kDone},
      {"recover.before_takeover", kRecovering, kDone},
      {"recover.taken_over", kRecovering, kDone},
      {"recover.one_recovered", kRecovering, kDone, 2},
      {"recover.done", kRecovering, kDone},
      {"shutdown.drain_begun", kLeaving, kDone},
      {"shutdown.before_closing", kLeaving, kDone},
      {"shutdown.ledger_stopped", kLeaving, kDone},
      // Housekeeping.
      {"ledger.backup_copied", kBackingUp, kDone},
      {"ledger.prune_before_commit", kPruning, kDone},
  };
  return *cases;
}

}  // namespace dreamgate::e2e
