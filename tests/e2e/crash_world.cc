#include "tests/e2e/crash_world.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "dreamgate/client/error_info.h"
#include "tests/api/seen_update.h"
#include "tests/web/raw_client.h"

namespace dreamgate::e2e {
namespace {

// The delay that a busy machine may add to any limit.
constexpr absl::Duration kSlack = absl::Seconds(5);
constexpr absl::Duration kCallTimeout = absl::Seconds(10);

// A server that comes back must be found at the address it had, and nobody may take that meanwhile. So
// each world has a loopback address of its own, which no outgoing connection uses.
std::string NewAddress() {
  static std::atomic<int> worlds = 0;
  const int pid = static_cast<int>(getpid());
  return absl::StrCat("127.", 16 + (pid >> 16) % 200, ".", (pid >> 8) & 255, ".", pid & 255, ":",
                      20'000 + worlds++ % 20'000);
}

std::chrono::system_clock::time_point After(absl::Duration delay) {
  return absl::ToChronoTime(absl::Now() + delay);
}

// Whether the caller's retry can help: the server has died, is leaving, or is busy.
bool MayBeAnsweredLater(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNKNOWN: return true;
    // gRPC's own, for a stream that was cut; ours carries a reason and is a defect.
    case grpc::StatusCode::INTERNAL: return client::Decode(status).reason.empty();
    default: return false;
  }
}

std::string ErrorText(const grpc::Status& status) {
  return absl::StrCat(static_cast<int>(status.error_code()), " ", client::Decode(status).reason);
}

// The evidence that ended an UNRESOLVED state.
std::string EvidenceOf(const v1::Prediction& prediction, const v1::HistoryEntry& next) {
  switch (next.source()) {
    case v1::TRANSITION_SOURCE_SUBMIT_ANSWER: return "late answer";
    case v1::TRANSITION_SOURCE_WEBHOOK: return "webhook";
    case v1::TRANSITION_SOURCE_RECONCILIATION:
      if (next.state() == v1::PREDICTION_STATE_SUBMITTING) return "absence, sent again";
      return prediction.upstream_id().empty() ? "absence" : "history";
    default: return "given up";
  }
}

}  // namespace

void CrashTotals::Add(const CrashTotals& other) {
  request_ids += other.request_ids;
  answers += other.answers;
  acknowledged += other.acknowledged;
  streams += other.streams;
  tasks += other.tasks;
  duplicates += other.duplicates;
  lost += other.lost;
  orphans += other.orphans;
  for (const auto& [evidence, count] : other.resolved) resolved[evidence] += count;
}

CrashWorld::CrashWorld(CrashWorldOptions options)
    : options_(std::move(options)),
      address_(NewAddress()),
      simulator_(simulator::Simulator::Start(options_.simulator).value()),
      watching_client_(std::make_unique<client::VideoClient>(Connect())),
      stub_(v1::VideoService::NewStub(Connect())) {}

CrashWorld::~CrashWorld() {
  for (std::thread& caller : callers_) caller.join();
  if (server_ != nullptr) KillServer();
}

// ------------------------------------------------------------------------------------------- server

void CrashWorld::BeginServer(const std::string& failpoint) {
  unlink(folder_.File("ports").c_str());
  ChildOptions options;
  options.arguments = {
      options_.server_program.empty() ? DREAMGATED_PROGRAM : options_.server_program,
      "--listen-address=" + address_,
      "--admin-address=127.0.0.1:0",
      "--upstream-base-url=" + simulator_->base_url(),
      "--ledger-path=" + ledger_path(),
      "--ports-file=" + folder_.File("ports"),
      "--poll-min-interval=30ms",
      "--poll-max-interval=60ms",
      "--shutdown-grace=0s",
      absl::StrCat(
          "--absence-settle-time=", absl::ToInt64Milliseconds(options_.absence_settle_time), "ms"),
      absl::StrCat("--unresolved-timeout=", absl::ToInt64Milliseconds(options_.unresolved_timeout),
                   "ms")};
  options.arguments.insert(options.arguments.end(), options_.server_arguments.begin(),
                           options_.server_arguments.end());
  options.environment["WAVESPEED_API_KEY"] = "simulator-key";
  if (!failpoint.empty()) options.environment["FAILPOINT"] = failpoint;
  server_.reset();  // its pages of output go with it
  server_ = std::make_unique<ChildProcess>(options);
  const std::lock_guard<std::mutex> lock(mutex_);
  starts_.push_back(absl::Now());
  stub_ = v1::VideoService::NewStub(Connect());
}

