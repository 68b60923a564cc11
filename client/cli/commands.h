// The commands of dreamgate: submit, watch, get, list, generate. Main thread.
#ifndef DREAMGATE_CLIENT_CLI_COMMANDS_H_
#define DREAMGATE_CLIENT_CLI_COMMANDS_H_

#include <stop_token>

#include "client/cli/arguments.h"
#include "client/cli/console.h"

namespace dreamgate::client {

// The exit code; everything there is to say has then been printed.
int RunCommand(const Arguments& arguments, Console& console, std::stop_token stop);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_COMMANDS_H_
