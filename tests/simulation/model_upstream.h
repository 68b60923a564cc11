// WaveSpeed as the core meets it: tasks that cost money and live on whatever becomes of us, and a
// network that delays, loses, repeats and garbles what is said about them. Owned by Simulation; it
// outlives every simulated process.
//
// Whatever a POST is answered, this model knows whether it created a task, so the simulation can hold
// the gateway to its promise of never paying twice. Its history of tasks tells the truth, but late, by
// a clock of its own, perhaps without saying what a task was asked to make, and among the tasks of
// other clients of the same account.
#ifndef DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_
#define DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "tests/fakes/chance.h"
#include "tests/fakes/virtual_time.h"
#include "tests/simulation/process.h"

namespace dreamgate::simulation {

using fakes::Chance;

// One video that was paid for.
struct ModelTask {
  std::string id;
  int64_t post = 0;  // of the gateway's that created it; 0: another client has
  int account = 0;
  std::string model;
  core::CreateTaskRequest input;
  absl::Time create_time;
  absl::Time start_time;       // shown as processing from here on
  absl::Time end_time;         // InfiniteFuture: it never ends
  absl::Time forgotten_time;   // 404 from here on; InfiniteFuture: never
  core::TaskObservation end;   // what is shown from end_time on
  std::string created_status;  // what it is called until start_time
  std::string processing_status;

  // In history.
  absl::Time listed_time;  // every page asked for from here on shows it
  bool listed_with_input = true;
  std::vector<absl::Time> shown;  // when a page with it reached the gateway
};

core::TaskInput InputOf(const ModelTask& task);

// How upstream's history is, from the beginning to the end of everything.
struct HistoryManners {
  enum class Lag {
    kConstant,
    kPerTask,  // up to `lag`, another for each
    kPerCall,  // likewise: some machines are behind the others
  };

  size_t page_size = 20;
  Lag lag_kind = Lag::kConstant;
  absl::Duration lag;
  double input_percent = 100;  // of the tasks: shown with what they were asked to make
  bool tells_model = true;
  bool tells_create_time = true;
  bool guesses_more = false;         // a full page says that there are more
  absl::Duration clock_offset;       // upstream's clock minus the true time
  bool reports_clock_offset = true;  // in whole seconds, as a Date header does
};

// How upstream and the network behave for a while.
struct Weather {
  double post_trouble_percent = 0;
  double get_trouble_percent = 0;
  bool unreachable = false;      // no connection comes about
  bool refuses_the_key = false;  // 401 to everything
  bool answers_late = false;     // POSTs are answered after the soft timeout
};

// What one POST came to, as far as the gateway was told.
enum class PostAnswer { kAccepted, kRejected, kNotSent, kUnknown };

class ModelUpstream final : public core::Upstream {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnPost(int64_t number, const core::CreateTaskRequest& request) = 0;
    virtual void OnTaskCreated(int64_t post, const ModelTask& task) = 0;
    virtual void OnPostAnswered(int64_t number, PostAnswer answer, int http_status) = 0;
    virtual void OnHistoryAnswered(const core::HistoryQuery& query,
                                   const core::HistoryOutcome& outcome) = 0;
  };

  ModelUpstream(fakes::VirtualTime& world, Chance& chance, Observer& observer)
      : world_(world), chance_(chance), observer_(observer), agenda_(world) {}

  void set_weather(const Weather& weather) { weather_ = weather; }
  void set_manners(const HistoryManners& manners) { manners_ = manners; }
  // Whose key the gateway has: 0 or 1. Each account knows its own tasks only.
  void set_account(int account) { account_ = account; }
  // How far the clock of the gateway's machine is off.
  void set_callers_clock_error(absl::Duration error) { callers_clock_error_ = error; }
  // Another client of the account in use creates a task.
  void AddForeignTask(const core::CreateTaskRequest& input, absl::string_view model);
  // The gateway's process is gone: nobody receives the answers any more. A POST that has not arrived yet
  // may still arrive.
  void ForgetCallers();

  void CreateTask(const core::CreateTaskRequest& request,
                  core::Completion<core::CreateOutcome> done) override;
  void GetTask(const std::string& upstream_id, core::Completion<core::PollOutcome> done) override;
  void ListTasks(const core::HistoryQuery& query,
                 core::Completion<core::HistoryOutcome> done) override;
  std::string KeyFingerprint() const override { return FingerprintOf(account_); }

  // Facts.
  static std::string FingerprintOf(int account);
  const HistoryManners& manners() const { return manners_; }
  const ModelTask* FindTask(const std::string& upstream_id) const;
  // All tasks, those of other clients too, oldest first.
  const std::map<std::string, ModelTask>& tasks() const { return tasks_; }
  // By the gateway.
  int64_t tasks_created() const { return tasks_created_; }
  int64_t posts() const { return posts_; }
  int64_t gets() const { return gets_; }
  int64_t lists() const { return lists_; }
  int64_t ambiguous_answers() const { return ambiguous_answers_; }
  // Calls that went wrong.
  int64_t faults() const { return faults_; }
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
  ModelTask& AddTask(int account, const core::CreateTaskRequest& request, absl::string_view model);
  const ModelTask& CreateTaskNow(int64_t post, int account, const core::CreateTaskRequest& request);

  core::PollOutcome AnswerTo(const std::string& upstream_id);
  core::PollOutcome DrawGetTrouble(const std::string& upstream_id);
  core::TaskObservation Show(const ModelTask& task, absl::Time as_of) const;

  std::optional<core::HistoryFailed> DrawListTrouble();
  core::HistoryPage List(const core::HistoryQuery& query);
  core::HistoryItem ItemOf(const ModelTask& task) const;
  void AnswerList(int64_t number, const core::HistoryQuery& query);

  fakes::VirtualTime& world_;
  Chance& chance_;
  Observer& observer_;
  Agenda agenda_;
  Weather weather_;
  HistoryManners manners_;
  int account_ = 0;
  absl::Duration callers_clock_error_;
  std::map<std::string, ModelTask> tasks_;
  std::map<int64_t, core::Completion<core::CreateOutcome>> creates_;
  std::map<int64_t, core::Completion<core::PollOutcome>> gets_waiting_;
  std::map<int64_t, core::Completion<core::HistoryOutcome>> lists_waiting_;
  int64_t tasks_created_ = 0;
  int64_t posts_ = 0;
  int64_t gets_ = 0;
  int64_t lists_ = 0;
  int64_t faults_ = 0;
  int64_t arriving_ = 0;  // POSTs on their way that will create a task
  int64_t first_post_of_process_ = 1;
  int64_t ambiguous_answers_ = 0;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_MODEL_UPSTREAM_H_