bool CrashWorld::StartServer(const std::string& failpoint) {
  BeginServer(failpoint);
  const auto serves = [this] { return !folder_.Read("ports").empty(); };
  Eventually([&] { return serves() || !server_->Running(); }, options_.patience);
  return serves();
}

void CrashWorld::KillServer() {
  server_->Signal(SIGKILL);
  if (!server_->Wait(options_.patience).has_value()) Violate("the server survives SIGKILL");
}

bool CrashWorld::DiedOf(const std::string& failpoint, absl::Duration timeout) {
  return server_->Wait(timeout) == 128 + SIGKILL &&
         absl::StrContains(server_->StandardError(), absl::StrCat("failpoint ", failpoint, "\n"));
}

std::optional<std::string> CrashWorld::PostToAdmin(const std::string& path) {
  int port = 0;
  const std::string ports = folder_.Read("ports");
  for (const absl::string_view line : absl::StrSplit(ports, '\n')) {
    if (absl::StartsWith(line, "admin=") && !absl::SimpleAtoi(line.substr(6), &port)) port = 0;
  }
  const std::string answer =
      web::Exchange(static_cast<uint16_t>(port),
                    absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: 127.0.0.1:", port,
                                 "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
  const size_t head = answer.find("\r\n\r\n");
  const size_t length = answer.find("Content-Length: ");
  size_t announced = 0;
  if (head == std::string::npos || length > head ||
      !absl::SimpleAtoi(answer.substr(length + 16, answer.find('\r', length) - length - 16),
                        &announced) ||
      !absl::StartsWith(answer, "HTTP/1.1 200") || answer.size() != head + 4 + announced) {
    return std::nullopt;
  }
  return answer.substr(head + 4);
}

std::shared_ptr<grpc::Channel> CrashWorld::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);  // the least that gRPC takes
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  return NewChannel(address_, arguments);
}

std::shared_ptr<v1::VideoService::Stub> CrashWorld::Stub() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stub_;
}

// ------------------------------------------------------------------------------------------ callers

void CrashWorld::Call(const std::string& request_id, const std::string& prompt) {
  callers_.emplace_back([this, request_id, prompt] { CallAndWait(request_id, prompt); });
}

void CrashWorld::CallAndWait(const std::string& request_id, const std::string& prompt, bool watch,
                             std::optional<int64_t> after_sequence) {
  const v1::SubmitVideoRequest request = Request(request_id, prompt);
  v1::SubmitVideoResponse response;
  const std::optional<grpc::Status> status = SubmitUntilAnswered(request, response);
  if (!status.has_value()) return Violate(absl::StrCat("no answer for ", request_id, " in time"));
  NoteAnswer(request, *status, response);
  if (status->ok() && watch) WatchToTheEnd(response.prediction().id(), after_sequence);
}

std::optional<grpc::Status> CrashWorld::SubmitUntilAnswered(const v1::SubmitVideoRequest& request,
                                                            v1::SubmitVideoResponse& response) {
  const absl::Time deadline = absl::Now() + options_.patience;
  while (absl::Now() < deadline) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(After(kCallTimeout));
    const grpc::Status status = Stub()->SubmitVideo(&context, request, &response);
    if (!MayBeAnsweredLater(status)) return status;
    absl::SleepFor(absl::Milliseconds(5));  // the server may be up and refuse at once
  }
  return std::nullopt;
}

