#include "dreamgate/client/video_client.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "tests/client/fake_environment.h"
#include "tests/client/fake_video_service.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using testing::MatchesRegex;

constexpr auto kCreated = v1::PREDICTION_STATE_CREATED;

class VideoClientTest : public testing::Test {
 protected:
  std::unique_ptr<VideoClient> MakeClient(const ClientOptions& options = {}) {
    return std::make_unique<VideoClient>(
        grpc::CreateChannel(service_.target(), grpc::InsecureChannelCredentials()), options,
        environment_);
  }

  static v1::SubmitVideoRequest Request(const std::string& request_id = "") {
    v1::SubmitVideoRequest request;
    request.set_prompt("a cat");
    request.set_request_id(request_id);
    return request;
  }

  FakeVideoService service_;
  std::shared_ptr<FakeEnvironment> environment_ = std::make_shared<FakeEnvironment>();
};

TEST_F(VideoClientTest, SubmitReturnsThePredictionAndTheRequestId) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const SubmitResult result = MakeClient()->Submit(Request("mine"));
  ASSERT_TRUE(result.ok()) << result.status.error_message();
  EXPECT_EQ(result.request_id, "mine");
  EXPECT_EQ(result.prediction.id(), "p1");
  EXPECT_EQ(result.attempts, 1);
}

TEST_F(VideoClientTest, SubmitDrawsAUuidOfVersion4IfNoRequestIdIsGiven) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const auto client = MakeClient();
  const SubmitResult first = client->Submit(Request());
  const SubmitResult second = client->Submit(Request());
  EXPECT_THAT(first.request_id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(first.request_id, second.request_id);
  EXPECT_EQ(service_.submits()[0].request_id(), first.request_id);
}

TEST_F(VideoClientTest, EveryRetryOfASubmitCarriesTheSameRequestId) {
  service_.ThenSubmit(grpc::Status(grpc::UNAVAILABLE, "x"));
  service_.ThenSubmit(grpc::Status(grpc::INTERNAL, "x"));
  service_.ThenSubmit(grpc::Status(grpc::UNKNOWN, "x"));
  service_.ThenSubmit(
      ErrorWith(grpc::RESOURCE_EXHAUSTED, "x", {.reason = "TOO_MANY_REQUESTS", .retry_after = 2s}));
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const SubmitResult result = MakeClient()->Submit(Request());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result.attempts, 5);
  ASSERT_EQ(service_.submits().size(), 5u);
  for (const auto& request : service_.submits()) EXPECT_EQ(request.request_id(), result.request_id);
  EXPECT_EQ(environment_->pauses(), (std::vector<nanoseconds>{50ms, 100ms, 200ms, 2s + 400ms}));
}

