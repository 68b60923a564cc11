#include "tests/e2e/watch_crowd.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/core/prediction.h"
#include "tests/api/seen_update.h"
#include "tests/e2e/deployment.h"
#include "tests/fakes/watch_validator.h"

namespace dreamgate::e2e {
namespace {

constexpr size_t kMostViolations = 200;  // the first ones tell
// Less than one update: a stream that is not read blocks its writer at once.
constexpr int kTinyWindow = 1024;
constexpr int kWatchersPerTinyConnection = 50;
constexpr int kHeartbeatSeconds = 5;  // the stall timer is checked with every heartbeat

// A small generator of its own for each of many watchers.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t Draw() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  int Below(int bound) { return static_cast<int>(Draw() % static_cast<uint64_t>(bound)); }
  bool Percent(int percent) { return Below(100) < percent; }
  absl::Duration UpTo(absl::Duration most) { return most * Below(1000) / 1000; }

 private:
  uint64_t state_;
};

std::unique_ptr<v1::VideoService::Stub> NewStub(int port, bool tiny_window) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
  if (tiny_window) {
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kTinyWindow);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  }
  return v1::VideoService::NewStub(NewChannel(absl::StrCat("127.0.0.1:", port), arguments));
}

std::string Name(std::optional<int64_t> after_sequence) {
  return after_sequence ? absl::StrCat("after ", *after_sequence) : "from the current state";
}

std::string Name(const std::vector<fakes::SeenUpdate>& seen) {
  if (seen.empty()) return "nothing";
  std::string text;
  for (const fakes::SeenUpdate& update : seen) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", update.sequence, " ",
                    core::StateName(update.state));
  }
  return text;
}

std::string Name(const grpc::Status& status) {
  return absl::StrCat("status ", static_cast<int>(status.error_code()), " \"",
                      status.error_message(), "\"");
}

}  // namespace

void WatchCrowdTotals::Add(const WatchCrowdTotals& other) {
  streams += other.streams;
  updates += other.updates;
  heartbeats += other.heartbeats;
  cancelled += other.cancelled;
  deadlines += other.deadlines;
  broken += other.broken;
  sent_away += other.sent_away;
  refused += other.refused;
  let_go_unread += other.let_go_unread;
}

// One prediction and what anybody has seen of it.
struct WatchCrowd::Scene {
  v1::Prediction submitted;
  fakes::ShownUpdates shown;
};

// One who wants to see a prediction end, over as many streams as that takes.
class WatchCrowd::Watcher {
 public:
  enum class Character { kOrdinary, kStallsForATime, kStallsForEver };

  Watcher(WatchCrowd& crowd, Scene& scene, int number, uint64_t seed)
      : crowd_(crowd),
        scene_(scene),
        number_(number),
        dice_(seed),
        highest_(scene.submitted.sequence()) {
    if (dice_.Percent(crowd.options_.stalled_percent)) {
      character_ = dice_.Percent(50) ? Character::kStallsForEver : Character::kStallsForATime;
    }
    if (crowd.options_.restless) disturbances_ = dice_.Below(5);
  }

  bool stalls_for_ever() const { return character_ == Character::kStallsForEver; }
  void Open();
  void CancelStream(bool only_if_stalled);
  // Empty: it has seen the end.
  std::string Waiting();
  // The last sequence, once the end has been seen.
  std::optional<int64_t> end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_ ? std::optional<int64_t>(highest_) : std::nullopt;
  }
  const Scene& scene() const { return scene_; }

 private:
  class Stream;

  std::optional<int64_t> ChoosePosition();
  void OnUpdate(Stream& stream);
  void OnStreamDone(Stream& stream, const grpc::Status& status);
  void JudgeEnd(Stream& stream, const grpc::Status& status);
  void Blame(const Stream& stream, const std::string& what);
  std::string Describe() const;

  WatchCrowd& crowd_;
  Scene& scene_;
  const int number_;
  std::mutex mutex_;  // guards what follows; Scene's and the crowd's come after it
  Dice dice_;
  Character character_ = Character::kOrdinary;
  int disturbances_ = 0;  // still to come
  int64_t highest_;       // sequence seen, in the submission's answer or on any stream
  int streams_ = 0;
  bool done_ = false;
  Stream* stream_ = nullptr;  // the open one
};

