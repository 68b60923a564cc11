#include "dreamgate/client/watch.h"

#include <algorithm>
#include <utility>

#include "client/cpp/src/watch_core.h"

namespace dreamgate::client {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kDefaultHeartbeat = std::chrono::seconds(15);
constexpr nanoseconds kShortestHeartbeat = std::chrono::seconds(5);
constexpr nanoseconds kLongestHeartbeat = std::chrono::seconds(25);
// The server ends the stream right after the terminal update; one that does not is cancelled.
constexpr nanoseconds kPatienceAfterTerminal = std::chrono::seconds(2);

bool IsTerminal(v1::PredictionState state) {
  switch (state) {
    case v1::PREDICTION_STATE_COMPLETED:
    case v1::PREDICTION_STATE_FAILED:
    case v1::PREDICTION_STATE_CANCELLED:
    case v1::PREDICTION_STATE_TIMED_OUT:
    case v1::PREDICTION_STATE_DELETED: return true;
    default: return false;
  }
}

nanoseconds ToChrono(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(std::clamp<int64_t>(duration.seconds(), 0, 3600)) +
         nanoseconds(std::clamp<int64_t>(duration.nanos(), 0, 999'999'999));
}

Environment::TimePoint AfterOrNever(Environment::TimePoint from, std::optional<nanoseconds> delay) {
  if (!delay.has_value() || *delay >= Environment::TimePoint::max() - from) {
    return Environment::TimePoint::max();
  }
  return from + *delay;
}

}  // namespace

Watch::Core::Core(std::shared_ptr<v1::VideoService::Stub> stub, ClientOptions client_options,
                  std::shared_ptr<Environment> environment, std::string prediction_id,
                  WatchOptions options)
    : stub_(std::move(stub)),
      client_options_(std::move(client_options)),
      environment_(std::move(environment)),
      prediction_id_(std::move(prediction_id)),
      options_(std::move(options)),
      deadline_(AfterOrNever(environment_->Now(), options_.timeout)),
      cursor_(options_.after_sequence),
      backoff_(options_.backoff),
      last_contact_(environment_->Now()),
      on_stop_(options_.stop, [this] { Cancel(); }) {}

std::optional<WatchEvent> Watch::Core::Next() {
  while (!ended_) {
    if (stream_ == nullptr) {
      if (!PauseBeforeAttempt()) break;
      OpenStream();
    }
    Happening happening = AwaitStream();
    std::optional<WatchEvent> event;
    if (auto* message = std::get_if<v1::WatchPredictionResponse>(&happening)) {
      event = OnMessage(std::move(*message));
    } else if (const auto* end = std::get_if<grpc::Status>(&happening)) {
      event = OnStreamEnd(*end);
    } else if (cursor_.at_terminal()) {
      End(grpc::Status::OK);  // all there is to see has been seen, however the stream goes on
    } else if (std::holds_alternative<Silence>(happening)) {
      event = OnStreamEnd({grpc::StatusCode::UNAVAILABLE, "the watch stream went silent"});
    } else if (std::holds_alternative<Cancelled>(happening)) {
      End({grpc::StatusCode::CANCELLED, "the watch was cancelled by its caller"});
    } else {
      End({grpc::StatusCode::DEADLINE_EXCEEDED, "the watch's own timeout has passed"});
    }
    if (event.has_value()) return event;
  }
  return std::nullopt;
}

void Watch::Core::Cancel() {
  const std::lock_guard lock(signal_->mutex);
  signal_->cancelled = true;
  signal_->changed.notify_all();
}