TEST_F(VideoClientTest, ARefusedSubmitIsNotRepeatedAndStillReportsItsRequestId) {
  service_.ThenSubmit(ErrorWith(grpc::ALREADY_EXISTS, "taken", {.reason = "REQUEST_ID_CONFLICT"}));
  const SubmitResult result = MakeClient()->Submit(Request("mine"));
  EXPECT_EQ(result.status.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_EQ(Decode(result.status).reason, "REQUEST_ID_CONFLICT");
  EXPECT_EQ(result.request_id, "mine");
  EXPECT_EQ(service_.submits().size(), 1u);
}

TEST_F(VideoClientTest, RetriesEndWithTheLastErrorWhenTheTimeIsUp) {
  for (int attempt = 0; attempt < 20; ++attempt)
    service_.ThenSubmit(grpc::Status(grpc::UNAVAILABLE, "gone"));
  const SubmitResult result = MakeClient()->Submit(Request(), {.timeout = 1s});
  EXPECT_EQ(result.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(result.status.error_message(), "gone");
  EXPECT_EQ(result.attempts, 5);  // pauses of 50, 100, 200, 400 ms, and 800 would be too much
}

TEST_F(VideoClientTest, ARetryInfoBeyondTheTimeoutIsNotWaitedFor) {
  service_.ThenSubmit(
      ErrorWith(grpc::UNAVAILABLE, "x", {.reason = "DRAINING", .retry_after = 3600s}));
  EXPECT_EQ(MakeClient()->Submit(Request(), {.timeout = 10s}).attempts, 1);
  EXPECT_TRUE(environment_->pauses().empty());
}

TEST_F(VideoClientTest, AStopDuringAPauseEndsTheCall) {
  environment_->hold_pauses = true;
  service_.ThenSubmit(grpc::Status(grpc::UNAVAILABLE, "x"));
  std::stop_source stop;
  std::thread stopper([&] {
    while (!environment_->pausing) std::this_thread::yield();
    stop.request_stop();
  });
  const SubmitResult result = MakeClient()->Submit(Request(), {.stop = stop.get_token()});
  stopper.join();
  EXPECT_EQ(result.status.error_code(), grpc::CANCELLED);
}

TEST_F(VideoClientTest, AStopDuringTheCallEndsItWithoutARetry) {
  std::stop_source stop;
  service_.ThenSubmit([&](const v1::SubmitVideoRequest&, v1::SubmitVideoResponse&) {
    stop.request_stop();
    return grpc::Status(grpc::UNAVAILABLE, "x");
  });
  const SubmitResult result = MakeClient()->Submit(Request(), {.stop = stop.get_token()});
  EXPECT_EQ(result.status.error_code(), grpc::CANCELLED);
  EXPECT_EQ(service_.submits().size(), 1u);
}

TEST_F(VideoClientTest, GetReturnsThePredictionAndRetries) {
  service_.ThenGet([](const v1::GetPredictionRequest&, v1::GetPredictionResponse&) {
    return grpc::Status(grpc::UNAVAILABLE, "x");
  });
  service_.ThenGet(
      [](const v1::GetPredictionRequest& request, v1::GetPredictionResponse& response) {
        EXPECT_EQ(request.prediction_id(), "p1");
        *response.mutable_prediction() = PredictionAt(2, kCreated);
        return grpc::Status::OK;
      });
  const auto result = MakeClient()->Get("p1");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result.value.sequence(), 2);
}

TEST_F(VideoClientTest, ThePagerWalksOverAllPagesWithTheSameFilter) {
  for (int page = 0; page < 3; ++page) {
    service_.ThenList(
        [page](const v1::ListPredictionsRequest& request, v1::ListPredictionsResponse& response) {
          EXPECT_EQ(request.page_token(), page == 0 ? "" : "token" + std::to_string(page));
          EXPECT_EQ(request.labels().at("team"), "blue");
          if (page != 1)
            *response.add_predictions() = PredictionAt(page + 1, kCreated);  // page 1 is empty
          if (page < 2) response.set_next_page_token("token" + std::to_string(page + 1));
          return grpc::Status::OK;
        });
  }
  v1::ListPredictionsRequest request;
  (*request.mutable_labels())["team"] = "blue";
  const auto client = MakeClient();
  PredictionPager pager = client->ListAll(request);
  EXPECT_EQ(pager.Next()->sequence(), 1);
  EXPECT_EQ(pager.Next()->sequence(), 3);
  EXPECT_EQ(pager.Next(), std::nullopt);
  EXPECT_TRUE(pager.status().ok());
}

TEST_F(VideoClientTest, ThePagerEndsWithTheErrorOfAPage) {
  service_.ThenList([](const v1::ListPredictionsRequest&, v1::ListPredictionsResponse&) {
    return grpc::Status(grpc::INVALID_ARGUMENT, "x");
  });
  const auto client = MakeClient();
  PredictionPager pager = client->ListAll({});
  EXPECT_EQ(pager.Next(), std::nullopt);
  EXPECT_EQ(pager.status().error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(pager.Next(), std::nullopt);
  EXPECT_EQ(service_.lists().size(), 1u);
}

TEST_F(VideoClientTest, TheTokenFileIsReadAnewForEveryCall) {
  const std::string path = testing::TempDir() + "token." + std::to_string(::getpid());
  const auto client = MakeClient({.bearer_token = "unused", .bearer_token_file = path});
  for (const char* token : {"first\n", "second"}) {
    std::ofstream(path) << token;
    service_.ThenSubmit(PredictionAt(2, kCreated));
    ASSERT_TRUE(client->Submit(Request()).ok());
  }
  std::remove(path.c_str());
  EXPECT_EQ(service_.authorizations(), (std::vector<std::string>{"Bearer first", "Bearer second"}));
}

TEST_F(VideoClientTest, WithoutATokenNoAuthorizationIsSent) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  ASSERT_TRUE(MakeClient()->Submit(Request()).ok());
  EXPECT_EQ(service_.authorizations(), (std::vector<std::string>{""}));
}

TEST_F(VideoClientTest, AFileThatCannotBeReadIsAnErrorOfCreate) {
  EXPECT_EQ(VideoClient::Create({.ca_file = "/nonexistent"}).status.error_code(),
            grpc::INVALID_ARGUMENT);
  EXPECT_EQ(VideoClient::Create({.bearer_token_file = "/nonexistent"}).status.error_code(),
            grpc::INVALID_ARGUMENT);
}

TEST_F(VideoClientTest, CreateConnectsToTheTarget) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  auto client = VideoClient::Create({.target = service_.target(), .bearer_token = "t"});
  ASSERT_TRUE(client.ok());
  EXPECT_TRUE(client.value->Submit(Request()).ok());
  EXPECT_EQ(service_.authorizations(), (std::vector<std::string>{"Bearer t"}));
}

}  // namespace
}  // namespace dreamgate::client
