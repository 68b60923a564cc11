// Random requests of one to three processes, one after the other, many under way at a time: every
// ledger answers them alike. A seed replays its sequence.
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/chance.h"
#include "tests/ledger/conformance/caller.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::AttemptResult;
using core::State;

// ------------------------------------------------------------------------------ answers as text

std::string Text(const core::Prediction& prediction) {
  return absl::StrCat(prediction.tenant, "/", prediction.id, " ", core::StateName(prediction.state),
                      " ", prediction.sequence);
}
std::string Text(const std::optional<absl::Time>& time) {
  return time.has_value() ? absl::FormatTime(*time, absl::UTCTimeZone()) : "never";
}
std::string Text(const core::StoredAttempt& stored) {
  return absl::StrCat(stored.tenant, "/", stored.prediction_id, " ", stored.attempt.number, " ",
                      stored.attempt.token, " ", Text(stored.attempt.start_time), " ",
                      stored.result.has_value() ? core::AttemptResultName(*stored.result) : "open",
                      " ", Text(stored.result_time), " ", stored.upstream_id, " ", stored.latest,
                      " ", core::StateName(stored.state), " ", stored.input.prompt, " ",
                      stored.input.aspect_ratio, " ", stored.input.seed, " ", stored.seed_drawn,
                      " ", stored.model, " ", stored.key_fingerprint);
}
std::string Text(const core::Orphan& orphan) {
  return absl::StrCat(orphan.tenant, "/", orphan.prediction_id, " ", orphan.attempt_number, " ",
                      orphan.upstream_id, " ", Text(orphan.found_time));
}
std::string Text(const core::AttemptReview::Accepted& accepted) {
  return absl::StrCat(accepted.upstream_id, " ", Text(accepted.start_time), " ",
                      Text(accepted.result_time), " ", accepted.key_fingerprint);
}
template <typename T>
std::string Text(const std::vector<T>& list) {
  return absl::StrJoin(list, "; ", [](std::string* out, const T& one) { out->append(Text(one)); });
}

struct Answered {
  std::string what;  // kind of answer
  std::string text;  // the rest of it
  std::vector<core::Prediction> predictions;

  friend bool operator==(const Answered&, const Answered&) = default;
};
void PrintTo(const Answered& answered, std::ostream* out) {
  *out << answered.what << " " << answered.text << " [" << Text(answered.predictions) << "]";
}

Answered About(const core::ReserveResult& result) {
  if (const auto* reserved = std::get_if<core::Reserved>(&result)) {
    return {"reserved", "", {*reserved->prediction}};
  }
  if (const auto* existing = std::get_if<core::ReserveExisting>(&result)) {
    return {"existing", "", {*existing->prediction}};
  }
  if (const auto* remembered = std::get_if<core::ReserveRemembered>(&result)) {
    const core::Rejection& rejection = remembered->rejection;
    return {"remembered",
            absl::StrCat(static_cast<int>(rejection.reason), " ", rejection.message, " ",
                         absl::StrJoin(rejection.metadata, ",", absl::PairFormatter("="))),
            {}};
  }
  return {"reserve conflict", "", {}};
}
Answered About(const core::ProposeResult& result) {
  if (const auto* committed = std::get_if<core::Committed>(&result)) {
    return {"committed", "", {*committed->prediction}};
  }
  const auto& current = std::get<core::ProposalConflict>(result).current;
  if (current == nullptr) return {"conflict with nothing", "", {}};
  return {"conflict", "", {*current}};
}
Answered About(core::Done) { return {"done", "", {}}; }
Answered About(const core::StoredPrediction& stored) {
  return {"loaded", "", {stored.initial, core::Fold(stored)}};
}
Answered About(const core::ListPage& page) {
  Answered answered{"listed", page.more ? "more" : "all", {}};
  for (const auto& prediction : page.predictions) answered.predictions.push_back(*prediction);
  return answered;
}
Answered About(const std::vector<core::Unfinished>& unfinished) {
  Answered answered{"took over", "", {}};
  for (const core::Unfinished& one : unfinished) {
    answered.predictions.push_back(*one.prediction);
    absl::StrAppend(&answered.text, one.last_attempt.number, " ", one.last_attempt.token, " ",
                    Text(one.last_attempt.start_time), "; ");
  }
  return answered;
}
Answered About(int forgotten) {
  return {forgotten > 0 ? "forgot some" : "forgot none", absl::StrCat(forgotten), {}};
}
Answered About(const core::AttemptReview& review) {
  return {"reviewed",
          absl::StrCat(Text(review.open), " | ", absl::StrJoin(review.bound, " "), " | ",
                       Text(review.accepted)),
          {}};
}
Answered About(const core::StoredAttempt& stored) { return {"attempt", Text(stored), {}}; }
Answered About(const core::OrphanResult& result) {
  return {result.news ? "news" : "no news", "", {*result.prediction}};
}
Answered About(const std::vector<core::Orphan>& orphans) { return {"orphans", Text(orphans), {}}; }
Answered About(const std::string& bytes) { return {"learned", bytes, {}}; }

