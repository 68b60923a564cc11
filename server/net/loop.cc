#include "server/net/loop.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "server/net/loop_asio.h"

namespace dreamgate::net {

namespace asio = boost::asio;
using Work = absl::AnyInvocable<void() &&>;

// Shared with the timers, so that one which outlives the Loop still finds its io_context.
struct Loop::State {
  // The hint says that one thread runs it; posting from other threads stays safe.
  asio::io_context context{1};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> keep_running{
      context.get_executor()};
  std::thread thread;

  // Not absl::Mutex: packaged Abseil is not compiled for ThreadSanitizer, which then sees no order
  // between the threads that meet here.
  std::mutex mutex;
  std::vector<Work> posted;  // guarded by mutex
  bool closed = false;       // guarded by mutex
};

namespace {

class AsioTimer : public LoopTimer {
 public:
  AsioTimer(std::shared_ptr<void> context_owner, asio::io_context& context, absl::Duration delay,
            Work callback)
      : pending_(
            std::make_shared<Pending>(std::move(context_owner), context, std::move(callback))) {
    // Far deadlines overflow the clock; a year is never.
    delay = std::clamp(delay, absl::ZeroDuration(), absl::Hours(24 * 365));
    pending_->timer.expires_after(absl::ToChronoNanoseconds(delay));
    // The handler owns nothing: once the AsioTimer is gone, there is nothing left to run, even if
    // the timer had already fired and its handler was waiting in the queue.
    pending_->timer.async_wait(
        [weak = std::weak_ptr<Pending>(pending_)](const boost::system::error_code& error) {
          std::shared_ptr<Pending> alive = weak.lock();
          if (alive == nullptr || error) return;
          Work work = std::move(alive->callback);
          alive.reset();  // the callback may destroy the timer
          std::move(work)();
        });
  }

 private:
  struct Pending {
    Pending(std::shared_ptr<void> owner, asio::io_context& context, Work work)
        : context_owner(std::move(owner)), timer(context), callback(std::move(work)) {}
    std::shared_ptr<void> context_owner;  // destroyed after the timer
    asio::steady_timer timer;
    Work callback;
  };
  std::shared_ptr<Pending> pending_;
};

}  // namespace

Loop::Loop() : state_(std::make_shared<State>()) {}

Loop::~Loop() { Stop(); }

void Loop::Start() {
  state_->thread = std::thread([state = state_.get()] { state->context.run(); });
}

void Loop::Stop() {
  std::vector<Work> never_run;
  bool wake = false;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    if (!state_->closed) {
      state_->closed = true;
      state_->posted.push_back([state = state_.get()] { state->context.stop(); });
      wake = state_->posted.size() == 1;
    }
    if (!state_->thread.joinable()) never_run.swap(state_->posted);
  }
  if (!state_->thread.joinable()) return;
  if (wake) asio::post(state_->context, [this] { RunPosted(); });
  state_->thread.join();
}

void Loop::Post(Work work) {
  bool wake = false;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    if (state_->closed) return;  // `work` dies after the lock: its destructor may post, too
    state_->posted.push_back(std::move(work));
    wake = state_->posted.size() == 1;
  }
  if (wake) asio::post(state_->context, [this] { RunPosted(); });
}

// One Asio handler runs everything posted so far, so that posting costs a push and sockets still
// get their turn between two batches.
void Loop::RunPosted() {
  std::vector<Work> batch;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    batch.swap(state_->posted);
  }
  for (Work& work : batch) {
    Work running = std::move(work);
    std::move(running)();
  }
}

bool Loop::OnLoop() const { return state_->context.get_executor().running_in_this_thread(); }

std::unique_ptr<LoopTimer> Loop::After(absl::Duration delay, Work callback) {
  return std::make_unique<AsioTimer>(state_, state_->context, delay, std::move(callback));
}

asio::io_context& AsioContext(Loop& loop) { return loop.state_->context; }

}  // namespace dreamgate::net
