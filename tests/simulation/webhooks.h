// Upstream's webhooks about the tasks that our POSTs have created: early, late, twice, while nobody
// listens, or never. Upstream learns the token from the POST. Owned by Simulation.
#ifndef DREAMGATE_TESTS_SIMULATION_WEBHOOKS_H_
#define DREAMGATE_TESTS_SIMULATION_WEBHOOKS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/simulation/model_upstream.h"
#include "tests/simulation/world.h"

namespace dreamgate::simulation {

class Webhooks {
 public:
  explicit Webhooks(World& world) : world_(world) {}

  // Of all tasks: how many call back at all. 0 until set.
  void set_percent(double percent) { percent_ = percent; }
  void OnTaskCreated(const ModelTask& task);
  // Somebody tries his luck with a token of his own.
  void AddForgery(absl::Duration delay);
  // Whoever was being answered will try again.
  void OnProcessEnd();
  // Complains about webhooks that a living process still owes an answer.
  void OnEnd();

  int64_t calls() const { return calls_; }

 private:
  struct Webhook {
    std::string token;
    std::string upstream_id;
    bool forged = false;
    int tries_left = 4;  // a delivery and three more
  };

  void CallLater(Webhook webhook, absl::Duration delay);
  void Call(Webhook webhook);
  void CallAgain(Webhook webhook);
  void OnAnswer(const Webhook& webhook, const absl::Status& answer);

  World& world_;
  double percent_ = 0;
  std::map<int64_t, Webhook> open_;  // by number of the call
  int64_t calls_ = 0;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_WEBHOOKS_H_