// ------------------------------------------------------------------------------- what is asked

// Asks one ledger. What it asks next depends on the seed and on the answers.
class Player {
 public:
  Player(const LedgerMaker& maker, uint64_t seed) : caller_(maker), chance_(seed) {}

  std::vector<Answered> Play() {
    const int64_t processes = chance_.Between(1, 3);
    for (int64_t process = 1; process <= processes; ++process) {
      if (process > 1) caller_.Reopen();
      if (process > 1 && chance_.Percent(70)) Ask(core::TakeOverRequest());
      for (int burst = 0; burst < 40; ++burst) {
        for (int64_t left = chance_.Between(1, 8); left > 0; --left) AskAnything();
        caller_.Wait();
      }
    }
    return std::move(answers_);
  }

 private:
  // A prediction as answers have shown it.
  struct Known {
    int64_t sequence = 1;
    State state = State::kSubmitting;
    int attempts = 1;
  };

  template <typename Request>
  void Ask(Request request) {
    caller_.Ask(std::move(request), [this](const core::AnswerTo<Request>& answer) {
      answers_.push_back(answer.ok() ? About(*answer) : AboutError(answer.status()));
      for (const core::Prediction& prediction : answers_.back().predictions) {
        if (prediction.sequence == 0) continue;
        Known& known = known_[core::KeyOf(prediction)];
        known.sequence = prediction.sequence;
        known.state = prediction.state;
      }
    });
  }

  static Answered AboutError(const absl::Status& status) {
    if (absl::IsNotFound(status)) return {"not found", "", {}};
    if (core::ReasonOf(status) == core::Reason::kInternal) return {"refused", "", {}};
    return {"unexpected", status.ToString(), {}};
  }

  void AskAnything() {
    number_ = static_cast<int>(chance_.Between(1, 12));
    tenant_ = chance_.Percent(80) ? "tenant" : "other";
    using Question = void (Player::*)();
    const Question question = chance_.Weighted<Question>({{22, &Player::Reserve},
                                                          {40, &Player::Propose},
                                                          {8, &Player::Reject},
                                                          {6, &Player::AskToRead},
                                                          {8, &Player::List},
                                                          {4, &Player::AskToForget},
                                                          {8, &Player::Review},
                                                          {10, &Player::RecordOrphan}});
    (this->*question)();
  }

  void Reserve() {
    core::Reservation reservation = MakeReservation(number_, tenant_);
    if (number_ % 3 == 0) reservation.prediction.input.labels = {{"team", "films"}};
    if (chance_.Percent(25)) reservation.prediction.id = IdOf(AnyNumber() + 100);
    if (chance_.Percent(10)) {
      reservation.prediction.request_id = absl::StrCat("request-", AnyNumber());
    }
    if (chance_.Percent(30)) reservation.first_transition.state = State::kQueued;
    if (chance_.Percent(3)) reservation.first_transition.state = AnyState();
    Ask(std::move(reservation));
  }

  void Propose() {
    Known& known = known_[{tenant_, IdOf(number_)}];
    const int64_t expected = chance_.Percent(85) ? known.sequence : chance_.Between(0, 4);
    State next = AnyState();
    for (int i = 0; i < 10 && !core::IsLegalTransition(known.state, next); ++i) next = AnyState();
    core::Proposal proposal = MakeProposal(number_, expected, next, tenant_);
    if (next == State::kCreated) proposal.transition.upstream_id = Task();
    if (next == State::kCompleted) proposal.transition.outputs = Outputs();
    if (next == State::kFailed) proposal.transition.failure = core::Failure{.message = "failed"};
    if (chance_.Percent(2)) ++proposal.transition.sequence;
    if (chance_.Percent(50)) {
      const auto result = static_cast<AttemptResult>(chance_.Between(1, 6));
      proposal.attempt_outcome =
          MakeOutcome(static_cast<int>(chance_.Between(1, known.attempts)), result,
                      result == AttemptResult::kAccepted ? Task() : "");
    }
    if (next == State::kSubmitting && chance_.Percent(70)) {
      const int attempt = chance_.Percent(90) ? ++known.attempts : 1;
      proposal.new_attempt = core::Attempt{.number = attempt,
                                           .token = absl::StrCat("token-", number_, "-", attempt),
                                           .start_time = Second(20 * attempt + number_)};
    }
    Ask(std::move(proposal));
  }

