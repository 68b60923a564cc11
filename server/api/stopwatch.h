// Time since its creation, by the monotonic clock. A value of eight bytes; safe to read anywhere.
#ifndef DREAMGATE_SERVER_API_STOPWATCH_H_
#define DREAMGATE_SERVER_API_STOPWATCH_H_

#include <chrono>

#include "absl/time/time.h"

namespace dreamgate::api {

class Stopwatch {
 public:
  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_STOPWATCH_H_
