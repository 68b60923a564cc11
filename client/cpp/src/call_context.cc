#include "client/cpp/src/call_context.h"

#include <fstream>
#include <iterator>

namespace dreamgate::client {

std::optional<std::string> ReadTokenFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string token{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return std::nullopt;
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

void Authorize(grpc::ClientContext& context, const ClientOptions& options) {
  std::string token = options.bearer_token;
  if (!options.bearer_token_file.empty()) {
    token = ReadTokenFile(options.bearer_token_file).value_or("");
  }
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

}  // namespace dreamgate::client
