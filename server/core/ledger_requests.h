// The requests to the ledger. Each names its Answer and says whether it may change
// anything (kWrites); what it does stands here once, for every ledger. Plain values, any thread.
//
// Besides an Answer, a request ends with LEDGER_UNAVAILABLE (what it would change may or may not be
// durable), with NotFoundError (absl) where this page says so, or with INTERNAL if it breaks a
// rule; after the last two nothing has changed.
#ifndef DREAMGATE_SERVER_CORE_LEDGER_REQUESTS_H_
#define DREAMGATE_SERVER_CORE_LEDGER_REQUESTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/core/errors.h"
#include "server/core/prediction.h"
#include "server/core/upstream_task.h"

namespace dreamgate::core {

// The answer of a request that has nothing to tell but that it is done.
struct Done {};

// --------------------------------------------------------------------------------------- attempts

// One try to create the task upstream; a row of its own.
struct Attempt {
  int number = 1;     // from 1
  std::string token;  // unguessable; ties a webhook to this attempt
  absl::Time start_time;
};

struct AttemptOutcome {
  int number = 1;
  AttemptResult result = AttemptResult::kUnknown;
  absl::Time time;
  std::string upstream_id;  // if accepted or orphaned
  int http_status = 0;
  std::string message;
};

// An attempt and what is needed to recognise the task that it may have created.
struct StoredAttempt {
  std::string tenant;
  std::string prediction_id;
  Attempt attempt;
  std::optional<AttemptResult> result;  // unset: not known yet
  std::optional<absl::Time> result_time;
  std::string upstream_id;           // if accepted or orphaned
  bool latest = true;                // the prediction has no later attempt
  State state = State::kSubmitting;  // the prediction's
  TaskInput input;
  bool seed_drawn = false;  // by the gateway: nobody else asks for this input
  std::string model;
  std::string key_fingerprint;
};

// ---------------------------------------------------------------------------- a prediction's life

// A definite rejection as it is remembered under its request_id.
struct Rejection {
  Reason reason = Reason::kUpstreamRejected;
  std::string message;
  std::map<std::string, std::string> metadata;
};

struct Reserved {  // ours now: go and send
  std::shared_ptr<const Prediction> prediction;
};
struct ReserveExisting {  // same id, same payload
  std::shared_ptr<const Prediction> prediction;
};
struct ReserveRemembered {  // same id and payload, rejected earlier (400, 422)
  Rejection rejection;
};
struct ReserveConflict {};  // same id, other payload
using ReserveResult = std::variant<Reserved, ReserveExisting, ReserveRemembered, ReserveConflict>;

// The intent, durable before the POST leaves.
struct Reservation {
  using Answer = ReserveResult;
  static constexpr bool kWrites = true;
  Prediction prediction;        // sequence 0: the fixed fields only
  std::string canonical;        // CanonicalEncoding(prediction.input)
  Transition first_transition;  // sequence 1, kSubmitting or kQueued
  Attempt attempt;
};

struct Committed {
  std::shared_ptr<const Prediction> prediction;
};
struct ProposalConflict {
  std::shared_ptr<const Prediction> current;  // null: no such prediction
};
using ProposeResult = std::variant<Committed, ProposalConflict>;

// Compare and set: takes effect only if the prediction still is at `expected_sequence`, is this
// process's, and may go that way (state_machine.h).
struct Proposal {
  using Answer = ProposeResult;
  static constexpr bool kWrites = true;
  std::string tenant;
  std::string prediction_id;
  int64_t expected_sequence = 0;
  Transition transition;  // sequence == expected_sequence + 1
  std::optional<AttemptOutcome> attempt_outcome;
  // A further attempt that this transition begins, durable before its POST leaves.
  std::optional<Attempt> new_attempt = std::nullopt;
};

// Withdraws a prediction that nobody has been shown. Breaks a rule if there is none or it has been
// shown; doing it again is harmless.
struct RejectRequest {
  using Answer = Done;
  static constexpr bool kWrites = true;
  std::string tenant;
  std::string prediction_id;
  AttemptOutcome attempt_outcome;
  std::optional<Rejection> remember;  // unset: the request_id is free again
};

// A prediction with its whole past. `initial` is as reserved, sequence 0.
struct StoredPrediction {
  Prediction initial;
  std::vector<Transition> transitions;
};

// As of its last transition.
inline Prediction Fold(StoredPrediction stored) {
  Prediction prediction = std::move(stored.initial);
  for (const Transition& transition : stored.transitions) {
    prediction = Apply(std::move(prediction), transition);
  }
  return prediction;
}

// NotFoundError if there is none for this tenant. Finds rejected and invisible ones too.
struct LoadRequest {
  using Answer = StoredPrediction;
  static constexpr bool kWrites = false;
  std::string tenant;
  std::string prediction_id;
};

struct ListPage {
  std::vector<std::shared_ptr<const Prediction>> predictions;  // newest first, visible ones only
  bool more = false;
};
struct ListQuery {
  using Answer = ListPage;
  static constexpr bool kWrites = false;
  std::string tenant;
  std::vector<State> states;                  // empty: all
  std::map<std::string, std::string> labels;  // all must match
  int page_size = 50;                         // 1 .. 1000
  std::string before_id;                      // exclusive start, empty: newest
};

// A prediction that is not terminal, as found at the start.
struct Unfinished {
  std::shared_ptr<const Prediction> prediction;
  Attempt last_attempt;
};
// Makes everything that is not terminal this process's own and answers it.
struct TakeOverRequest {
  using Answer = std::vector<Unfinished>;
  static constexpr bool kWrites = true;
};

// Forgets at most `most` predictions that ended before `ended_before`, oldest first, and their
// request ids. Answers how many; fewer than `most`: there are no more.
struct PruneRequest {
  using Answer = int;
  static constexpr bool kWrites = true;
  absl::Time ended_before;
  int most = 0;
};

// --------------------------------------------------------------------------------------- evidence

// The ledger's knowledge about a piece of upstream's history, as of one moment.
struct AttemptReview {
  // Attempts that may have created a task which nobody has: result unset, UNKNOWN or ABSENT. Oldest
  // first.
  std::vector<StoredAttempt> open;
  // The query's upstream ids that some attempt has, orphans included. Sorted.
  std::vector<std::string> bound;
  // Tasks that upstream must know, accepted for attempts that began after `started_after`.
  struct Accepted {
    std::string upstream_id;
    absl::Time start_time;   // of its attempt
    absl::Time result_time;  // when the ledger was told
    std::string key_fingerprint;
  };
  std::vector<Accepted> accepted;
};
struct AttemptReviewQuery {
  using Answer = AttemptReview;
  static constexpr bool kWrites = false;
  absl::Time started_after;  // attempts that began earlier are left out of `open` and `accepted`
  std::vector<std::string> upstream_ids;  // as history shows them
  bool with_accepted = true;              // false: leave `accepted` empty
};

// NotFoundError if no attempt has this token.
struct AttemptQuery {
  using Answer = StoredAttempt;
  static constexpr bool kWrites = false;
  std::string token;
};

// A task that was paid for and that no live prediction follows.
struct Orphan {
  std::string tenant;
  std::string prediction_id;
  int attempt_number = 1;
  std::string upstream_id;
  absl::Time found_time;
};
struct OrphanResult {
  bool news = false;  // false: the ledger had all of this already, or an attempt has the task
  std::shared_ptr<const Prediction> prediction;  // as it is now
};
// The attempt becomes ORPHANED if that is legal; one that has a task of its own keeps it, and the
// orphan is kept beside it. NotFoundError if there is no such attempt (any more).
struct OrphanRecord {
  using Answer = OrphanResult;
  static constexpr bool kWrites = true;
  Orphan orphan;
  bool ended = false;           // it need not be polled any more
  std::vector<Output> outputs;  // its videos; become the prediction's recovered outputs
};

// The orphans that have not ended, oldest first.
struct OpenOrphansQuery {
  using Answer = std::vector<Orphan>;
  static constexpr bool kWrites = false;
};

// ---------------------------------------------------------------------------- what was learned

// The knowledge about a model, as bytes that only their author understands. NotFoundError if
// nothing is stored.
struct LoadLearnedRequest {
  using Answer = std::string;
  static constexpr bool kWrites = false;
  std::string model;
};
struct SaveLearnedRequest {  // replaces
  using Answer = Done;
  static constexpr bool kWrites = true;
  std::string model;
  std::string bytes;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_LEDGER_REQUESTS_H_
