// What the ledger's tests share: small reservations and proposals, and a store
// that is asked one operation at a time.
#ifndef DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_
#define DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/core/ports.h"
#include "server/ledger/store.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::ledger {

using fakes::TemporaryFolder;

inline absl::Time Second(int64_t second) { return absl::FromUnixSeconds(1'700'000'000 + second); }

// Time-sortable, as the gateway's are.
inline std::string IdOf(int number) { return absl::StrFormat("p%06d", number); }

inline core::Reservation MakeReservation(int number, const std::string& tenant = "tenant") {
  core::Reservation reservation;
  core::Prediction& prediction = reservation.prediction;
  prediction.tenant = tenant;
  prediction.id = IdOf(number);
  prediction.request_id = absl::StrCat("request-", number);
  prediction.model = "model";
  prediction.input.prompt = absl::StrCat("prompt ", number);
  prediction.seed = number;
  prediction.key_fingerprint = "0123456789abcdef";
  prediction.create_time = Second(number);
  reservation.canonical = core::CanonicalEncoding(prediction.input);
  reservation.first_transition.sequence = 1;
  reservation.first_transition.state = core::State::kSubmitting;
  reservation.first_transition.time = Second(number);
  reservation.attempt = {
      .number = 1, .token = absl::StrCat("token-", number), .start_time = Second(number)};
  return reservation;
}

inline core::Proposal MakeProposal(int number, int64_t expected_sequence, core::State state,
                                   const std::string& tenant = "tenant") {
  core::Proposal proposal;
  proposal.tenant = tenant;
  proposal.prediction_id = IdOf(number);
  proposal.expected_sequence = expected_sequence;
  proposal.transition.sequence = expected_sequence + 1;
  proposal.transition.state = state;
  proposal.transition.time = Second(number + expected_sequence);
  proposal.transition.source = core::TransitionSource::kPoll;
  return proposal;
}

inline core::RejectRequest MakeReject(int number, std::optional<core::Rejection> remember) {
  return {.tenant = "tenant",
          .prediction_id = IdOf(number),
          .attempt_outcome = {.number = 1,
                              .result = core::AttemptResult::kRejected,
                              .time = Second(number + 1),
                              .upstream_id = "",
                              .http_status = 400,
                              .message = "no"},
          .remember = std::move(remember)};
}

inline core::AttemptOutcome MakeOutcome(int number, core::AttemptResult result,
                                        const std::string& upstream_id = "") {
  core::AttemptOutcome outcome;
  outcome.number = number;
  outcome.result = result;
  outcome.time = Second(500);
  outcome.upstream_id = upstream_id;
  return outcome;
}

inline core::OrphanRecord MakeOrphan(int number, const std::string& upstream_id,
                                     int64_t found_second = 600) {
  core::OrphanRecord record;
  record.orphan = {.tenant = "tenant",
                   .prediction_id = IdOf(number),
                   .attempt_number = 1,
                   .upstream_id = upstream_id,
                   .found_time = Second(found_second)};
  return record;
}

template <typename Answer>
Answer Ask(Store& store, const Operation& operation) {
  return std::get<Answer>(std::move(store.Apply({&operation, 1}).results.at(0)));
}

inline absl::StatusOr<core::ReserveResult> Reserve(Store& store, core::Reservation reservation) {
  return Ask<absl::StatusOr<core::ReserveResult>>(store, std::move(reservation));
}

inline absl::StatusOr<core::ProposeResult> Propose(Store& store, core::Proposal proposal) {
  return Ask<absl::StatusOr<core::ProposeResult>>(store, std::move(proposal));
}

inline absl::Status Reject(Store& store, core::RejectRequest request) {
  return Ask<absl::Status>(store, std::move(request));
}

inline absl::StatusOr<core::AttemptReview> Review(Store& store, absl::Time started_after,
                                                  std::vector<std::string> upstream_ids = {}) {
  return Ask<absl::StatusOr<core::AttemptReview>>(
      store, core::AttemptReviewQuery{.started_after = started_after,
                                      .upstream_ids = std::move(upstream_ids)});
}

inline absl::StatusOr<core::StoredAttempt> FindAttempt(Store& store, const std::string& token) {
  return Ask<absl::StatusOr<core::StoredAttempt>>(store, FindAttemptRequest{.token = token});
}

inline absl::StatusOr<core::OrphanResult> RecordOrphan(Store& store, core::OrphanRecord record) {
  return Ask<absl::StatusOr<core::OrphanResult>>(store, std::move(record));
}

inline absl::StatusOr<std::vector<core::Orphan>> ListOrphans(Store& store) {
  return Ask<absl::StatusOr<std::vector<core::Orphan>>>(store, ListOrphansRequest());
}

inline absl::StatusOr<int> Prune(Store& store, absl::Time ended_before, int most) {
  return Ask<absl::StatusOr<int>>(store, PruneRequest{.ended_before = ended_before, .most = most});
}

inline absl::StatusOr<std::string> LoadLearned(Store& store, const std::string& model) {
  return Ask<absl::StatusOr<std::string>>(store, LoadLearnedRequest{.model = model});
}

inline absl::Status SaveLearned(Store& store, const std::string& model, const std::string& bytes) {
  return Ask<absl::StatusOr<LearnedSaved>>(store,
                                           SaveLearnedRequest{.model = model, .bytes = bytes})
      .status();
}

template <typename Alternative, typename Variant>
bool Is(const absl::StatusOr<Variant>& result) {
  return result.ok() && std::holds_alternative<Alternative>(*result);
}

inline std::unique_ptr<Store> OpenStore(const std::string& path, const std::string& vfs = "") {
  StoreOptions options;
  options.path = path;
  options.vfs = vfs;
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

// Reserves `number` and moves it through `states`.
inline void Make(Store& store, int number, const std::vector<core::State>& states,
                 const std::string& tenant = "tenant") {
  ASSERT_TRUE(Is<core::Reserved>(Reserve(store, MakeReservation(number, tenant))));
  int64_t sequence = 1;
  for (const core::State state : states) {
    ASSERT_TRUE(
        Is<core::Committed>(Propose(store, MakeProposal(number, sequence++, state, tenant))));
  }
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_LEDGER_TESTING_H_
