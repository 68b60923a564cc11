// The real server between the simulated WaveSpeed in this process and a crowd of watchers, and all that
// can go wrong on both sides of it. Plays one scene after the other: videos are submitted, watched to
// their end by every watcher, and judged. Owned by fault_run; one thread.
#ifndef DREAMGATE_TESTS_E2E_FAULT_WORLD_H_
#define DREAMGATE_TESTS_E2E_FAULT_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/e2e/deployment.h"
#include "tests/e2e/tcp_proxy.h"
#include "tests/e2e/watch_crowd.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::e2e {

// How long everything takes.
struct Pace {
  absl::Duration created_for;     // at least; at most three times as long
  absl::Duration processing_for;  // likewise
  absl::Duration cut_interval;    // between two cuts of some connections
  absl::Duration restart_after;   // from the crowd's coming
  absl::Duration late_webhook;
  absl::Duration stall;
  absl::Duration longest_deadline;
  absl::Duration outage;    // how long the faults of a scene last
  bool awaits_stall_timer;  // before the callers of streams that are not read give up on them
  absl::Duration patience;  // for the end of a scene
  int silent_percent;       // of the videos end so that upstream never calls back
  // A webhook comes a moment after the end, and sometimes a poll is there before it: the longer videos
  // take, the rarer.
  double most_gets_with_webhooks;
  std::vector<std::string> server_arguments;
};

// Videos of some 15 s; the server must let go of the streams that are not read.
Pace LongPace();
// Videos of under a second.
Pace ShortPace();

struct FaultWorldOptions {
  Pace pace;
  uint64_t predictions = 100;  // in every scene
  double fail_percent = 50;    // of the polls of a task
  int stalled_percent = 5;     // of the watchers stop reading, half of them for ever
};

// The result of one scene.
struct SceneReport {
  WatchCrowdTotals watched;
  double gets_per_video = 0;
  uint64_t tasks = 0;
  uint64_t duplicates = 0;
  uint64_t wrong = 0;  // transitions lost, repeated or reordered
  absl::Duration took;
  std::vector<std::string> violations;
};

struct SceneOptions {
  std::string name;
  int watchers = 1;
  bool crowded = true;  // watchers do all they can; otherwise they only watch
  bool faults = true;
  bool restart = false;
  uint64_t seed = 1;
};

class FaultWorld {
 public:
  explicit FaultWorld(const FaultWorldOptions& options);
  FaultWorld(const FaultWorld&) = delete;
  FaultWorld& operator=(const FaultWorld&) = delete;

  // From the submissions to the verdict.
  SceneReport Play(const SceneOptions& options);
  int64_t ServerMemory() const;  // resident, in bytes
  // Videos that end with webhooks, until the server relies on them.
  void EarnTrust();
  // More predictions than the server remembers, so that its memory of them does not look like growth.
  void FillMemory();
  // Connections broken so far.
  uint64_t cuts() const { return proxy_.cuts(); }
  const Pace& pace() const { return options_.pace; }

 private:
  struct Submission {
    std::string prompt;
    std::optional<v1::Prediction> prediction;  // unset: there was no answer
  };

  void StartServer();
  void RestartServer(int signal);
  std::unique_ptr<v1::VideoService::Stub> CalmStub() const;
  // The prompts of a scene; upstream knows what will become of each.
  std::vector<std::string> Prepare(const SceneOptions& options);
  std::vector<Submission> SubmitAll(const std::vector<std::string>& prompts);
  std::optional<v1::Prediction> SubmitOne(v1::VideoService::Stub& stub, const std::string& prompt);
  void MakeQuickVideos(size_t count);
  void Disturb(WatchCrowd& crowd, const SceneOptions& options,
               const std::vector<Submission>& submissions);
  void EndOutage(const std::vector<Submission>& submissions);
  void AwaitStalled(WatchCrowd& crowd, SceneReport& report);
  void Judge(WatchCrowd& crowd, const std::vector<Submission>& submissions, SceneReport& report);

  const FaultWorldOptions options_;
  TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  TcpProxy proxy_;
  TcpProxy calm_proxy_;
  std::unique_ptr<Server> server_;
  int restarts_ = 0;
  uint64_t quick_videos_ = 0;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_FAULT_WORLD_H_
