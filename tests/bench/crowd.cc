#include "tests/bench/crowd.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/bench/measure.h"

namespace dreamgate::bench {
namespace {

// A burst of opens would measure the accept queue, not the streams.
constexpr int kOpensAtOnce = 500;

void WaitFor(const std::atomic<int64_t>& counter, int64_t count, const char* what) {
  const absl::Time deadline = absl::Now() + absl::Minutes(2);
  while (counter < count) {
    if (absl::Now() > deadline) {
      Die(absl::StrCat("waited too long for ", what, ": ", counter.load(), " of ", count));
    }
    absl::SleepFor(absl::Microseconds(200));
  }
}

}  // namespace

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

class Crowd::Reader final : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  Reader(Crowd& crowd, size_t number) : crowd_(crowd), number_(number) {}

  void Start(v1::VideoService::Stub& stub, const v1::WatchPredictionRequest& request) {
    stub.async()->WatchPrediction(&context_, &request, this);
    StartRead(&response_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadInitialMetadataDone(bool) override {
    if (crowd_.observer_ != nullptr) crowd_.observer_->OnOpen(number_);
    ++crowd_.opened_;
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (crowd_.observer_ != nullptr) crowd_.observer_->OnMessage(number_, response_);
    if (response_.has_update()) crowd_.Note(response_.update());
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    if (crowd_.observer_ != nullptr) crowd_.observer_->OnEnd(number_, status);
    ++crowd_.ended_;
  }

 private:
  Crowd& crowd_;
  const size_t number_;
  grpc::ClientContext context_;
  v1::WatchPredictionResponse response_;
};

Crowd::Crowd(int port, int connections, Observer* observer) : observer_(observer) {
  for (int i = 0; i < connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs_.push_back(v1::VideoService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments)));
  }
}

Crowd::~Crowd() {
  for (auto& reader : readers_) reader->Cancel();
  WaitForEnd();
}

void Crowd::Open(const v1::WatchPredictionRequest& request, int streams) {
  requests_.push_back(std::make_unique<const v1::WatchPredictionRequest>(request));
  for (int i = 1; i <= streams; ++i) {
    const size_t number = readers_.size();
    readers_.push_back(std::make_unique<Reader>(*this, number));
    readers_.back()->Start(*stubs_[number % stubs_.size()], *requests_.back());
    if (i % kOpensAtOnce == 0 || i == streams) {
      WaitFor(opened_, static_cast<int64_t>(readers_.size()), "streams to open");
    }
  }
}

void Crowd::WaitForUpdates(int64_t per_stream) const {
  WaitForUpdatesOfAll(per_stream * static_cast<int64_t>(readers_.size()));
}

void Crowd::WaitForUpdatesOfAll(int64_t updates) const { WaitFor(updates_, updates, "updates"); }

void Crowd::WaitForEnd() const {
  WaitFor(ended_, static_cast<int64_t>(readers_.size()), "streams to end");
}

v1::Prediction Crowd::latest() const {
  const std::lock_guard<std::mutex> lock(latest_mutex_);
  return latest_;
}

void Crowd::Note(const v1::Prediction& update) {
  last_update_ = absl::ToUnixNanos(absl::Now());
  if (updates_++ % static_cast<int64_t>(readers_.size()) == 0) {
    const std::lock_guard<std::mutex> lock(latest_mutex_);
    latest_ = update;
  }
}

}  // namespace dreamgate::bench
