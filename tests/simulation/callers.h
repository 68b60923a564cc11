// Callers that submit and retry as a client of the contract would: the same request_id until it is
// settled, several at once, some with another payload, some that go away. Once answered OK they read,
// list, replay and send watchers. Owned by Simulation.
#ifndef DREAMGATE_TESTS_SIMULATION_CALLERS_H_
#define DREAMGATE_TESTS_SIMULATION_CALLERS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/watch_clients.h"
#include "tests/simulation/world.h"

namespace dreamgate::simulation {

class Callers {
 public:
  // `on_answer` is called after each answer to a submission.
  Callers(World& world, WatchClients& watch_clients, absl::AnyInvocable<void()> on_answer)
      : world_(world), watch_clients_(watch_clients), on_answer_(std::move(on_answer)) {}

  // One to three callers of one new request_id, who begin within `period`. Some want just what
  // another request_id has asked for, to the seed.
  void AddRequest(absl::Duration period);
  // Some callers come back with a request_id of long ago.
  void ComeBack();
  // Something that some caller has asked for or will ask for, with its seed; else nullopt.
  std::optional<core::VideoInput> AnyWithSeed();
  // Whether somebody has asked for just this, seed and all.
  bool WasAskedWithSeed(const std::string& prompt, int32_t seed) const;
  // Whoever waits for an answer will not get it.
  void OnProcessEnd();
  // Complains about calls that a living process still owes an answer.
  void OnEnd();

  // Callers that still want something.
  int64_t busy() const { return busy_; }
  int64_t calls() const { return calls_made_; }

 private:
  struct Caller {
    std::string name;
    RequestKey request;
    core::VideoInput input;
    int errands = 0;  // what it still does after the answer
    std::shared_ptr<SubmitCall> waiting;
  };

  void Submit(Caller& caller);
  void SubmitLater(Caller& caller, absl::Duration delay);
  void OnAnswer(Caller& caller, const std::shared_ptr<SubmitCall>& call,
                const absl::StatusOr<core::SubmitAnswer>& answer);
  void OnError(Caller& caller, const absl::Status& error);
  void GoAway(Caller& caller, const std::shared_ptr<SubmitCall>& call);
  void DoErrands(Caller& caller, const PredictionKey& prediction);
  void Get(Caller& caller, const PredictionKey& prediction);
  void List(Caller& caller);
  void Finish(Caller& caller);

  World& world_;
  WatchClients& watch_clients_;
  absl::AnyInvocable<void()> on_answer_;
  std::vector<std::unique_ptr<Caller>> callers_;
  std::vector<core::VideoInput> inputs_with_seed_;
  std::vector<std::shared_ptr<SubmitCall>> open_calls_;
  int requests_ = 0;
  int64_t busy_ = 0;
  int64_t calls_made_ = 0;
  int64_t reads_open_ = 0;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_CALLERS_H_
