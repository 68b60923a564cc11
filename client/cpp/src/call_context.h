// The metadata of every call: the bearer token and the client's name. Safe from any thread.
#ifndef DREAMGATE_CLIENT_CPP_SRC_CALL_CONTEXT_H_
#define DREAMGATE_CLIENT_CPP_SRC_CALL_CONTEXT_H_

#include <grpcpp/client_context.h>

#include <optional>
#include <string>

#include "dreamgate/client/video_client.h"

namespace dreamgate::client {

// The content of the file at `path` without trailing white space; unset if it cannot be read.
std::optional<std::string> ReadTokenFile(const std::string& path);

// A token file that cannot be read leaves the call without a token: the server says what is wrong.
void Authorize(grpc::ClientContext& context, const ClientOptions& options);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CPP_SRC_CALL_CONTEXT_H_
