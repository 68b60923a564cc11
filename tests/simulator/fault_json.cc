// Faults as the control endpoint takes them.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "tests/simulator/fault.h"

namespace dreamgate::simulator {
namespace {

namespace json = boost::json;

constexpr struct {
  const char* name;
  FaultAction action;
} kActions[] = {
    {"latency", FaultAction::kLatency},
    {"reset_on_accept", FaultAction::kResetOnAccept},
    {"reset_before_request", FaultAction::kResetBeforeRequest},
    {"reset_after_request", FaultAction::kResetAfterRequest},
    {"close_mid_body", FaultAction::kCloseMidBody},
    {"slow_bytes", FaultAction::kSlowBytes},
    {"not_json", FaultAction::kNotJson},
    {"wrong_content_type", FaultAction::kWrongContentType},
    {"huge_body", FaultAction::kHugeBody},
    {"redirect", FaultAction::kRedirect},
    {"status", FaultAction::kStatus},
    {"rate_limited", FaultAction::kRateLimited},
    {"unknown_status", FaultAction::kUnknownStatus},
    {"envelope_error", FaultAction::kEnvelopeError},
    {"no_id", FaultAction::kNoId},
    {"hang", FaultAction::kHang},
    {"interim_responses", FaultAction::kInterimResponses},
    {"huge_chunk_extension", FaultAction::kHugeChunkExtension},
    {"close_delimited", FaultAction::kCloseDelimited},
    {"raw_response", FaultAction::kRawResponse},
};

absl::Duration DurationFrom(const json::value& value) {
  absl::Duration duration;
  if (!absl::ParseDuration(std::string(value.as_string()), &duration)) {
    throw std::invalid_argument("not a duration");
  }
  return duration;
}

std::string TextFrom(const json::value& value) { return std::string(value.as_string()); }

int NumberFrom(const json::value& value) { return value.to_number<int>(); }

// Throws, like the conversions it uses, when a value does not fit.
void SetField(const std::string& key, const json::value& value, Fault& fault) {
  if (key == "action") {
    const auto* found = std::find_if(std::begin(kActions), std::end(kActions),
                                     [&](const auto& a) { return value.as_string() == a.name; });
    if (found == std::end(kActions)) throw std::invalid_argument("unknown action");
    fault.action = found->action;
  } else if (key == "method") {
    fault.method = TextFrom(value);
  } else if (key == "path_prefix") {
    fault.path_prefix = TextFrom(value);
  } else if (key == "task_id") {
    fault.task_id = TextFrom(value);
  } else if (key == "body_contains") {
    fault.body_contains = TextFrom(value);
  } else if (key == "skip") {
    fault.skip = NumberFrom(value);
  } else if (key == "times") {
    fault.times = NumberFrom(value);
  } else if (key == "probability") {
    fault.probability = value.to_number<double>();
  } else if (key == "seed") {
    fault.seed = value.to_number<uint64_t>();
  } else if (key == "create_task") {
    fault.create_task = value.as_bool();
  } else if (key == "delay") {
    fault.delay = DurationFrom(value);
  } else if (key == "status") {
    fault.status = NumberFrom(value);
  } else if (key == "code") {
    fault.code = NumberFrom(value);
  } else if (key == "count") {
    fault.count = NumberFrom(value);
  } else if (key == "bytes") {
    fault.bytes = value.to_number<std::size_t>();
  } else if (key == "interval") {
    fault.interval = DurationFrom(value);
  } else if (key == "body") {
    fault.body = TextFrom(value);
  } else if (key == "content_type") {
    fault.content_type = TextFrom(value);
  } else if (key == "location") {
    fault.location = TextFrom(value);
  } else if (key == "retry_after") {
    fault.retry_after = TextFrom(value);
  } else if (key == "text") {
    fault.text = TextFrom(value);
  } else if (key == "headers") {
    for (const auto& header : value.as_object()) {
      fault.headers.emplace_back(std::string(header.key()), TextFrom(header.value()));
    }
  } else {
    throw std::invalid_argument("unknown field");
  }
}

}  // namespace

absl::StatusOr<Fault> FaultFromJson(const std::string& text) {
  boost::system::error_code error;
  const json::value parsed = json::parse(text, error);
  if (error || !parsed.is_object() || !parsed.as_object().contains("action")) {
    return absl::InvalidArgumentError("a fault is a JSON object with an action");
  }
  Fault fault;
  for (const auto& field : parsed.as_object()) {
    const std::string key(field.key());
    try {
      SetField(key, field.value(), fault);
    } catch (const std::exception& problem) {
      return absl::InvalidArgumentError(absl::StrCat(key, ": ", problem.what()));
    }
  }
  return fault;
}

std::vector<std::string> FaultActionNames() {
  std::vector<std::string> names;
  for (const auto& entry : kActions) names.emplace_back(entry.name);
  return names;
}

}  // namespace dreamgate::simulator
