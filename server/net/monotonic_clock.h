// A clock for intervals and deadlines: never set, never stepping. Its epoch means nothing. Any
// thread.
#ifndef DREAMGATE_SERVER_NET_MONOTONIC_CLOCK_H_
#define DREAMGATE_SERVER_NET_MONOTONIC_CLOCK_H_

#include <chrono>

#include "absl/time/time.h"

namespace dreamgate::net {

inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_MONOTONIC_CLOCK_H_