void CrashWorld::NoteAnswer(const v1::SubmitVideoRequest& request, const grpc::Status& status,
                            const v1::SubmitVideoResponse& response) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++totals_.answers;
  const std::string& id = request.request_id();
  const auto [found, first] = submissions_.try_emplace(id);
  Submission& submission = found->second;
  if (first) submission.prompt = request.prompt();
  if (submission.prompt != request.prompt()) {
    // Another payload under a request_id that is taken: refused, or (if the first had been given
    // back before) a request_id of its own, which is not what callers here do.
    if (status.error_code() != grpc::StatusCode::ALREADY_EXISTS) {
      violations_.push_back(absl::StrCat(id, " answered another payload: ", ErrorText(status)));
    }
    return;
  }
  if (status.error_code() == grpc::StatusCode::INTERNAL) {
    violations_.push_back(absl::StrCat(id, " ended as INTERNAL: ", status.error_message()));
  }
  if (status.ok()) {
    const std::string& prediction_id = response.prediction().id();
    if (submission.remembered) {
      violations_.push_back(absl::StrCat(id, " is OK after the remembered ", submission.error));
    }
    if (!submission.prediction_id.empty() && submission.prediction_id != prediction_id) {
      violations_.push_back(
          absl::StrCat(id, " is prediction ", submission.prediction_id, " and ", prediction_id));
    }
    submission.prediction_id = prediction_id;
    return;
  }
  // Other errors free the request_id, and another caller may have had more luck with it meanwhile.
  const bool remembered = status.error_code() == grpc::StatusCode::INVALID_ARGUMENT;
  if (remembered && !submission.prediction_id.empty()) {
    violations_.push_back(
        absl::StrCat(id, " ends with ", ErrorText(status), " after it was acknowledged"));
  }
  submission.remembered = submission.remembered || remembered;
  submission.error = ErrorText(status);
  submission.final.reason = client::Decode(status).reason;
}