// Deletes itself when the RPC is done.
class WatchCrowd::Watcher::Stream final
    : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  // The faults on the caller's side.
  struct Plan {
    int cancel_after = -1;  // messages; -1: never
    int stall_after = -1;   // messages
    bool stall_for_ever = false;
    std::optional<absl::Duration> deadline;
    absl::Duration pause;  // before every read
  };

  Stream(Watcher& watcher, int number, std::optional<int64_t> after_sequence, const Plan& plan)
      : watcher_(watcher),
        number_(number),
        after_sequence_(after_sequence),
        plan_(plan),
        validator_(after_sequence) {
    request_.set_prediction_id(watcher.scene_.submitted.id());
    validator_.CompareWith(watcher.scene_.shown, watcher.scene_.submitted.id());
    if (after_sequence) request_.set_after_sequence(*after_sequence);
    request_.mutable_heartbeat_interval()->set_seconds(kHeartbeatSeconds);
    context_.set_wait_for_ready(true);
    if (plan.deadline) context_.set_deadline(absl::ToChronoTime(absl::Now() + *plan.deadline));
  }

  void Start(v1::VideoService::Stub& stub) {
    stub.async()->WatchPrediction(&context_, &request_, this);
    AddHold();  // so that it is there until it has been started whole
    ReadOn();
    StartCall();
    RemoveHold();
  }

  void Cancel() {
    cancelled_ = true;
    context_.TryCancel();
  }

  bool cancelled() const { return cancelled_; }
  bool has_deadline() const { return plan_.deadline.has_value(); }
  bool stalled_for_ever() const { return stalled_for_ever_; }
  bool sent_away() const { return sent_away_; }
  absl::Duration age() const { return absl::Now() - start_; }
  int number() const { return number_; }
  std::optional<int64_t> after_sequence() const { return after_sequence_; }
  const v1::Prediction& update() const { return response_.update(); }
  fakes::WatchValidator& validator() { return validator_; }
  const fakes::WatchValidator& validator() const { return validator_; }
  uint64_t heartbeats() const { return heartbeats_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    ++messages_;
    if (response_.has_update()) {
      watcher_.OnUpdate(*this);
    } else if (response_.has_heartbeat()) {
      ++heartbeats_;
    } else {
      sent_away_ = true;
    }
    ReadOn();
  }

  void ReadOn() {
    if (messages_ == plan_.cancel_after) Cancel();
    absl::Duration pause = plan_.pause;
    if (messages_ == plan_.stall_after) {
      if (plan_.stall_for_ever) {
        stalled_for_ever_ = true;
        return;
      }
      pause = watcher_.crowd_.options_.stall;
    }
    if (pause == absl::ZeroDuration()) return StartRead(&response_);
    AddHold();
    watcher_.crowd_.At(absl::Now() + pause, [this] {
      StartRead(&response_);
      RemoveHold();
    });
  }

  void OnDone(const grpc::Status& status) override {
    watcher_.OnStreamDone(*this, status);
    delete this;
  }

  Watcher& watcher_;
  const int number_;
  const std::optional<int64_t> after_sequence_;
  const Plan plan_;
  const absl::Time start_ = absl::Now();
  grpc::ClientContext context_;
  v1::WatchPredictionRequest request_;
  v1::WatchPredictionResponse response_;
  fakes::WatchValidator validator_;
  int messages_ = 0;
  uint64_t heartbeats_ = 0;
  bool sent_away_ = false;
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> stalled_for_ever_ = false;
};

std::optional<int64_t> WatchCrowd::Watcher::ChoosePosition() {
  const int way = dice_.Below(100);
  if (way < 15) return 0;
  if (way < 30) return std::nullopt;
  return highest_;
}

void WatchCrowd::Watcher::Open() {
  const std::lock_guard<std::mutex> lock(mutex_);
  {
    const std::lock_guard<std::mutex> crowd_lock(crowd_.mutex_);
    if (crowd_.stopping_) return;
    ++crowd_.open_streams_;
    ++crowd_.totals_.streams;
  }
  Stream::Plan plan;
  const bool stalls = character_ != Character::kOrdinary && streams_ == 0;
  if (stalls) {
    plan.stall_after = dice_.Below(3);
    plan.stall_for_ever = stalls_for_ever();
  } else if (disturbances_ > 0) {
    --disturbances_;
    const int way = dice_.Below(100);
    if (way < 40) {
      plan.cancel_after = dice_.Below(4);
    } else if (way < 60) {
      plan.deadline = absl::Milliseconds(20) + dice_.UpTo(crowd_.options_.longest_deadline);
    } else if (way < 75) {
      plan.pause = absl::Milliseconds(1) + dice_.UpTo(crowd_.options_.pause);
    }
  }
  stream_ = new Stream(*this, ++streams_, ChoosePosition(), plan);
  stream_->Start(stalls ? crowd_.CalmStub(dice_.Draw()) : crowd_.Stub(dice_.Draw()));
}

