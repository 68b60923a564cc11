// Calls SubmitVideo of any server that speaks our contract, and prints how many calls a second were
// answered with OK, and how many were in all, with those before and after the time that is measured.
// It is C++ so that it costs little beside the servers it measures.
//
//   peer_load PORT CALLERS SECONDS
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::bench {
namespace {

constexpr int kConnections = 8;

struct Shared {
  std::atomic<bool> stopping{false};
  std::atomic<int64_t> answered{0};
  std::atomic<int64_t> refused{0};
  std::atomic<int> callers{0};  // that still have a call open
};

// One caller: the next call starts when the last one was answered. Entered by gRPC's threads, one at a
// time.
class Caller {
 public:
  Caller(int number, v1::VideoService::Stub& stub, Shared& shared)
      : number_(number), stub_(stub), shared_(shared) {}

  void Call() {
    request_.set_prompt(absl::StrCat("load ", number_, " ", calls_));
    request_.set_request_id(absl::StrCat(number_, "-", calls_));
    ++calls_;
    context_ = std::make_unique<grpc::ClientContext>();
    stub_.async()->SubmitVideo(context_.get(), &request_, &response_,
                               [this](const grpc::Status& status) { Answered(status); });
  }

 private:
  void Answered(const grpc::Status& status) {
    if (status.ok()) {
      ++shared_.answered;
    } else if (shared_.refused++ == 0) {
      std::fprintf(stderr, "peer_load: %s\n", status.error_message().c_str());
    }
    if (shared_.stopping) {
      --shared_.callers;
      return;
    }
    Call();
  }

  const int number_;
  v1::VideoService::Stub& stub_;
  Shared& shared_;
  int64_t calls_ = 0;
  std::unique_ptr<grpc::ClientContext> context_;
  v1::SubmitVideoRequest request_;
  v1::SubmitVideoResponse response_;
};

int Main(int port, int callers, int seconds) {
  Shared shared;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs;
  for (int i = 0; i < kConnections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(v1::VideoService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments)));
  }
  shared.callers = callers;
  std::vector<std::unique_ptr<Caller>> all;
  for (int i = 0; i < callers; ++i) {
    all.push_back(
        std::make_unique<Caller>(i, *stubs[static_cast<size_t>(i % kConnections)], shared));
    all.back()->Call();
  }
  absl::SleepFor(absl::Milliseconds(500));  // connections and caches, not measured
  const int64_t before = shared.answered;
  const absl::Time start = absl::Now();
  absl::SleepFor(absl::Seconds(seconds));
  const double per_second =
      static_cast<double>(shared.answered - before) / absl::ToDoubleSeconds(absl::Now() - start);
  shared.stopping = true;
  while (shared.callers > 0) absl::SleepFor(absl::Milliseconds(1));
  std::printf("%.1f %ld\n", per_second, shared.answered.load());
  return shared.refused == 0 ? 0 : 1;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  int port = 0, callers = 0, seconds = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[1], &port) || !absl::SimpleAtoi(argv[2], &callers) ||
      !absl::SimpleAtoi(argv[3], &seconds)) {
    std::fputs("usage: peer_load PORT CALLERS SECONDS\n", stderr);
    return 2;
  }
  return dreamgate::bench::Main(port, callers, seconds);
}
