// The port of a server that was started for a bench.
#ifndef DREAMGATE_TESTS_BENCH_SERVER_PORT_H_
#define DREAMGATE_TESTS_BENCH_SERVER_PORT_H_

#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::bench {

// Waits until `server` has written the file "ports", one "name=number" a line, and returns the one of gRPC.
// The bench dies when the server ends before or takes longer than half a minute.
int WaitForGrpcPort(fakes::ChildProcess& server, const fakes::TemporaryFolder& folder);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_SERVER_PORT_H_