void WatchCrowd::Watcher::CancelStream(bool only_if_stalled) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stream_ == nullptr || (only_if_stalled && !stream_->stalled_for_ever())) return;
  stream_->Cancel();
}

void WatchCrowd::Watcher::OnUpdate(Stream& stream) {
  const int64_t sequence = stream.update().sequence();
  stream.validator().OnUpdate(api::Seen(stream.update()));
  const std::lock_guard<std::mutex> lock(mutex_);
  highest_ = std::max(highest_, sequence);
}

void WatchCrowd::Watcher::OnStreamDone(Stream& stream, const grpc::Status& status) {
  stream.validator().OnEnd(status.ok());
  for (const std::string& violation : stream.validator().violations()) Blame(stream, violation);
  absl::Duration delay;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stream_ = nullptr;
    JudgeEnd(stream, status);
    done_ = status.ok();
    delay = stream.cancelled() ? dice_.UpTo(absl::Milliseconds(20))
                               : absl::Milliseconds(20) + dice_.UpTo(absl::Milliseconds(300));
  }
  const bool stays = !status.ok();
  const std::lock_guard<std::mutex> lock(crowd_.mutex_);
  crowd_.totals_.updates += stream.validator().seen().size();
  crowd_.totals_.heartbeats += stream.heartbeats();
  if (stalls_for_ever() && stream.number() == 1) --crowd_.stalled_;
  if (stays && !crowd_.stopping_) {
    crowd_.actions_.emplace(absl::Now() + delay, [this] { Open(); });
    crowd_.due_.notify_one();
  }
  if (!stays) ++crowd_.done_;
  --crowd_.open_streams_;
  crowd_.changed_.notify_all();
}

// Whether the stream may have ended so.
void WatchCrowd::Watcher::JudgeEnd(Stream& stream, const grpc::Status& status) {
  uint64_t WatchCrowdTotals::*way = nullptr;
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return;
    case grpc::StatusCode::CANCELLED:
      if (stream.stalled_for_ever() && (crowd_.server_has_let_go_ || !stream.cancelled())) {
        way = &WatchCrowdTotals::let_go_unread;
      } else {
        way = stream.cancelled() ? &WatchCrowdTotals::cancelled : &WatchCrowdTotals::broken;
      }
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (stream.has_deadline()) way = &WatchCrowdTotals::deadlines;
      break;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
      // An INTERNAL with details is ours, and a defect.
      if (status.error_code() == grpc::StatusCode::INTERNAL && !status.error_details().empty()) {
        break;
      }
      way = stream.sent_away() ? &WatchCrowdTotals::sent_away : &WatchCrowdTotals::broken;
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: way = &WatchCrowdTotals::refused; break;
    default: break;
  }
  if (way == nullptr) return Blame(stream, absl::StrCat("ended with ", Name(status)));
  const std::lock_guard<std::mutex> lock(crowd_.mutex_);
  ++(crowd_.totals_.*way);
}

void WatchCrowd::Watcher::Blame(const Stream& stream, const std::string& what) {
  crowd_.Violate(absl::StrCat(Describe(), " on stream ", stream.number(), " ",
                              Name(stream.after_sequence()), ": ", what, "; the stream has shown ",
                              Name(stream.validator().seen())));
}

std::string WatchCrowd::Watcher::Describe() const {
  return absl::StrCat("prediction ", scene_.submitted.id(), ", watcher ", number_);
}

std::string WatchCrowd::Watcher::Waiting() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (done_) return "";
  return absl::StrCat(
      Describe(), ": has not seen the end, the last was ", highest_,
      stream_ == nullptr ? absl::StrCat("; between streams ", streams_, " and ", streams_ + 1)
                         : absl::StrCat("; stream ", streams_, " ", Name(stream_->after_sequence()),
                                        " is open since ", absl::FormatDuration(stream_->age()),
                                        stream_->stalled_for_ever() ? " and not read" : ""));
}

// ------------------------------------------------------------------------------------------- crowd