void Watch::Core::OpenStream() {
  v1::WatchPredictionRequest request;
  request.set_prediction_id(prediction_id_);
  if (cursor_.position().has_value()) request.set_after_sequence(*cursor_.position());
  if (options_.heartbeat_interval.has_value()) {
    const int64_t nanos = options_.heartbeat_interval->count();
    request.mutable_heartbeat_interval()->set_seconds(nanos / 1'000'000'000);
    request.mutable_heartbeat_interval()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  }
  cursor_.StreamOpened();
  stream_ = std::make_unique<WatchStream>(*stub_, client_options_, request, environment_, signal_);
}

Watch::Core::Happening Watch::Core::AwaitStream() {
  std::unique_lock lock(signal_->mutex);
  while (true) {
    if (signal_->cancelled) return Cancelled{};
    if (auto message = stream_->TakeLocked()) return *std::move(message);
    if (stream_->EndLocked().has_value()) return *stream_->EndLocked();
    const TimePoint silent_from = AfterOrNever(stream_->LastSignOfLifeLocked(), SilenceLimit());
    const TimePoint now = environment_->Now();
    if (now >= deadline_) return TimedOut{};
    if (now >= silent_from) return Silence{};
    environment_->WaitUntil(Environment::Wait::kForMessage, std::min(silent_from, deadline_), lock,
                            signal_->changed);
  }
}

bool Watch::Core::PauseBeforeAttempt() {
  bool cancelled = false;
  {
    std::unique_lock lock(signal_->mutex);
    const TimePoint until = std::min(next_attempt_.value_or(environment_->Now()), deadline_);
    while (!signal_->cancelled && environment_->Now() < until) {
      environment_->WaitUntil(Environment::Wait::kBeforeRetry, until, lock, signal_->changed);
    }
    cancelled = signal_->cancelled;
  }
  next_attempt_.reset();
  if (cancelled) {
    End({grpc::StatusCode::CANCELLED, "the watch was cancelled by its caller"});
  } else if (environment_->Now() >= deadline_) {
    End({grpc::StatusCode::DEADLINE_EXCEEDED, "the watch's own timeout has passed"});
  }
  return !ended_;
}

std::optional<WatchEvent> Watch::Core::OnMessage(v1::WatchPredictionResponse message) {
  if (cursor_.at_terminal()) return std::nullopt;
  last_contact_ = environment_->Now();
  switch (message.event_case()) {
    case v1::WatchPredictionResponse::kUpdate: {
      const std::optional<int64_t> before = cursor_.position();
      v1::Prediction& update = *message.mutable_update();
      switch (cursor_.UpdateArrived(update.sequence(), IsTerminal(update.state()))) {
        case WatchCursor::Arrival::kDeliver: Progress(); return std::move(update);
        case WatchCursor::Arrival::kDrop: return std::nullopt;
        case WatchCursor::Arrival::kGap:
          return OnContractBreach(
              {grpc::StatusCode::DATA_LOSS, "the server went from sequence " +
                                                std::to_string(before.value_or(0)) + " to " +
                                                std::to_string(update.sequence())});
      }
      return std::nullopt;
    }
    case v1::WatchPredictionResponse::kHeartbeat:
      cursor_.SignOfLife();
      backoff_.Reset();
      return std::move(*message.mutable_heartbeat());
    case v1::WatchPredictionResponse::kReconnect: {
      // The server asked for this, so it is no failure: its delay counts, and the backoff starts afresh.
      stream_.reset();
      backoff_.Reset();
      const nanoseconds delay = ToChrono(message.reconnect().retry_delay());
      next_attempt_ = environment_->Now() + delay;
      return Resumption{grpc::Status::OK, delay, cursor_.position(), false};
    }
    case v1::WatchPredictionResponse::EVENT_NOT_SET:
      cursor_.SignOfLife();  // from a newer server
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<WatchEvent> Watch::Core::OnStreamEnd(const grpc::Status& status) {
  switch (cursor_.StreamEnded(status)) {
    case WatchCursor::AfterEnd::kDone: End(grpc::Status::OK); return std::nullopt;
    case WatchCursor::AfterEnd::kResume: return ResumeLater(status, /*rewound=*/false);
    case WatchCursor::AfterEnd::kRestart: return ResumeLater(status, /*rewound=*/true);
    case WatchCursor::AfterEnd::kContractBroken:
      return OnContractBreach(
          {grpc::StatusCode::DATA_LOSS, "the server ended the watch before the terminal state"});
    case WatchCursor::AfterEnd::kGiveUp: break;
  }
  End(status);
  return std::nullopt;
}

std::optional<WatchEvent> Watch::Core::OnContractBreach(const grpc::Status& breach) {
  if (++breaches_ >= options_.max_contract_breaches) {
    End(breach);
    return std::nullopt;
  }
  return ResumeLater(breach, /*rewound=*/false);
}

std::optional<WatchEvent> Watch::Core::ResumeLater(const grpc::Status& cause, bool rewound) {
  const nanoseconds delay = backoff_.Next(environment_->Uniform(), Decode(cause).retry_after);
  const TimePoint next_attempt = AfterOrNever(environment_->Now(), delay);
  if (next_attempt > AfterOrNever(last_contact_, options_.give_up_after)) {
    End(cause);
    return std::nullopt;
  }
  stream_.reset();
  next_attempt_ = next_attempt;
  return Resumption{cause, delay, cursor_.position(), rewound};
}

void Watch::Core::Progress() {
  backoff_.Reset();
  breaches_ = 0;
}

void Watch::Core::End(grpc::Status status) {
  stream_.reset();
  ended_ = true;
  status_ = std::move(status);
}

nanoseconds Watch::Core::SilenceLimit() const {
  if (cursor_.at_terminal()) return kPatienceAfterTerminal;
  const nanoseconds interval = std::clamp(options_.heartbeat_interval.value_or(kDefaultHeartbeat),
                                          kShortestHeartbeat, kLongestHeartbeat);
  return interval * 5 / 2 + options_.heartbeat_slack;
}

Watch::Watch(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Watch::~Watch() = default;
Watch::Watch(Watch&&) noexcept = default;

std::optional<WatchEvent> Watch::Next() { return core_->Next(); }

std::optional<v1::Prediction> Watch::NextUpdate() {
  while (std::optional<WatchEvent> event = Next()) {
    if (auto* update = std::get_if<v1::Prediction>(&*event)) return std::move(*update);
  }
  return std::nullopt;
}

void Watch::Cancel() { core_->Cancel(); }

const grpc::Status& Watch::status() const { return core_->status(); }

std::optional<int64_t> Watch::last_sequence() const { return core_->last_sequence(); }

}  // namespace dreamgate::client
