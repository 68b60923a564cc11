#include "server/core/evidence/history_reader.h"

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
// By how much two answers' dates may disagree about the clocks. Below the tolerance's slack.
constexpr absl::Duration kClockJitter = absl::Seconds(10);
constexpr absl::Duration kPrelude = absl::Minutes(10);
constexpr absl::Duration kLongestPause = absl::Minutes(10);
// Of 100 tasks each. Beyond them history proves no absence, but may still show a task.
constexpr int kMostPages = 200;

}  // namespace

HistoryReader::HistoryReader(const Ports& ports, const Options& options, const Tracker& tracker,
                             Judge judge)
    : ports_(ports),
      options_(options),
      tracker_(tracker),
      judge_(std::move(judge)),
      durable_(ports) {}

void HistoryReader::Start() {
  whole_due_ = true;
  AskSoon();
}

void HistoryReader::AskSoon() {
  AskAfter(std::min(kFirstQuestion, options_.absence_settle_time / 3));
}

void HistoryReader::AskAfter(absl::Duration delay) {
  const absl::Time due = ports_.clock.Now() + delay;
  if (question_ || (next_ != nullptr && next_due_ <= due)) return;
  next_due_ = due;
  next_ = ports_.timers.After(delay, [this] {
    next_.reset();
    Ask();
  });
}

void HistoryReader::Ask() {
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
  if (question_->whole) {
    AskTheLedgerFirst();
  } else {
    ReadPage();
  }
}

void HistoryReader::AskTheLedgerFirst() {
  ports_.ledger.Call(AttemptReviewQuery{question_->reading.since, {}, /*with_accepted=*/false},
                     lifeline_.Guard([this](absl::StatusOr<AttemptReview> review) {
                       if (!review.ok()) {
                         Conclude(/*answered=*/false);
                         return;
                       }
                       // An attempt in flight has its own answer to come.
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

void HistoryReader::ReadPage() {
  HistoryQuery query;
  query.created_after = question_->reading.since - ClockTolerance(clock_offset_);
  query.page = question_->page;
  question_->tolerance = ClockTolerance(clock_offset_);
  ports_.upstream.ListTasks(
      query, lifeline_.Guard([this](HistoryOutcome outcome) { OnPage(std::move(outcome)); }));
}

void HistoryReader::OnPage(HistoryOutcome outcome) {
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

void HistoryReader::OnUnreadable(const HistoryFailed& failed) {
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

// Only now: whatever history shows was created by a POST whose attempt the ledger knows by now. And
// it may be evidence, so it is not read in vain because the ledger is in trouble.
void HistoryReader::Review() {
  AttemptReviewQuery query;
  query.started_after = EarliestStart(question_->reading);
  query.upstream_ids.assign(question_->seen.begin(), question_->seen.end());
  query.with_accepted = !question_->whole;
  durable_.Call(std::move(query), [this](absl::StatusOr<AttemptReview> review) {
    if (IsLedgerTrouble(review.status())) return;  // it is asked again
    // If the key was changed meanwhile, nobody knows whose history this is.
    const bool same_account =
        ports_.upstream.KeyFingerprint() == question_->reading.key_fingerprint;
    if (!review.ok() || !same_account) {
      Conclude(/*answered=*/false);
      return;
    }
    DREAMGATE_FAILPOINT("reconcile.before_judging");
    judge_(question_->reading, *std::move(review), question_->whole);
    Conclude(/*answered=*/!question_->reading.cut_short);
  });
}

void HistoryReader::Conclude(bool answered) {
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

}  // namespace dreamgate::core
