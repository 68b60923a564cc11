#include "server/api/watch_reactor.h"

#include <grpcpp/server_context.h>

#include <string>
#include <utility>

#include "server/api/rpc_report.h"
#include "server/api/status_mapping.h"
#include "server/api/wire_message.h"

namespace dreamgate::api {
namespace {

using RawWriteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

constexpr char kMethod[] = "WatchPrediction";

// Finishes before it is bound, on the handler's own thread, so nobody else can hold it.
class RefusedReactor final : public RawWriteReactor {
 public:
  explicit RefusedReactor(const grpc::Status& status) { Finish(status); }

 private:
  void OnDone() noexcept override { delete this; }
};

const grpc::ByteBuffer& BytesOf(const core::EncodedMessage& message) {
  return static_cast<const WireMessage&>(message).bytes;
}

}  // namespace

RawWriteReactor* WatchReactor::Start(const Surroundings& surroundings,
                                     grpc::CallbackServerContext& context, Admission::Ticket ticket,
                                     core::WatchRequest request) {
  auto reactor = std::make_shared<WatchReactor>(surroundings, context, std::move(ticket));
  reactor->self_ = reactor;
  surroundings.events.StreamOpened();
  reactor->StartSendInitialMetadata();
  RawWriteReactor* const bound = reactor.get();
  surroundings.executor.Post(
      [&gateway = surroundings.gateway, request = std::move(request),
       watcher = std::shared_ptr<core::Watcher>(std::move(reactor))]() mutable {
        gateway.Watch(request, std::move(watcher));
      });
  return bound;
}

RawWriteReactor* WatchReactor::Refuse(const absl::Status& error) {
  return new RefusedReactor(ToGrpcStatus(error));
}

WatchReactor::WatchReactor(const Surroundings& surroundings, grpc::CallbackServerContext& context,
                           Admission::Ticket ticket)
    : WatchStream(surroundings.host, static_cast<StreamWriter&>(*this)),
      surroundings_(surroundings),
      context_(context),
      ticket_(std::move(ticket)) {}

void WatchReactor::Write(const core::EncodedMessage& message) noexcept {
  RawWriteReactor::StartWrite(&BytesOf(message));
}

void WatchReactor::WriteAndFinish(const core::EncodedMessage& message,
                                  absl::Status status) noexcept {
  RawWriteReactor::StartWriteAndFinish(&BytesOf(message), grpc::WriteOptions(),
                                       ToGrpcStatus(status));
}

void WatchReactor::Finish(absl::Status status) noexcept {
  LogUnexpected(surroundings_.events, kMethod, status);
  RawWriteReactor::Finish(ToGrpcStatus(status));
}

void WatchReactor::Cancel() noexcept { context_.TryCancel(); }

void WatchReactor::OnDone() noexcept {
  const std::shared_ptr<WatchReactor> self = std::move(self_);
  Done();
  ticket_.Release();
  const std::string code = absl::StatusCodeToString(end_code());
  surroundings_.events.StreamClosed(code);
  surroundings_.events.RpcFinished(kMethod, code, age_.Elapsed());
  if (ended_by_hub()) return;
  surroundings_.executor.Post(
      [&gateway = surroundings_.gateway, watcher = std::shared_ptr<core::Watcher>(self)] {
        gateway.Unwatch(watcher);
      });
}

}  // namespace dreamgate::api
