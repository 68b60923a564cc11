#include "tests/e2e/deployment.h"

#include <grpcpp/create_channel.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/core/prediction.h"
#include "tests/api/seen_update.h"
#include "tests/web/raw_client.h"

namespace dreamgate::e2e {
namespace {

void SetToken(grpc::ClientContext& context, const std::string& token) {
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

}  // namespace

bool Eventually(const std::function<bool()>& condition, absl::Duration timeout) {
  // The pause only sets how soon a change is noticed.
  constexpr absl::Duration kLongestPause = absl::Milliseconds(50);
  absl::Duration pause = absl::Milliseconds(1);
  for (const absl::Time deadline = absl::Now() + timeout; !condition();) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
  return true;
}

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address,
                                          grpc::ChannelArguments arguments) {
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

Server::Server(const TemporaryFolder& folder, const std::string& upstream_url,
               std::vector<std::string> extra, std::optional<uint64_t> file_size_limit) {
  unlink(folder.File("ports").c_str());
  ChildOptions options;
  options.arguments = {DREAMGATED_PROGRAM,
                       "--listen-address=127.0.0.1:0",
                       "--admin-address=127.0.0.1:0",
                       "--upstream-base-url=" + upstream_url,
                       "--ledger-path=" + folder.File("ledger.db"),
                       "--ports-file=" + folder.File("ports"),
                       "--poll-min-interval=50ms",
                       "--poll-max-interval=100ms",
                       "--shutdown-grace=100ms"};
  options.arguments.insert(options.arguments.end(), extra.begin(), extra.end());
  options.environment["WAVESPEED_API_KEY"] = "simulator-key";
  options.file_size_limit = file_size_limit;
  process_ = std::make_unique<ChildProcess>(options);
  std::string text;
  Eventually([&] { return !(text = folder.Read("ports")).empty() || !process_->Running(); });
  if (text.empty()) {
    ADD_FAILURE() << "the server did not start:\n" << process_->StandardError();
    return;
  }
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> setting = absl::StrSplit(line, '=');
    int* port = setting.first == "grpc"      ? &grpc_port_
                : setting.first == "webhook" ? &webhook_port_
                                             : &admin_port_;
    EXPECT_TRUE(absl::SimpleAtoi(setting.second, port)) << text;
  }
}

std::string Server::AdminPage(const std::string& path) const {
  return web::Exchange(
      static_cast<uint16_t>(admin_port_),
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
}

std::string Server::Metric(const std::string& series) const {
  const std::string page = AdminPage("/metrics");
  const size_t start = page.find("\n" + series + " ");
  if (start == std::string::npos) return "missing";
  const size_t value = start + series.size() + 2;
  return page.substr(value, page.find('\n', value) - value);
}

Deployment::Deployment(std::vector<std::string> server_arguments,
                       simulator::Options simulator_options)
    : simulator_(simulator::Simulator::Start(std::move(simulator_options)).value()),
      server_arguments_(std::move(server_arguments)),
      server_(std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments_)),
      stub_(server_->Stub()) {}

int Deployment::OnSubmit(simulator::Fault fault) {
  fault.method = "POST";
  fault.path_prefix = simulator_->SubmitPath();
  return simulator_->AddFault(std::move(fault));
}

void Deployment::CrashAndRestart() {
  server_->process().Signal(SIGKILL);
  EXPECT_EQ(server_->process().Wait(kPatience), 128 + SIGKILL);
  server_ = std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments_);
  stub_ = server_->Stub();
}

void Deployment::Restart(std::vector<std::string> server_arguments) {
  server_->process().Signal(SIGTERM);  // unless it has ended already
  EXPECT_EQ(server_->process().Wait(kPatience), 0);
  server_arguments_ = std::move(server_arguments);
  server_ = std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments_);
  stub_ = server_->Stub();
}

v1::SubmitVideoRequest Request(const std::string& request_id, const std::string& prompt) {
  v1::SubmitVideoRequest request;
  request.set_request_id(request_id);
  request.set_prompt(prompt);
  return request;
}

SubmitResult Submit(v1::VideoService::Stub& stub, const v1::SubmitVideoRequest& request,
                    const std::string& token) {
  grpc::ClientContext context;
  SetToken(context, token);
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(kPatience));
  SubmitResult result;
  result.status = stub.SubmitVideo(&context, request, &result.response);
  return result;
}

