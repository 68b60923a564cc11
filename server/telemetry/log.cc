#include "server/telemetry/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <mutex>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::telemetry {
namespace {

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f || c == '"' || c == '=' || c == '\\') return true;
  }
  return false;
}

std::string LogfmtValue(absl::string_view text) {
  if (!NeedsQuotes(text)) return std::string(text);
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

std::string LogfmtLine(absl::Time time, core::LogLevel level, absl::string_view message,
                       const core::LogFields& fields) {
  std::string line =
      absl::StrCat(TimeText(time), " ", LogLevelName(level), " ", absl::Utf8SafeCEscape(message));
  for (const auto& [key, value] : fields) absl::StrAppend(&line, " ", key, "=", LogfmtValue(value));
  return line;
}

std::string JsonLine(absl::Time time, core::LogLevel level, absl::string_view message,
                     const core::LogFields& fields) {
  boost::json::object line;
  const absl::string_view name = LogLevelName(level);
  line["time"] = TimeText(time);
  line["level"] = boost::json::string_view(name.data(), name.size());
  line["message"] = boost::json::string_view(message.data(), message.size());
  for (const auto& [key, value] : fields) line[key] = value;
  return boost::json::serialize(line);
}

class CallbackSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit CallbackSink(EventLog::Sink take) : take_(std::move(take)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& line) override {
    take_(absl::string_view(line.payload.data(), line.payload.size()));
  }
  void flush_() override {}

  EventLog::Sink take_;
};

}  // namespace

absl::string_view LogLevelName(core::LogLevel level) {
  switch (level) {
    case core::LogLevel::kDebug: return "debug";
    case core::LogLevel::kInfo: return "info";
    case core::LogLevel::kWarning: return "warning";
    case core::LogLevel::kError: return "error";
  }
  return "error";
}

std::string FormatLogLine(LogFormat format, absl::Time time, core::LogLevel level,
                          absl::string_view message, const core::LogFields& fields) {
  return format == LogFormat::kJson ? JsonLine(time, level, message, fields)
                                    : LogfmtLine(time, level, message, fields);
}

struct EventLog::Output {
  explicit Output(spdlog::sink_ptr target) : logger("dreamgate", std::move(target)) {
    logger.set_pattern("%v");
    logger.set_level(spdlog::level::info);
    logger.flush_on(spdlog::level::info);
  }
  spdlog::logger logger;
};

EventLog::EventLog(core::LogLevel least, LogFormat format)
    : least_(least),
      format_(format),
      output_(std::make_unique<Output>(std::make_shared<spdlog::sinks::stderr_sink_mt>())) {}

EventLog::EventLog(core::LogLevel least, LogFormat format, Sink sink)
    : least_(least),
      format_(format),
      output_(std::make_unique<Output>(std::make_shared<CallbackSink>(std::move(sink)))) {}

EventLog::~EventLog() = default;

void EventLog::Write(core::LogLevel level, absl::string_view message,
                     const core::LogFields& fields) {
  if (level < least_) return;
  const std::string line = FormatLogLine(format_, absl::Now(), level, message, fields);
  output_->logger.log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace dreamgate::telemetry
