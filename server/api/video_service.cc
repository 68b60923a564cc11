#include "server/api/video_service.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "server/api/converters.h"
#include "server/api/page_token.h"
#include "server/api/wire_bytes.h"
#include "server/core/errors.h"
#include "server/core/failpoint.h"
#include "server/core/gateway.h"
#include "server/crypto/crypto.h"

namespace dreamgate::api {
namespace {

constexpr int kDrawnRequestIdBytes = 16;

// A page ends early rather than exceed the 4 MiB that gRPC clients accept by default.
constexpr size_t kMaxPageBytes = 3 << 20;

// The caller's one authorization header. Several are as bad as none that is known.
std::optional<absl::string_view> AuthorizationOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto [first, last] = metadata.equal_range("authorization");
  if (first == last) return std::nullopt;
  if (std::next(first) != last) return absl::string_view();
  return absl::string_view(first->second.data(), first->second.size());
}

v1::ListPredictionsResponse MakePage(const core::ListQuery& query, const core::ListPage& page) {
  v1::ListPredictionsResponse response;
  size_t bytes = 0;
  for (const auto& prediction : page.predictions) {
    v1::Prediction proto = ToProto(*prediction);
    bytes += proto.ByteSizeLong();
    if (bytes > kMaxPageBytes && response.predictions_size() > 0) break;
    *response.add_predictions() = std::move(proto);
  }
  const int shown = response.predictions_size();
  const bool cut = static_cast<size_t>(shown) < page.predictions.size();
  if (shown > 0 && (cut || page.more)) {
    response.set_next_page_token(MakePageToken(query, response.predictions(shown - 1).id()));
  }
  return response;
}

}  // namespace

VideoService::VideoService(Options options, const WatchReactor::Surroundings& surroundings,
                           std::unique_ptr<Authenticator> authenticator,
                           std::shared_ptr<Admission> admission)
    : options_(std::move(options)),
      surroundings_(surroundings),
      authenticator_(std::move(authenticator)),
      admission_(std::move(admission)) {}

grpc::ServerUnaryReactor* VideoService::SubmitVideo(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) noexcept {
  return Serve("SubmitVideo", &VideoService::PostSubmit, *context, *request, *response);
}

grpc::ServerUnaryReactor* VideoService::GetPrediction(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) noexcept {
  return Serve("GetPrediction", &VideoService::PostGet, *context, *request, *response);
}

