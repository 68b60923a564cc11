#include "dreamgate/client/video_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "client/cpp/src/call_context.h"
#include "client/cpp/src/watch_core.h"
#include "dreamgate/client/request_id.h"
#include "dreamgate/client/version.h"

namespace dreamgate::client {
namespace {

using std::chrono::nanoseconds;
using StopCallback = std::stop_callback<std::function<void()>>;

grpc::ChannelArguments ArgumentsFor(const ClientOptions& options) {
  const auto milliseconds = [](std::chrono::milliseconds value) {
    return static_cast<int>(std::clamp<int64_t>(value.count(), 1, std::numeric_limits<int>::max()));
  };
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("dreamgate-client/" + Version());
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's own pauses between connects (1 s .. 120 s) must not outlast ours between calls.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  // A page of 1,000 predictions with long prompts exceeds the default of 4 MB.
  arguments.SetMaxReceiveMessageSize(64 << 20);
  return arguments;
}

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return std::nullopt;
  return content;
}

struct CallOutcome {
  grpc::Status status;
  int attempts = 0;
};

// Calls `attempt` until it succeeds, fails for good, is stopped, or the time is up.
CallOutcome CallWithRetries(Environment& environment, const ClientOptions& client,
                            const CallOptions& options,
                            const std::function<grpc::Status(grpc::ClientContext&)>& attempt) {
  const Environment::TimePoint deadline = environment.Now() + options.timeout;
  Backoff backoff(options.backoff);
  CallOutcome outcome;
  while (true) {
    const nanoseconds time_left = deadline - environment.Now();
    grpc::ClientContext context;
    Authorize(context, client);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(
                             std::min(time_left, options.attempt_timeout)));
    {
      const StopCallback cancel(options.stop, [&context] { context.TryCancel(); });
      outcome.status = attempt(context);
    }
    ++outcome.attempts;
    if (options.stop.stop_requested() && !outcome.status.ok()) {
      outcome.status = {grpc::StatusCode::CANCELLED, "the call was cancelled by its caller"};
    }
    if (outcome.status.ok() || options.stop.stop_requested() || !MayRetryCall(outcome.status)) {
      return outcome;
    }

    const nanoseconds delay =
        backoff.Next(environment.Uniform(), Decode(outcome.status).retry_after);
    const Environment::TimePoint next_attempt = environment.Now() + delay;
    if (next_attempt >= deadline) return outcome;
    std::mutex mutex;
    std::condition_variable changed;
    const StopCallback wake(options.stop, [&] {
      const std::lock_guard lock(mutex);
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    while (!options.stop.stop_requested() && environment.Now() < next_attempt) {
      environment.WaitUntil(Environment::Wait::kBeforeRetry, next_attempt, lock, changed);
    }
    lock.unlock();
    if (options.stop.stop_requested()) {
      outcome.status = {grpc::StatusCode::CANCELLED, "the call was cancelled by its caller"};
      return outcome;
    }
  }
}

}  // namespace

Result<std::unique_ptr<VideoClient>> VideoClient::Create(const ClientOptions& options) {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (options.use_tls || !options.ca_file.empty()) {
    grpc::SslCredentialsOptions tls;
    if (!options.ca_file.empty()) {
      std::optional<std::string> authorities = ReadFile(options.ca_file);
      if (!authorities.has_value()) {
        return {{grpc::StatusCode::INVALID_ARGUMENT, "cannot read the CA file " + options.ca_file},
                {}};
      }
      tls.pem_root_certs = *std::move(authorities);
    }
    credentials = grpc::SslCredentials(tls);
  }
  if (!options.bearer_token_file.empty() && !ReadTokenFile(options.bearer_token_file).has_value()) {
    return {{grpc::StatusCode::INVALID_ARGUMENT,
             "cannot read the token file " + options.bearer_token_file},
            {}};
  }
  auto channel = grpc::CreateCustomChannel(options.target, credentials, ArgumentsFor(options));
  return {grpc::Status::OK, std::make_unique<VideoClient>(std::move(channel), options)};
}

VideoClient::VideoClient(std::shared_ptr<grpc::Channel> channel, const ClientOptions& options,
                         std::shared_ptr<Environment> environment)
    : stub_(v1::VideoService::NewStub(std::move(channel))),
      options_(options),
      environment_(std::move(environment)) {}

SubmitResult VideoClient::Submit(v1::SubmitVideoRequest request, const CallOptions& options) const {
  if (request.request_id().empty()) request.set_request_id(DrawRequestId());
  v1::SubmitVideoResponse response;
  CallOutcome outcome =
      CallWithRetries(*environment_, options_, options, [&](grpc::ClientContext& context) {
        return stub_->SubmitVideo(&context, request, &response);
      });
  SubmitResult result;
  result.status = std::move(outcome.status);
  result.attempts = outcome.attempts;
  result.request_id = request.request_id();
  result.replayed = response.replayed();
  result.prediction = std::move(*response.mutable_prediction());
  return result;
}

Result<v1::Prediction> VideoClient::Get(const std::string& prediction_id,
                                        const CallOptions& options) const {
  v1::GetPredictionRequest request;
  request.set_prediction_id(prediction_id);
  v1::GetPredictionResponse response;
  CallOutcome outcome =
      CallWithRetries(*environment_, options_, options, [&](grpc::ClientContext& context) {
        return stub_->GetPrediction(&context, request, &response);
      });
  return {std::move(outcome.status), std::move(*response.mutable_prediction())};
}

Result<v1::ListPredictionsResponse> VideoClient::List(const v1::ListPredictionsRequest& request,
                                                      const CallOptions& options) const {
  v1::ListPredictionsResponse response;
  CallOutcome outcome =
      CallWithRetries(*environment_, options_, options, [&](grpc::ClientContext& context) {
        return stub_->ListPredictions(&context, request, &response);
      });
  return {std::move(outcome.status), std::move(response)};
}

PredictionPager VideoClient::ListAll(v1::ListPredictionsRequest request,
                                     const CallOptions& options) const {
  return PredictionPager(*this, std::move(request), options);
}

Watch VideoClient::Watch(std::string prediction_id, WatchOptions options) const {
  return client::Watch(std::make_unique<client::Watch::Core>(
      stub_, options_, environment_, std::move(prediction_id), std::move(options)));
}

PredictionPager::PredictionPager(const VideoClient& client, v1::ListPredictionsRequest request,
                                 CallOptions options)
    : client_(client), request_(std::move(request)), options_(std::move(options)) {}

std::optional<v1::Prediction> PredictionPager::Next() {
  while (page_.empty()) {
    if (last_page_fetched_ || !status_.ok()) return std::nullopt;
    Result<v1::ListPredictionsResponse> page = client_.List(request_, options_);
    status_ = page.status;
    if (!page.ok()) return std::nullopt;
    for (v1::Prediction& prediction : *page.value.mutable_predictions()) {
      page_.push_back(std::move(prediction));
    }
    last_page_fetched_ = page.value.next_page_token().empty();
    request_.set_page_token(page.value.next_page_token());
  }
  v1::Prediction prediction = std::move(page_.front());
  page_.pop_front();
  return prediction;
}

}  // namespace dreamgate::client
