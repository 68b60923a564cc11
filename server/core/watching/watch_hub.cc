#include "server/core/watching/watch_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/invariant.h"

namespace dreamgate::core {
namespace {

absl::Status NotFound(const std::string& prediction_id) {
  return MakeError(Reason::kPredictionNotFound, "there is no such prediction",
                   {.resource_type = "dreamgate.v1.Prediction", .resource_name = prediction_id});
}

}  // namespace

WatchHub::WatchHub(const Ports& ports, const Options& options, Tracker& tracker)
    : ports_(ports), options_(options), tracker_(tracker) {}

WatchHub::~WatchHub() = default;

void WatchHub::Watch(const WatchRequest& request, std::shared_ptr<Watcher> watcher) {
  const absl::Duration heartbeat =
      std::clamp(request.heartbeat_interval.value_or(options_.heartbeat_default),
                 options_.heartbeat_min, options_.heartbeat_max);
  watcher->heartbeat_seconds_ = static_cast<uint32_t>(
      std::clamp<int64_t>(absl::ToInt64Seconds(absl::Ceil(heartbeat, absl::Seconds(1))), 1,
                          static_cast<int64_t>(kWheelSlots) - 1));
  watcher->wheel_slot_ = kNowhere;

  DREAMGATE_FAILPOINT("watch.subscribed");
  // Register first, read afterwards: no transition falls in between.
  WatchFeed& feed = FeedOf({request.tenant, request.prediction_id});
  WatchNewcomer newcomer{std::move(watcher), request.after_sequence};
  if (feed.log != nullptr && feed.load == 0) {
    Admit(feed, std::move(newcomer));
    DropIfUnused({request.tenant, request.prediction_id});
    return;
  }
  newcomer.watcher->feed_ = &feed;
  newcomer.watcher->feed_index_ = kNowhere;
  feed.newcomers.push_back(std::move(newcomer));
  if (feed.load == 0) Load(feed);
}

void WatchHub::Unwatch(const std::shared_ptr<Watcher>& watcher) {
  if (watcher->feed_ == nullptr) return;
  const PredictionKey key = watcher->feed_->key;
  Detach(*watcher);
  DropIfUnused(key);
}

void WatchHub::Drain() {
  for (auto& [key, feed] : feeds_) {
    for (WatchNewcomer& newcomer : feed->newcomers) {
      newcomer.watcher->feed_ = nullptr;
      newcomer.watcher->Leave(options_.reconnect_delay);
    }
    for (const std::shared_ptr<Watcher>& watcher : feed->watchers) {
      watcher->feed_ = nullptr;
      watcher->Leave(options_.reconnect_delay);
    }
  }
  for (auto& slot : wheel_) slot.clear();
  feeds_.clear();
  ticker_.reset();
  watchers_ = 0;
}

void WatchHub::OnCommitted(const std::shared_ptr<const Prediction>& prediction) {
  const auto found = feeds_.find(KeyOf(*prediction));
  if (found == feeds_.end()) return;
  WatchFeed& feed = *found->second;
  if (feed.load != 0) {
    feed.arrived.push_back(prediction);
    return;
  }
  const int64_t last = feed.log->back().sequence;
  if (prediction->sequence <= last) return;
  if (prediction->sequence > last + 1) {  // missed one: what is durable tells
    Load(feed);
    return;
  }
  Append(feed, prediction);
  DREAMGATE_FAILPOINT("watch.not_delivered");
  if (IsTerminal(prediction->state)) DREAMGATE_FAILPOINT("watch.terminal_not_delivered");
  Deliver(feed);
  DropIfUnused(found->first);
}

int64_t WatchHub::WatchersOf(const PredictionKey& key) const {
  const auto found = feeds_.find(key);
  return found == feeds_.end() ? 0 : static_cast<int64_t>(found->second->watchers.size());
}

WatchFeed& WatchHub::FeedOf(const PredictionKey& key) {
  std::unique_ptr<WatchFeed>& feed = feeds_[key];
  if (feed == nullptr) {
    feed = std::make_unique<WatchFeed>();
    feed->key = key;
  }
  return *feed;
}

void WatchHub::Load(WatchFeed& feed) {
  feed.load = ++loads_;
  tracker_.Read(LoadRequest{feed.key.first, feed.key.second},
                lifeline_.Guard([this, key = feed.key,
                                 load = feed.load](absl::StatusOr<StoredPrediction> stored) {
                  OnLoaded(key, load, std::move(stored));
                }));
}

void WatchHub::OnLoaded(const PredictionKey& key, uint64_t load,
                        absl::StatusOr<StoredPrediction> stored) {
  const auto found = feeds_.find(key);
  if (found == feeds_.end()) return;
  WatchFeed& feed = *found->second;
  if (feed.load != load) return;  // asked for a feed that has been dropped and made anew since
  feed.load = 0;

  if (!stored.ok() || stored->transitions.empty()) {
    const absl::Status error =
        absl::IsNotFound(stored.status()) || stored.ok() ? NotFound(key.second) : stored.status();
    FailAll(feed, error);
    return;
  }
  const int64_t known = feed.log == nullptr ? 0 : feed.log->back().sequence;
  Prediction prediction = std::move(stored->initial);
  for (const Transition& transition : stored->transitions) {
    prediction = Apply(std::move(prediction), transition);
    if (prediction.sequence > known) {
      Append(feed, std::make_shared<const Prediction>(prediction));
    }
  }
  bool missed_one = false;
  for (const auto& arrived : std::exchange(feed.arrived, {})) {
    const int64_t next = feed.log->back().sequence + 1;
    if (arrived->sequence == next) Append(feed, arrived);
    missed_one = arrived->sequence > next;
  }
  if (!feed.visible && !tracker_.IsShown(prediction)) {
    FailAll(feed, NotFound(key.second));
    return;
  }
  if (!feed.watchers.empty() && feed.log->back().sequence > known) Deliver(feed);
  if (missed_one) {
    Load(feed);
    return;
  }
  for (WatchNewcomer& newcomer : std::exchange(feed.newcomers, {})) {
    newcomer.watcher->feed_ = nullptr;
    Admit(feed, std::move(newcomer));
  }
  DropIfUnused(key);
}

// Copies the list: it holds a handful of entries, and streams on other threads read the old one.
void WatchHub::Append(WatchFeed& feed, const std::shared_ptr<const Prediction>& prediction) {
  auto longer = feed.log == nullptr ? std::make_shared<TransitionLog>()
                                    : std::make_shared<TransitionLog>(*feed.log);
  DREAMGATE_INVARIANT(longer->empty() || prediction->sequence == longer->back().sequence + 1,
                      "a log has no gap and no repetition");
  longer->push_back(
      {prediction->sequence, IsTerminal(prediction->state), ports_.sink.EncodeUpdate(*prediction)});
  feed.log = std::move(longer);
  feed.visible = IsVisible(*prediction);
}

void WatchHub::Deliver(WatchFeed& feed) {
  ports_.sink.Deliver(feed.log, feed.watchers);
  if (!feed.log->back().terminal) return;
  // The streams end by themselves once they have written the terminal update.
  while (!feed.watchers.empty()) Detach(*feed.watchers.back());
}

void WatchHub::Admit(WatchFeed& feed, WatchNewcomer newcomer) {
  const TransitionLog& log = *feed.log;
  const int64_t last = log.back().sequence;
  size_t cursor = log.size() - 1;  // the current state, then what follows
  if (newcomer.after_sequence) {
    if (*newcomer.after_sequence > last) {
      newcomer.watcher->Fail(MakeError(
          Reason::kSequenceOutOfRange,
          absl::StrCat("after_sequence ", *newcomer.after_sequence,
                       " lies in the future of this prediction; watch without a position"),
          {.metadata = {{"first_sequence", "0"}, {"last_sequence", absl::StrCat(last)}}}));
      return;
    }
    cursor = 0;
    while (cursor < log.size() && log[cursor].sequence <= *newcomer.after_sequence) ++cursor;
  }
  DREAMGATE_INVARIANT(cursor <= log.size(), "a cursor is within its log");
  newcomer.watcher->Begin(feed.log, cursor);
  if (log.back().terminal) return;
  Watcher& watcher = *newcomer.watcher;
  watcher.feed_ = &feed;
  watcher.feed_index_ = static_cast<uint32_t>(feed.watchers.size());
  feed.watchers.push_back(std::move(newcomer.watcher));
  ++watchers_;
  if (feed.watchers.size() == 1) tracker_.SetWatched(feed.key, true);
  // The first heartbeat at a random second of the interval, so that streams
  // opened together beat apart.
  HangOnWheel(watcher, 1 + static_cast<int64_t>(ports_.random.Draw() % watcher.heartbeat_seconds_));
  StartTicking();
}

void WatchHub::FailAll(WatchFeed& feed, const absl::Status& error) {
  for (WatchNewcomer& newcomer : std::exchange(feed.newcomers, {})) {
    newcomer.watcher->feed_ = nullptr;
    newcomer.watcher->Fail(error);
  }
  while (!feed.watchers.empty()) Detach(*feed.watchers.back())->Fail(error);
  feeds_.erase(PredictionKey(feed.key));
}

void WatchHub::DropIfUnused(const PredictionKey& key) {
  const auto found = feeds_.find(key);
  if (found == feeds_.end()) return;
  if (found->second->watchers.empty() && found->second->newcomers.empty()) feeds_.erase(found);
}

std::shared_ptr<Watcher> WatchHub::Detach(Watcher& watcher) {
  WatchFeed& feed = *watcher.feed_;
  watcher.feed_ = nullptr;
  std::shared_ptr<Watcher> detached;
  if (watcher.feed_index_ == kNowhere) {  // still waiting for its feed to be read
    const auto newcomer = std::find_if(
        feed.newcomers.begin(), feed.newcomers.end(),
        [&watcher](const WatchNewcomer& waiting) { return waiting.watcher.get() == &watcher; });
    detached = std::move(newcomer->watcher);
    feed.newcomers.erase(newcomer);
    return detached;
  }
  TakeOffWheel(watcher);
  --watchers_;
  DREAMGATE_INVARIANT(watchers_ >= 0, "watchers are counted");
  std::shared_ptr<Watcher>& place = feed.watchers[watcher.feed_index_];
  DREAMGATE_INVARIANT(place.get() == &watcher, "a watcher is where it says");
  detached = std::move(place);
  if (&place != &feed.watchers.back()) {
    place = std::move(feed.watchers.back());
    place->feed_index_ = watcher.feed_index_;
  }
  feed.watchers.pop_back();
  if (feed.watchers.empty()) tracker_.SetWatched(feed.key, false);
  return detached;
}

// ------------------------------------------------------------------------------------- heartbeats

void WatchHub::HangOnWheel(Watcher& watcher, int64_t seconds) {
  watcher.wheel_slot_ =
      static_cast<uint32_t>((tick_ + seconds) % static_cast<int64_t>(kWheelSlots));
  std::vector<Watcher*>& slot = wheel_[watcher.wheel_slot_];
  watcher.wheel_index_ = static_cast<uint32_t>(slot.size());
  slot.push_back(&watcher);
}

void WatchHub::TakeOffWheel(Watcher& watcher) {
  if (watcher.wheel_slot_ == kNowhere) return;
  std::vector<Watcher*>& slot = wheel_[watcher.wheel_slot_];
  DREAMGATE_INVARIANT(slot[watcher.wheel_index_] == &watcher, "a heartbeat is where it says");
  slot[watcher.wheel_index_] = slot.back();
  slot[watcher.wheel_index_]->wheel_index_ = watcher.wheel_index_;
  slot.pop_back();
  watcher.wheel_slot_ = kNowhere;
}

void WatchHub::StartTicking() {
  if (ticker_ != nullptr) return;
  ticker_ = ports_.timers.After(absl::Seconds(1), [this] {
    ticker_.reset();
    Tick();
  });
}

void WatchHub::Tick() {
  ++tick_;
  for (Watcher* watcher : std::exchange(wheel_[static_cast<size_t>(tick_) % kWheelSlots], {})) {
    WatchFeed& feed = *watcher->feed_;
    if (feed.heartbeat_tick != tick_) {
      feed.heartbeat = ports_.sink.EncodeHeartbeat(tracker_.HeartbeatFor(feed.key));
      feed.heartbeat_tick = tick_;
    }
    watcher->Beat(feed.heartbeat);
    HangOnWheel(*watcher, watcher->heartbeat_seconds_);
  }
  if (watchers_ > 0) StartTicking();
}

}  // namespace dreamgate::core
