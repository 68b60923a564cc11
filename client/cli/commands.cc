#include "client/cli/commands.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "client/cli/download.h"
#include "client/cli/exit_code.h"
#include "client/cli/format.h"
#include "client/cli/output_files.h"
#include "client/cli/prediction_text.h"
#include "client/cli/report.h"
#include "dreamgate/client/request_id.h"
#include "dreamgate/client/video_client.h"
#include "google/protobuf/struct.pb.h"

namespace dreamgate::client {
namespace {

std::string Json(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  return status.ok()
             ? text
             : "{}";  // only for messages that are no valid UTF-8, which protobuf refuses to send
}

// One run of the command: its arguments, its client and what it has learned.
class Session {
 public:
  Session(const Arguments& arguments, Console& console, std::stop_token stop,
          const VideoClient& client)
      : arguments_(arguments), console_(console), stop_(std::move(stop)), client_(client) {}

  int Submit();
  int Watch();
  int Get();
  int List();
  int Generate();

 private:
  std::chrono::nanoseconds Timeout() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(arguments_.timeout_seconds));
  }
  CallOptions Call() const { return {.timeout = Timeout(), .stop = stop_}; }

  int Fail(const grpc::Status& status);
  std::variant<v1::Prediction, int> SubmitRequest();
  // Watches to the end. The terminal prediction, or the exit code to end with.
  std::variant<v1::Prediction, int> Follow(const std::string& prediction_id,
                                           std::optional<int64_t> after_sequence);
  void ShowTransition(const v1::Prediction& prediction);
  void ShowWaiting(const v1::Prediction& prediction, const v1::Heartbeat* heartbeat);
  void ShowResumption(const Resumption& resumption);
  int HintAtWatch(const std::string& prediction_id, std::optional<int64_t> last_sequence);
  int DownloadAll(const v1::Prediction& prediction);
  DownloadResult DownloadOne(const std::string& url, const std::string& file);
  std::string ServerFlag() const {
    return arguments_.server == kDefaultServer ? "" : " --server " + arguments_.server;
  }

  const Arguments& arguments_;
  Console& console_;
  const std::stop_token stop_;
  const VideoClient& client_;
  std::string request_id_;
};

int Session::Fail(const grpc::Status& status) {
  console_.Error(ExplainError(status, arguments_.server));
  return ExitCodeOf(status);
}

void Session::ShowTransition(const v1::Prediction& prediction) {
  if (arguments_.json) {
    v1::WatchPredictionResponse event;
    *event.mutable_update() = prediction;
    console_.Data(Json(event));
  } else if (arguments_.command == Command::kWatch) {
    if (!arguments_.quiet) console_.Data(TransitionText(prediction));
  } else {
    console_.Notice(TransitionText(prediction));
  }
}

void Session::ShowWaiting(const v1::Prediction& prediction, const v1::Heartbeat* heartbeat) {
  const absl::Time now = absl::Now();
  // By our own clock from here on: the server's may differ.
  const absl::Duration elapsed = now - ToTime(prediction.create_time());
  const bool clocks_agree = elapsed > -absl::Seconds(1) && elapsed < absl::Hours(24 * 8);
  const absl::Time since =
      prediction.has_create_time() && clocks_agree ? ToTime(prediction.create_time()) : now;
  std::optional<double> progress;
  std::optional<absl::Duration> left;
  if (heartbeat != nullptr && heartbeat->has_estimated_progress())
    progress = heartbeat->estimated_progress();
  if (heartbeat != nullptr && heartbeat->has_estimated_time_left())
    left = ToDuration(heartbeat->estimated_time_left());
  console_.ShowProgress([state = StateText(prediction.state()), since, now, progress, left] {
    std::optional<absl::Duration> still_left;
    if (left.has_value()) still_left = std::max(absl::ZeroDuration(), *left - (absl::Now() - now));
    return FormatWaiting(state, absl::Now() - since, progress, still_left);
  });
}

