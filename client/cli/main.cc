// dreamgate: submit, watch, look up, list and download videos from the command line.
// Its exit codes are listed in exit_code.h and by --help.
#include <google/protobuf/stubs/logging.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <variant>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/console.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"

namespace {

// The command reports an error once, in its own words. With GRPC_VERBOSITY set, gRPC reports it, too.
void SilenceLibraries() {
  if (std::getenv("GRPC_VERBOSITY") != nullptr) return;
  setenv("GRPC_VERBOSITY", "NONE", 1);
  google::protobuf::SetLogHandler(nullptr);
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace dreamgate::client;
  SilenceLibraries();  // before any other thread and the first use of gRPC
  const std::variant<Arguments, int> parsed = ParseArguments(argc, argv);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const Arguments& arguments = std::get<Arguments>(parsed);
  Interrupt interrupt;  // before any other thread; after a prompt was read from stdin
  Console console(arguments.quiet);
  return RunCommand(arguments, console, interrupt.token());
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return dreamgate::client::kExitUnexpected;
}
