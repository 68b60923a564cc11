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

class FakeVideoService final : public v1::VideoService::Service {
 public:
  using SubmitScript =
      std::function<grpc::Status(const v1::SubmitVideoRequest&, v1::SubmitVideoResponse&)>;
  using GetScript =
      std::function<grpc::Status(const v1::GetPredictionRequest&, v1::GetPredictionResponse&)>;
  using ListScript =
      std::function<grpc::Status(const v1::ListPredictionsRequest&, v1::ListPredictionsResponse&)>;
  using WatchScript =
      std::function<grpc::Status(const v1::WatchPredictionRequest&, FakeWatchStream&)>;

  FakeVideoService();
  ~FakeVideoService() override;

  std::string target() const;  // "127.0.0.1:port"
  void Stop();                 // cancels what is running

  // Scripts run in the order given, each once.
  void ThenSubmit(SubmitScript script);
  void ThenSubmit(grpc::Status error);
  void ThenSubmit(v1::Prediction prediction);  // echoes request_id and prompt
  void ThenGet(GetScript script);
  void ThenList(ListScript script);
  void ThenWatch(WatchScript script);
  void ThenWatch(grpc::Status end);

  std::vector<v1::SubmitVideoRequest> submits() const;
  std::vector<v1::ListPredictionsRequest> lists() const;
  std::vector<v1::WatchPredictionRequest> watches() const;
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

  template <typename Script>
  std::optional<Script> NextLocked(std::deque<Script>& scripts);
  void RecordAuthorizationLocked(const grpc::ServerContext& context);

  mutable std::mutex mutex_;
  std::deque<SubmitScript> submit_scripts_;
  std::deque<GetScript> get_scripts_;
  std::deque<ListScript> list_scripts_;
  std::deque<WatchScript> watch_scripts_;
  std::vector<v1::SubmitVideoRequest> submits_;
  std::vector<v1::ListPredictionsRequest> lists_;
  std::vector<v1::WatchPredictionRequest> watches_;
  std::vector<std::string> authorizations_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_FAKE_VIDEO_SERVICE_H_
