// Texts to checked values and back, one pair of functions for each kind of setting. The errors are
// InvalidArgument and say what is allowed, without repeating the text. Pure functions.
#ifndef DREAMGATE_SERVER_APP_VALUES_H_
#define DREAMGATE_SERVER_APP_VALUES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/app/config.h"

namespace dreamgate::app {

// "0.0.0.0:50051", "[::1]:50051", "localhost:0".
absl::StatusOr<HostPort> ParseHostPort(const std::string& text);

// Go's and Abseil's notation, "1m30s"; "0" needs no unit.
absl::StatusOr<absl::Duration> ParseDuration(const std::string& text, absl::Duration least,
                                             absl::Duration most);
std::string ShowDuration(absl::Duration duration);

absl::StatusOr<int64_t> ParseInteger(const std::string& text, int64_t least, int64_t most);

// "20", "0.5", "1e3", whatever the locale.
absl::StatusOr<double> ParseNumber(const std::string& text, double least, double most);
// The shortest text that ParseNumber reads as just this number.
std::string ShowNumber(double number);

// "true" or "false".
absl::StatusOr<bool> ParseBool(const std::string& text);

absl::StatusOr<core::LogLevel> ParseLogLevel(const std::string& text);
absl::StatusOr<telemetry::LogFormat> ParseLogFormat(const std::string& text);

// An absolute http or https URL without a query, as it was written.
absl::StatusOr<std::string> ParseBaseUrl(const std::string& text);

// An absolute https URL without a query, as it was written; or nothing.
absl::StatusOr<std::string> ParseWebhookUrl(const std::string& text);

// "vendor/model/task": what may stand in a URL's path.
absl::StatusOr<std::string> ParseModel(const std::string& text);

// Whether `path` names a file (not a folder) that this process can read.
absl::Status CheckReadable(const std::string& path);

}  // namespace dreamgate::app

#endif  // DREAMGATE_SERVER_APP_VALUES_H_
