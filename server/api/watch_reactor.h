// One WatchPrediction RPC: the watch stream's state machine with gRPC's raw write reactor under it.
// Refcounted: gRPC's own reference is `self_`, dropped in OnDone; the hub and the fan-out hold
// others, so no thread ever finds the reactor gone when its StartWrite or Finish returns.
#ifndef DREAMGATE_SERVER_API_WATCH_REACTOR_H_
#define DREAMGATE_SERVER_API_WATCH_REACTOR_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "absl/status/status.h"
#include "server/api/admission.h"
#include "server/api/stopwatch.h"
#include "server/api/watch_stream.h"
#include "server/core/gateway.h"
#include "server/core/ports.h"

namespace dreamgate::api {

class WatchReactor final : private StreamWriter,
                           public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           public WatchStream {
 public:
  // Borrowed; they outlive the server.
  struct Surroundings {
    StreamHost& host;
    core::Gateway& gateway;
    core::Executor& executor;
    core::Events& events;
  };

  // Sends the initial metadata and posts the subscription. On a gRPC thread;
  // the result goes to gRPC.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const Surroundings& surroundings,
                                                           grpc::CallbackServerContext& context,
                                                           Admission::Ticket ticket,
                                                           core::WatchRequest request);
  // Ends the RPC with `error` without having begun.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Refuse(const absl::Status& error);

  // Use Start.
  WatchReactor(const Surroundings& surroundings, grpc::CallbackServerContext& context,
               Admission::Ticket ticket);

 private:
  // StreamWriter.
  void Write(const core::EncodedMessage& message) noexcept override;
  void WriteAndFinish(const core::EncodedMessage& message, absl::Status status) noexcept override;
  void Finish(absl::Status status) noexcept override;
  void Cancel() noexcept override;

  // gRPC's reactions. A reaction that throws would hang the shutdown.
  void OnWriteDone(bool ok) noexcept override { WriteDone(ok); }
  void OnCancel() noexcept override { CallerGone(); }
  void OnDone() noexcept override;

  const Surroundings surroundings_;
  grpc::CallbackServerContext& context_;  // valid until OnDone
  Admission::Ticket ticket_;
  const Stopwatch age_;
  std::shared_ptr<WatchReactor> self_;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_WATCH_REACTOR_H_