void Session::ShowResumption(const Resumption& resumption) {
  const std::string delay =
      absl::FormatDuration(absl::Trunc(absl::FromChrono(resumption.delay), absl::Milliseconds(1)));
  if (resumption.cause.ok()) {
    console_.Notice("the server is leaving; watching again in " + delay);
  } else if (resumption.rewound) {
    console_.Notice(
        "the server knows less than was seen; watching again from its current state in " + delay);
  } else {
    console_.Notice("the watch was interrupted (" + Printable(resumption.cause.error_message()) +
                    "); resuming in " + delay);
  }
}

int Session::HintAtWatch(const std::string& prediction_id, std::optional<int64_t> last_sequence) {
  std::string hint =
      "Interrupted; the video goes on. Resume with:\n  dreamgate watch " + prediction_id;
  if (last_sequence.has_value()) hint += " --after-sequence " + std::to_string(*last_sequence);
  hint += ServerFlag();
  if (arguments_.command == Command::kGenerate) {
    hint += "\nor repeat this command with --request-id " + request_id_ + ": that never pays twice";
  }
  console_.Error(hint);
  return kExitInterrupted;
}

std::variant<v1::Prediction, int> Session::SubmitRequest() {
  v1::SubmitVideoRequest request;
  request.set_prompt(arguments_.prompt);
  request.set_aspect_ratio(ParseAspectRatio(arguments_.aspect_ratio));
  if (arguments_.seed.has_value()) request.set_seed(*arguments_.seed);
  request_id_ = arguments_.request_id.empty() ? DrawRequestId() : arguments_.request_id;
  request.set_request_id(request_id_);
  for (const auto& [key, value] : arguments_.labels) (*request.mutable_labels())[key] = value;
  request.set_validate_only(arguments_.validate_only);

  console_.ShowProgress(
      [since = absl::Now()] { return FormatWaiting("submitting", absl::Now() - since, {}, {}); });
  const SubmitResult result = client_.Submit(request, Call());
  console_.HideProgress();
  if (stop_.stop_requested() && !result.ok()) {
    console_.Error(
        "Interrupted before the answer; the video may have been submitted. Repeat the command "
        "with\n"
        "  --request-id " +
        request_id_ + "\nto find it: that never pays twice.");
    return kExitInterrupted;
  }
  if (!result.ok()) {
    const int exit_code = Fail(result.status);
    if (exit_code == kExitUnreachable || exit_code == kExitUnexpected) {
      console_.Error("      repeat the command with --request-id " + request_id_ +
                     ": that never pays twice");
    }
    return exit_code;
  }
  if (arguments_.json) {
    v1::SubmitVideoResponse response;
    *response.mutable_prediction() = result.prediction;
    response.set_replayed(result.replayed);
    console_.Data(Json(response));
  }
  if (arguments_.validate_only) {
    console_.Notice("The request is valid. Nothing was stored or sent.");
    return kExitOk;
  }
  if (result.replayed)
    console_.Notice("This request_id was known; here is its original prediction.");
  if (!arguments_.json) console_.Notice(TransitionText(result.prediction));
  return result.prediction;
}

int Session::Submit() {
  const std::variant<v1::Prediction, int> submitted = SubmitRequest();
  if (const int* exit_code = std::get_if<int>(&submitted)) return *exit_code;
  const v1::Prediction& prediction = std::get<v1::Prediction>(submitted);
  if (!arguments_.json) console_.Data(Printable(prediction.id()));
  console_.Notice("follow it with: dreamgate watch " + Printable(prediction.id()) + ServerFlag());
  return kExitOk;
}

