#include "tests/client/fake_video_service.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <thread>

namespace dreamgate::client {
namespace {

// Field `number` with `bytes`, for lengths below 128.
std::string BytesField(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}

}  // namespace

grpc::Status ErrorWith(grpc::StatusCode code, const std::string& message,
                       const FakeErrorDetails& details) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  // By hand, because the error_details.proto that Debian 12 carries does not know ErrorInfo.
  std::string info = BytesField(1, details.reason) + BytesField(2, "dreamgate");
  for (const auto& [key, value] : details.metadata) {
    info += BytesField(3, BytesField(1, key) + BytesField(2, value));
  }
  google::protobuf::Any* any = status.add_details();
  any->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  any->set_value(info);
  if (details.retry_after.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(details.retry_after->count() / 1000);
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int32_t>(details.retry_after->count() % 1000) * 1'000'000);
    status.add_details()->PackFrom(retry);
  }
  if (!details.field_violations.empty()) {
    google::rpc::BadRequest bad_request;
    for (const auto& [field, description] : details.field_violations) {
      auto* violation = bad_request.add_field_violations();
      violation->set_field(field);
      violation->set_description(description);
    }
    status.add_details()->PackFrom(bad_request);
  }
  return grpc::Status(code, message, status.SerializeAsString());
}

v1::Prediction PredictionAt(int64_t sequence, v1::PredictionState state) {
  constexpr int64_t kCreateTime = 1'700'000'000;
  v1::Prediction prediction;
  prediction.set_id("p1");
  prediction.set_sequence(sequence);
  prediction.set_state(state);
  prediction.set_request_id("r1");
  prediction.set_model("bytedance/dreamina-v3.0-pro/text-to-video");
  prediction.set_prompt("a cat");
  prediction.set_aspect_ratio(v1::ASPECT_RATIO_16_9);
  prediction.set_seed(7);
  prediction.mutable_create_time()->set_seconds(kCreateTime);
  prediction.mutable_update_time()->set_seconds(kCreateTime + sequence);
  auto* entry = prediction.add_history();
  entry->set_sequence(sequence);
  entry->set_state(state);
  entry->set_source(sequence == 2 ? v1::TRANSITION_SOURCE_SUBMIT_ANSWER
                                  : v1::TRANSITION_SOURCE_POLL);
  *entry->mutable_time() = prediction.update_time();
  return prediction;
}

void FakeWatchStream::Update(int64_t sequence, v1::PredictionState state) {
  Update(PredictionAt(sequence, state));
}

void FakeWatchStream::Update(const v1::Prediction& prediction) {
  v1::WatchPredictionResponse message;
  *message.mutable_update() = prediction;
  writer_.Write(message);
}

void FakeWatchStream::Heartbeat(std::optional<double> progress) {
  v1::WatchPredictionResponse message;
  message.mutable_heartbeat();
  if (progress.has_value()) message.mutable_heartbeat()->set_estimated_progress(*progress);
  writer_.Write(message);
}

void FakeWatchStream::Reconnect(std::chrono::milliseconds delay) {
  v1::WatchPredictionResponse message;
  auto* duration = message.mutable_reconnect()->mutable_retry_delay();
  duration->set_seconds(delay.count() / 1000);
  duration->set_nanos(static_cast<int32_t>(delay.count() % 1000) * 1'000'000);
  writer_.Write(message);
}

void FakeWatchStream::Unknown() { writer_.Write(v1::WatchPredictionResponse()); }

void FakeWatchStream::WaitUntilCancelled() const {
  // gRPC announces a cancellation to asynchronous handlers only; this one has to look.
  while (!context_.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

FakeVideoService::FakeVideoService() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeVideoService::~FakeVideoService() { Stop(); }

std::string FakeVideoService::target() const { return "127.0.0.1:" + std::to_string(port_); }

void FakeVideoService::Stop() { server_->Shutdown(std::chrono::system_clock::now()); }

void FakeVideoService::ThenSubmit(grpc::Status error) {
  ThenSubmit([error](const v1::SubmitVideoRequest&, v1::SubmitVideoResponse&) { return error; });
}

void FakeVideoService::ThenSubmit(v1::Prediction prediction) {
  ThenSubmit(
      [prediction](const v1::SubmitVideoRequest& request, v1::SubmitVideoResponse& response) {
        *response.mutable_prediction() = prediction;
        response.mutable_prediction()->set_request_id(request.request_id());
        response.mutable_prediction()->set_prompt(request.prompt());
        return grpc::Status::OK;
      });
}

void FakeVideoService::ThenWatch(grpc::Status end) {
  ThenWatch([end](const v1::WatchPredictionRequest&, FakeWatchStream&) { return end; });
}

std::vector<std::string> FakeVideoService::authorizations() const {
  const std::lock_guard lock(mutex_);
  return authorizations_;
}

void FakeVideoService::RecordAuthorization(const grpc::ServerContext& context) {
  const auto header = context.client_metadata().find("authorization");
  const std::lock_guard lock(mutex_);
  authorizations_.push_back(header == context.client_metadata().end()
                                ? ""
                                : std::string(header->second.data(), header->second.size()));
}

grpc::Status FakeVideoService::SubmitVideo(grpc::ServerContext* context,
                                           const v1::SubmitVideoRequest* request,
                                           v1::SubmitVideoResponse* response) {
  RecordAuthorization(*context);
  return submit_.Run(*request, *response);
}

grpc::Status FakeVideoService::GetPrediction(grpc::ServerContext* context,
                                             const v1::GetPredictionRequest* request,
                                             v1::GetPredictionResponse* response) {
  RecordAuthorization(*context);
  return get_.Run(*request, *response);
}

grpc::Status FakeVideoService::ListPredictions(grpc::ServerContext* context,
                                               const v1::ListPredictionsRequest* request,
                                               v1::ListPredictionsResponse* response) {
  RecordAuthorization(*context);
  return list_.Run(*request, *response);
}

grpc::Status FakeVideoService::WatchPrediction(
    grpc::ServerContext* context, const v1::WatchPredictionRequest* request,
    grpc::ServerWriter<v1::WatchPredictionResponse>* writer) {
  RecordAuthorization(*context);
  FakeWatchStream stream(*context, *writer);
  return watch_.Run(*request, stream);
}

}  // namespace dreamgate::client
