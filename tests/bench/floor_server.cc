// The floor that WatchPrediction is measured against: the same method on a bare gRPC callback server
// that does nothing but hold streams open and write bytes it is given. No ledger, no heartbeats, no
// limits.
//
// Usage: floor_server PORTS_FILE
// SubmitVideo writes an update of as many bytes as `prompt` has to every open stream of the prediction
// that the label "prediction" names, and answers at once; with request_id "terminal" it says COMPLETED
// and the streams end with OK after it. The update's time is when the writing began.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace {

namespace v1 = dreamgate::v1;

class Stream;

// Of one prediction.
struct Streams {
  std::mutex mutex;
  std::unordered_set<Stream*> open;
};

class Stream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit Stream(Streams& streams) : streams_(streams) {
    StartSendInitialMetadata();
    const std::lock_guard<std::mutex> lock(streams_.mutex);
    streams_.open.insert(this);
  }

  void Write(const std::shared_ptr<const grpc::ByteBuffer>& message, bool finish) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    message_ = message;
    finish_after_ = finish;
    StartWrite(message_.get());
  }

  void OnWriteDone(bool) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finish_after_) FinishLocked();
  }
  void OnCancel() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    FinishLocked();
  }
  void OnDone() override {
    {
      const std::lock_guard<std::mutex> lock(streams_.mutex);
      streams_.open.erase(this);
    }
    delete this;
  }

 private:
  void FinishLocked() {
    if (finished_) return;
    finished_ = true;
    Finish(grpc::Status::OK);
  }

  Streams& streams_;
  std::mutex mutex_;
  std::shared_ptr<const grpc::ByteBuffer> message_;
  bool finish_after_ = false;
  bool finished_ = false;
};

v1::WatchPredictionResponse MakeUpdate(size_t bytes, bool terminal) {
  v1::WatchPredictionResponse response;
  v1::Prediction& update = *response.mutable_update();
  const absl::Time now = absl::Now();
  const int64_t seconds = absl::ToUnixSeconds(now);
  update.mutable_update_time()->set_seconds(seconds);
  update.mutable_update_time()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(now - absl::FromUnixSeconds(seconds))));
  if (terminal) update.set_state(v1::PREDICTION_STATE_COMPLETED);
  const size_t used = update.ByteSizeLong() + 3;  // and the prompt's tag and length
  if (bytes > used) update.set_prompt(std::string(bytes - used, 'x'));
  return response;
}

// SubmitVideo is the trigger.
class Service final
    : public v1::VideoService::WithCallbackMethod_SubmitVideo<
          v1::VideoService::WithRawCallbackMethod_WatchPrediction<v1::VideoService::Service>> {
 public:
  grpc::ServerUnaryReactor* SubmitVideo(grpc::CallbackServerContext* context,
                                        const v1::SubmitVideoRequest* request,
                                        v1::SubmitVideoResponse*) override {
    const bool terminal = request->request_id() == "terminal";
    const grpc::Slice slice(MakeUpdate(request->prompt().size(), terminal).SerializeAsString());
    auto bytes = std::make_shared<const grpc::ByteBuffer>(&slice, 1);
    Streams& streams = StreamsOf(request->labels().at("prediction"));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    const std::lock_guard<std::mutex> lock(streams.mutex);
    for (Stream* stream : streams.open) stream->Write(bytes, terminal);
    return reactor;
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchPrediction(
      grpc::CallbackServerContext*, const grpc::ByteBuffer* bytes) override {
    grpc::ByteBuffer shared = *bytes;  // parsing empties its argument
    v1::WatchPredictionRequest request;
    (void)grpc::SerializationTraits<v1::WatchPredictionRequest>::Deserialize(&shared, &request);
    return new Stream(StreamsOf(request.prediction_id()));
  }

 private:
  Streams& StreamsOf(const std::string& prediction_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return streams_[prediction_id];
  }

  std::mutex mutex_;
  std::map<std::string, Streams> streams_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s PORTS_FILE\n", argv[0]);
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::ofstream(argv[1]) << "grpc=" << port << "\n";
  int received = 0;
  sigwait(&signals, &received);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}
