// The servers under measurement, each a program of its own: dreamgate before a simulated WaveSpeed,
// and the bare gRPC server that is its floor. The bench says when their predictions move on. One
// thread.
#ifndef DREAMGATE_TESTS_BENCH_SUBJECT_H_
#define DREAMGATE_TESTS_BENCH_SUBJECT_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::bench {

class Subject {
 public:
  virtual ~Subject() = default;
  virtual pid_t pid() const = 0;
  virtual int port() const = 0;
  // Ids of the predictions, in the order of their numbers.
  virtual std::vector<std::string> prediction_ids() const = 0;
  // The position to watch from to receive only what is to come.
  virtual int64_t current_sequence() const = 0;
  // Makes a prediction have its next transition; the terminal one ends its streams. Returns at once.
  virtual void Move(size_t prediction, bool terminal) = 0;
};

class Gateway final : public Subject {
 public:
  struct Options {
    int predictions = 1;
    int max_streams = 0;
    // Time between two polls of a prediction: a transition happens so long after Move at most.
    absl::Duration poll_min_interval = absl::Milliseconds(100);
    absl::Duration poll_max_interval = absl::Milliseconds(100);
  };

  explicit Gateway(const Options& options);

  pid_t pid() const override { return process_->pid(); }
  int port() const override { return port_; }
  std::vector<std::string> prediction_ids() const override;
  int64_t current_sequence() const override { return predictions_.front().sequence(); }
  // First to PROCESSING, unless it is the terminal one, COMPLETED.
  void Move(size_t prediction, bool terminal) override;

  // As submitted: CREATED, all at the same sequence.
  const std::vector<v1::Prediction>& predictions() const { return predictions_; }
  const simulator::Simulator& simulator() const { return *simulator_; }

 private:
  void Submit(v1::VideoService::Stub& stub, int number);

  fakes::TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  std::unique_ptr<fakes::ChildProcess> process_;
  int port_ = 0;
  std::vector<v1::Prediction> predictions_;
};

class Floor final : public Subject {
 public:
  // `message_bytes`: the size of the updates that dreamgate sends.
  Floor(int predictions, size_t message_bytes);

  pid_t pid() const override { return process_->pid(); }
  int port() const override { return port_; }
  std::vector<std::string> prediction_ids() const override { return prediction_ids_; }
  int64_t current_sequence() const override { return 0; }
  void Move(size_t prediction, bool terminal) override;

 private:
  v1::SubmitVideoRequest Trigger(const std::string& prediction_id, bool terminal) const;

  const size_t message_bytes_;
  fakes::TemporaryFolder folder_;
  std::unique_ptr<fakes::ChildProcess> process_;
  std::unique_ptr<v1::VideoService::Stub> stub_;
  int port_ = 0;
  std::vector<std::string> prediction_ids_;
};

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_SUBJECT_H_
