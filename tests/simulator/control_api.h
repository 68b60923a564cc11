// The /control/ endpoints, for programs that drive the simulator from outside. Not logged, not counted,
// without authorization, never subject to faults. Runs in the server's thread.
#ifndef DREAMGATE_TESTS_SIMULATOR_CONTROL_API_H_
#define DREAMGATE_TESTS_SIMULATOR_CONTROL_API_H_

#include <cstdint>
#include <optional>
#include <string>

#include "tests/simulator/message.h"

namespace dreamgate::simulator {

class Backend;

Answer HandleControl(const Request& request, Backend& backend);
// The input of a submission with only a prompt and perhaps a seed.
std::string InputJson(const std::string& prompt, std::optional<int32_t> seed = std::nullopt);
// The requests that HandleControl understands, for --help.
std::string ControlHelp();

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_CONTROL_API_H_
