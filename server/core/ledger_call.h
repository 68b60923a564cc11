// One request on its way through a ledger. The type of the request decides everywhere which answer
// it gets, from the caller down to the rule that makes it. Made on the loop; one thread at a time.
#ifndef DREAMGATE_SERVER_CORE_LEDGER_CALL_H_
#define DREAMGATE_SERVER_CORE_LEDGER_CALL_H_

#include <memory>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/completion.h"
#include "server/core/ledger_requests.h"

namespace dreamgate::core {

template <typename Request>
using AnswerTo = absl::StatusOr<typename Request::Answer>;

template <typename Request>
struct LedgerCallOf {
  Request request;
  Completion<AnswerTo<Request>> done;
  AnswerTo<Request> answer = absl::UnknownError("not answered");
};

template <typename... Requests>
using LedgerCallOfAny = std::variant<LedgerCallOf<Requests>...>;
using LedgerCall =
    LedgerCallOfAny<Reservation, Proposal, RejectRequest, LoadRequest, ListQuery, TakeOverRequest,
                    PruneRequest, AttemptReviewQuery, AttemptQuery, OrphanRecord, OpenOrphansQuery,
                    LoadLearnedRequest, SaveLearnedRequest>;

template <typename Request>
std::unique_ptr<LedgerCall> MakeLedgerCall(Request request,
                                           Completion<AnswerTo<Request>> done = nullptr) {
  return std::make_unique<LedgerCall>(std::in_place_type<LedgerCallOf<Request>>, std::move(request),
                                      std::move(done));
}

// Null if the call is not of this kind.
template <typename Request>
const LedgerCallOf<Request>* CallAs(const LedgerCall& call) {
  return std::get_if<LedgerCallOf<Request>>(&call);
}

// Whether it may change anything.
inline bool IsWrite(const LedgerCall& call) {
  return std::visit([]<typename Request>(const LedgerCallOf<Request>&) { return Request::kWrites; },
                    call);
}

inline void AnswerWithError(LedgerCall& call, const absl::Status& error) {
  std::visit([&error](auto& any) { any.answer = error; }, call);
}

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_LEDGER_CALL_H_
