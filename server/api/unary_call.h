// One unary RPC in flight. Refcounted: gRPC's own reference is dropped in OnDone, the completion on
// the loop holds another. Finishes exactly once, by whoever comes first: the completion or the
// caller's cancellation; the work itself goes on either way.
#ifndef DREAMGATE_SERVER_API_UNARY_CALL_H_
#define DREAMGATE_SERVER_API_UNARY_CALL_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/api/admission.h"
#include "server/api/stopwatch.h"
#include "server/core/ports.h"

namespace dreamgate::api {

class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // `method` is a literal; `response` is gRPC's, valid until the call is finished.
  static std::shared_ptr<UnaryCall> Start(const char* method, absl::Time deadline,
                                          grpc::ByteBuffer& response, core::Events& events);

  // Use Start.
  UnaryCall(const char* method, absl::Time deadline, grpc::ByteBuffer& response,
            core::Events& events);

  // Keeps the caller's place until the work is over, not only until the caller has left.
  void Keep(Admission::Ticket ticket) { ticket_ = std::move(ticket); }

  // Any thread; the first of these ends the call, later ones do nothing.
  void Succeed(const google::protobuf::MessageLite& response) noexcept;
  void Fail(const absl::Status& error) noexcept;

  // The caller's; far in the future if it set none.
  absl::Time deadline() const noexcept { return deadline_; }
  // Whether the caller has gone, by its own will or by its deadline. Safe at any time.
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }

 private:
  void OnCancel() noexcept override;
  void OnDone() noexcept override;
  // True for the first asker only, who must then finish.
  bool Claim() noexcept { return !finished_.exchange(true); }
  void Report(absl::StatusCode code) noexcept;

  const char* const method_;
  const absl::Time deadline_;
  grpc::ByteBuffer& response_;
  core::Events& events_;
  const Stopwatch age_;
  std::atomic<bool> finished_ = false;
  std::atomic<bool> cancelled_ = false;
  Admission::Ticket ticket_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_UNARY_CALL_H_
