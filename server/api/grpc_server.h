// The listening gRPC server: the video service, health v1 and reflection, with every limit stated.
// Owned by app; Start, Shutdown and destruction belong to the main thread, the rest to any.
//
// Shutdown, in order: SetServing(false); the grace period, in which everything is still served;
// BeginDrain(); post Gateway::Drain() to the loop and call Shutdown(deadline) beside it; Stop() the
// WatchDelivery; then the loop. Only Shutdown sends GOAWAY, so a drain long before it would make
// clients come back to this server.
#ifndef DREAMGATE_SERVER_API_GRPC_SERVER_H_
#define DREAMGATE_SERVER_API_GRPC_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/api/admission.h"
#include "server/core/gateway.h"
#include "server/core/ports.h"

namespace grpc {
class Server;
}  // namespace grpc

namespace dreamgate::api {

class VideoService;
class WatchDelivery;

struct GrpcServerOptions {
  std::string listen_address = "0.0.0.0:50051";  // host:port; port 0: any free one

  // PEM files; empty: no TLS. Reread when they change. With a client CA, every caller needs a
  // certificate signed by it.
  std::string tls_certificate_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;

  std::string token_file;  // see Authenticator; empty: every caller is the tenant "default"

  AdmissionLimits admission;
  int max_prompt_code_points = 2000;
  bool require_request_id = true;
  std::string model;  // shown in the answer to validate_only

  int max_message_bytes = 256 * 1024;  // received
  int max_metadata_bytes = 16 * 1024;
  absl::Duration handshake_timeout = absl::Seconds(10);
  absl::Duration keepalive_interval = absl::Seconds(30);  // the server's pings
  absl::Duration keepalive_timeout = absl::Seconds(20);
  absl::Duration min_client_ping_interval = absl::Seconds(10);
  // Infinite: connections live as long as they like.
  absl::Duration max_connection_age = absl::InfiniteDuration();
  absl::Duration max_connection_age_grace = absl::Minutes(5);
  // The delay in the RetryInfo of a refusal with DRAINING.
  absl::Duration drain_retry_delay = absl::Milliseconds(500);
};

class GrpcServer {
 public:
  using Options = GrpcServerOptions;

  // Listens and serves. Health says NOT_SERVING until SetServing(true). The references outlive the
  // server. Errors: one line for the operator, naming the setting at fault.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const Options& options,
                                                           core::Gateway& gateway,
                                                           core::Executor& executor,
                                                           core::Events& events,
                                                           WatchDelivery& delivery);
  ~GrpcServer();  // shuts down at once
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // The port that is listened on.
  int port() const { return port_; }

  // Health of "" and "dreamgate.v1.VideoService".
  void SetServing(bool serving);

  // From now on every new RPC, but for health and reflection, is refused with DRAINING.
  void BeginDrain();

  // Sends GOAWAY, accepts no more, waits for the RPCs in flight until `deadline` and
  // cancels the rest. Blocks until all are done; never to be called on the loop or from a
  // reaction. May be repeated.
  void Shutdown(absl::Time deadline);

 private:
  GrpcServer(std::unique_ptr<VideoService> service, std::unique_ptr<grpc::Server> server, int port);

  std::unique_ptr<VideoService> service_;  // outlives server_
  std::unique_ptr<grpc::Server> server_;
  const int port_;
  bool stopped_ = false;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_GRPC_SERVER_H_
