// The contract's service: authenticates, admits, validates, translates, posts to the loop and
// returns. Entered on gRPC's threads, which it never blocks; answers come from completions on the
// loop. Owned by GrpcServer and destroyed after the server.
#ifndef DREAMGATE_SERVER_API_VIDEO_SERVICE_H_
#define DREAMGATE_SERVER_API_VIDEO_SERVICE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "server/api/admission.h"
#include "server/api/authenticator.h"
#include "server/api/unary_call.h"
#include "server/api/validation.h"
#include "server/api/watch_reactor.h"

namespace dreamgate::api {

// All four methods take and give bytes; wire_bytes.h says why.
using RawVideoService = v1::VideoService::WithRawCallbackMethod_SubmitVideo<
    v1::VideoService::WithRawCallbackMethod_GetPrediction<
        v1::VideoService::WithRawCallbackMethod_ListPredictions<
            v1::VideoService::WithRawCallbackMethod_WatchPrediction<v1::VideoService::Service>>>>;

class VideoService final : public RawVideoService {
 public:
  struct Options {
    RequestLimits limits;
    std::string model;  // shown in the answer to validate_only
    // The delay in the RetryInfo of a refusal with DRAINING.
    absl::Duration drain_retry_delay = absl::Milliseconds(500);
  };

  VideoService(Options options, const WatchReactor::Surroundings& surroundings,
               std::unique_ptr<Authenticator> authenticator, std::shared_ptr<Admission> admission);

  // From now on every new RPC is refused with DRAINING. Any thread.
  void BeginDrain() { draining_.store(true); }

  grpc::ServerUnaryReactor* SubmitVideo(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) noexcept override;
  grpc::ServerUnaryReactor* GetPrediction(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) noexcept override;
  grpc::ServerUnaryReactor* ListPredictions(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* request,
                                            grpc::ByteBuffer* response) noexcept override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchPrediction(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) noexcept override;

 private:
  enum class Kind { kRequest, kStream };
  struct Caller {
    std::string tenant;
    Admission::Ticket ticket;
  };

  // The checks that every RPC passes before its bytes are parsed.
  absl::StatusOr<Caller> Enter(const grpc::CallbackServerContext& context, Kind kind);

  absl::Status PostSubmit(const std::shared_ptr<UnaryCall>& call, const std::string& tenant,
                          const grpc::ByteBuffer& bytes);
  absl::Status PostGet(const std::shared_ptr<UnaryCall>& call, const std::string& tenant,
                       const grpc::ByteBuffer& bytes);
  absl::Status PostList(const std::shared_ptr<UnaryCall>& call, const std::string& tenant,
                        const grpc::ByteBuffer& bytes);
  // One of the three above.
  using PostFunction = absl::Status (VideoService::*)(const std::shared_ptr<UnaryCall>&,
                                                      const std::string&, const grpc::ByteBuffer&);
  grpc::ServerUnaryReactor* Serve(const char* method, PostFunction post,
                                  grpc::CallbackServerContext& context,
                                  const grpc::ByteBuffer& request, grpc::ByteBuffer& response);
  v1::SubmitVideoResponse AnswerValidateOnly(const ValidSubmit& submit) const;

  const Options options_;
  const WatchReactor::Surroundings surroundings_;
  const std::unique_ptr<Authenticator> authenticator_;
  const std::shared_ptr<Admission> admission_;
  std::atomic<bool> draining_ = false;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_VIDEO_SERVICE_H_
