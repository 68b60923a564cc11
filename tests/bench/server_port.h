// Where a server that was started for a bench can be reached.
#ifndef DREAMGATE_TESTS_BENCH_SERVER_PORT_H_
#define DREAMGATE_TESTS_BENCH_SERVER_PORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "tests/e2e/child_process.h"

namespace dreamgate::bench {

// Waits until `server` has written its ports, one "name=number" a line, and returns the one of gRPC. Fails
// when it ends before or takes longer than half a minute.
absl::StatusOr<int> WaitForGrpcPort(e2e::ChildProcess& server, const std::string& ports_file);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_SERVER_PORT_H_
