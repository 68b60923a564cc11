// A real GrpcServer on a port of its own over a real Gateway, with ledger, upstream and time faked.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "server/api/grpc_server.h"
#include "server/api/library_logs.h"
#include "server/api/watch_delivery.h"
#include "server/core/gateway.h"
#include "tests/api/error_details.h"
#include "tests/api/loop_thread.h"
#include "tests/api/seen_update.h"
#include "tests/api/test_certificates.h"
#include "tests/fakes/fake_ledger.h"
#include "tests/fakes/fake_random.h"
#include "tests/fakes/fake_upstream.h"
#include "tests/fakes/watch_validator.h"

namespace dreamgate::api {
namespace {

using testing::ElementsAre;

constexpr auto kPatience = std::chrono::seconds(30);

// For conditions that nothing announces. The pause only sets how soon a change is noticed.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class CountingEvents final : public core::Events {
 public:
  void Log(core::LogLevel level, absl::string_view message, const core::LogFields&) override {
    if (level == core::LogLevel::kDebug) Count(std::string(message));
  }
  void StreamOpened() override { Count("opened"); }
  void StreamClosed(absl::string_view code) override { Count(absl::StrCat("closed ", code)); }
  void RpcFinished(absl::string_view method, absl::string_view code, absl::Duration) override {
    Count(absl::StrCat(method, " ", code));
  }
  void TransitionDelivered(absl::Duration, int64_t watchers) override {
    Count(absl::StrCat("delivered to ", watchers));
  }
  int operator[](const std::string& what) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = counts_.find(what);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  void Count(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++counts_[what];
  }
  mutable std::mutex mutex_;
  std::map<std::string, int> counts_;
};

// A watch that collects what it is told.
class WatchClient final : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  // `shown`: by all streams of the same server.
  WatchClient(v1::VideoService::Stub& stub, const v1::WatchPredictionRequest& request,
              fakes::ShownUpdates& shown)
      : validator_(request.has_after_sequence() ? std::optional(request.after_sequence())
                                                : std::nullopt) {
    validator_.CompareWith(shown, request.prediction_id());
    stub.async()->WatchPrediction(&context_, &request, this);
    StartRead(&message_);
    StartCall();
  }
  ~WatchClient() override {
    context_.TryCancel();
    Await([this] { return end_.has_value(); });
    EXPECT_THAT(validator_.violations(), testing::IsEmpty());
  }

  void Cancel() { context_.TryCancel(); }

  // The status, once the stream has ended.
  grpc::Status End() {
    EXPECT_TRUE(Await([this] { return end_.has_value(); }));
    const std::lock_guard<std::mutex> lock(mutex_);
    return end_.value_or(grpc::Status(grpc::StatusCode::UNKNOWN, "the stream does not end"));
  }
  // False if the stream ends before.
  bool AwaitUpdates(size_t count) {
    Await([this, count] { return updates_.size() >= count || end_.has_value(); });
    const std::lock_guard<std::mutex> lock(mutex_);
    return updates_.size() >= count;
  }
  bool AwaitHeartbeat() {
    return Await([this] { return heartbeats_ > 0; });
  }
  bool AwaitInitialMetadata() {
    return Await([this] { return initial_metadata_; });
  }
  std::vector<v1::PredictionState> states() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return updates_;
  }
  int heartbeats() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return heartbeats_;
  }
  int reconnects() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reconnects_;
  }

 private:
  void OnReadInitialMetadataDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    initial_metadata_ = ok;
    changed_.notify_all();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (message_.has_update()) {
        updates_.push_back(message_.update().state());
        validator_.OnUpdate(Seen(message_.update()));
      }
      if (message_.has_heartbeat()) ++heartbeats_;
      if (message_.has_reconnect()) ++reconnects_;
    }
    changed_.notify_all();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    validator_.OnEnd(status.ok());
    end_ = status;
    changed_.notify_all();
  }
  bool Await(const std::function<bool()>& condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }

  grpc::ClientContext context_;
  v1::WatchPredictionResponse message_;
  std::mutex mutex_;
  std::condition_variable changed_;
  fakes::WatchValidator validator_;
  std::vector<v1::PredictionState> updates_;
  int heartbeats_ = 0;
  int reconnects_ = 0;
  bool initial_metadata_ = false;
  std::optional<grpc::Status> end_;
};

