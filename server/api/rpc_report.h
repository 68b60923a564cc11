// Log lines about a finished RPC, beyond the metrics. Any thread.
#ifndef DREAMGATE_SERVER_API_RPC_REPORT_H_
#define DREAMGATE_SERVER_API_RPC_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/core/errors.h"
#include "server/core/ports.h"

namespace dreamgate::api {

// Logs a status that core::MakeError did not make: the caller only receives "internal error", so this
// line is the one place that keeps the cause.
inline void LogUnexpected(core::Events& events, absl::string_view method,
                          const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status) || core::ReasonOf(status)) return;
  events.Log(core::LogLevel::kError, "an RPC failed unexpectedly",
             {{"method", std::string(method)}, {"status", status.ToString()}});
}

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_RPC_REPORT_H_
