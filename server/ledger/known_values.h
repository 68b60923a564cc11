// Whether a number that was read from a row is one of an enumeration's values: a row may be damaged
// or written by hand. Private to this room; pure functions. A value that core gains and that is
// missing here fails to compile (-Wswitch), so that nothing is written that could not be read.
#ifndef DREAMGATE_SERVER_LEDGER_KNOWN_VALUES_H_
#define DREAMGATE_SERVER_LEDGER_KNOWN_VALUES_H_

#include <cstdint>
#include <optional>

#include "server/core/errors.h"
#include "server/core/prediction.h"
#include "server/core/state_machine.h"

namespace dreamgate::ledger {

constexpr bool IsKnown(core::State value) {
  switch (value) {
    case core::State::kQueued:
    case core::State::kSubmitting:
    case core::State::kUnresolved:
    case core::State::kCreated:
    case core::State::kProcessing:
    case core::State::kCompleted:
    case core::State::kFailed:
    case core::State::kCancelled:
    case core::State::kTimedOut:
    case core::State::kDeleted: return true;
  }
  return false;
}

constexpr bool IsKnown(core::AttemptResult value) {
  switch (value) {
    case core::AttemptResult::kAccepted:
    case core::AttemptResult::kRejected:
    case core::AttemptResult::kNotSent:
    case core::AttemptResult::kUnknown:
    case core::AttemptResult::kAbsent:
    case core::AttemptResult::kOrphaned: return true;
  }
  return false;
}

constexpr bool IsKnown(core::FailureCode value) {
  switch (value) {
    case core::FailureCode::kModerated:
    case core::FailureCode::kInvalidInput:
    case core::FailureCode::kMediaAccess:
    case core::FailureCode::kExecutionFailed:
    case core::FailureCode::kInsufficientCredits:
    case core::FailureCode::kUpstreamInternal:
    case core::FailureCode::kNoOutput:
    case core::FailureCode::kUpstreamNotFound:
    case core::FailureCode::kUpstreamExpired:
    case core::FailureCode::kSubmitNotCreated:
    case core::FailureCode::kSubmitOutcomeUnknown: return true;
  }
  return false;
}

constexpr bool IsKnown(core::AspectRatio value) {
  switch (value) {
    case core::AspectRatio::k16x9:
    case core::AspectRatio::k4x3:
    case core::AspectRatio::k1x1:
    case core::AspectRatio::k3x4:
    case core::AspectRatio::k9x16:
    case core::AspectRatio::k21x9:
    case core::AspectRatio::k9x21: return true;
  }
  return false;
}

constexpr bool IsKnown(core::TransitionSource value) {
  switch (value) {
    case core::TransitionSource::kGateway:
    case core::TransitionSource::kSubmitAnswer:
    case core::TransitionSource::kPoll:
    case core::TransitionSource::kWebhook:
    case core::TransitionSource::kReconciliation: return true;
  }
  return false;
}

constexpr bool IsKnown(core::Reason value) {
  switch (value) {
    case core::Reason::kCredentialsMissing:
    case core::Reason::kCredentialsInvalid:
    case core::Reason::kInvalidRequest:
    case core::Reason::kRequestIdConflict:
    case core::Reason::kPredictionNotFound:
    case core::Reason::kSequenceOutOfRange:
    case core::Reason::kUpstreamRejected:
    case core::Reason::kUpstreamCredentialsRejected:
    case core::Reason::kUpstreamBalanceExhausted:
    case core::Reason::kUpstreamModelUnavailable:
    case core::Reason::kUpstreamRateLimited:
    case core::Reason::kUpstreamMisconfigured:
    case core::Reason::kUpstreamUnreachable:
    case core::Reason::kTenantLimitReached:
    case core::Reason::kLedgerUnavailable:
    case core::Reason::kTooManyStreams:
    case core::Reason::kTooManyRequests:
    case core::Reason::kDraining:
    case core::Reason::kInternal: return true;
  }
  return false;
}

// The enumeration's value with this number; nullopt: there is none.
template <typename Enum>
constexpr std::optional<Enum> KnownValue(int64_t number) {
  const Enum value = static_cast<Enum>(number);
  // A number that does not fit would have become another one.
  if (static_cast<int64_t>(value) != number || !IsKnown(value)) return std::nullopt;
  return value;
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_KNOWN_VALUES_H_
