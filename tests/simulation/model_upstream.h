// WaveSpeed as the core meets it: tasks that cost money and live on whatever becomes of us, and a
// network that delays, loses, repeats and garbles what is said about them. Owned by Simulation; it
// outlives every simulated process.
//
// Whatever a POST is answered, this model knows whether it created a task, so the simulation can hold
// the gateway to its promise of never paying twice.
#ifndef DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_
#define DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/core/ports.h"
#include "tests/fakes/virtual_time.h"
#include "tests/simulation/chance.h"
#include "tests/simulation/process.h"

namespace dreamgate::simulation {

// One video that was paid for.
struct ModelTask {
  std::string id;
  core::CreateTaskRequest input;
  absl::Time create_time;
  absl::Time start_time;       // shown as processing from here on
  absl::Time end_time;         // InfiniteFuture: it never ends
  absl::Time forgotten_time;   // 404 from here on; InfiniteFuture: never
  core::TaskObservation end;   // what is shown from end_time on
  std::string created_status;  // what it is called until start_time
  std::string processing_status;
};

// How upstream and the network behave for a while.
struct Weather {
  double post_trouble_percent = 0;
  double get_trouble_percent = 0;
  bool unreachable = false;      // no connection comes about
  bool refuses_the_key = false;  // 401 to everything
  bool answers_late = false;     // POSTs are answered after the soft timeout
};

// What one POST came to, as far as the gateway heard.
enum class Heard { kAccepted, kRejected, kNotSent, kUnknown };

class ModelUpstream final : public core::Upstream {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnPost(int64_t number, const core::CreateTaskRequest& request) = 0;
    virtual void OnTaskCreated(int64_t post, const ModelTask& task) = 0;
    virtual void OnPostAnswered(int64_t number, Heard heard, int http_status) = 0;
  };

  ModelUpstream(fakes::VirtualTime& world, Chance& chance, Observer& observer)
      : world_(world), chance_(chance), observer_(observer), agenda_(world) {}

  void set_weather(const Weather& weather) { weather_ = weather; }
  // The gateway's process is gone: nobody hears the answers any more. A POST that has not arrived yet
  // may still arrive.
  void ForgetCallers();

  void CreateTask(const core::CreateTaskRequest& request,
                  core::Completion<core::CreateOutcome> done) override;
  void GetTask(const std::string& upstream_id, core::Completion<core::PollOutcome> done) override;
  std::string KeyFingerprint() const override { return "0123456789abcdef"; }

  // History as upstream would list it: newest first, created within [after, before), as of `lag` ago,
  // with or without the inputs.
  std::vector<ModelTask> ListTasks(absl::Time after, absl::Time before, absl::Duration lag,
                                   bool with_inputs) const;

  // Facts.
  const ModelTask* FindTask(const std::string& upstream_id) const;
  int64_t tasks_created() const { return static_cast<int64_t>(tasks_.size()); }
  int64_t posts() const { return posts_; }
  int64_t gets() const { return gets_; }
  int64_t ambiguous_answers() const { return ambiguous_answers_; }
  // POSTs whose fate is still open, here or for the gateway.
  bool posts_under_way() const { return !creates_.empty() || arriving_ > 0; }

 private:
  enum class Fate {
    kAccepted,
    kRejected,
    kNotSent,
    kServerErrorBefore,  // before the task was created
    kServerErrorAfter,   // although the task was created
    kLostBefore,         // the connection, likewise
    kLostAfter,
  };

  Fate DrawFate();
  absl::Duration DrawAnswerDelay();
  core::CreateRejected DrawRejection();
  void AnswerCreate(int64_t number, core::CreateOutcome outcome);
  const ModelTask& CreateTaskNow(int64_t post, const core::CreateTaskRequest& request);

  core::PollOutcome AnswerTo(const std::string& upstream_id);
  core::PollOutcome DrawGetTrouble(const std::string& upstream_id);
  core::TaskObservation Show(const ModelTask& task, absl::Time as_of) const;

  fakes::VirtualTime& world_;
  Chance& chance_;
  Observer& observer_;
  Agenda agenda_;
  Weather weather_;
  std::map<std::string, ModelTask> tasks_;
  std::map<int64_t, core::Completion<core::CreateOutcome>> creates_;
  std::map<int64_t, core::Completion<core::PollOutcome>> gets_waiting_;
  int64_t posts_ = 0;
  int64_t gets_ = 0;
  int64_t arriving_ = 0;  // POSTs on their way that will create a task
  int64_t first_post_of_process_ = 1;
  int64_t ambiguous_answers_ = 0;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_