std::variant<v1::Prediction, int> Session::Follow(const std::string& prediction_id,
                                                  std::optional<int64_t> after_sequence) {
  client::Watch watch = client_.Watch(
      prediction_id, {.after_sequence = after_sequence, .give_up_after = Timeout(), .stop = stop_});
  v1::Prediction last;
  while (std::optional<WatchEvent> event = watch.Next()) {
    if (auto* update = std::get_if<v1::Prediction>(&*event)) {
      last = std::move(*update);
      ShowTransition(last);
      if (!IsTerminal(last.state())) ShowWaiting(last, nullptr);
    } else if (const auto* heartbeat = std::get_if<v1::Heartbeat>(&*event)) {
      if (arguments_.json) {
        v1::WatchPredictionResponse json;
        *json.mutable_heartbeat() = *heartbeat;
        console_.Data(Json(json));
      }
      if (!last.id().empty()) ShowWaiting(last, heartbeat);
    } else {
      ShowResumption(std::get<Resumption>(*event));
    }
  }
  console_.HideProgress();
  if (!watch.status().ok()) {
    if (stop_.stop_requested()) return HintAtWatch(prediction_id, watch.last_sequence());
    const int exit_code = Fail(watch.status());
    if (exit_code == kExitUnreachable && watch.last_sequence().has_value()) {
      console_.Error("      then resume with: dreamgate watch " + prediction_id +
                     " --after-sequence " + std::to_string(*watch.last_sequence()) + ServerFlag());
    }
    return exit_code;
  }
  if (IsTerminal(last.state())) return last;
  // The position given was the terminal one: there was nothing left to see but the outcome.
  const Result<v1::Prediction> outcome = client_.Get(prediction_id, Call());
  if (!outcome.ok()) {
    return stop_.stop_requested() ? HintAtWatch(prediction_id, after_sequence)
                                  : Fail(outcome.status);
  }
  return outcome.value;
}

int Session::Watch() {
  const std::variant<v1::Prediction, int> followed =
      Follow(arguments_.prediction_id, arguments_.after_sequence);
  if (const int* exit_code = std::get_if<int>(&followed)) return *exit_code;
  const v1::Prediction& prediction = std::get<v1::Prediction>(followed);
  if (ExitCodeOf(prediction) != kExitOk) console_.Error(ExplainFailure(prediction));
  if (!arguments_.json) {
    for (const v1::Output& output : prediction.outputs()) console_.Data(Printable(output.url()));
  }
  return ExitCodeOf(prediction);
}

int Session::Get() {
  const Result<v1::Prediction> result = client_.Get(arguments_.prediction_id, Call());
  if (!result.ok()) return stop_.stop_requested() ? kExitInterrupted : Fail(result.status);
  console_.Data(arguments_.json ? Json(result.value) : DescribePrediction(result.value));
  return kExitOk;
}

int Session::List() {
  v1::ListPredictionsRequest request;
  request.set_page_size(arguments_.page_size);
  for (const std::string& name : arguments_.states) {
    v1::PredictionState state = v1::PREDICTION_STATE_UNSPECIFIED;
    if (v1::PredictionState_Parse("PREDICTION_STATE_" + name, &state)) request.add_states(state);
  }
  for (const auto& [key, value] : arguments_.labels) (*request.mutable_labels())[key] = value;

  size_t count = 0;
  do {  // page by page, so that a long list shows its beginning at once
    const Result<v1::ListPredictionsResponse> page = client_.List(request, Call());
    if (!page.ok()) return stop_.stop_requested() ? kExitInterrupted : Fail(page.status);
    std::vector<std::vector<std::string>> rows;
    if (count == 0 && !arguments_.quiet)
      rows.push_back({"ID", "STATE", "CREATED", "RATIO", "SEED", "PROMPT"});
    for (const v1::Prediction& prediction : page.value.predictions()) {
      ++count;
      if (arguments_.json) console_.Data(Json(prediction));
      rows.push_back({Printable(prediction.id()), StateText(prediction.state()),
                      TimeText(prediction.create_time()),
                      AspectRatioText(prediction.aspect_ratio()), std::to_string(prediction.seed()),
                      Shorten(Printable(prediction.prompt()), 40)});
    }
    if (!arguments_.json && page.value.predictions_size() > 0) console_.Data(FormatTable(rows));
    request.set_page_token(page.value.next_page_token());
  } while (arguments_.all && !request.page_token().empty());
  if (count == 0) console_.Notice("No predictions.");
  if (!request.page_token().empty()) console_.Notice("There are more: --all lists them.");
  return kExitOk;
}

