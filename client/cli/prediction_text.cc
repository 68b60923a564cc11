#include "client/cli/prediction_text.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "client/cli/format.h"
#include "client/cli/report.h"

namespace dreamgate::client {
namespace {

// "submit answer" for TRANSITION_SOURCE_SUBMIT_ANSWER of the transition at `prediction`'s sequence.
std::string SourceText(const v1::Prediction& prediction) {
  for (const v1::HistoryEntry& entry : prediction.history()) {
    if (entry.sequence() != prediction.sequence()) continue;
    std::string text = v1::TransitionSource_Name(entry.source());
    text.erase(0, std::string("TRANSITION_SOURCE_").size());
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c == '_' ? ' ' : static_cast<char>(c | 0x20); });
    return text == "unspecified" ? "" : text;
  }
  return "";
}

}  // namespace

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", ToTime(time), absl::LocalTimeZone());
}

std::string TransitionText(const v1::Prediction& prediction) {
  return FormatTransition(
      {.time = ToTime(prediction.update_time()),
       .state = StateText(prediction.state()),
       .elapsed = ToTime(prediction.update_time()) - ToTime(prediction.create_time()),
       .sequence = prediction.sequence(),
       .source = SourceText(prediction)});
}

std::string DescribePrediction(const v1::Prediction& prediction) {
  std::vector<std::pair<std::string, std::string>> lines = {
      {"id", Printable(prediction.id())},
      {"state", StateText(prediction.state())},
      {"sequence", std::to_string(prediction.sequence())},
      {"request id", Printable(prediction.request_id())},
      {"created", TimeText(prediction.create_time())},
      {"updated", TimeText(prediction.update_time())},
      {"model", Printable(prediction.model())},
      {"prompt", Printable(prediction.prompt())},
      {"aspect ratio", AspectRatioText(prediction.aspect_ratio())},
      {"seed", std::to_string(prediction.seed())},
  };
  if (!prediction.upstream_id().empty()) {
    lines.emplace_back("upstream",
                       Printable(prediction.upstream_id() + " " + prediction.upstream_status()));
  }
  const std::map<std::string, std::string> labels(prediction.labels().begin(),
                                                  prediction.labels().end());
  for (const auto& [key, value] : labels) lines.emplace_back("label", Printable(key + "=" + value));
  for (const v1::Output& output : prediction.outputs())
    lines.emplace_back("output", Printable(output.url()));
  for (const v1::Output& output : prediction.recovered_outputs()) {
    lines.emplace_back("recovered", Printable(output.url()));
  }
  if (prediction.has_error()) {
    std::string code = v1::FailureCode_Name(prediction.error().failure_code());
    code.erase(0, std::string("FAILURE_CODE_").size());
    lines.emplace_back("error", code + " " + Printable(prediction.error().message()));
  }
  return FormatPairs(lines);
}

}  // namespace dreamgate::client
