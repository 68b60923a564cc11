// Small requests to any ledger: of prediction number N, at second N.
#ifndef DREAMGATE_TESTS_LEDGER_REQUESTS_H_
#define DREAMGATE_TESTS_LEDGER_REQUESTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "server/core/ledger_requests.h"

namespace dreamgate::ledger {

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

inline core::LoadRequest MakeLoad(int number, const std::string& tenant = "tenant") {
  return {.tenant = tenant, .prediction_id = IdOf(number)};
}

inline core::ListQuery MakeList(const std::string& tenant = "tenant") {
  core::ListQuery query;
  query.tenant = tenant;
  return query;
}

inline core::AttemptReviewQuery MakeReview(absl::Time started_after,
                                           std::vector<std::string> upstream_ids = {}) {
  return {.started_after = started_after, .upstream_ids = std::move(upstream_ids)};
}

// Whether the answer is this alternative of it.
template <typename Alternative, typename Variant>
bool Is(const absl::StatusOr<Variant>& answer) {
  return answer.ok() && std::holds_alternative<Alternative>(*answer);
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_REQUESTS_H_