WatchCrowd::WatchCrowd(const WatchCrowdOptions& options,
                       const std::vector<v1::Prediction>& predictions)
    : options_(options) {
  for (int i = 0; i < options.connections; ++i) stubs_.push_back(NewStub(options.port, false));
  const int stalling = options.watchers * options.stalled_percent / 100;
  for (int i = 0; i <= stalling / kWatchersPerTinyConnection; ++i) {
    calm_stubs_.push_back(NewStub(options.calm_port, true));
  }
  for (const v1::Prediction& prediction : predictions) {
    scenes_.push_back(std::make_unique<Scene>());
    scenes_.back()->submitted = prediction;
  }
  Dice dice(options.seed);
  for (int i = 0; i < options.watchers; ++i) {
    Scene& scene = *scenes_[static_cast<size_t>(i) % scenes_.size()];
    watchers_.push_back(std::make_unique<Watcher>(*this, scene, i, dice.Draw()));
    if (watchers_.back()->stalls_for_ever()) ++stalled_;
  }
  thread_ = std::thread([this] { RunActions(); });
  for (const auto& watcher : watchers_) {
    At(absl::Now(), [&opening = *watcher] { opening.Open(); });
  }
}

WatchCrowd::~WatchCrowd() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    due_.notify_one();
  }
  for (const auto& watcher : watchers_) watcher->CancelStream(/*only_if_stalled=*/false);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return open_streams_ == 0; });
  }
  thread_.join();
}

bool WatchCrowd::WaitForOthers(absl::Duration timeout) {
  return WaitUntil(timeout, [this] { return done_ + stalled_ >= options_.watchers; });
}

bool WatchCrowd::WaitForAll(absl::Duration timeout) {
  return WaitUntil(timeout, [this] { return done_ == options_.watchers; });
}

bool WatchCrowd::WaitUntil(absl::Duration timeout, const std::function<bool()>& condition) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), condition);
}

void WatchCrowd::StopStalling(bool server_has_let_go) {
  server_has_let_go_ = server_has_let_go;
  for (const auto& watcher : watchers_) watcher->CancelStream(/*only_if_stalled=*/true);
}

void WatchCrowd::AccuseTheWaiting() {
  for (const auto& watcher : watchers_) {
    if (std::string waiting = watcher->Waiting(); !waiting.empty())
      AddViolation(std::move(waiting));
  }
}

void WatchCrowd::Compare(const v1::Prediction& prediction) {
  for (const auto& scene : scenes_) {
    if (scene->submitted.id() != prediction.id()) continue;
    for (const std::string& missing : scene->shown.MissingFrom(api::Seen(prediction))) {
      Violate(absl::StrCat("prediction ", prediction.id(), ": ", missing));
    }
  }
  for (const auto& watcher : watchers_) {
    if (watcher->scene().submitted.id() != prediction.id()) continue;
    const std::optional<int64_t> end = watcher->end();
    if (end && *end != prediction.sequence()) {
      Violate(absl::StrCat("prediction ", prediction.id(), ": a watcher ended with OK at ", *end,
                           " of ", prediction.sequence()));
    }
  }
}

WatchCrowdTotals WatchCrowd::totals() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return totals_;
}

std::vector<std::string> WatchCrowd::violations() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return violations_;
}

uint64_t WatchCrowd::broken_guarantees() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return broken_guarantees_;
}

void WatchCrowd::Violate(std::string what) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++broken_guarantees_;
  }
  AddViolation(std::move(what));
}

void WatchCrowd::AddViolation(std::string what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (violations_.size() < kMostViolations) violations_.push_back(std::move(what));
}

v1::VideoService::Stub& WatchCrowd::Stub(uint64_t choice) const {
  return *stubs_[choice % stubs_.size()];
}

v1::VideoService::Stub& WatchCrowd::CalmStub(uint64_t choice) const {
  return *calm_stubs_[choice % calm_stubs_.size()];
}

void WatchCrowd::At(absl::Time time, std::function<void()> action) {
  const std::lock_guard<std::mutex> lock(mutex_);
  actions_.emplace(time, std::move(action));
  due_.notify_one();
}

// When the crowd stops, all is due at once: a stream that pauses waits for its action.
void WatchCrowd::RunActions() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (actions_.empty()) {
      if (stopping_ && open_streams_ == 0) return;
      due_.wait_for(lock, std::chrono::milliseconds(100));
      continue;
    }
    const auto first = actions_.begin();
    if (!stopping_ && first->first > absl::Now()) {
      due_.wait_until(lock, absl::ToChronoTime(first->first));
      continue;
    }
    const std::function<void()> action = std::move(first->second);
    actions_.erase(first);
    lock.unlock();
    action();
    lock.lock();
  }
}

}  // namespace dreamgate::e2e