// A watch that never reads and, unlike other clients, gives the server next to no room to write ahead.
class StalledWatch final : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  StalledWatch(const std::string& address, const std::string& id) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    stub_ = v1::VideoService::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
    v1::WatchPredictionRequest request;
    request.set_prediction_id(id);
    request.set_after_sequence(0);
    stub_->async()->WatchPrediction(&context_, &request, this);
    StartCall();
  }
  ~StalledWatch() override {
    context_.TryCancel();
    done_.get_future().wait();
  }

 private:
  void OnDone(const grpc::Status&) override { done_.set_value(); }

  std::unique_ptr<v1::VideoService::Stub> stub_;
  grpc::ClientContext context_;
  std::promise<void> done_;
};

struct RawAnswer {
  grpc::Status status;
  std::string bytes;  // of the first message
};

class ApiServerTest : public testing::Test {
 protected:
  explicit ApiServerTest(const WatchDelivery::Options& delivery = {})
      : delivery_(delivery, events_) {
    options_.listen_address = "127.0.0.1:0";
    options_.model = "test-model";
    loop_.Run([this] {
      ledger_.emplace(loop_.time());
      upstream_.emplace(loop_.time());
      upstream_->answer_creates = [this](const core::CreateTaskRequest&) -> core::CreateOutcome {
        return core::CreateAccepted{
            fakes::Task(absl::StrCat("task-", ++tasks_), core::State::kCreated)};
      };
      gateway_.emplace(core::Ports{loop_.time(), loop_.time(), loop_.time(), random_, *upstream_,
                                   *ledger_, delivery_, events_},
                       core::Options{});
    });
  }

  ~ApiServerTest() override {
    server_.reset();
    delivery_.Stop();
    loop_.Run([this] { gateway_.reset(); });
    loop_.Stop();
  }

