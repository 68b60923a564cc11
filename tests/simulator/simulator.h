// WaveSpeed's REST API on a loopback port, for tests and benchmarks. Written from the description of
// the API alone and sharing no code with the product, so that a misunderstanding is not shared.
//
//   auto simulator = Simulator::Start({.schedule = Schedule::StepControlled()}).value();
//   ... point the client at simulator->base_url() with key "simulator-key" ...
//   simulator->WaitForTasks(1, absl::Seconds(10));
//   simulator->SetTaskState(simulator->TaskIds()[0], {.status = "completed"});
//
// Every method may be called from any thread but the simulator's own. What tests read and steer is
// declared in backend.h; faults in fault.h, schedules in task_store.h, options in options.h. Programs
// outside use the /control/ endpoints, which `wavespeed-simulator --help` lists.
#ifndef DREAMGATE_TESTS_SIMULATOR_SIMULATOR_H_
#define DREAMGATE_TESTS_SIMULATOR_SIMULATOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/simulator/backend.h"
#include "tests/simulator/fault.h"
#include "tests/simulator/options.h"
#include "tests/simulator/task_store.h"

namespace dreamgate::simulator {

class Simulator : public Backend {
 public:
  // Listens on 127.0.0.1 and serves in a thread of its own. Fails when the port is taken or a file
  // cannot be read.
  static absl::StatusOr<std::unique_ptr<Simulator>> Start(Options options = {});
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  // Closes the port and every connection at once. Idempotent; what was logged stays readable.
  void Stop();

  uint16_t port() const { return port_; }
  // http or https://host:port, without a slash at the end.
  const std::string& base_url() const { return base_url_; }

  // As a server or gateway that tires of its peers. They are done when these return.
  void CloseIdleConnections();  // FIN on those between requests
  void ResetConnections();      // RST on all

  // True once so many were seen; false: `timeout` passed first. A counted request has been processed,
  // its answer may still be on the way.
  bool WaitForRequests(const std::string& method, const std::string& path_prefix, std::size_t count,
                       absl::Duration timeout);
  bool WaitForTasks(std::size_t count, absl::Duration timeout);
  bool WaitForWebhookAttempts(std::size_t count, absl::Duration timeout);

 private:
  struct Network;
  Simulator(std::unique_ptr<Network> network, Options options, std::string base_url,
            std::shared_ptr<const std::string> video);

  const uint16_t port_;
  const std::string base_url_;
  std::unique_ptr<Network> network_;
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_SIMULATOR_H_