int Session::Generate() {
  if (const std::string problem = CheckOutput(arguments_.output, arguments_.force);
      !problem.empty()) {
    console_.Error("error: " + problem);
    return kExitBadArguments;
  }
  const std::variant<v1::Prediction, int> submitted = SubmitRequest();
  if (const int* exit_code = std::get_if<int>(&submitted)) return *exit_code;
  v1::Prediction prediction = std::get<v1::Prediction>(submitted);
  if (!IsTerminal(prediction.state())) {
    ShowWaiting(prediction, nullptr);
    std::variant<v1::Prediction, int> followed = Follow(prediction.id(), prediction.sequence());
    if (const int* exit_code = std::get_if<int>(&followed)) return *exit_code;
    prediction = std::get<v1::Prediction>(std::move(followed));
  }
  if (ExitCodeOf(prediction) != kExitOk) {
    console_.Error(ExplainFailure(prediction));
    return ExitCodeOf(prediction);
  }
  return DownloadAll(prediction);
}

int Session::DownloadAll(const v1::Prediction& prediction) {
  const std::vector<std::string> files = OutputFiles(
      arguments_.output, prediction.id(), static_cast<size_t>(prediction.outputs_size()));
  google::protobuf::Struct summary;  // keys come out sorted
  (*summary.mutable_fields())["predictionId"].set_string_value(prediction.id());
  auto* stored = (*summary.mutable_fields())["files"].mutable_list_value();
  int number = 0;
  for (const std::string& file : files) {
    const std::string& url = prediction.outputs(number++).url();
    const DownloadResult result = DownloadOne(url, file);
    if (result.interrupted) {
      console_.Error("Interrupted while downloading; the video is at\n  " + Printable(url));
      return kExitInterrupted;
    }
    if (!result.ok) {
      console_.Error("error: the download failed: " + Printable(result.error) +
                     "\nnext: fetch it yourself from\n  " + Printable(url) +
                     "\n      or repeat this command with --request-id " + request_id_ +
                     ": that never pays twice");
      return kExitDownloadFailed;
    }
    stored->add_values()->set_string_value(file);
    if (!arguments_.json) console_.Data(file);
  }
  if (arguments_.json) console_.Data(Json(summary));
  return kExitOk;
}

DownloadResult Session::DownloadOne(const std::string& url, const std::string& file) {
  struct Progress {
    std::mutex mutex;
    uint64_t received = 0;
    std::optional<uint64_t> total;
  };
  const auto progress = std::make_shared<Progress>();
  const absl::Time start = absl::Now();
  console_.ShowProgress([progress, start] {
    const std::lock_guard lock(progress->mutex);
    return FormatDownload(progress->received, progress->total, absl::Now() - start);
  });
  const DownloadResult result =
      Download(url, file,
               {.overwrite = arguments_.force,
                .stop = stop_,
                .on_progress = [progress](uint64_t received, std::optional<uint64_t> total) {
                  const std::lock_guard lock(progress->mutex);
                  progress->received = received;
                  progress->total = total;
                }});
  console_.HideProgress();
  if (result.ok && !arguments_.json) {
    console_.Notice("downloaded " + FormatBytes(result.bytes) + " in " +
                    FormatElapsed(absl::Now() - start));
  }
  return result;
}

}  // namespace

int RunCommand(const Arguments& arguments, Console& console, std::stop_token stop) {
  const auto client = VideoClient::Create({.target = arguments.server,
                                           .use_tls = arguments.tls,
                                           .ca_file = arguments.ca_file,
                                           .bearer_token = arguments.token,
                                           .bearer_token_file = arguments.token_file});
  if (!client.ok()) {
    console.Error("error: " + client.status.error_message());
    return kExitBadArguments;
  }
  Session session(arguments, console, std::move(stop), *client.value);
  int exit_code = kExitUnexpected;
  switch (arguments.command) {
    case Command::kSubmit: exit_code = session.Submit(); break;
    case Command::kWatch: exit_code = session.Watch(); break;
    case Command::kGet: exit_code = session.Get(); break;
    case Command::kList: exit_code = session.List(); break;
    case Command::kGenerate: exit_code = session.Generate(); break;
  }
  if (exit_code == kExitOk && !console.data_written()) {
    console.Error("error: cannot write to stdout");
    return kExitUnexpected;
  }
  return exit_code;
}

}  // namespace dreamgate::client
