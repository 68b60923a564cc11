// The server's end of TLS, from PEM files which are reread when they change. Main thread, at start.
#ifndef DREAMGATE_SERVER_API_SERVER_CREDENTIALS_H_
#define DREAMGATE_SERVER_API_SERVER_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/api/grpc_server.h"

namespace dreamgate::api {

// Plain text without a certificate file. Errors: a file is missing, unreadable or no PEM, or only
// one of certificate and key is given.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const GrpcServerOptions& options);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_SERVER_CREDENTIALS_H_
