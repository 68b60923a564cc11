#include "dreamgate/client/retry_policy.h"

#include <algorithm>
#include <cmath>

#include "dreamgate/client/error_info.h"

namespace dreamgate::client {

std::chrono::nanoseconds Backoff::Next(double chance,
                                       std::optional<std::chrono::nanoseconds> retry_after) {
  const double ceiling = std::min(
      static_cast<double>(policy_.maximum.count()),
      static_cast<double>(policy_.initial.count()) * std::pow(policy_.multiplier, failures_));
  ++failures_;
  const std::chrono::nanoseconds jitter(static_cast<int64_t>(ceiling * chance));
  return retry_after.value_or(std::chrono::nanoseconds(0)) + jitter;
}

bool MayRetryCall(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED: return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return Decode(status).retry_after.has_value();
    default: return false;
  }
}

AfterWatchError DecideAfterWatchError(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED: return AfterWatchError::kResume;
    case grpc::StatusCode::OUT_OF_RANGE: return AfterWatchError::kRestart;
    default: return AfterWatchError::kGiveUp;
  }
}

}  // namespace dreamgate::client
