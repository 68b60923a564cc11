#include "tests/e2e/deployment.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace dreamgate::e2e {
namespace {

void SetToken(grpc::ClientContext& context, const std::string& token) {
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

}  // namespace

Server::Server(const TemporaryFolder& folder, const std::string& upstream_url,
               std::vector<std::string> extra, std::optional<uint64_t> file_size_limit) {
  const std::string ports_file = folder.File("ports");
  unlink(ports_file.c_str());
  ChildOptions options;
  options.arguments = {DREAMGATED_PROGRAM,
                       "--listen-address=127.0.0.1:0",
                       "--admin-address=127.0.0.1:0",
                       "--upstream-base-url=" + upstream_url,
                       "--ledger-path=" + folder.File("ledger.db"),
                       "--ports-file=" + ports_file,
                       "--poll-min-interval=50ms",
                       "--poll-max-interval=100ms",
                       "--shutdown-grace=100ms"};
  options.arguments.insert(options.arguments.end(), extra.begin(), extra.end());
  options.environment["WAVESPEED_API_KEY"] = "simulator-key";
  options.file_size_limit = file_size_limit;
  process_ = std::make_unique<ChildProcess>(options);
  const absl::Time deadline = absl::Now() + kPatience;
  std::string text;
  while ((text = ReadFile(ports_file)).empty()) {
    if (!process_->Running() || absl::Now() > deadline) {
      ADD_FAILURE() << "the server did not start:\n" << process_->StandardError();
      return;
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> setting = absl::StrSplit(line, '=');
    int* port = setting.first == "grpc"      ? &grpc_port_
                : setting.first == "webhook" ? &webhook_port_
                                             : &admin_port_;
    EXPECT_TRUE(absl::SimpleAtoi(setting.second, port)) << text;
  }
}

std::shared_ptr<grpc::Channel> Server::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", grpc_port_),
                                   grpc::InsecureChannelCredentials(), arguments);
}

Deployment::Deployment(std::vector<std::string> server_arguments,
                       simulator::Options simulator_options)
    : simulator_(simulator::Simulator::Start(std::move(simulator_options)).value()),
      server_arguments_(std::move(server_arguments)),
      server_(std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments_)),
      stub_(server_->Stub()) {}

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

Stream::Stream(v1::VideoService::Stub& stub, const std::string& prediction_id,
               std::optional<int64_t> after_sequence, const std::string& token)
    : validator_(after_sequence) {
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
      validator_.OnUpdate(response_.update().sequence(),
                          static_cast<core::State>(response_.update().state()));
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

std::string AdminGet(int port, const std::string& path) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  std::string answer;
  if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request =
        absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if (send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      char buffer[4096];
      for (ssize_t got = 0; (got = recv(descriptor, buffer, sizeof(buffer), 0)) > 0;) {
        answer.append(buffer, static_cast<size_t>(got));
      }
    }
  }
  close(descriptor);
  return answer;
}

}  // namespace dreamgate::e2e
