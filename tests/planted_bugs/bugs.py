"""The bugs that planted_bugs.py plants: mistakes that somebody could make, one at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    name: str
    costs: str  # what would happen to users
    changes: tuple[tuple[str, str, str], ...]  # (file, text that is there once, text instead)


SUBMITTER = "server/core/submission/submitter.cc"
SUBMISSION = "server/core/submission/submission.cc"
POSTING = "server/core/submission/posting.cc"
TRACKER = "server/core/tracking/tracker.cc"
RECORDING = "server/core/tracking/recording.cc"
DURABLE = "server/core/durable.h"
POLLER = "server/core/polling/poller.cc"
POLL_PLANNER = "server/core/polling/poll_planner.cc"
POLL_BUDGET = "server/core/polling/poll_budget.cc"
RECONCILER = "server/core/evidence/reconciler.cc"
HISTORY_READER = "server/core/evidence/history_reader.cc"
ORPHANS = "server/core/evidence/orphans.cc"
EVIDENCE = "server/core/evidence/evidence.cc"
WATCH_HUB = "server/core/watching/watch_hub.cc"
STATES = "server/core/state_machine.cc"
OPERATIONS = "server/ledger/operations.cc"
STORE = "server/ledger/store.cc"
OUTLET = "server/ledger/outlet.cc"
LEDGER_FILE = "server/ledger/ledger_file.cc"
RECORDS = "server/ledger/records.cc"
WEBHOOK = "server/wavespeed/webhook.cc"
WEBHOOK_REQUEST = "server/web/webhook_request.cc"
RETRY_AFTER = "server/wavespeed/retry_after.cc"

BUGS = [
    # ------------------------------------------------------------------------------------ one payment
    Bug("send-before-submitting-is-durable",
        "a crash while queued work is sent makes it look unsent: paid twice",
        ((SUBMISSION, "      self->submitter_.Post(self, std::move(recorded.prediction), self->attempt_);\n", ""),
         (SUBMISSION, "  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));\n}\n\nbool Submission::TimeIsUp",
          "  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));\n"
          "  submitter_.Post(shared_from_this(), prediction_, attempt_);\n}\n\nbool Submission::TimeIsUp"))),
    Bug("repeat-the-post-when-its-outcome-is-unknown",
        "a lost answer is paid twice",
        ((POSTING, "  } else {\n    if (standing_ != Standing::kUnresolved) {\n",
          "  } else if (not_sent_ == 0 && standing_ != Standing::kUnresolved) {\n"
          "    OnNotSent(CreateNotSent{\"?\"});\n"
          "  } else {\n    if (standing_ != Standing::kUnresolved) {\n"),)),
    Bug("forget-what-a-crash-left-in-flight",
        "the caller's retry after a crash is paid twice",
        ((STATES, "    case State::kQueued: return Recovery::kWithdraw;\n    case State::kSubmitting:\n",
          "    case State::kQueued:\n    case State::kSubmitting: return Recovery::kWithdraw;\n"),)),
    Bug("withdraw-at-the-soft-timeout",
        "the caller's retry after a slow answer is paid twice",
        ((POSTING, "  } else if (phase_ == Phase::kOnTheWire) {\n",
          "  } else if (phase_ == Phase::kOnTheWire && standing_ == Standing::kHidden) {\n"
          "    EndUnsent(\"soft timeout\", UpstreamNotReachedInTime());\n"
          "  } else if (phase_ == Phase::kOnTheWire) {\n"),)),
    Bug("answer-another-payload-with-the-first-one",
        "a caller gets a video of something else",
        ((OPERATIONS, "  if ((*holder)->canonical != reservation.canonical) return core::ReserveConflict{};\n", ""),)),
    Bug("forget-rejections",
        "a prompt that upstream has refused is sent anew with each retry",
        ((SUBMISSION, "  return rejected.reason == Reason::kUpstreamRejected",
          "  return false && rejected.reason == Reason::kUpstreamRejected"),)),
    Bug("answer-before-the-commit",
        "a crash loses a submission that was acknowledged",
        ((POSTING, "  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));\n",
          "  if (owner_ != nullptr) owner_->OnRecorded(prediction_);\n"
          "  parts_.tracker.Record(KeyOf(*prediction_), std::move(observation));\n"),)),
    Bug("do-not-insist-on-an-acceptance",
        "a full disk loses the id of a paid task",
        (("server/core/tracking/tracker.h", "  bool insist = true;\n", "  bool insist = false;\n"),)),
    Bug("ignore-late-answers",
        "a video whose acceptance came late is given up",
        ((POSTING, "  if (const auto* accepted = std::get_if<CreateAccepted>(&outcome)) {\n",
          "  if (standing_ == Standing::kUnresolved) {\n    End();\n"
          "  } else if (const auto* accepted = std::get_if<CreateAccepted>(&outcome)) {\n"),)),
    Bug("repeat-the-post-after-unresolved",
        "evidence judges an attempt that may still be paid for",
        ((POSTING, "now + delay < deadline && standing_ != Standing::kUnresolved",
          "now + delay < deadline || standing_ == Standing::kUnresolved"),)),
    Bug("free-the-slot-while-the-post-is-on-the-wire",
        "a slow upstream gets more submissions at once than it may",
        ((SUBMISSION, " || submitter_.OnTheWire(KeyOf(*prediction_))) return;", ") return;"),)),
    Bug("tell-a-rejection-before-it-is-remembered",
        "after a crash there is a prediction of what its caller was told is refused",
        ((SUBMISSION, "  if (IsLedgerTrouble(error)) AnswerCallers(error);\n",
          "  if (IsLedgerTrouble(error) || remember) AnswerCallers(error);\n"),)),
    Bug("send-with-another-key",
        "the task is another account's, where nobody looks for it",
        ((POSTING, "  if (parts_.ports.upstream.KeyFingerprint() != prediction_->key_fingerprint) {\n",
          "  if (prediction_->key_fingerprint.empty()) {\n"),)),
    Bug("hide-after-a-crash-what-was-acknowledged",
        "a caller who was told OK is told that there is no such prediction",
        ((SUBMITTER, "  tracker_.MarkAcknowledged(KeyOf(prediction));\n", ""),)),

    # ------------------------------------------------------------------------------------ evidence
    Bug("bind-tasks-that-somebody-has",
        "two callers get one video, and the other one is lost",
        ((EVIDENCE, "    if (!std::binary_search(review.bound.begin(), review.bound.end(), item.upstream_id)) {\n",
          "    if (item.upstream_id.empty() || !review.bound.empty() || review.bound.empty()) {\n"),)),
    Bug("bind-when-nobody-can-tell-whose",
        "a caller gets another client's video",
        ((EVIDENCE, "    bool clear = items.size() == owners.size();\n",
          "    if (items.size() > owners.size()) items.resize(owners.size());\n    bool clear = true;\n"),)),
    Bug("bind-while-a-twin-is-in-flight",
        "the task of a POST in flight is given to another caller",
        ((EVIDENCE, "    if (answer_decides) continue;\n", "    if (answer_decides && owners.empty()) continue;\n"),)),
    Bug("believe-the-first-reading",
        "a history that lags makes a paid task look absent",
        ((EVIDENCE, "constexpr int kReadings = 3;", "constexpr int kReadings = 1;"),
         (EVIDENCE, "reading.begun - now.first >= settle_time_", "reading.begun - now.first >= absl::ZeroDuration()"))),
    Bug("take-a-task-without-input-for-another's",
        "a paid task that history shows without its input counts as absent",
        ((EVIDENCE, "      if (item->input) {\n        by_seed_", "      if (!item->input) continue;\n      if (item->input) {\n        by_seed_"),)),
    Bug("conclude-absence-while-the-post-is-on-the-wire",
        "a slow POST is given up, or sent again, before its answer",
        ((RECONCILER, "        !on_the_wire(attempt)) {", "        true) {"),)),
    Bug("believe-another-account's-history",
        "after a switch of keys every unknown submission looks absent",
        ((EVIDENCE, "    if (attempt->key_fingerprint != reading.key_fingerprint || start < reading.since ||",
          "    if (start < reading.since ||"),)),
    Bug("believe-a-history-that-leaves-out",
        "a history that lags by more than it settles makes paid tasks look absent",
        ((EVIDENCE, "  if (!IsConsistent(reading, review)) {\n", "  if (!IsConsistent(reading, review) && shown_.empty()) {\n"),)),
    Bug("send-again-without-limit",
        "an account is emptied by a history that shows nothing",
        ((RECONCILER, "attempt.attempt.number > options_.resend_after_absence", "options_.resend_after_absence < 0"),)),
    Bug("drop-orphans",
        "videos that were paid for and came late are lost",
        ((RECORDING, "    observer_.OnUnboundTask(key, *outcome);\n", ""),)),
    Bug("let-a-replaced-attempt-decide",
        "the answer to the attempt that replaced it is lost, and its prediction never ends",
        ((RECORDING, "observation.attempt_outcome->number < prospect.attempt;", "observation.attempt_outcome->number < 0;"),)),
    Bug("forget-orphans-at-a-restart",
        "their videos are never fetched",
        ((RECONCILER, "  orphans_.Start();\n", ""),)),
    Bug("ask-only-about-what-is-unresolved",
        "tasks of given-up predictions are never found",
        ((HISTORY_READER, "  if (question.whole) question.reading.since = now - options_.upstream_retention;\n", ""),)),
    Bug("send-again-before-it-is-durable",
        "a crash after the further attempt's POST makes it unknown: paid twice",
        ((RECONCILER, "    if (recorded.end == Recorded::End::kCommitted) {\n",
          "    if (recorded.end == Recorded::End::kCommitted || recorded.end == Recorded::End::kKept) {\n"),)),
    Bug("believe-a-history-read-with-two-keys",
        "an attempt is judged by the history of another account",
        ((HISTORY_READER, "if (!review.ok() || !same_account) {", "if (!review.ok() || (!same_account && failures_ < 0)) {"),)),
    Bug("take-an-orphan-for-lost",
        "a key of another account does not know it, so its videos are given up",
        ((ORPHANS, ".account_key = \"\",", ".account_key = ports_.upstream.KeyFingerprint(),"),)),
    Bug("keep-an-orphan's-videos-to-oneself",
        "an orphan's videos are polled and not recorded",
        ((ORPHANS, "  Write(std::move(record), [](const absl::Status&) {});\n", ""),)),

    # ------------------------------------------------------------------------------------ the ledger
    Bug("forget-the-commit",
        "nothing is durable",
        ((STORE, "  return records_->Commit();\n}\n\nbool Store::RunWithoutSavepoints", "  return records_->Rollback();\n}\n\nbool Store::RunWithoutSavepoints"),)),
    Bug("do-not-sync",
        "a power loss takes back what callers were told",
        ((LEDGER_FILE, "PRAGMA synchronous = FULL;", "PRAGMA synchronous = OFF;"),)),
    Bug("trust-the-log-after-a-failed-sync",
        "a crash takes back what was read after the trouble",
        ((STORE, "  if (!log_in_doubt_) return absl::OkStatus();\n", "  if (log_in_doubt_ || !log_in_doubt_) return absl::OkStatus();\n"),)),
    Bug("keep-a-failed-operation's-traces",
        "half an operation becomes durable with the rest of its batch",
        ((STORE, "    records_->RollbackToSavepoint().IgnoreError();\n", ""),)),
    Bug("commit-a-batch-in-which-one-failed-half-way",
        "half an operation becomes durable with the rest of its batch",
        ((STORE, "    if (!IsOk(*call) && database_->total_changes() != changes_before) return false;\n", "    if (changes_before < 0) return false;\n"),)),
    Bug("tell-of-a-commit-that-failed",
        "a full disk takes back what callers were told",
        ((STORE, "    const absl::Status status = core::IsWrite(*call) ? trouble : EnsureOpen();\n",
          "    if (core::IsWrite(*call) && IsOk(*call)) continue;\n"
          "    const absl::Status status = core::IsWrite(*call) ? trouble : EnsureOpen();\n"),)),
    Bug("answer-before-the-observer",
        "who reads the answer and then watches sees the past",
        ((OUTLET, "        if (observer_ != nullptr && any.answer.ok()) {\n",
          "        auto answer = any.answer;\n        std::move(any.done)(std::move(answer));\n"
          "        if (observer_ != nullptr && any.answer.ok()) {\n"),
         (OUTLET, "        std::move(any.done)(std::move(any.answer));\n", ""))),
    Bug("give-up-after-the-first-try",
        "a full disk loses what has to be recorded",
        ((DURABLE, "if (!matter->tried(std::move(answer))) return;",
          "if (!matter->tried(std::move(answer)) || matter->failures == 0) return;"),)),
    Bug("read-without-learning",
        "a watcher sees less than somebody was shown before",
        ((TRACKER, "Learn(std::make_shared<const Prediction>(Fold(*stored)));", ""),)),
    Bug("list-without-learning",
        "a watcher sees less than a list has shown before",
        ((TRACKER, "for (const auto& shown : page->predictions) Learn(shown);", ""),)),

    # ------------------------------------------------------------------------------------ watching
    Bug("miss-what-is-committed-while-reading",
        "a watcher waits for ever",
        ((WATCH_HUB, "    feed.arrived.push_back(prediction);\n", ""),)),
    Bug("repeat-the-position",
        "a resumed watcher sees a transition twice",
        ((WATCH_HUB, "log[cursor].sequence <= *newcomer.after_sequence", "log[cursor].sequence < *newcomer.after_sequence"),)),
    Bug("show-what-may-be-taken-back",
        "a list shows a prediction that is rejected a moment later",
        (("server/core/prediction.cc", "    if (entry.state != State::kQueued && entry.state != State::kSubmitting) return true;\n",
          "    if (entry.sequence > 0) return true;\n"),)),
    Bug("show-watchers-what-is-not-durable",
        "a crash takes back what a watcher has seen",
        ((RECORDING, "    entry.acknowledged = true;\n",
          "    entry.acknowledged = true;\n"
          "    Transition next = failed.transition;\n"
          "    next.sequence = entry.current->sequence + 1;\n"
          "    observer_.OnCommitted(std::make_shared<const Prediction>(Apply(*entry.current, next)));\n"),)),
    Bug("let-states-go-backwards",
        "a late observation undoes a terminal state",
        ((STATES, "    case State::kCompleted:\n    case State::kFailed:\n    case State::kCancelled:\n    case State::kTimedOut:\n    case State::kDeleted: return false;\n  }\n  return false;\n}\n\nabsl::string_view AttemptResultName",
          "    case State::kCompleted:\n    case State::kFailed:\n    case State::kCancelled:\n    case State::kTimedOut:\n    case State::kDeleted: return to != from;\n  }\n  return false;\n}\n\nabsl::string_view AttemptResultName"),)),
    Bug("stop-polling-after-a-failed-poll",
        "a prediction never ends",
        ((POLLER, "  ScheduleAt(key, *task,\n             now + std::max(", "  if (task->failures > 2) return;\n  ScheduleAt(key, *task,\n             now + std::max("),)),
    Bug("let-a-watcher-put-a-poll-off",
        "a video that a webhook has announced is not polled",
        ((POLLER, "due < *task.next)", "due > absl::InfinitePast())"),)),
    Bug("fail-at-the-first-404",
        "a paid video is given up because one machine did not know it yet",
        ((POLLER, "constexpr int kNotFoundPolls = 5;", "constexpr int kNotFoundPolls = 1;"),
         (POLLER, "constexpr absl::Duration kNotFoundPeriod = absl::Hours(1);", "constexpr absl::Duration kNotFoundPeriod = absl::ZeroDuration();"))),
    Bug("prune-by-age-alone",
        "work in progress is forgotten, and its request_id pays again",
        ((RECORDS, "FROM predictions WHERE end_time < ? \"\n       \"AND (state >= ? OR rejected = 1) ORDER BY end_time LIMIT ?\"",
          "FROM predictions WHERE create_time < ? \"\n       \"AND state >= ? - 9 LIMIT ?\""),)),

    # ------------------------------------------------------------------------------------ webhooks
    Bug("take-an-old-webhook",
        "who has once seen a webhook can repeat it for ever",
        ((WEBHOOK, "absl::AbsDuration(now - *timestamp) <= kWebhookTolerance;",
          "now - *timestamp > -kWebhookTolerance;"),)),
    Bug("take-a-webhook-that-anybody-signed",
        "a stranger binds a task of his to somebody's prediction",
        ((WEBHOOK, "fits |= crypto::ConstantTimeEquals(absl::AsciiStrToLower(entry), right);",
          "fits |= entry.size() == right.size();"),)),
    Bug("take-any-token",
        "whatever a target ends with goes to the ledger as an attempt's token",
        ((WEBHOOK_REQUEST, "  if (!IsToken(target)) return std::nullopt;\n",
          "  if (!IsToken(target) && target.empty()) return std::nullopt;\n"),)),
    Bug("answer-a-webhook-before-it-is-recorded",
        "a crash loses the only sign of a paid video, and upstream does not call again",
        ((RECONCILER, "        Bind(*found, task, TransitionSource::kWebhook, std::move(done));\n",
          "        std::move(done)(absl::OkStatus());\n"
          "        Bind(*found, task, TransitionSource::kWebhook, [](absl::Status) {});\n"),)),
    Bug("take-every-webhook-for-the-known-task's",
        "a second task of an attempt is paid for and lost",
        ((RECONCILER, "        if (found->upstream_id == upstream_id) {", "        if (!found->upstream_id.empty()) {"),)),
    Bug("rely-on-webhooks-for-ever",
        "once webhooks stop coming, every video is seen late",
        ((POLL_PLANNER, "  ends_with_webhook_ = came ? std::min(ends_with_webhook_ + 1, kEndsToTrust) : 0;\n",
          "  if (came) ends_with_webhook_ = std::min(ends_with_webhook_ + 1, kEndsToTrust);\n"),)),

    # ------------------------------------------------------------------------------------ what upstream can bear
    Bug("ask-during-retry-after",
        "an upstream that asks for a pause gets none",
        ((POLL_BUDGET, "now + std::min(*retry_after, kLongestPause)", "now + std::min(absl::ZeroDuration(), kLongestPause)"),)),
    Bug("obey-every-retry-after",
        "one absurd header stops all looks for a year",
        ((POLL_BUDGET, "now + std::min(*retry_after, kLongestPause)", "now + std::max(*retry_after, kLongestPause)"),)),
    Bug("go-on-after-a-429-as-before",
        "an overloaded upstream is asked as often as before",
        ((POLL_BUDGET, "rate_ = std::max(rate_ / 2, ", "rate_ = std::max(rate_, "),)),
    Bug("save-up-polls",
        "after a quiet night all is asked at once",
        ((POLL_BUDGET, "  tokens_ = std::min(BurstAt(rate_), ", "  tokens_ = std::max(BurstAt(rate_), "),)),
    Bug("let-the-youngest-poll-go-first",
        "of polls due at the same moment, those that asked first wait longest",
        ((POLL_BUDGET, "  const Place place(due, asked_++);\n", "  const Place place(due, --asked_);\n"),)),
    Bug("read-any-retry-after",
        "a date of next year stops all submissions until then",
        ((RETRY_AFTER, "  return std::clamp(wait, absl::ZeroDuration(), absl::Hours(1));\n", "  return wait;\n"),)),
]
