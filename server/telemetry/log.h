// The structured log: one line per event on stderr, `time level message key=value ...` or the same as
// JSON. Owned by app and made first; safe from any thread. Never give it a key or a prompt: it writes
// what it is given.
#ifndef DREAMGATE_SERVER_TELEMETRY_LOG_H_
#define DREAMGATE_SERVER_TELEMETRY_LOG_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::telemetry {

enum class LogFormat { kLogfmt, kJson };

// "debug", "info", "warning", "error".
absl::string_view LogLevelName(core::LogLevel level);

// One event as one line, without the newline: control characters are escaped, so that no value can
// forge a second line. Times are UTC with milliseconds.
std::string FormatLogLine(LogFormat format, absl::Time time, core::LogLevel level,
                          absl::string_view message, const core::LogFields& fields);

class EventLog {
 public:
  // Takes one finished line, from any thread, one at a time.
  using Sink = absl::AnyInvocable<void(absl::string_view line)>;

  // Writes events of `least` and above to stderr.
  EventLog(core::LogLevel least, LogFormat format);
  // Writes to `sink` instead, for tests.
  EventLog(core::LogLevel least, LogFormat format, Sink sink);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  void Write(core::LogLevel level, absl::string_view message, const core::LogFields& fields = {});

 private:
  struct Output;
  const core::LogLevel least_;
  const LogFormat format_;
  std::unique_ptr<Output> output_;
};

}  // namespace dreamgate::telemetry

#endif  // DREAMGATE_SERVER_TELEMETRY_LOG_H_