  void Reject() {
    std::optional<core::Rejection> remember;
    if (chance_.Percent(50)) {
      remember = core::Rejection{.message = absl::StrCat("no ", number_), .metadata = {{"a", "b"}}};
    }
    core::RejectRequest reject = MakeReject(number_, remember);
    reject.tenant = tenant_;
    Ask(std::move(reject));
  }

  void AskToRead() {
    switch (chance_.Between(1, 5)) {
      case 1: return Ask(MakeLoad(number_, tenant_));
      case 2: return Ask(core::AttemptQuery{absl::StrCat("token-", number_)});
      case 3: return Ask(core::OpenOrphansQuery());
      case 4: return Ask(core::LoadLearnedRequest{tenant_});
      default: return Ask(core::SaveLearnedRequest{tenant_, absl::StrCat("bytes ", number_)});
    }
  }

  void List() {
    core::ListQuery query = MakeList(tenant_);
    query.page_size = static_cast<int>(chance_.Between(1, 5));
    if (chance_.Percent(50)) query.before_id = IdOf(number_);
    while (chance_.Percent(40)) query.states.push_back(AnyState());
    if (chance_.Percent(20)) query.labels = {{"team", "films"}};
    Ask(std::move(query));
  }

  void AskToForget() {
    if (chance_.Percent(30)) return Ask(core::TakeOverRequest());
    Ask(core::PruneRequest{Second(chance_.Between(0, 20)),
                           static_cast<int>(chance_.Between(0, 2))});
  }

  void Review() {
    core::AttemptReviewQuery review = MakeReview(Second(chance_.Between(0, 30)));
    for (int64_t left = chance_.Between(0, 5); left > 0; --left) {
      review.upstream_ids.push_back(Task());
    }
    review.with_accepted = chance_.Percent(50);
    Ask(std::move(review));
  }

  void RecordOrphan() {
    core::OrphanRecord record = MakeOrphan(number_, Task(), chance_.Between(600, 603));
    record.orphan.tenant = tenant_;
    record.orphan.attempt_number = chance_.Percent(80) ? 1 : 2;
    record.ended = chance_.Percent(40);
    if (chance_.Percent(40)) record.outputs = Outputs();
    Ask(std::move(record));
  }

  int AnyNumber() { return static_cast<int>(chance_.Between(1, 12)); }
  State AnyState() { return kStates[chance_.Index(std::size(kStates))]; }
  std::string Task() { return absl::StrCat("task-", chance_.Between(1, 20)); }
  std::vector<core::Output> Outputs() {
    return {{absl::StrCat("https://a/", AnyNumber(), ".mp4"), std::nullopt}};
  }

  Caller caller_;
  fakes::Chance chance_;
  std::map<core::PredictionKey, Known> known_;
  std::vector<Answered> answers_;
  int number_ = 1;
  std::string tenant_;
};

TEST(Sequence, EveryLedgerAnswersRandomRequestsAlike) {
  constexpr uint64_t kSeeds = 25;
  std::set<std::string> kinds;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const std::vector<LedgerMaker>& makers = LedgerMakers();
    const std::vector<Answered> expected = Player(makers.front(), seed).Play();
    for (const Answered& answered : expected) kinds.insert(answered.what);
    for (size_t i = 1; i < makers.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(makers[i].name, " beside ", makers.front().name));
      const std::vector<Answered> found = Player(makers[i], seed).Play();
      const auto [left, right] =
          std::mismatch(expected.begin(), expected.end(), found.begin(), found.end());
      if (left == expected.end() && right == found.end()) continue;
      ASSERT_TRUE(left != expected.end() && right != found.end()) << "one answered more often";
      EXPECT_EQ(*left, *right) << "answer number " << left - expected.begin();
    }
  }
  // The sequences reach every kind of answer, and trouble is none of them.
  EXPECT_THAT(kinds, ::testing::UnorderedElementsAre(
                         "reserved", "existing", "remembered", "reserve conflict", "committed",
                         "conflict", "conflict with nothing", "done", "loaded", "listed",
                         "took over", "forgot some", "forgot none", "reviewed", "attempt", "news",
                         "no news", "orphans", "learned", "not found", "refused"));
}

}  // namespace
}  // namespace dreamgate::ledger