  void Start() {
    auto started = GrpcServer::Start(options_, *gateway_, loop_, events_, delivery_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    server_->SetServing(true);
    channel_ = grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
    stub_ = v1::VideoService::NewStub(channel_);
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", server_->port()); }

  static v1::SubmitVideoRequest GoodSubmit(const std::string& request_id = "request-1") {
    v1::SubmitVideoRequest request;
    request.set_prompt("a fox in the snow");
    request.set_request_id(request_id);
    return request;
  }

  grpc::Status Submit(const v1::SubmitVideoRequest& request, v1::SubmitVideoResponse& response) {
    grpc::ClientContext context;
    return stub_->SubmitVideo(&context, request, &response);
  }
  std::string SubmitOne(const std::string& request_id = "request-1") {
    v1::SubmitVideoResponse response;
    const grpc::Status status = Submit(GoodSubmit(request_id), response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.prediction().id();
  }
  grpc::Status Get(const std::string& id, const std::string& authorization = "") {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    v1::GetPredictionRequest request;
    request.set_prediction_id(id);
    v1::GetPredictionResponse response;
    return stub_->GetPrediction(&context, request, &response);
  }
  std::unique_ptr<WatchClient> Watch(const std::string& id,
                                     std::optional<int64_t> after = std::nullopt) {
    v1::WatchPredictionRequest request;
    request.set_prediction_id(id);
    if (after) request.set_after_sequence(*after);
    return std::make_unique<WatchClient>(*stub_, request, shown_);
  }

  // Has upstream show every task as completed, and time pass until it was looked at.
  void CompleteAll() {
    loop_.Run([this] {
      upstream_->answer_gets = [](const std::string& id) -> core::PollOutcome {
        return core::PollObserved{fakes::Task(id, core::State::kCompleted)};
      };
      while (!upstream_->gets.empty()) upstream_->AnswerGet(upstream_->answer_gets("task-1"));
      loop_.time().Advance(absl::Minutes(1));
    });
  }
  void PassTime(absl::Duration duration) {
    loop_.Run([this, duration] { loop_.time().Advance(duration); });
  }
  int64_t Watchers() {
    return loop_.Run([this] { return gateway_->Status().watchers; });
  }

  // Any bytes to any method; reads one message.
  RawAnswer CallRaw(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    grpc::CompletionQueue queue;
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call = stub.PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    RawAnswer answer;
    grpc::Slice slice(bytes);
    if (wait()) {
      call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
      wait();
      grpc::ByteBuffer message;
      call->Read(&message, nullptr);
      if (wait()) {
        std::vector<grpc::Slice> slices;
        (void)message.Dump(&slices);
        for (const grpc::Slice& part : slices) {
          answer.bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
        }
      }
    }
    call->Finish(&answer.status, nullptr);
    wait();
    queue.Shutdown();
    return answer;
  }

  // gRPC's health protocol by hand; Debian ships no generated code for it.
  std::string Health(const std::string& service) {
    constexpr char kLengthDelimitedField1 = 0x0A;
    std::string request;
    if (!service.empty()) {
      request =
          std::string(1, kLengthDelimitedField1) + static_cast<char>(service.size()) + service;
    }
    const RawAnswer answer = CallRaw("/grpc.health.v1.Health/Check", request);
    if (!answer.status.ok()) return answer.status.error_message();
    if (answer.bytes == std::string("\x08\x01", 2)) return "SERVING";
    if (answer.bytes == std::string("\x08\x02", 2)) return "NOT_SERVING";
    return "UNKNOWN";
  }

  std::string WriteFile(const std::string& name, const std::string& content) {
    const std::string path = testing::TempDir() + absl::StrCat("dreamgate_", getpid(), "_", name);
    std::ofstream(path) << content;
    return path;
  }

  GrpcServerOptions options_;
  CountingEvents events_;
  LibraryLogs library_logs_{events_};
  fakes::FakeRandom random_;
  WatchDelivery delivery_;
  LoopThread loop_;
  int tasks_ = 0;
  std::optional<fakes::FakeLedger> ledger_;
  std::optional<fakes::FakeUpstream> upstream_;
  std::optional<core::Gateway> gateway_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::VideoService::Stub> stub_;
  fakes::ShownUpdates shown_;  // by all watches
};

TEST_F(ApiServerTest, AVideoIsSubmittedWatchedToItsEndReadAndListed) {
  Start();
  v1::SubmitVideoResponse submitted;
  ASSERT_TRUE(Submit(GoodSubmit(), submitted).ok());
  EXPECT_EQ(submitted.prediction().state(), v1::PREDICTION_STATE_CREATED);
  EXPECT_FALSE(submitted.replayed());
  const std::string id = submitted.prediction().id();

  const auto live = Watch(id, 0);
  ASSERT_TRUE(live->AwaitUpdates(2));
  CompleteAll();
  EXPECT_TRUE(live->End().ok());
  EXPECT_THAT(live->states(),
              ElementsAre(v1::PREDICTION_STATE_SUBMITTING, v1::PREDICTION_STATE_CREATED,
                          v1::PREDICTION_STATE_COMPLETED));

  const auto late = Watch(id);
  EXPECT_TRUE(late->End().ok());
  EXPECT_THAT(late->states(), ElementsAre(v1::PREDICTION_STATE_COMPLETED));
  const auto finished = Watch(id, 3);
  EXPECT_TRUE(finished->End().ok());
  EXPECT_THAT(finished->states(), testing::IsEmpty());

  v1::SubmitVideoResponse again;
  ASSERT_TRUE(Submit(GoodSubmit(), again).ok());
  EXPECT_TRUE(again.replayed());
  EXPECT_EQ(again.prediction().id(), id);
  EXPECT_EQ(again.prediction().outputs(0).url(), "https://cdn.test/video.mp4");

  EXPECT_TRUE(Eventually([this] {
    return events_["opened"] == 3 && events_["closed OK"] == 3 &&
           events_["WatchPrediction OK"] == 3;
  }));
  EXPECT_EQ(events_["SubmitVideo OK"], 2);
}

TEST_F(ApiServerTest, PagesFollowOneAnotherWithoutGaps) {
  Start();
  const std::string older = SubmitOne("request-1");
  PassTime(absl::Seconds(1));
  const std::string newer = SubmitOne("request-2");
  std::vector<std::string> seen;
  v1::ListPredictionsRequest request;
  request.set_page_size(1);
  for (int page = 0; page < 2; ++page) {
    grpc::ClientContext context;
    v1::ListPredictionsResponse response;
    ASSERT_TRUE(stub_->ListPredictions(&context, request, &response).ok());
    ASSERT_EQ(response.predictions_size(), 1);
    seen.push_back(response.predictions(0).id());
    EXPECT_EQ(response.next_page_token().empty(), page == 1);
    request.set_page_token(response.next_page_token());
  }
  EXPECT_THAT(seen, ElementsAre(newer, older));
}

TEST_F(ApiServerTest, AllViolationsOfARequestComeAtOnce) {
  Start();
  v1::SubmitVideoRequest request;
  request.set_prompt("  ");
  request.set_seed(-5);
  v1::SubmitVideoResponse response;
  const grpc::Status status = Submit(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Details(status).reason, "INVALID_REQUEST");
  EXPECT_THAT(Details(status).fields(), ElementsAre("prompt", "seed", "request_id"));
  EXPECT_EQ(Details(Watch("")->End()).fields(), std::vector<std::string>{"prediction_id"});
  EXPECT_EQ(Details(Get("a/b")).fields(), std::vector<std::string>{"prediction_id"});
}

TEST_F(ApiServerTest, BytesThatAreNoMessageAreAnInvalidArgumentOfEveryMethod) {
  Start();
  const std::string bad_utf8("\x0A\x02\xC3\x28", 4);  // field 1 holds no UTF-8
  for (const char* method : {"SubmitVideo", "GetPrediction", "WatchPrediction"}) {
    for (const std::string& bytes : {bad_utf8, std::string("\xFF\xFF\xFF")}) {
      const RawAnswer answer = CallRaw(absl::StrCat("/dreamgate.v1.VideoService/", method), bytes);
      EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_EQ(Details(answer.status).reason, "INVALID_REQUEST");
      EXPECT_TRUE(Details(answer.status).bad_request.has_value());
    }
  }
  EXPECT_EQ(CallRaw("/dreamgate.v1.VideoService/ListPredictions", "\xFF").status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
#if GOOGLE_PROTOBUF_VERSION < 4022000
  EXPECT_EQ(events_["library log"], 3) << "the parser's own lines go to the log, not to stderr";
#endif
}

TEST_F(ApiServerTest, ValidateOnlyStoresAndSendsNothing) {
  Start();
  v1::SubmitVideoRequest request = GoodSubmit();
  request.set_validate_only(true);
  v1::SubmitVideoResponse response;
  ASSERT_TRUE(Submit(request, response).ok());
  EXPECT_EQ(response.prediction().id(), "");
  EXPECT_EQ(response.prediction().state(), v1::PREDICTION_STATE_QUEUED);
  EXPECT_EQ(response.prediction().model(), "test-model");
  EXPECT_EQ(response.prediction().aspect_ratio(), v1::ASPECT_RATIO_16_9);
  EXPECT_GE(response.prediction().seed(), 0);
  loop_.Run([this] {
    EXPECT_EQ(ledger_->reservations(), 0U);
    EXPECT_EQ(upstream_->posts_counted, 0);
  });
}

TEST_F(ApiServerTest, ARequestIdIsDrawnIfNoneIsRequired) {
  options_.require_request_id = false;
  Start();
  v1::SubmitVideoRequest request = GoodSubmit();
  request.clear_request_id();
  v1::SubmitVideoResponse first, second;
  ASSERT_TRUE(Submit(request, first).ok());
  ASSERT_TRUE(Submit(request, second).ok());
  EXPECT_FALSE(first.prediction().request_id().empty());
  EXPECT_NE(first.prediction().id(), second.prediction().id());
}

TEST_F(ApiServerTest, AnUnknownPredictionIsNotFound) {
  Start();
  for (const grpc::Status& status : {Get("no-such-id"), Watch("no-such-id")->End()}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    const ErrorDetailsSeen seen = Details(status);
    EXPECT_EQ(seen.reason, "PREDICTION_NOT_FOUND");
    ASSERT_TRUE(seen.resource.has_value());
    EXPECT_EQ(seen.resource->resource_name(), "no-such-id");
  }
}

TEST_F(ApiServerTest, APositionInTheFutureIsOutOfRange) {
  Start();
  const grpc::Status status = Watch(SubmitOne(), 40)->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Details(status).reason, "SEQUENCE_OUT_OF_RANGE");
  EXPECT_EQ(Details(status).metadata.at("last_sequence"), "2");
}

TEST_F(ApiServerTest, AnErrorOfUpstreamReachesTheCallerWithItsReason) {
  Start();
  loop_.Run([this] {
    upstream_->answer_creates = [](const core::CreateTaskRequest&) -> core::CreateOutcome {
      return core::CreateRejected{.reason = core::Reason::kUpstreamRateLimited,
                                  .http_status = 429,
                                  .message = "slow down",
                                  .retry_after = absl::Seconds(7)};
    };
  });
  v1::SubmitVideoResponse response;
  const grpc::Status status = Submit(GoodSubmit(), response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Details(status).reason, "UPSTREAM_RATE_LIMITED");
  ASSERT_TRUE(Details(status).retry.has_value());
  EXPECT_EQ(Details(status).retry->retry_delay().seconds(), 7);
}

// ------------------------------------------------------------------------------------ callers

TEST_F(ApiServerTest, CallersAreToldApartByTheirTokens) {
  options_.token_file =
      WriteFile("tokens", "blue blue-0123456789abcdef\nred red-0123456789abcdef\n");
  Start();
  EXPECT_EQ(Details(Get("p1")).reason, "CREDENTIALS_MISSING");
  EXPECT_EQ(Get("p1").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Details(Get("p1", "Bearer nobody-0123456789")).reason, "CREDENTIALS_INVALID");
  EXPECT_EQ(Watch("p1")->End().error_code(), grpc::StatusCode::UNAUTHENTICATED);

  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer blue-0123456789abcdef");
  v1::SubmitVideoResponse response;
  ASSERT_TRUE(stub_->SubmitVideo(&context, GoodSubmit(), &response).ok());
  const std::string id = response.prediction().id();
  EXPECT_TRUE(Get(id, "Bearer blue-0123456789abcdef").ok());
  EXPECT_EQ(Get(id, "Bearer red-0123456789abcdef").error_code(), grpc::StatusCode::NOT_FOUND);

  grpc::ClientContext twice;
  twice.AddMetadata("authorization", "Bearer blue-0123456789abcdef");
  twice.AddMetadata("authorization", "Bearer red-0123456789abcdef");
  EXPECT_EQ(Details(stub_->SubmitVideo(&twice, GoodSubmit(), &response)).reason,
            "CREDENTIALS_INVALID");
  EXPECT_EQ(Health(""), "SERVING") << "health needs no credentials";
}

TEST_F(ApiServerTest, ABadTokenFileStopsTheStart) {
  options_.token_file = WriteFile("bad_tokens", "blue short\n");
  const auto started = GrpcServer::Start(options_, *gateway_, loop_, events_, delivery_);
  ASSERT_FALSE(started.ok());
  EXPECT_TRUE(absl::StrContains(started.status().message(), options_.token_file));
}

// ------------------------------------------------------------------------------------- limits

TEST_F(ApiServerTest, TooManyStreamsAreRefusedAndAPlaceComesBack) {
  options_.admission.streams = 1;
  Start();
  const std::string id = SubmitOne();
  auto first = Watch(id);
  ASSERT_TRUE(first->AwaitUpdates(1));
  const grpc::Status status = Watch(id)->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Details(status).reason, "TOO_MANY_STREAMS");
  EXPECT_TRUE(Details(status).retry.has_value());
  first->Cancel();
  EXPECT_TRUE(Eventually([&] { return Watch(id)->AwaitUpdates(1); }));
}

TEST_F(ApiServerTest, TooManyRequestsInFlightAreRefused) {
  options_.admission.requests_per_peer = 1;
  Start();
  loop_.Run([this] { upstream_->answer_creates = nullptr; });
  std::thread caller([this] { SubmitOne(); });
  ASSERT_TRUE(
      Eventually([this] { return loop_.Run([this] { return upstream_->creates.size() == 1; }); }));
  const grpc::Status status = Get("p1");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Details(status).reason, "TOO_MANY_REQUESTS");
  loop_.Run([this] {
    upstream_->AnswerCreate(core::CreateAccepted{fakes::Task("task-1", core::State::kCreated)});
  });
  caller.join();
}

TEST_F(ApiServerTest, AMessageAboveTheLimitIsRefused) {
  Start();
  v1::SubmitVideoRequest request = GoodSubmit();
  request.set_prompt(std::string(300 * 1024, 'x'));
  v1::SubmitVideoResponse response;
  EXPECT_EQ(Submit(request, response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  request.set_prompt(std::string(200 * 1024, 'x'));
  EXPECT_EQ(Submit(request, response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ApiServerTest, ALongPageEndsBeforeTheClientsMessageLimit) {
  options_.max_prompt_code_points = 100'000;
  Start();
  constexpr int kVideos = 40;
  for (int i = 0; i < kVideos; ++i) {
    v1::SubmitVideoRequest request = GoodSubmit(absl::StrCat("request-", i));
    request.set_prompt(std::string(100'000, 'x'));
    v1::SubmitVideoResponse response;
    ASSERT_TRUE(Submit(request, response).ok());
    PassTime(absl::Milliseconds(2));
  }
  v1::ListPredictionsRequest request;
  request.set_page_size(1000);
  int seen = 0, pages = 0;
  do {
    grpc::ClientContext context;
    v1::ListPredictionsResponse response;
    const grpc::Status status = stub_->ListPredictions(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    seen += response.predictions_size();
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, kVideos);
  EXPECT_EQ(pages, 2);
}

// ------------------------------------------------------------------------------------ watching

TEST_F(ApiServerTest, InitialMetadataComesBeforeAnythingElse) {
  Start();
  const std::string id = SubmitOne();
  loop_.Run([this] { ledger_->Hold(); });
  const auto watch = Watch(id);
  EXPECT_TRUE(watch->AwaitInitialMetadata());
  EXPECT_THAT(watch->states(), testing::IsEmpty());
  loop_.Run([this] { ledger_->Release(); });
  EXPECT_TRUE(watch->AwaitUpdates(1));
}

TEST_F(ApiServerTest, HeartbeatsAreMessages) {
  Start();
  const auto watch = Watch(SubmitOne());
  ASSERT_TRUE(watch->AwaitUpdates(1));
  PassTime(absl::Seconds(20));
  EXPECT_TRUE(watch->AwaitHeartbeat());
}

TEST_F(ApiServerTest, TheHeartbeatIntervalIsClamped) {
  Start();
  const std::string id = SubmitOne();
  v1::WatchPredictionRequest request;
  request.set_prediction_id(id);
  request.mutable_heartbeat_interval()->set_nanos(1);
  WatchClient eager(*stub_, request, shown_);
  request.mutable_heartbeat_interval()->set_seconds(3600);
  WatchClient lazy(*stub_, request, shown_);
  ASSERT_TRUE(eager.AwaitUpdates(1) && lazy.AwaitUpdates(1));
  for (int second = 1; second <= 25; ++second) {
    PassTime(absl::Seconds(1));
    if (second < 5) continue;
    ASSERT_TRUE(eager.AwaitHeartbeat()) << "no silence of more than 5 s";
  }
  EXPECT_TRUE(lazy.AwaitHeartbeat()) << "no silence of more than 25 s";
  EXPECT_LE(eager.heartbeats(), 5) << "and none more often than every 5 s";
}

TEST_F(ApiServerTest, ACallerMayLeaveAtAnyTime) {
  Start();
  const std::string id = SubmitOne();
  // Before the subscription was answered.
  loop_.Run([this] { ledger_->Hold(); });
  auto waiting = Watch(id);
  ASSERT_TRUE(waiting->AwaitInitialMetadata());
  waiting->Cancel();
  EXPECT_EQ(waiting->End().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([this] { return events_["closed CANCELLED"] == 1; }));
  loop_.Run([this] { ledger_->Release(); });
  // While idle.
  auto idle = Watch(id);
  ASSERT_TRUE(idle->AwaitUpdates(1));
  idle->Cancel();
  EXPECT_TRUE(Eventually([this] { return events_["closed CANCELLED"] == 2; }));
  EXPECT_TRUE(Eventually([this] { return Watchers() == 0; }));
  // At once.
  for (int i = 0; i < 50; ++i) Watch(id)->Cancel();
  EXPECT_TRUE(Eventually([this] { return Watchers() == 0; }));
  EXPECT_TRUE(Get(id).ok()) << "the paid work goes on";
}

TEST_F(ApiServerTest, TwoHundredWatchersSeeTheEnd) {
  Start();
  const std::string id = SubmitOne();
  std::vector<std::unique_ptr<WatchClient>> watches;
  for (int i = 0; i < 200; ++i) watches.push_back(Watch(id));
  for (const auto& watch : watches) ASSERT_TRUE(watch->AwaitUpdates(1));
  CompleteAll();
  for (const auto& watch : watches) {
    EXPECT_TRUE(watch->End().ok());
    EXPECT_THAT(watch->states(),
                ElementsAre(v1::PREDICTION_STATE_CREATED, v1::PREDICTION_STATE_COMPLETED));
  }
  EXPECT_TRUE(Eventually([this] { return events_["delivered to 200"] == 1; }));
}

class StalledReaderTest : public ApiServerTest {
 protected:
  StalledReaderTest() : ApiServerTest({.stall_timeout = absl::Milliseconds(100)}) {
    options_.max_prompt_code_points = 100'000;
  }

  // One whose updates are larger than what gRPC takes off our hands.
  std::string SubmitLong() {
    v1::SubmitVideoRequest request = GoodSubmit();
    request.set_prompt(std::string(100'000, 'x'));
    v1::SubmitVideoResponse response;
    EXPECT_TRUE(Submit(request, response).ok());
    return response.prediction().id();
  }
  // Heartbeats go on until the stream is broken.
  bool EndsStalled() {
    return Eventually([this] {
      PassTime(absl::Seconds(1));
      return events_["closed CANCELLED"] + events_["closed OK"] == 1;
    });
  }
};

TEST_F(StalledReaderTest, IsEndedDuringAWriteAndItsPlaceComesBack) {
  options_.admission.streams = 1;
  Start();
  const std::string id = SubmitLong();
  StalledWatch stalled(address(), id);
  ASSERT_TRUE(Eventually([this] { return Watchers() == 1; }));
  EXPECT_TRUE(EndsStalled());
  EXPECT_TRUE(Watch(id)->AwaitUpdates(1));
}

TEST_F(StalledReaderTest, IsEndedWhenThePredictionEndsDuringAWrite) {
  Start();
  const std::string id = SubmitLong();
  StalledWatch stalled(address(), id);
  ASSERT_TRUE(Eventually([this] { return Watchers() == 1; }));
  CompleteAll();
  EXPECT_TRUE(EndsStalled());
}

TEST_F(StalledReaderTest, IsEndedWhenItDoesNotReadTheEnd) {
  Start();
  const std::string id = SubmitOne();
  StalledWatch stalled(address(), id);
  ASSERT_TRUE(Eventually([this] { return Watchers() == 1; }));
  CompleteAll();
  EXPECT_TRUE(EndsStalled());
}

TEST_F(StalledReaderTest, IsEndedWhenItDoesNotReadAPredictionThatHasEnded) {
  Start();
  const std::string id = SubmitOne();
  CompleteAll();
  StalledWatch stalled(address(), id);
  EXPECT_TRUE(EndsStalled());
}

TEST_F(ApiServerTest, ASubmissionWhoseCallerLeftBeforeThePostIsNotSent) {
  Start();
  loop_.Run([this] { ledger_->Hold(); });
  const int posts = loop_.posts();
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::SubmitVideoResponse response;
    EXPECT_EQ(stub_->SubmitVideo(&context, GoodSubmit(), &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  ASSERT_TRUE(Eventually([&] { return loop_.posts() > posts; }));
  context.TryCancel();
  caller.join();
  ASSERT_TRUE(Eventually([this] { return events_["SubmitVideo CANCELLED"] == 1; }));
  loop_.Run([this] { ledger_->Release(); });
  loop_.Run([this] { EXPECT_EQ(upstream_->posts_counted, 0); });
}

// ------------------------------------------------------------------------------- health, shutdown

TEST_F(ApiServerTest, HealthFollowsTheServer) {
  Start();
  EXPECT_EQ(Health(""), "SERVING");
  EXPECT_EQ(Health("dreamgate.v1.VideoService"), "SERVING");
  server_->SetServing(false);
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(Health("dreamgate.v1.VideoService"), "NOT_SERVING");
  EXPECT_TRUE(Get(SubmitOne()).ok()) << "the grace period is served";
}

TEST_F(ApiServerTest, ReflectionListsTheService) {
  Start();
  const RawAnswer answer = CallRaw("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                   std::string("\x3A\x01*", 3));  // list_services
  EXPECT_TRUE(absl::StrContains(answer.bytes, "dreamgate.v1.VideoService"));
  EXPECT_TRUE(absl::StrContains(answer.bytes, "grpc.health.v1.Health"));
}

TEST_F(ApiServerTest, ASecondServerOnThePortIsRefusedInOneLine) {
  Start();
  GrpcServerOptions second = options_;
  second.listen_address = address();
  const auto started = GrpcServer::Start(second, *gateway_, loop_, events_, delivery_);
  ASSERT_FALSE(started.ok());
  EXPECT_TRUE(absl::StrContains(started.status().message(), address()));
  EXPECT_FALSE(absl::StrContains(started.status().message(), "\n"));
}

TEST_F(ApiServerTest, ADrainingServerRefusesNewWorkButNotHealth) {
  Start();
  server_->BeginDrain();
  for (const grpc::Status& status : {Get("p1"), Watch("p1")->End()}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(Details(status).reason, "DRAINING");
    EXPECT_TRUE(Details(status).retry.has_value());
  }
  EXPECT_EQ(Health(""), "SERVING");
}

TEST_F(ApiServerTest, TwoHundredWatchersAreSentAwayByADrain) {
  Start();
  const std::string id = SubmitOne();
  std::vector<std::unique_ptr<WatchClient>> watches;
  for (int i = 0; i < 200; ++i) watches.push_back(Watch(id));
  for (const auto& watch : watches) ASSERT_TRUE(watch->AwaitUpdates(1));
  server_->BeginDrain();
  loop_.Post([this] { gateway_->Drain(); });
  server_->Shutdown(absl::Now() + absl::Seconds(30));
  for (const auto& watch : watches) {
    const grpc::Status status = watch->End();
    EXPECT_EQ(watch->reconnects(), 1);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(Details(status).reason, "DRAINING");
    EXPECT_TRUE(Details(status).retry.has_value());
  }
  EXPECT_EQ(events_["closed UNAVAILABLE"], 200);
}

TEST_F(ApiServerTest, ShutdownWaitsForNobodyForEver) {
  Start();
  const std::string id = SubmitOne("request-1");
  const auto idle = Watch(id);
  ASSERT_TRUE(idle->AwaitUpdates(1));
  loop_.Run([this] { upstream_->answer_creates = nullptr; });
  std::thread caller([this] {
    v1::SubmitVideoResponse response;
    EXPECT_FALSE(Submit(GoodSubmit("request-2"), response).ok());
  });
  ASSERT_TRUE(
      Eventually([this] { return loop_.Run([this] { return upstream_->creates.size() == 1; }); }));
  server_->Shutdown(absl::Now());
  EXPECT_FALSE(idle->End().ok());
  caller.join();
  server_.reset();
  // The answer finds its caller gone, and the server too.
  loop_.Run([this] {
    upstream_->AnswerCreate(core::CreateAccepted{fakes::Task("task-9", core::State::kCreated)});
  });
}

// ------------------------------------------------------------------------------------------ TLS

TEST_F(ApiServerTest, WithACertificateOnlyTlsIsSpoken) {
  const TestCertificate identity = MakeTestCertificate();
  options_.tls_certificate_file = WriteFile("server.pem", identity.certificate_pem);
  options_.tls_key_file = WriteFile("server.key", identity.key_pem);
  Start();
  EXPECT_EQ(Get("p1").error_code(), grpc::StatusCode::UNAVAILABLE) << "plain text";
  grpc::SslCredentialsOptions trust;
  trust.pem_root_certs = identity.certificate_pem;
  stub_ = v1::VideoService::NewStub(grpc::CreateChannel(address(), grpc::SslCredentials(trust)));
  EXPECT_EQ(Get("p1").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ApiServerTest, WithAClientCaEveryCallerNeedsACertificate) {
  const TestCertificate identity = MakeTestCertificate();
  const TestCertificate client = MakeTestCertificate();
  options_.tls_certificate_file = WriteFile("server.pem", identity.certificate_pem);
  options_.tls_key_file = WriteFile("server.key", identity.key_pem);
  options_.tls_client_ca_file = WriteFile("client_ca.pem", client.certificate_pem);
  Start();
  grpc::SslCredentialsOptions trust;
  trust.pem_root_certs = identity.certificate_pem;
  stub_ = v1::VideoService::NewStub(grpc::CreateChannel(address(), grpc::SslCredentials(trust)));
  EXPECT_EQ(Get("p1").error_code(), grpc::StatusCode::UNAVAILABLE) << "no client certificate";
  trust.pem_cert_chain = client.certificate_pem;
  trust.pem_private_key = client.key_pem;
  stub_ = v1::VideoService::NewStub(grpc::CreateChannel(address(), grpc::SslCredentials(trust)));
  EXPECT_EQ(Get("p1").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ApiServerTest, BadTlsSettingsStopTheStartAndAreNamed) {
  const std::string no_pem = WriteFile("no.pem", "hello");
  const auto error = [this](const std::string& certificate, const std::string& key,
                            const std::string& client_ca) {
    options_.tls_certificate_file = certificate;
    options_.tls_key_file = key;
    options_.tls_client_ca_file = client_ca;
    return std::string(
        GrpcServer::Start(options_, *gateway_, loop_, events_, delivery_).status().message());
  };
  EXPECT_THAT(error("/nonexistent.pem", no_pem, ""), testing::HasSubstr("/nonexistent.pem"));
  EXPECT_THAT(error(no_pem, no_pem, ""), testing::HasSubstr(no_pem));
  EXPECT_THAT(error(no_pem, "", ""), testing::HasSubstr("key file"));
  EXPECT_THAT(error("", "", no_pem), testing::HasSubstr("client CA"));
}

}  // namespace
}  // namespace dreamgate::api
