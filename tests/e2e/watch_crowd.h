// Thousands of watchers on real channels that do everything a bad network and careless callers do:
// they cancel, let deadlines pass, lose connections, read slowly, stop reading, and come back at a
// position of their own or none. Every stream goes through the watch validator, and everything that
// one watcher sees on all its streams, and that all watchers of a prediction see, must agree.
//
// Owned by a test. One thread makes it and waits; gRPC's threads and one for what is due later enter it.
#ifndef DREAMGATE_TESTS_E2E_WATCH_CROWD_H_
#define DREAMGATE_TESTS_E2E_WATCH_CROWD_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::e2e {

struct WatchCrowdOptions {
  int watchers = 1;
  int connections = 1;
  uint64_t seed = 1;
  // Ports of two ways to the server. Streams that shall stall for ever take the calm one, so that
  // nothing but the server ends them.
  int port = 0;
  int calm_port = 0;
  // Whether watchers cancel, let deadlines pass and read slowly at all.
  bool restless = true;
  // Of the watchers: half of these stop reading for ever, half for `stall`.
  int stalled_percent = 0;
  absl::Duration stall = absl::Seconds(5);
  absl::Duration pause = absl::Milliseconds(200);       // the longest of a slow reader
  absl::Duration longest_deadline = absl::Seconds(10);  // of those that let it pass
};

struct WatchCrowdTotals {
  uint64_t streams = 0;
  uint64_t updates = 0;
  uint64_t heartbeats = 0;
  // How streams ended. The rest: with OK.
  uint64_t cancelled = 0;      // by their watcher
  uint64_t deadlines = 0;      // of their watcher
  uint64_t broken = 0;         // UNAVAILABLE and what else a connection dies of
  uint64_t sent_away = 0;      // with `reconnect`, by a server that leaves
  uint64_t refused = 0;        // RESOURCE_EXHAUSTED
  uint64_t let_go_unread = 0;  // by the server, with its stall timer at the latest

  void Add(const WatchCrowdTotals& other);
};

class WatchCrowd {
 public:
  // `predictions` as they were when they were submitted; watched by equally many each.
  WatchCrowd(const WatchCrowdOptions& options, const std::vector<v1::Prediction>& predictions);
  ~WatchCrowd();  // cancels what is left
  WatchCrowd(const WatchCrowd&) = delete;
  WatchCrowd& operator=(const WatchCrowd&) = delete;

  // True: every watcher has seen the end, but for those that are stalled for ever.
  bool WaitForOthers(absl::Duration timeout);
  // True: those, too, after they had given up on their stalled stream and resumed.
  bool WaitForAll(absl::Duration timeout);
  // The callers of streams that are stalled for ever give up on them and watch again.
  // `server_has_let_go`: it does not hold these streams any more, which their callers cannot notice.
  void StopStalling(bool server_has_let_go);
  // Everyone who has not seen the end, and what each has seen: a violation each.
  void AccuseTheWaiting();

  // Whether what the watchers have seen is what `prediction`, as of now, says has happened.
  void Compare(const v1::Prediction& prediction);

  WatchCrowdTotals totals() const;
  std::vector<std::string> violations() const;  // the first ones
  // How many times what was shown broke a guarantee. Not counted: who still waits for the end.
  uint64_t broken_guarantees() const;

 private:
  class Watcher;
  struct Scene;

  void At(absl::Time time, std::function<void()> action);
  void RunActions();
  void Violate(std::string what);       // of the guarantees
  void AddViolation(std::string what);  // of whatever is asked
  v1::VideoService::Stub& Stub(uint64_t choice) const;
  v1::VideoService::Stub& CalmStub(uint64_t choice) const;
  bool WaitUntil(absl::Duration timeout, const std::function<bool()>& condition);

  const WatchCrowdOptions options_;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs_;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> calm_stubs_;
  std::vector<std::unique_ptr<Scene>> scenes_;  // one a prediction
  std::vector<std::unique_ptr<Watcher>> watchers_;

  mutable std::mutex mutex_;  // guards what follows; a leaf
  std::condition_variable changed_;
  std::multimap<absl::Time, std::function<void()>> actions_;
  std::condition_variable due_;
  bool stopping_ = false;
  int open_streams_ = 0;
  int done_ = 0;
  int stalled_ = 0;
  WatchCrowdTotals totals_;
  std::vector<std::string> violations_;
  uint64_t broken_guarantees_ = 0;

  std::atomic<bool> server_has_let_go_ = false;
  std::thread thread_;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_WATCH_CROWD_H_
