// When to try again, and how long to wait before: the rules of the contract as plain functions, apart
// from the code that makes calls. No threads, no clock.
#ifndef DREAMGATE_CLIENT_RETRY_POLICY_H_
#define DREAMGATE_CLIENT_RETRY_POLICY_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>

namespace dreamgate::client {

// Exponential backoff with full jitter: before retry n (from 0) the wait is drawn uniformly from 0 to
// min(maximum, initial * multiplier^n).
struct BackoffPolicy {
  std::chrono::nanoseconds initial = std::chrono::milliseconds(100);
  std::chrono::nanoseconds maximum = std::chrono::seconds(10);
  double multiplier = 2.0;
};

class Backoff {
 public:
  explicit Backoff(BackoffPolicy policy) : policy_(policy) {}

  // The wait before the next retry; `chance` is uniform in [0, 1). The server's `retry_after` is a
  // floor: the jitter comes on top, so that callers told the same do not come back together.
  std::chrono::nanoseconds Next(double chance, std::optional<std::chrono::nanoseconds> retry_after);

  // After progress: the next wait starts small again.
  void Reset() { failures_ = 0; }

  int failures() const { return failures_; }  // since the last Reset

 private:
  BackoffPolicy policy_;
  int failures_ = 0;
};

// May a unary call that ended with `status` be made again with the same request? All of them are safe
// to repeat (SubmitVideo because it carries a request_id), so this is about whether it can help:
// UNAVAILABLE, INTERNAL, UNKNOWN, RESOURCE_EXHAUSTED that says when to come back, and CANCELLED or
// DEADLINE_EXCEEDED, which the caller must know not to have caused itself.
bool MayRetryCall(const grpc::Status& status);

enum class AfterWatchError {
  kResume,   // watch again from the last sequence seen
  kRestart,  // watch again without a position
  kGiveUp,   // final
};

// Decides what to do after a watch stream has ended with the error `status`, not caused by the caller.
AfterWatchError DecideAfterWatchError(const grpc::Status& status);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_RETRY_POLICY_H_
