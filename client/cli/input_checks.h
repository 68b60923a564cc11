// Checks of a command line's words that need no server. Pure functions; any thread. Each returns what
// is wrong, for people; empty: nothing.
#ifndef DREAMGATE_CLIENT_CLI_INPUT_CHECKS_H_
#define DREAMGATE_CLIENT_CLI_INPUT_CHECKS_H_

#include <string>

namespace dreamgate::client {

// HOST, HOST:PORT or a gRPC target such as dns:///HOST:PORT or unix:PATH; never a URL.
std::string CheckServer(const std::string& server);

// 1 to 128 printable ASCII characters without spaces. None at all is for the caller to allow: an empty
// id would be replaced by a new one, and a variable that is not set would then pay twice.
std::string CheckRequestId(const std::string& request_id);

// Well-formed UTF-8: no overlong forms, surrogates or code points above U+10FFFF.
std::string CheckUtf8(const std::string& text);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_INPUT_CHECKS_H_