void CrashWorld::WatchToTheEnd(const std::string& prediction_id,
                               std::optional<int64_t> after_sequence) {
  client::WatchOptions options;
  options.after_sequence = after_sequence;
  options.backoff = {std::chrono::milliseconds(10), std::chrono::milliseconds(100), 2.0};
  options.timeout = absl::ToChronoNanoseconds(options_.patience);
  client::Watch watch = watching_client_->Watch(prediction_id, options);
  fakes::WatchValidator validator(after_sequence);
  validator.CompareWith(shown_, prediction_id);
  while (const std::optional<v1::Prediction> update = watch.NextUpdate()) {
    validator.OnUpdate(api::Seen(*update));
  }
  validator.OnEnd(watch.status().ok());
  if (!watch.status().ok()) {
    Violate(absl::StrCat("the watch of ", prediction_id, " ends with ", ErrorText(watch.status()),
                         ": ", watch.status().error_message()));
  }
  for (const std::string& violation : validator.violations()) {
    Violate(absl::StrCat("the watch of ", prediction_id, ": ", violation));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ++totals_.streams;
  if (!validator.seen().empty()) {
    watched_.push_back({prediction_id, validator.seen().back().sequence});
  }
}

void CrashWorld::Violate(std::string what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  violations_.push_back(std::move(what));
}

// ------------------------------------------------------------------------------------------ verdict

std::vector<std::string> CrashWorld::Settle() {
  for (std::thread& caller : callers_) caller.join();
  callers_.clear();
  // No other thread uses the world from here on.
  for (auto& [request_id, submission] : submissions_) SettleSubmission(request_id, submission);
  totals_.request_ids = submissions_.size();
  JudgeStreams();
  JudgeTasks();
  for (const std::string& violation : simulator_->Violations()) Violate(violation);
  return violations_;
}

void CrashWorld::SettleSubmission(const std::string& request_id, Submission& submission) {
  submission.final.tasks = simulator_->TasksCreatedForPrompt(submission.prompt);
  if (submission.final.tasks > options_.tasks_at_most) {
    totals_.duplicates += submission.final.tasks - options_.tasks_at_most;
    Violate(absl::StrCat(request_id, " created ", submission.final.tasks, " tasks"));
  }
  // A caller that asks again gets the same answer. After an error that freed the request_id nobody asks
  // again: that would be a new submission.
  if (!submission.prediction_id.empty() || submission.remembered) {
    const v1::SubmitVideoRequest request = Request(request_id, submission.prompt);
    v1::SubmitVideoResponse response;
    const std::optional<grpc::Status> status = SubmitUntilAnswered(request, response);
    if (!status.has_value()) return Violate(absl::StrCat("no answer for ", request_id, " at last"));
    NoteAnswer(request, *status, response);
  }
  if (submission.prediction_id.empty()) return;
  ++totals_.acknowledged;
  submission.final.prediction_id = submission.prediction_id;
  const std::optional<v1::Prediction> prediction =
      WaitUntilTerminal(*Stub(), submission.prediction_id, options_.patience);
  if (!prediction.has_value() || !IsTerminal(prediction->state())) {
    ++totals_.lost;
    return Violate(absl::StrCat(
        request_id, ", acknowledged as ", submission.prediction_id,
        prediction.has_value() ? ", does not end: " : ", is gone",
        prediction.has_value() ? v1::PredictionState_Name(prediction->state()) : std::string()));
  }
  submission.final.prediction = *prediction;
  JudgeUnresolved(request_id, *prediction);
}

// UNRESOLVED ends within its limit. A server that has come back has a little time to look for itself.
void CrashWorld::JudgeUnresolved(const std::string& request_id, const v1::Prediction& prediction) {
  for (int i = 0; i + 1 < prediction.history_size(); ++i) {
    if (prediction.history(i).state() != v1::PREDICTION_STATE_UNRESOLVED) continue;
    const absl::Time began = TimeOf(prediction.history(i).time());
    const absl::Time ended = TimeOf(prediction.history(i + 1).time());
    ++totals_.resolved[EvidenceOf(prediction, prediction.history(i + 1))];
    absl::Time limit = began + options_.unresolved_timeout;
    for (const absl::Time start : starts_) {
      if (start < ended) limit = std::max(limit, start + 2 * options_.absence_settle_time);
    }
    if (ended > limit + kSlack) {
      Violate(
          absl::StrCat(request_id, " was UNRESOLVED for ", absl::FormatDuration(ended - began)));
    }
  }
}

// Compares what watchers saw in many pieces with what has happened.
void CrashWorld::JudgeStreams() {
  std::map<std::string, const v1::Prediction*> predictions;
  for (const auto& [request_id, submission] : submissions_) {
    predictions[submission.prediction_id] = &submission.final.prediction;
  }
  for (const auto& [id, prediction] : predictions) {
    if (prediction->history_size() == 0) continue;  // said already
    for (const std::string& missing : shown_.MissingFrom(api::Seen(*prediction))) {
      Violate(absl::StrCat("prediction ", id, ": ", missing));
    }
  }
  for (const Watched& watched : watched_) {
    const auto found = predictions.find(watched.prediction_id);
    if (found == predictions.end() || found->second->history_size() == 0) continue;  // said already
    if (watched.last_sequence != found->second->history_size()) {
      Violate(absl::StrCat("a watch of ", watched.prediction_id, " ends at ", watched.last_sequence,
                           " of ", found->second->history_size()));
    }
  }
}

// Every task that was paid for is somebody's, or recorded as nobody's. A server that has come back asks
// for what earlier ones may have missed, so this may take a moment.
void CrashWorld::JudgeTasks() {
  totals_.tasks = simulator_->TasksCreated();
  const absl::Time deadline = absl::Now() + 4 * options_.absence_settle_time + kSlack;
  while (options_.every_task_is_known && !UnknownTasks().empty() && absl::Now() < deadline) {
    for (auto& [request_id, submission] : submissions_) {
      if (submission.prediction_id.empty()) continue;
      if (auto prediction = WaitUntilTerminal(*Stub(), submission.prediction_id, options_.patience);
          prediction.has_value()) {
        submission.final.prediction = *std::move(prediction);
      }
    }
  }
  for (const auto& [request_id, submission] : submissions_) {
    totals_.orphans += static_cast<uint64_t>(submission.final.prediction.recovered_outputs_size());
  }
  if (!options_.every_task_is_known) return;
  for (const std::string& task : UnknownTasks()) {
    Violate(absl::StrCat("task ", task, " was paid for and is nobody's"));
  }
}

std::vector<std::string> CrashWorld::UnknownTasks() const {
  std::set<std::string> known(forgotten_tasks_.begin(), forgotten_tasks_.end());
  for (const auto& [request_id, submission] : submissions_) {
    const v1::Prediction& prediction = submission.final.prediction;
    known.insert(prediction.upstream_id());
    for (const v1::Output& output : prediction.recovered_outputs()) {
      const size_t name = output.url().rfind('/') + 1;
      known.insert(output.url().substr(name, output.url().rfind('.') - name));
    }
  }
  std::vector<std::string> unknown;
  for (std::string& task : simulator_->TaskIds()) {
    if (!known.contains(task)) unknown.push_back(std::move(task));
  }
  return unknown;
}

void CrashWorld::Forget(const std::string& request_id) {
  const std::optional<v1::Prediction> prediction =
      WaitUntilTerminal(*Stub(), submissions_.at(request_id).prediction_id, options_.patience);
  if (prediction.has_value()) forgotten_tasks_.push_back(prediction->upstream_id());
  submissions_.erase(request_id);
}

const FinalAnswer& CrashWorld::AnswerOf(const std::string& request_id) const {
  return submissions_.at(request_id).final;
}

}  // namespace dreamgate::e2e
