// A VideoService that does what the test's scripts say, one script a call, on a real port. Every request
// is recorded. A call without a script left is answered with UNIMPLEMENTED, which ends every retry.
#ifndef DREAMGATE_TESTS_CLIENT_FAKE_VIDEO_SERVICE_H_
#define DREAMGATE_TESTS_CLIENT_FAKE_VIDEO_SERVICE_H_

#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::client {

// google.rpc details for an error of the fake.
struct FakeErrorDetails {
  std::string reason{};
  std::map<std::string, std::string> metadata{};
  std::optional<std::chrono::milliseconds> retry_after{};
  std::vector<std::pair<std::string, std::string>> field_violations{};
};

grpc::Status ErrorWith(grpc::StatusCode code, const std::string& message,
                       const FakeErrorDetails& details);

// The prediction "p1" as of `sequence`, with the history that the usual life would have.
v1::Prediction PredictionAt(int64_t sequence, v1::PredictionState state);

// The stream as a watch script sees it.
class FakeWatchStream {
 public:
  FakeWatchStream(grpc::ServerContext& context,
                  grpc::ServerWriter<v1::WatchPredictionResponse>& writer)
      : context_(context), writer_(writer) {}

  void Update(int64_t sequence, v1::PredictionState state);
  void Update(const v1::Prediction& prediction);
  void Heartbeat(std::optional<double> progress = std::nullopt);
  void Reconnect(std::chrono::milliseconds delay);
  void Unknown();  // a message from a newer server

  // Until the caller has cancelled the stream or the server goes down. The clock is the wall's.
  void WaitUntilCancelled() const;

 private:
  grpc::ServerContext& context_;
  grpc::ServerWriter<v1::WatchPredictionResponse>& writer_;
};

// One method of the service: its scripts, which run in the order given, each once, and its requests so
// far. Any thread.
template <typename Request, typename Reply>
class ScriptedMethod {
 public:
  using Script = std::function<grpc::Status(const Request&, Reply&)>;

  void Then(Script script) {
    const std::lock_guard lock(mutex_);
    scripts_.push_back(std::move(script));
  }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  grpc::Status Run(const Request& request, Reply& reply) {
    std::unique_lock lock(mutex_);
    requests_.push_back(request);
    if (scripts_.empty()) return {grpc::UNIMPLEMENTED, "the test has no script for this call"};
    const Script script = std::move(scripts_.front());
    scripts_.pop_front();
    lock.unlock();
    return script(request, reply);
  }

 private:
  mutable std::mutex mutex_;
  std::deque<Script> scripts_;
  std::vector<Request> requests_;
};

class FakeVideoService final : public v1::VideoService::Service {
 public:
  using SubmitMethod = ScriptedMethod<v1::SubmitVideoRequest, v1::SubmitVideoResponse>;
  using GetMethod = ScriptedMethod<v1::GetPredictionRequest, v1::GetPredictionResponse>;
  using ListMethod = ScriptedMethod<v1::ListPredictionsRequest, v1::ListPredictionsResponse>;
  using WatchMethod = ScriptedMethod<v1::WatchPredictionRequest, FakeWatchStream>;

  FakeVideoService();
  ~FakeVideoService() override;

  std::string target() const;  // "127.0.0.1:port"
  void Stop();                 // cancels what is running

  void ThenSubmit(SubmitMethod::Script script) { submit_.Then(std::move(script)); }
  void ThenSubmit(grpc::Status error);
  void ThenSubmit(v1::Prediction prediction);  // echoes request_id and prompt
  void ThenGet(GetMethod::Script script) { get_.Then(std::move(script)); }
  void ThenList(ListMethod::Script script) { list_.Then(std::move(script)); }
  void ThenWatch(WatchMethod::Script script) { watch_.Then(std::move(script)); }
  void ThenWatch(grpc::Status end);

  std::vector<v1::SubmitVideoRequest> submits() const { return submit_.requests(); }
  std::vector<v1::ListPredictionsRequest> lists() const { return list_.requests(); }
  std::vector<v1::WatchPredictionRequest> watches() const { return watch_.requests(); }
  std::vector<std::string> authorizations() const;  // of all calls; "" for none

 private:
  grpc::Status SubmitVideo(grpc::ServerContext* context, const v1::SubmitVideoRequest* request,
                           v1::SubmitVideoResponse* response) override;
  grpc::Status GetPrediction(grpc::ServerContext* context, const v1::GetPredictionRequest* request,
                             v1::GetPredictionResponse* response) override;
  grpc::Status ListPredictions(grpc::ServerContext* context,
                               const v1::ListPredictionsRequest* request,
                               v1::ListPredictionsResponse* response) override;
  grpc::Status WatchPrediction(grpc::ServerContext* context,
                               const v1::WatchPredictionRequest* request,
                               grpc::ServerWriter<v1::WatchPredictionResponse>* writer) override;

  void RecordAuthorization(const grpc::ServerContext& context);

  SubmitMethod submit_;
  GetMethod get_;
  ListMethod list_;
  WatchMethod watch_;
  mutable std::mutex mutex_;  // guards the next
  std::vector<std::string> authorizations_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_FAKE_VIDEO_SERVICE_H_
