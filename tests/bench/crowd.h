// Many WatchPrediction streams of one process, over as few connections as asked for, and what they
// have received. One thread opens, waits and closes; an observer is called on gRPC's threads.
#ifndef DREAMGATE_TESTS_BENCH_CROWD_H_
#define DREAMGATE_TESTS_BENCH_CROWD_H_

#include <grpcpp/support/status.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"

namespace dreamgate::bench {

absl::Time TimeOf(const google::protobuf::Timestamp& time);

class Crowd {
 public:
  // Called as messages arrive, for one stream in order, for several at the same time.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnOpen(size_t stream) = 0;
    virtual void OnMessage(size_t stream, const v1::WatchPredictionResponse& message) = 0;
    virtual void OnEnd(size_t stream, const grpc::Status& status) = 0;
  };

  // `observer`, if any, outlives the crowd.
  Crowd(int port, int connections, Observer* observer = nullptr);
  ~Crowd();  // cancels what is still open
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // Opens so many streams more, numbered on from those there are, in turn over the connections.
  // Returns when the server has answered all.
  void Open(const v1::WatchPredictionRequest& request, int streams);

  // The waits end after two minutes: the bench dies.
  void WaitForUpdates(int64_t per_stream) const;
  void WaitForUpdatesOfAll(int64_t updates) const;
  void WaitForEnd() const;

  int64_t ended() const { return ended_; }
  absl::Time last_update() const { return absl::FromUnixNanos(last_update_); }
  // The update that the first stream to have one more than the others has received.
  v1::Prediction latest() const;

 private:
  class Reader;

  void Note(const v1::Prediction& update);

  Observer* const observer_;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs_;  // one a connection
  std::vector<std::unique_ptr<Reader>> readers_;
  std::vector<std::unique_ptr<const v1::WatchPredictionRequest>> requests_;
  std::atomic<int64_t> opened_{0};
  std::atomic<int64_t> updates_{0};
  std::atomic<int64_t> ended_{0};
  std::atomic<int64_t> last_update_{0};
  mutable std::mutex latest_mutex_;
  v1::Prediction latest_;
};

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_CROWD_H_
