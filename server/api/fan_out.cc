#include "server/api/fan_out.h"

#include <algorithm>
#include <utility>

namespace dreamgate::api {

FanOut::FanOut(core::Events& events, absl::Duration end_timeout)
    : events_(events),
      end_timeout_(absl::ToChronoNanoseconds(end_timeout)),
      thread_([this] { Run(); }) {}

FanOut::~FanOut() { Stop(); }

void FanOut::Advance(std::shared_ptr<const core::TransitionLog> log,
                     absl::Span<const std::shared_ptr<core::Watcher>> watchers) {
  if (watchers.empty()) return;
  auto job = std::make_unique<Job>();
  job->log = std::move(log);
  job->watchers.assign(watchers.begin(), watchers.end());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
  }
  work_.notify_one();
}

void FanOut::Pump(std::shared_ptr<WatchStream> stream) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    pumps_.push_back(std::move(stream));
  }
  work_.notify_one();
}

void FanOut::ExpectEnd(std::weak_ptr<WatchStream> stream) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    // Kept for one that stalls, the others would add up behind it.
    if (endings_.size() >= endings_to_sweep_) {
      endings_.erase(std::remove_if(endings_.begin(), endings_.end(),
                                    [](const Ending& ending) { return ending.stream.expired(); }),
                     endings_.end());
      endings_to_sweep_ = std::max(kChunk, 2 * endings_.size());
    }
    first = endings_.empty();
    endings_.push_back({std::move(stream), std::chrono::steady_clock::now() + end_timeout_});
  }
  if (first) work_.notify_one();
}

void FanOut::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void FanOut::Run() {
  std::vector<std::shared_ptr<WatchStream>> chunk;
  chunk.reserve(kChunk);
  std::unique_ptr<Job> job;
  std::vector<std::weak_ptr<WatchStream>> overdue;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (job != nullptr) jobs_.push_back(std::move(job));  // not done: to the end of the row
      while (!stopping_ && jobs_.empty() && pumps_.empty() &&
             !OverdueLocked(std::chrono::steady_clock::now())) {
        if (endings_.empty()) {
          work_.wait(lock);
        } else {
          work_.wait_until(lock, endings_.front().deadline);
        }
      }
      if (stopping_) break;
      for (const auto now = std::chrono::steady_clock::now();
           overdue.size() < kChunk && OverdueLocked(now);) {
        overdue.push_back(std::move(endings_.front().stream));
        endings_.pop_front();
      }
      while (!pumps_.empty() && chunk.size() < kChunk) {
        chunk.push_back(std::move(pumps_.front()));
        pumps_.pop_front();
      }
      if (!jobs_.empty()) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
    }
    for (const std::shared_ptr<WatchStream>& stream : chunk) stream->Pump();
    chunk.clear();
    for (const std::weak_ptr<WatchStream>& late : overdue) {
      if (const std::shared_ptr<WatchStream> stream = late.lock()) stream->BreakUnlessDone();
    }
    overdue.clear();
    if (job != nullptr && AdvanceChunk(*job)) {
      events_.TransitionDelivered(job->age.Elapsed(), static_cast<int64_t>(job->watchers.size()));
      job.reset();
    }
  }
  // The dropped streams are released outside the lock and on this thread.
  std::deque<std::unique_ptr<Job>> jobs;
  std::deque<std::shared_ptr<WatchStream>> pumps;
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs.swap(jobs_);
  pumps.swap(pumps_);
}

bool FanOut::OverdueLocked(std::chrono::steady_clock::time_point now) {
  while (!endings_.empty() && endings_.front().stream.expired()) endings_.pop_front();
  return !endings_.empty() && endings_.front().deadline <= now;
}

bool FanOut::AdvanceChunk(Job& job) {
  const size_t end = std::min(job.watchers.size(), job.next + kChunk);
  for (; job.next < end; ++job.next) {
    job.watchers[job.next]->Advance(job.log);
  }
  return job.next == job.watchers.size();
}

}  // namespace dreamgate::api
