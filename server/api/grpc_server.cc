#include "server/api/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/api/authenticator.h"
#include "server/api/server_credentials.h"
#include "server/api/video_service.h"
#include "server/api/watch_delivery.h"

namespace dreamgate::api {
namespace {

constexpr char kServiceName[] = "dreamgate.v1.VideoService";

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

void SetLimits(const GrpcServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_metadata_bytes);
  // By default a second server on the same port would start happily and take half the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             Milliseconds(options.handshake_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Milliseconds(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // The default of 5 minutes drops clients that ping sooner with "too many pings".
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(options.min_client_ping_interval));
  if (options.max_connection_age < absl::InfiniteDuration()) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                               Milliseconds(options.max_connection_age));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                               Milliseconds(options.max_connection_age_grace));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const Options& options,
                                                              core::Gateway& gateway,
                                                              core::Executor& executor,
                                                              core::Events& events,
                                                              WatchDelivery& delivery) {
  Authenticator::Options callers;
  callers.token_file = options.token_file;
  absl::StatusOr<std::unique_ptr<Authenticator>> authenticator =
      Authenticator::Create(std::move(callers), events);
  if (!authenticator.ok()) return authenticator.status();
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials =
      MakeServerCredentials(options);
  if (!credentials.ok()) return credentials.status();

  VideoService::Options service_options;
  service_options.limits.max_prompt_code_points = options.max_prompt_code_points;
  service_options.limits.require_request_id = options.require_request_id;
  service_options.model = options.model;
  service_options.drain_retry_delay = options.drain_retry_delay;
  auto service = std::make_unique<VideoService>(
      std::move(service_options), WatchReactor::Surroundings{delivery, gateway, executor, events},
      *std::move(authenticator), Admission::Create(options.admission));

  // Both work on the builders made after them.
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(options, builder);
  int port = 0;
  builder.AddListeningPort(options.listen_address, *std::move(credentials), &port);
  builder.RegisterService(service.get());
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen_address,
                     ": the port is in use, or the address is not one of this machine's"));
  }
  auto started = absl::WrapUnique(new GrpcServer(std::move(service), std::move(server), port));
  started->SetServing(false);
  return started;
}

GrpcServer::GrpcServer(std::unique_ptr<VideoService> service, std::unique_ptr<grpc::Server> server,
                       int port)
    : service_(std::move(service)), server_(std::move(server)), port_(port) {}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(kServiceName, serving);
}

void GrpcServer::BeginDrain() { service_->BeginDrain(); }

void GrpcServer::Shutdown(absl::Time deadline) {
  if (std::exchange(stopped_, true)) return;
  // gRPC takes a time before 1970 for "never".
  server_->Shutdown(absl::ToChronoTime(std::max(deadline, absl::Now())));
  server_->Wait();
}

}  // namespace dreamgate::api