v1::Prediction MustSubmit(v1::VideoService::Stub& stub, const std::string& request_id,
                          const std::string& prompt) {
  const SubmitResult result = Submit(stub, Request(request_id, prompt));
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  return result.response.prediction();
}

v1::Prediction GetPrediction(v1::VideoService::Stub& stub, const std::string& id) {
  grpc::ClientContext context;
  v1::GetPredictionRequest request;
  request.set_prediction_id(id);
  v1::GetPredictionResponse response;
  const grpc::Status status = stub.GetPrediction(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.prediction();
}

bool IsTerminal(v1::PredictionState state) {
  return core::IsTerminal(static_cast<core::State>(state));
}

std::optional<v1::Prediction> WaitUntilTerminal(v1::VideoService::Stub& stub, const std::string& id,
                                                absl::Duration timeout) {
  v1::GetPredictionRequest request;
  request.set_prediction_id(id);
  std::optional<v1::Prediction> latest;
  const auto ended_or_gone = [&] {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    v1::GetPredictionResponse response;
    const grpc::Status status = stub.GetPrediction(&context, request, &response);
    if (status.ok()) latest = response.prediction();
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) latest.reset();
    return status.error_code() == grpc::StatusCode::NOT_FOUND ||
           (status.ok() && IsTerminal(latest->state()));
  };
  Eventually(ended_or_gone, timeout);
  return latest;
}

Stream::Stream(v1::VideoService::Stub& stub, const std::string& prediction_id,
               std::optional<int64_t> after_sequence, const std::string& token)
    : validator_(after_sequence) {
  // Of all streams of this test: a prediction's id is its own.
  static fakes::ShownUpdates shown;
  validator_.CompareWith(shown, prediction_id);
  SetToken(context_, token);
  request_.set_prediction_id(prediction_id);
  if (after_sequence) request_.set_after_sequence(*after_sequence);
  request_.mutable_heartbeat_interval()->set_seconds(5);
  stub.async()->WatchPrediction(&context_, &request_, this);
  StartRead(&response_);
  StartCall();
}

Stream::~Stream() {
  context_.TryCancel();
  EXPECT_TRUE(WaitForEnd());
  for (const std::string& violation : violations()) ADD_FAILURE() << violation;
}

void Stream::OnReadDone(bool ok) {
  if (!ok) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (response_.has_update()) {
      validator_.OnUpdate(api::Seen(response_.update()));
      updates_.push_back(response_.update());
    } else if (response_.has_heartbeat()) {
      heartbeats_.push_back(response_.heartbeat());
    } else if (response_.has_reconnect()) {
      reconnect_ = true;
    }
    changed_.notify_all();
  }
  StartRead(&response_);
}

void Stream::OnDone(const grpc::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  validator_.OnEnd(status.ok());
  status_ = status;
  changed_.notify_all();
}

bool Stream::WaitUntil(const std::function<bool()>& condition, absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(timeout), condition);
}

bool Stream::WaitForUpdates(size_t count, absl::Duration timeout) {
  return WaitUntil([this, count] { return updates_.size() >= count; }, timeout);
}

bool Stream::WaitForHeartbeats(size_t count, absl::Duration timeout) {
  return WaitUntil([this, count] { return heartbeats_.size() >= count; }, timeout);
}

bool Stream::WaitForEnd(absl::Duration timeout) {
  return WaitUntil([this] { return status_.has_value(); }, timeout);
}

std::vector<v1::Prediction> Stream::updates() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return updates_;
}

std::vector<v1::PredictionState> Stream::states() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<v1::PredictionState> states;
  for (const v1::Prediction& update : updates_) states.push_back(update.state());
  return states;
}

std::vector<v1::Heartbeat> Stream::heartbeats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return heartbeats_;
}

bool Stream::saw_reconnect() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return reconnect_;
}

grpc::Status Stream::status() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return status_.value_or(grpc::Status(grpc::StatusCode::UNKNOWN, "not ended"));
}

std::vector<std::string> Stream::violations() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return validator_.violations();
}

}  // namespace dreamgate::e2e
