#include "server/api/fan_out.h"

#include <algorithm>
#include <utility>

namespace dreamgate::api {

FanOut::FanOut(core::Events& events) : events_(events), thread_([this] { Run(); }) {}

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
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (job != nullptr) jobs_.push_back(std::move(job));  // not done: to the end of the row
      work_.wait(lock, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return stopping_ || !jobs_.empty() || !pumps_.empty();
      });
      if (stopping_) break;
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

bool FanOut::AdvanceChunk(Job& job) {
  const size_t end = std::min(job.watchers.size(), job.next + kChunk);
  for (; job.next < end; ++job.next) {
    static_cast<WatchStream&>(*job.watchers[job.next]).Advance(job.log);
  }
  return job.next == job.watchers.size();
}

}  // namespace dreamgate::api
