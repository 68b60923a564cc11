#include "tests/bench/subject.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/bench/measure.h"
#include "tests/bench/server_port.h"

namespace dreamgate::bench {
namespace {

using fakes::ChildProcess;

std::unique_ptr<v1::VideoService::Stub> Connect(int port) {
  return v1::VideoService::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
}

}  // namespace

Gateway::Gateway(const Options& options) : simulator_(simulator::Simulator::Start().value()) {
  process_ = std::make_unique<ChildProcess>(fakes::ChildOptions{
      .arguments = {DREAMGATED_PROGRAM, "--listen-address=127.0.0.1:0",
                    "--admin-address=127.0.0.1:0", "--upstream-base-url=" + simulator_->base_url(),
                    "--ledger-path=" + folder_.File("ledger.db"),
                    "--ports-file=" + folder_.File("ports"),
                    "--poll-min-interval=" + absl::FormatDuration(options.poll_min_interval),
                    "--poll-max-interval=" + absl::FormatDuration(options.poll_max_interval),
                    absl::StrCat("--max-streams=", options.max_streams),
                    absl::StrCat("--max-streams-per-peer=", options.max_streams)},
      .environment = {{"WAVESPEED_API_KEY", "simulator-key"}}});
  port_ = WaitForGrpcPort(*process_, folder_);
  const std::unique_ptr<v1::VideoService::Stub> stub = Connect(port_);
  for (int i = 0; i < options.predictions; ++i) Submit(*stub, i);
}

void Gateway::Submit(v1::VideoService::Stub& stub, int number) {
  grpc::ClientContext context;
  v1::SubmitVideoRequest request;
  request.set_prompt("a red kite over the sea");
  request.set_request_id(absl::StrCat("bench-", number));
  v1::SubmitVideoResponse response;
  const grpc::Status status = stub.SubmitVideo(&context, request, &response);
  if (!status.ok()) Die(status.error_message());
  predictions_.push_back(std::move(*response.mutable_prediction()));
  if (predictions_.back().sequence() != current_sequence()) Die("predictions differ at the start");
}

std::vector<std::string> Gateway::prediction_ids() const {
  std::vector<std::string> ids;
  for (const v1::Prediction& prediction : predictions_) ids.push_back(prediction.id());
  return ids;
}

void Gateway::Move(size_t prediction, bool terminal) {
  const std::string& task = predictions_[prediction].upstream_id();
  if (!simulator_->SetTaskState(task, {.status = terminal ? "completed" : "processing"})) {
    Die(absl::StrCat("no task ", task));
  }
}

Floor::Floor(int predictions, size_t message_bytes) : message_bytes_(message_bytes) {
  process_ = std::make_unique<ChildProcess>(
      fakes::ChildOptions{.arguments = {FLOOR_SERVER_PROGRAM, folder_.File("ports")}});
  port_ = WaitForGrpcPort(*process_, folder_);
  stub_ = Connect(port_);
  for (int i = 0; i < predictions; ++i) prediction_ids_.push_back(absl::StrFormat("%026d", i));
  // The first call sets up what the other side has set up too.
  grpc::ClientContext context;
  v1::SubmitVideoResponse response;
  const grpc::Status status = stub_->SubmitVideo(&context, Trigger("nobody's", false), &response);
  if (!status.ok()) Die("the floor server failed");
}

v1::SubmitVideoRequest Floor::Trigger(const std::string& prediction_id, bool terminal) const {
  v1::SubmitVideoRequest request;
  request.set_prompt(std::string(message_bytes_, 'x'));
  (*request.mutable_labels())["prediction"] = prediction_id;
  request.set_request_id(terminal ? "terminal" : "");
  return request;
}

// Not awaited: the answer would have to wait for its turn among the updates that the crowd reads.
void Floor::Move(size_t prediction, bool terminal) {
  struct Call {
    grpc::ClientContext context;
    v1::SubmitVideoRequest request;
    v1::SubmitVideoResponse response;
  };
  auto call = std::make_shared<Call>();
  call->request = Trigger(prediction_ids_[prediction], terminal);
  stub_->async()->SubmitVideo(&call->context, &call->request, &call->response,
                              [call](const grpc::Status& status) {
                                if (!status.ok()) Die("the floor server failed");
                              });
}

}  // namespace dreamgate::bench
