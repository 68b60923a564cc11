// Clients that watch: they come, read at their own pace, stall, leave, and come back with their last
// sequence, also after the gateway has crashed, until they have seen the end. Owned by Simulation.
#ifndef DREAMGATE_TESTS_SIMULATION_WATCH_CLIENTS_H_
#define DREAMGATE_TESTS_SIMULATION_WATCH_CLIENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/core/ports.h"
#include "tests/fakes/watch_validator.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/world.h"

namespace dreamgate::simulation {

class WatchStream;

// Encodes an update as the prediction itself, and hands longer logs to the streams.
class WatchSink final : public core::TransitionSink {
 public:
  std::shared_ptr<const core::EncodedMessage> EncodeUpdate(
      const core::Prediction& prediction) override;
  std::shared_ptr<const core::EncodedMessage> EncodeHeartbeat(const core::Heartbeat& beat) override;
  void Deliver(std::shared_ptr<const core::TransitionLog> log,
               absl::Span<const std::shared_ptr<core::Watcher>> watchers) override;
};

class WatchClients {
 public:
  explicit WatchClients(World& world) : world_(world) {}
  ~WatchClients();

  // A new client of an acknowledged prediction. `name` is for the trace.
  void Add(const PredictionKey& prediction, const std::string& name);
  // All streams break.
  void OnProcessEnd();

  int64_t open() const { return open_; }
  int64_t streams() const { return streams_; }

 private:
  friend class WatchStream;

  struct Client {
    PredictionKey prediction;
    std::string name;
    fakes::WatchValidator validator;  // over all its streams: it resumes where it was
    size_t complaints = 0;            // of the validator, passed on already
    std::shared_ptr<WatchStream> stream;
    int64_t sessions = 0;
    bool done = false;
  };

  void Connect(Client& client);
  void ConnectLater(Client& client, absl::Duration delay);
  // The client hangs up on the stream it has.
  void Leave(Client& client);
  void OnUpdate(Client& client, const core::Prediction& update);
  void OnEnd(Client& client);
  void OnBroken(Client& client, const absl::Status& error);
  void PassOnComplaints(Client& client);

  World& world_;
  std::vector<std::unique_ptr<Client>> clients_;
  int64_t open_ = 0;
  int64_t streams_ = 0;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_WATCH_CLIENTS_H_
