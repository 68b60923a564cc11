// A gateway whose server dies: the simulator in this process, the real server program at one address
// across all its lives, callers that never give up, and the verdict on what they saw. Owned by a test
// or by the crash loop. One thread starts and ends servers and asks for the verdict; callers may be any.
#ifndef DREAMGATE_TESTS_E2E_CRASH_WORLD_H_
#define DREAMGATE_TESTS_E2E_CRASH_WORLD_H_

#include <grpcpp/channel.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "dreamgate/client/video_client.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/e2e/deployment.h"
#include "tests/fakes/watch_validator.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::e2e {

struct CrashWorldOptions {
  std::string server_program = {};                 // empty: the one built beside
  std::vector<std::string> server_arguments = {};  // come last and win
  simulator::Options simulator = {};
  absl::Duration absence_settle_time = absl::Milliseconds(300);
  absl::Duration unresolved_timeout = absl::Seconds(15);  // longer than any disk stalls
  // How many tasks one request_id may create: one, and one more for each --resend-after-absence.
  size_t tasks_at_most = 1;
  // Whether history shows enough of a task to tell whose it is, so that in the end every one is known.
  bool every_task_is_known = true;
  // How long a caller waits for its answer, and a watcher for the end, before that is a violation.
  absl::Duration patience = absl::Seconds(60);
};

// The answer that the last callers of one request_id got.
struct FinalAnswer {
  std::string prediction_id;  // empty: an error
  std::string reason;         // of the error
  v1::Prediction prediction;  // as it is in the end, if there is one
  size_t tasks = 0;           // created upstream for it
};

struct CrashTotals {
  uint64_t request_ids = 0;
  uint64_t answers = 0;                      // of SubmitVideo, OK or final error
  uint64_t acknowledged = 0;                 // predictions
  uint64_t streams = 0;                      // watched to the end
  uint64_t tasks = 0;                        // created upstream
  uint64_t duplicates = 0;                   // tasks beyond what a request_id may create
  uint64_t lost = 0;                         // acknowledged predictions that are gone or do not end
  uint64_t orphans = 0;                      // recovered outputs
  std::map<std::string, uint64_t> resolved;  // UNRESOLVED ended by this evidence

  void Add(const CrashTotals& other);
};

class CrashWorld {
 public:
  explicit CrashWorld(CrashWorldOptions options = {});
  ~CrashWorld();  // kills the server, waits for the callers
  CrashWorld(const CrashWorld&) = delete;
  CrashWorld& operator=(const CrashWorld&) = delete;

  simulator::Simulator& simulator() { return *simulator_; }
  std::string ledger_path() const { return folder_.File("ledger.db"); }

  // Starts the server on the ledger as its last life left it. `failpoint` as in core/failpoint.h; empty:
  // none. False: it ended before it served.
  bool StartServer(const std::string& failpoint = "");
  // The same without waiting.
  void BeginServer(const std::string& failpoint = "");
  ChildProcess& server() { return *server_; }
  void KillServer();  // SIGKILL, and waits for its end
  // True: the server has been killed by `failpoint` within `timeout`. False: it lives, or died otherwise.
  bool DiedOf(const std::string& failpoint, absl::Duration timeout);
  // POST to the admin port; the body of a complete answer 200, else nullopt.
  std::optional<std::string> PostToAdmin(const std::string& path);

  // A caller in a thread of its own: submits until it is answered, whatever dies meanwhile, then watches
  // to the end.
  void Call(const std::string& request_id, const std::string& prompt);
  // The same in this thread. `after_sequence`: where the watch begins; `watch` false: no watch.
  void CallAndWait(const std::string& request_id, const std::string& prompt, bool watch = true,
                   std::optional<int64_t> after_sequence = 0);

  // Nothing is expected of this request_id any more: it may be pruned.
  void Forget(const std::string& request_id);

  // Waits until every caller of Call is content, asks everything again and compares. The server must
  // run unharmed from here on. Returns what was violated, one line each.
  std::vector<std::string> Settle();

  // After Settle.
  const FinalAnswer& AnswerOf(const std::string& request_id) const;
  const CrashTotals& totals() const { return totals_; }

 private:
  // The knowledge about one request_id from its answers.
  struct Submission {
    std::string prompt;
    std::string prediction_id;
    std::string error;  // "CODE REASON"; remembered ones must never change into another answer
    bool remembered = false;
    FinalAnswer final;
  };
  struct Watched {
    std::string prediction_id;
    int64_t last_sequence = 0;
  };

  std::shared_ptr<v1::VideoService::Stub> Stub() const;
  std::shared_ptr<grpc::Channel> Connect() const;
  // Nullopt: patience has run out.
  std::optional<grpc::Status> SubmitUntilAnswered(const v1::SubmitVideoRequest& request,
                                                  v1::SubmitVideoResponse& response);
  void NoteAnswer(const v1::SubmitVideoRequest& request, const grpc::Status& status,
                  const v1::SubmitVideoResponse& response);
  void WatchToTheEnd(const std::string& prediction_id, std::optional<int64_t> after_sequence);
  void Violate(std::string what);

  void SettleSubmission(const std::string& request_id, Submission& submission);
  void JudgeUnresolved(const std::string& request_id, const v1::Prediction& prediction);
  void JudgeStreams();
  void JudgeTasks();
  std::vector<std::string> UnknownTasks() const;

  const CrashWorldOptions options_;
  const std::string address_;
  TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  std::unique_ptr<client::VideoClient> watching_client_;  // rides over every death on one channel
  std::unique_ptr<ChildProcess> server_;
  std::vector<std::thread> callers_;
  fakes::ShownUpdates shown_;  // by all watches

  mutable std::mutex mutex_;                       // guards what follows
  std::shared_ptr<v1::VideoService::Stub> stub_;   // of the server's present life
  std::vector<absl::Time> starts_;                 // of the server
  std::map<std::string, Submission> submissions_;  // by request_id
  std::vector<std::string> forgotten_tasks_;
  std::vector<Watched> watched_;  // to the end
  std::vector<std::string> violations_;
  CrashTotals totals_;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_CRASH_WORLD_H_