grpc::ServerUnaryReactor* VideoService::ListPredictions(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) noexcept {
  return Serve("ListPredictions", &VideoService::PostList, *context, *request, *response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* VideoService::WatchPrediction(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) noexcept {
  const auto refuse = [this](const absl::Status& error) {
    surroundings_.events.RpcFinished("WatchPrediction", absl::StatusCodeToString(error.code()),
                                     absl::ZeroDuration());
    return WatchReactor::Refuse(error);
  };
  absl::StatusOr<Caller> caller = Enter(*context, Kind::kStream);
  if (!caller.ok()) return refuse(caller.status());
  const auto message = FromBytes<v1::WatchPredictionRequest>(*request);
  if (!message) return refuse(UnreadableRequestError());
  absl::StatusOr<core::WatchRequest> watch = ValidateWatch(*message, caller->tenant);
  if (!watch.ok()) return refuse(watch.status());
  return WatchReactor::Start(surroundings_, *context, std::move(caller->ticket), *std::move(watch));
}

absl::StatusOr<VideoService::Caller> VideoService::Enter(const grpc::CallbackServerContext& context,
                                                         Kind kind) {
  if (draining_.load()) {
    core::ErrorDetails details;
    details.retry_after = options_.drain_retry_delay;
    return core::MakeError(core::Reason::kDraining,
                           "this server is leaving; try again, another one will answer", details);
  }
  absl::StatusOr<std::string> tenant = authenticator_->Authenticate(AuthorizationOf(context));
  if (!tenant.ok()) return tenant.status();
  const std::string peer = context.peer();
  absl::StatusOr<Admission::Ticket> ticket =
      kind == Kind::kStream ? admission_->AdmitStream(peer) : admission_->AdmitRequest(peer);
  if (!ticket.ok()) return ticket.status();
  return Caller{*std::move(tenant), *std::move(ticket)};
}

grpc::ServerUnaryReactor* VideoService::Serve(const char* method, PostFunction post,
                                              grpc::CallbackServerContext& context,
                                              const grpc::ByteBuffer& request,
                                              grpc::ByteBuffer& response) {
  const std::shared_ptr<UnaryCall> call = UnaryCall::Start(
      method, absl::FromChrono(context.deadline()), response, surroundings_.events);
  absl::StatusOr<Caller> caller = Enter(context, Kind::kRequest);
  if (!caller.ok()) {
    call->Fail(caller.status());
    return call.get();
  }
  call->Keep(std::move(caller->ticket));
  const absl::Status posted = (this->*post)(call, caller->tenant, request);
  if (!posted.ok()) call->Fail(posted);
  return call.get();
}

// The lambdas below outlive the service if the loop is stopped late; they hold nothing of it.

absl::Status VideoService::PostSubmit(const std::shared_ptr<UnaryCall>& call,
                                      const std::string& tenant, const grpc::ByteBuffer& bytes) {
  const auto message = FromBytes<v1::SubmitVideoRequest>(bytes);
  if (!message) return UnreadableRequestError();
  absl::StatusOr<ValidSubmit> valid = ValidateSubmit(*message, options_.limits);
  if (!valid.ok()) return valid.status();
  if (valid->request_id.empty()) valid->request_id = crypto::RandomHex(kDrawnRequestIdBytes);
  if (valid->validate_only) {
    call->Succeed(AnswerValidateOnly(*valid));
    return absl::OkStatus();
  }
  core::SubmitRequest submit;
  submit.tenant = tenant;
  submit.request_id = std::move(valid->request_id);
  submit.input = std::move(valid->input);
  submit.cancelled = [call] { return call->cancelled(); };
  submit.deadline = call->deadline();
  DREAMGATE_FAILPOINT("api.submit_received");
  surroundings_.executor.Post(
      [&gateway = surroundings_.gateway, call, submit = std::move(submit)]() mutable {
        gateway.Submit(std::move(submit), [call](absl::StatusOr<core::SubmitAnswer> answer) {
          if (!answer.ok()) return call->Fail(answer.status());
          v1::SubmitVideoResponse response;
          *response.mutable_prediction() = ToProto(*answer->prediction);
          response.set_replayed(answer->replayed);
          call->Succeed(response);
        });
      });
  return absl::OkStatus();
}

absl::Status VideoService::PostGet(const std::shared_ptr<UnaryCall>& call,
                                   const std::string& tenant, const grpc::ByteBuffer& bytes) {
  const auto message = FromBytes<v1::GetPredictionRequest>(bytes);
  if (!message) return UnreadableRequestError();
  absl::StatusOr<std::string> id = ValidateGet(*message);
  if (!id.ok()) return id.status();
  surroundings_.executor.Post([&gateway = surroundings_.gateway, call, tenant,
                               id = *std::move(id)] {
    gateway.Get(tenant, id, [call](absl::StatusOr<std::shared_ptr<const core::Prediction>> found) {
      if (!found.ok()) return call->Fail(found.status());
      v1::GetPredictionResponse response;
      *response.mutable_prediction() = ToProto(**found);
      call->Succeed(response);
    });
  });
  return absl::OkStatus();
}

absl::Status VideoService::PostList(const std::shared_ptr<UnaryCall>& call,
                                    const std::string& tenant, const grpc::ByteBuffer& bytes) {
  const auto message = FromBytes<v1::ListPredictionsRequest>(bytes);
  if (!message) return UnreadableRequestError();
  absl::StatusOr<core::ListQuery> query = ValidateList(*message, tenant);
  if (!query.ok()) return query.status();
  surroundings_.executor.Post([&gateway = surroundings_.gateway, call, query = *std::move(query)] {
    gateway.List(query, [call, query](absl::StatusOr<core::ListPage> page) {
      if (!page.ok()) return call->Fail(page.status());
      call->Succeed(MakePage(query, *page));
    });
  });
  return absl::OkStatus();
}

v1::SubmitVideoResponse VideoService::AnswerValidateOnly(const ValidSubmit& submit) const {
  core::Prediction prediction;
  prediction.request_id = submit.request_id;
  prediction.model = options_.model;
  prediction.input = submit.input;
  // 0 .. 2147483647, as the gateway would draw it.
  prediction.seed =
      submit.input.seed.value_or(static_cast<int32_t>(crypto::RandomU64() & 0x7FFFFFFF));
  prediction.state = core::State::kQueued;
  prediction.create_time = absl::Now();
  prediction.update_time = prediction.create_time;
  v1::SubmitVideoResponse response;
  *response.mutable_prediction() = ToProto(prediction);
  return response;
}

}  // namespace dreamgate::api
