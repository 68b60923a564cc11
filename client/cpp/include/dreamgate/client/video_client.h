// The C++ client of dreamgate: submits safely, looks up, lists and watches. Owned by the caller, safe
// from any number of threads at once; watches may outlive it. Never throws; errors are grpc::Status,
// their details come from Decode() in error_info.h.
#ifndef DREAMGATE_CLIENT_VIDEO_CLIENT_H_
#define DREAMGATE_CLIENT_VIDEO_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "dreamgate/client/environment.h"
#include "dreamgate/client/error_info.h"
#include "dreamgate/client/retry_policy.h"
#include "dreamgate/client/watch.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::client {

struct ClientOptions {
  std::string target = "localhost:50051";  // any gRPC target, for example "dns:///dreamgate:50051"

  bool use_tls = false;
  std::string ca_file{};  // PEM; not empty implies TLS; empty: the system's authorities

  // Sent as "authorization: Bearer ...". The file wins, and is read anew for every call, so a token
  // that is rotated keeps long watches alive.
  std::string bearer_token{};
  std::string bearer_token_file{};

  // HTTP/2 pings, to notice a connection that died silently. The server permits one every 10 s.
  std::chrono::milliseconds keepalive_time = std::chrono::seconds(30);
  std::chrono::milliseconds keepalive_timeout = std::chrono::seconds(20);
};

// A value, or the reason why there is none.
template <typename T>
struct Result {
  grpc::Status status{};
  T value{};

  bool ok() const { return status.ok(); }
};

struct CallOptions {
  // For the whole call with all its retries.
  std::chrono::nanoseconds timeout = std::chrono::seconds(120);

  // For one attempt. The server answers a submission within 30 s even if upstream does not.
  std::chrono::nanoseconds attempt_timeout = std::chrono::seconds(60);

  BackoffPolicy backoff{};

  // Ends the call with CANCELLED soon.
  std::stop_token stop{};
};

struct SubmitResult {
  grpc::Status status{};
  std::string request_id{};  // what was sent, also on errors: submit with it again, never pay twice
  v1::Prediction prediction{};  // if ok
  bool replayed = false;        // if ok: this request_id was known already
  int attempts = 0;

  bool ok() const { return status.ok(); }
};

class VideoClient;

// Walks over a list of any length, page by page. One thread at a time.
class PredictionPager {
 public:
  // Unset: the end, or an error; see status().
  std::optional<v1::Prediction> Next();

  const grpc::Status& status() const { return status_; }

 private:
  friend class VideoClient;
  PredictionPager(const VideoClient& client, v1::ListPredictionsRequest request,
                  CallOptions options);

  const VideoClient& client_;  // outlives the pager
  v1::ListPredictionsRequest request_;
  CallOptions options_;
  std::deque<v1::Prediction> page_;
  bool last_page_fetched_ = false;
  grpc::Status status_;
};

class VideoClient {
 public:
  // INVALID_ARGUMENT if a file named in `options` cannot be read. Does not connect yet.
  static Result<std::unique_ptr<VideoClient>> Create(const ClientOptions& options);

  // Uses a channel of your own making; of `options` only the bearer token is used.
  explicit VideoClient(std::shared_ptr<grpc::Channel> channel, const ClientOptions& options = {},
                       std::shared_ptr<Environment> environment = RealEnvironment());

  VideoClient(const VideoClient&) = delete;
  VideoClient& operator=(const VideoClient&) = delete;

  // Submits one video. Draws a UUID if `request` has no request_id, and repeats the call with the same
  // one as long as that may help and the time lasts. Never pays twice.
  SubmitResult Submit(v1::SubmitVideoRequest request, const CallOptions& options = {}) const;

  Result<v1::Prediction> Get(const std::string& prediction_id,
                             const CallOptions& options = {}) const;

  // One page.
  Result<v1::ListPredictionsResponse> List(const v1::ListPredictionsRequest& request,
                                           const CallOptions& options = {}) const;

  // All pages, fetched as needed. `options` applies to each page.
  PredictionPager ListAll(v1::ListPredictionsRequest request,
                          const CallOptions& options = {}) const;

  // Never fails at once: the first Next() connects.
  client::Watch Watch(std::string prediction_id, WatchOptions options = {}) const;

 private:
  std::shared_ptr<v1::VideoService::Stub> stub_;
  ClientOptions options_;
  std::shared_ptr<Environment> environment_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_VIDEO_CLIENT_H_
