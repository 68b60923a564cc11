#include "server/core/evidence/reconciler.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/retry.h"

namespace dreamgate::core {
namespace {

constexpr absl::Duration kFirstQuestion = absl::Seconds(5);
constexpr absl::Duration kWholePeriod = absl::Hours(1);
constexpr BackoffPolicy kQuestionBackoff = {absl::Seconds(5), absl::Minutes(1)};
constexpr BackoffPolicy kReviewBackoff = {absl::Milliseconds(200), absl::Seconds(10)};
// By how much two answers' dates may disagree about the clocks. Below the tolerance's slack.
constexpr absl::Duration kClockJitter = absl::Seconds(10);
constexpr absl::Duration kPrelude = absl::Minutes(10);
constexpr absl::Duration kLongestPause = absl::Minutes(10);
// Of 100 tasks each. Beyond them history proves no absence, but may still show a task.
constexpr int kMostPages = 200;

absl::Status InTrouble() {
  return MakeError(Reason::kLedgerUnavailable,
                   "durable storage is in trouble and cannot record this yet; call again",
                   {.retry_after = absl::Seconds(5)});
}

// The state that upstream's word surely stands for. Anything further is for a GET to say: the list
// may show less of a task than the task itself does.
State StateFor(absl::string_view raw_status) {
  return raw_status.empty() || raw_status == "created" || raw_status == "pending" ||
                 raw_status == "queued"
             ? State::kCreated
             : State::kProcessing;
}

}  // namespace

Reconciler::Reconciler(const Ports& ports, const Options& options, Tracker& tracker,
                       Submitter& submitter)
    : ports_(ports),
      options_(options),
      tracker_(tracker),
      submitter_(submitter),
      absences_(options.absence_settle_time),
      orphans_(ports, options, tracker) {}

Reconciler::~Reconciler() = default;

void Reconciler::Start() {
  orphans_.Start();
  whole_due_ = true;
  AskAfter(std::min(kFirstQuestion, options_.absence_settle_time / 3));
}

void Reconciler::OnUnresolved(const std::shared_ptr<const Prediction>&) {
  AskAfter(std::min(kFirstQuestion, options_.absence_settle_time / 3));
}

// ------------------------------------------------------------------------------ asking for history

void Reconciler::AskAfter(absl::Duration delay) {
  const absl::Time due = ports_.clock.Now() + delay;
  if (question_ || (next_ != nullptr && next_due_ <= due)) return;
  next_due_ = due;
  next_ = ports_.timers.After(delay, [this] {
    next_.reset();
    Ask();
  });
}

void Reconciler::Ask() {
  DREAMGATE_FAILPOINT("reconcile.before_asking");
  const absl::Time now = ports_.clock.Now();
  Question question;
  question.whole = std::exchange(whole_due_, false);
  question.reading.begun = now;
  question.reading.key_fingerprint = ports_.upstream.KeyFingerprint();
  question.reading.since = now;
  const auto unresolved = tracker_.Unresolved();
  if (unresolved.empty() && !question.whole) return;
  for (const auto& prediction : unresolved) {
    question.reading.since = std::min(question.reading.since, prediction->create_time);
  }
  // The tasks from before show whether history is up to date.
  question.reading.since -= std::max(kPrelude, options_.absence_settle_time);
  if (question.whole) question.reading.since = now - options_.upstream_retention;
  question_ = std::move(question);
  if (!question_->whole) {
    ReadPage();
    return;
  }
  // The whole of history is long: is there anything to look for in it, and since when?
  ports_.ledger.Call(AttemptReviewQuery{question_->reading.since, {}, /*with_accepted=*/false},
                     lifeline_.Guard([this](absl::StatusOr<AttemptReview> review) {
                       if (!review.ok()) {
                         Conclude(/*answered=*/false);
                         return;
                       }
                       // What is in flight has its own answer to come.
                       const auto lost = std::find_if(
                           review->open.begin(), review->open.end(),
                           [](const StoredAttempt& open) { return open.result.has_value(); });
                       if (lost == review->open.end()) {
                         Conclude(/*answered=*/true);
                         return;
                       }
                       question_->reading.since = lost->attempt.start_time - kPrelude;
                       ReadPage();
                     }));
}

void Reconciler::ReadPage() {
  HistoryQuery query;
  query.created_after = question_->reading.since - ClockTolerance(clock_offset_);
  query.page = question_->page;
  question_->tolerance = ClockTolerance(clock_offset_);
  ports_.upstream.ListTasks(
      query, lifeline_.Guard([this](HistoryOutcome outcome) { OnPage(std::move(outcome)); }));
}

void Reconciler::OnPage(HistoryOutcome outcome) {
  if (const auto* failed = std::get_if<HistoryFailed>(&outcome)) {
    OnUnreadable(*failed);
    return;
  }
  unreadable_.reset();
  DREAMGATE_FAILPOINT("reconcile.page_read");
  HistoryPage& page = std::get<HistoryPage>(outcome);
  if (page.clock_offset) clock_offset_ = page.clock_offset;
  const absl::Duration too_narrow = ClockTolerance(clock_offset_) - question_->tolerance;
  if (question_->page == 1 && too_narrow > kClockJitter) {
    ReadPage();  // the clocks differ by more than was thought when this was asked
    return;
  }
  HistoryReading& reading = question_->reading;
  for (HistoryItem& item : page.items) {
    if (question_->seen.insert(item.upstream_id).second) reading.items.push_back(std::move(item));
  }
  if (page.more && question_->page < kMostPages) {
    ++question_->page;
    ReadPage();
    return;
  }
  reading.complete = !page.more;
  if (page.more) {
    ports_.events.Log(LogLevel::kWarning,
                      "upstream's history is too long to be read whole; it cannot show absence",
                      {{"tasks", absl::StrCat(reading.items.size())}});
  }
  reading.clock_offset = clock_offset_;
  Review();
}

void Reconciler::OnUnreadable(const HistoryFailed& failed) {
  if (unreadable_ != failed.http_status) {  // told once, however often it is asked for
    unreadable_ = failed.http_status;
    ports_.events.Log(
        LogLevel::kWarning,
        "upstream's history cannot be read; what became of unknown submissions stays open",
        {{"http_status", absl::StrCat(failed.http_status)}, {"problem", failed.message}});
  }
  retry_after_ = failed.retry_after.value_or(absl::ZeroDuration());
  if (question_->reading.items.empty()) {
    Conclude(/*answered=*/false);
    return;
  }
  question_->reading.cut_short = true;  // what the pages before have shown is there all the same
  question_->reading.clock_offset = clock_offset_;
  Review();
}

// Only now: whatever history shows was created by a POST whose attempt the ledger knows by now.
void Reconciler::Review() {
  AttemptReviewQuery query;
  query.started_after = EarliestStart(question_->reading);
  query.upstream_ids.assign(question_->seen.begin(), question_->seen.end());
  query.with_accepted = !question_->whole;
  ports_.ledger.Call(
      std::move(query), lifeline_.Guard([this](absl::StatusOr<AttemptReview> review) {
        if (!review.ok()) {  // what history has shown may be evidence: it is not read in vain
          next_ =
              ports_.timers.After(FullJitter(kReviewBackoff, failures_++, ports_.random), [this] {
                next_.reset();
                Review();
              });
          return;
        }
        // If the key was changed meanwhile, nobody knows whose history this is.
        if (ports_.upstream.KeyFingerprint() != question_->reading.key_fingerprint) {
          Conclude(/*answered=*/false);
          return;
        }
        DREAMGATE_FAILPOINT("reconcile.before_judging");
        LeaveOutDecided(*review);
        Judge(question_->reading, *review, question_->whole);
        Conclude(/*answered=*/!question_->reading.cut_short);
      }));
}

void Reconciler::Conclude(bool answered) {
  const bool whole = question_->whole;
  question_.reset();
  absl::Duration delay = options_.absence_settle_time / 3;
  if (answered) {
    failures_ = 0;
  } else {
    delay = std::max({FullJitter(kQuestionBackoff, failures_++, ports_.random),
                      std::min(retry_after_, kLongestPause), options_.absence_settle_time / 6});
  }
  retry_after_ = absl::ZeroDuration();
  if (whole && !answered) whole_due_ = true;
  if (whole && answered) {
    next_whole_ = ports_.timers.After(kWholePeriod, [this] {
      whole_due_ = true;
      AskAfter(absl::ZeroDuration());
    });
  }
  if (whole_due_ || !tracker_.Unresolved().empty()) AskAfter(delay);
}

// ----------------------------------------------------------------------------------------- judging

// An acceptance that the ledger cannot write yet is known all the same.
void Reconciler::LeaveOutDecided(AttemptReview& review) const {
  std::vector<StoredAttempt> undecided;
  for (StoredAttempt& attempt : review.open) {
    std::string upstream_id =
        attempt.latest ? tracker_.TaskOf({attempt.tenant, attempt.prediction_id}) : "";
    if (upstream_id.empty()) {
      undecided.push_back(std::move(attempt));
    } else {
      review.bound.push_back(std::move(upstream_id));
    }
  }
  review.open = std::move(undecided);
  std::sort(review.bound.begin(), review.bound.end());
}

void Reconciler::Judge(const HistoryReading& reading, const AttemptReview& review, bool whole) {
  const auto on_the_wire = [this](const StoredAttempt& attempt) {
    return attempt.latest && submitter_.OnTheWire({attempt.tenant, attempt.prediction_id});
  };
  const Matching matching = MatchTasks(reading, review, on_the_wire);
  if (std::exchange(ambiguous_, matching.ambiguous) < matching.ambiguous) {
    ports_.events.Log(LogLevel::kWarning,
                      "upstream's history shows tasks with the input of several submissions whose "
                      "outcome is unknown; none is bound",
                      {{"inputs", absl::StrCat(matching.ambiguous)}});
  }
  std::set<const StoredAttempt*> matched;
  for (const Match& match : matching.matches) {
    matched.insert(match.attempt);
    Bind(*match.attempt, *match.item, TransitionSource::kReconciliation,
         [](absl::Status) { /* asked again in the next question */ });
  }
  if (whole) return;
  std::vector<const StoredAttempt*> undecided;
  for (const StoredAttempt& attempt : review.open) {
    if (attempt.state == State::kUnresolved && attempt.latest &&
        attempt.result == AttemptResult::kUnknown && !matched.contains(&attempt) &&
        !on_the_wire(attempt)) {
      undecided.push_back(&attempt);
    }
  }
  for (const StoredAttempt* absent : absences_.Add(reading, review, undecided)) {
    ConcludeAbsence(*absent);
  }
}

void Reconciler::Bind(const StoredAttempt& attempt, const HistoryItem& task,
                      TransitionSource source, Completion<absl::Status> done) {
  const PredictionKey key(attempt.tenant, attempt.prediction_id);
  AttemptOutcome acceptance{
      attempt.attempt.number,   AttemptResult::kAccepted, ports_.clock.Now(), task.upstream_id, 0,
      "found by reconciliation"};
  const bool live = attempt.latest &&
                    (attempt.state == State::kSubmitting || attempt.state == State::kUnresolved);
  if (!live || tracker_.Find(key) == nullptr) {
    orphans_.Record(key, acceptance, std::move(done));
    return;
  }
  DREAMGATE_FAILPOINT("reconcile.before_binding");
  Observation observation;
  observation.unless_bound = true;
  observation.transition.state = StateFor(task.raw_status);
  observation.transition.source = source;
  observation.transition.upstream_id = task.upstream_id;
  if (!task.raw_status.empty()) observation.transition.upstream_status = task.raw_status;
  observation.transition.upstream_create_time = task.create_time;
  observation.attempt_outcome = acceptance;
  observation.done = [this, key, source, acceptance = std::move(acceptance),
                      done = std::move(done)](std::shared_ptr<const Prediction> now) mutable {
    DREAMGATE_FAILPOINT("reconcile.bound");
    if (source == TransitionSource::kWebhook) {
      tracker_.poller().OnAnnounced(key);
    } else {
      tracker_.poller().PollNow(key);
    }
    if (now->upstream_id == acceptance.upstream_id) {
      std::move(done)(absl::OkStatus());
    } else if (now->upstream_id.empty() && !IsTerminal(now->state)) {
      std::move(done)(InTrouble());
    } else {  // it has ended, or has another task: this one is left to the orphans
      orphans_.Record(key, acceptance, std::move(done));
    }
  };
  tracker_.Record(key, std::move(observation));
}

void Reconciler::ConcludeAbsence(const StoredAttempt& attempt) {
  DREAMGATE_FAILPOINT("reconcile.absence_concluded");
  const PredictionKey key(attempt.tenant, attempt.prediction_id);
  Observation observation;
  observation.only_in = State::kUnresolved;
  observation.transition.source = TransitionSource::kReconciliation;
  observation.attempt_outcome = AttemptOutcome{attempt.attempt.number,
                                               AttemptResult::kAbsent,
                                               ports_.clock.Now(),
                                               "",
                                               0,
                                               "upstream's history shows no such task"};
  if (attempt.attempt.number > options_.resend_after_absence) {
    observation.transition.state = State::kFailed;
    observation.transition.failure =
        Failure{FailureCode::kSubmitNotCreated,
                "Upstream's history shows that this submission created no task, so nothing was "
                "paid. Submit again with a new request_id.",
                0, true};
    tracker_.Record(key, std::move(observation));
    return;
  }
  const Attempt next{attempt.attempt.number + 1, ports_.random.UnguessableToken(),
                     ports_.clock.Now()};
  observation.transition.state = State::kSubmitting;
  observation.new_attempt = next;
  observation.done = [this, key, next](std::shared_ptr<const Prediction> committed) {
    if (committed->state == State::kSubmitting) {
      DREAMGATE_FAILPOINT("reconcile.before_resending");
      submitter_.SendAgain(std::move(committed), next);
      return;
    }
    // The ledger is in trouble. Should it come to SUBMITTING after all,
    // nothing will have been sent.
    Observation not_sent;
    not_sent.only_in = State::kSubmitting;
    not_sent.transition.state = State::kFailed;
    not_sent.transition.source = TransitionSource::kReconciliation;
    not_sent.transition.failure =
        Failure{FailureCode::kSubmitNotCreated,
                "This submission created no task, and could not be sent again. Submit again with a "
                "new request_id.",
                0, true};
    not_sent.attempt_outcome = AttemptOutcome{
        next.number, AttemptResult::kNotSent, ports_.clock.Now(), "", 0, "ledger trouble"};
    tracker_.Record(key, std::move(not_sent));
  };
  tracker_.Record(key, std::move(observation));
}

// -------------------------------------------------------------------------------- other evidence

void Reconciler::OnWebhook(std::string attempt_token, std::string upstream_id,
                           Completion<absl::Status> done) {
  ports_.ledger.Call(
      AttemptQuery{std::move(attempt_token)},
      lifeline_.Guard([this, upstream_id = std::move(upstream_id),
                       done = std::move(done)](absl::StatusOr<StoredAttempt> found) mutable {
        if (!found.ok()) {
          std::move(done)(found.status());
          return;
        }
        if (found->upstream_id == upstream_id) {  // known: this is about how the task goes on
          tracker_.poller().OnAnnounced({found->tenant, found->prediction_id});
          orphans_.OnAnnounced(*found);
          std::move(done)(absl::OkStatus());
          return;
        }
        HistoryItem task;
        task.upstream_id = std::move(upstream_id);
        Bind(*found, task, TransitionSource::kWebhook, std::move(done));
      }));
}

void Reconciler::OnUnboundTask(const PredictionKey& key, const AttemptOutcome& acceptance) {
  orphans_.Record(key, acceptance, [](absl::Status) { /* repeated until it is recorded */ });
}

}  // namespace dreamgate::core
