#include "server/api/unary_call.h"

#include <utility>

#include "server/api/rpc_report.h"
#include "server/api/status_mapping.h"
#include "server/api/wire_bytes.h"
#include "server/core/failpoint.h"

namespace dreamgate::api {

std::shared_ptr<UnaryCall> UnaryCall::Start(const char* method, absl::Time deadline,
                                            grpc::ByteBuffer& response, core::Events& events) {
  auto call = std::make_shared<UnaryCall>(method, deadline, response, events);
  call->self_ = call;
  return call;
}

UnaryCall::UnaryCall(const char* method, absl::Time deadline, grpc::ByteBuffer& response,
                     core::Events& events)
    : method_(method), deadline_(deadline), response_(response), events_(events) {}

void UnaryCall::Succeed(const google::protobuf::MessageLite& response) noexcept {
  if (!Claim()) return;
  DREAMGATE_FAILPOINT("api.before_answer");
  response_ = ToBytes(response);
  Report(absl::StatusCode::kOk);
  Finish(grpc::Status::OK);
  DREAMGATE_FAILPOINT("api.after_answer");
}

void UnaryCall::Fail(const absl::Status& error) noexcept {
  if (!Claim()) return;
  LogUnexpected(events_, method_, error);
  const grpc::Status status = ToGrpcStatus(error);
  Report(static_cast<absl::StatusCode>(status.error_code()));
  Finish(status);
}

void UnaryCall::OnCancel() noexcept {
  cancelled_.store(true, std::memory_order_relaxed);
  if (!Claim()) return;
  Report(absl::StatusCode::kCancelled);
  Finish(grpc::Status::CANCELLED);
}

void UnaryCall::OnDone() noexcept { const std::shared_ptr<UnaryCall> self = std::move(self_); }

void UnaryCall::Report(absl::StatusCode code) noexcept {
  events_.RpcFinished(method_, absl::StatusCodeToString(code), age_.Elapsed());
}

}  // namespace dreamgate::api
