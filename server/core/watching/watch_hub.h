// The watchers of each prediction. A watcher is a cursor over its prediction's short list of
// committed transitions; replay and live are one path. The hub learns of transitions from the
// ledger's outlet alone, in whatever state its own copy is: repeated ones are ignored, a gap is
// read again.
//
// Owned by Gateway, loop only. Memory: one feed per watched prediction, a few words per watcher, no
// timer per stream (heartbeats hang on a wheel that ticks once a second).
#ifndef DREAMGATE_SERVER_CORE_WATCHING_WATCH_HUB_H_
#define DREAMGATE_SERVER_CORE_WATCHING_WATCH_HUB_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

struct WatchRequest {
  std::string tenant;
  std::string prediction_id;
  std::optional<int64_t> after_sequence;             // >= 0
  std::optional<absl::Duration> heartbeat_interval;  // clamped to the options' bounds
};

// A watcher that waits for its feed to be read.
struct WatchNewcomer {
  std::shared_ptr<Watcher> watcher;
  std::optional<int64_t> after_sequence;
};

// One watched prediction.
class WatchFeed {
 public:
  PredictionKey key;
  uint64_t load = 0;  // number of the read under way, 0: none
  bool visible = false;
  std::shared_ptr<const TransitionLog> log;                // null until read
  std::vector<std::shared_ptr<const Prediction>> arrived;  // committed while loading
  std::vector<WatchNewcomer> newcomers;
  std::vector<std::shared_ptr<Watcher>> watchers;
  std::shared_ptr<const EncodedMessage> heartbeat;  // as of tick `heartbeat_tick`
  int64_t heartbeat_tick = -1;
};

class WatchHub final : public CommitObserver {
 public:
  // Borrows all three.
  WatchHub(const Ports& ports, const Options& options, Tracker& tracker);
  ~WatchHub() override;

  void Watch(const WatchRequest& request, std::shared_ptr<Watcher> watcher);
  void Unwatch(const std::shared_ptr<Watcher>& watcher);
  void Drain();

  void OnCommitted(const std::shared_ptr<const Prediction>& prediction) override;

  int64_t watchers() const { return watchers_; }
  int64_t WatchersOf(const PredictionKey& key) const;

 private:
  static constexpr size_t kWheelSlots = 32;  // seconds; more than heartbeat_max
  static constexpr uint32_t kNowhere = ~uint32_t{0};

  WatchFeed& FeedOf(const PredictionKey& key);
  void Load(WatchFeed& feed);
  void OnLoaded(const PredictionKey& key, uint64_t load, absl::StatusOr<StoredPrediction> stored);
  void Append(WatchFeed& feed, const std::shared_ptr<const Prediction>& prediction);
  // Tells the watchers of a longer log. The terminal transition releases them.
  void Deliver(WatchFeed& feed);
  // Begins to feed the newcomer; may leave the feed unused.
  void Admit(WatchFeed& feed, WatchNewcomer newcomer);
  void FailAll(WatchFeed& feed, const absl::Status& error);
  void DropIfUnused(const PredictionKey& key);
  // Takes the watcher off its feed and off the wheel.
  std::shared_ptr<Watcher> Detach(Watcher& watcher);

  void HangOnWheel(Watcher& watcher, int64_t seconds);
  void TakeOffWheel(Watcher& watcher);
  void StartTicking();
  void Tick();

  const Ports& ports_;
  const Options& options_;
  Tracker& tracker_;
  std::map<PredictionKey, std::unique_ptr<WatchFeed>> feeds_;
  uint64_t loads_ = 0;
  int64_t watchers_ = 0;
  std::array<std::vector<Watcher*>, kWheelSlots> wheel_;
  int64_t tick_ = 0;
  std::unique_ptr<Timers::Timer> ticker_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_WATCHING_WATCH_HUB_H_
