// A whole deployment on one machine: the simulator in this process, the real server program beside it,
// and real client channels.
#ifndef DREAMGATE_TESTS_E2E_DEPLOYMENT_H_
#define DREAMGATE_TESTS_E2E_DEPLOYMENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/fakes/watch_validator.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::e2e {

using fakes::ChildOptions;
using fakes::ChildProcess;
using fakes::TemporaryFolder;

// How long a test waits for what must come; only a failing test waits this long.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

inline constexpr auto kSubmitting = v1::PREDICTION_STATE_SUBMITTING;
inline constexpr auto kUnresolved = v1::PREDICTION_STATE_UNRESOLVED;
inline constexpr auto kCreated = v1::PREDICTION_STATE_CREATED;
inline constexpr auto kProcessing = v1::PREDICTION_STATE_PROCESSING;
inline constexpr auto kCompleted = v1::PREDICTION_STATE_COMPLETED;
inline constexpr auto kFailed = v1::PREDICTION_STATE_FAILED;

// Polls until `condition` holds, for conditions that nothing announces. False: `timeout` has passed.
bool Eventually(const std::function<bool()>& condition, absl::Duration timeout = kPatience);

absl::Time TimeOf(const google::protobuf::Timestamp& time);

// A channel of its own, sharing no connection with others.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& address,
                                          grpc::ChannelArguments arguments = {});

// The server program. Its ledger lives in a folder of the deployment and survives restarts.
class Server {
 public:
  // Starts it and waits until it serves. `extra` arguments come last and win.
  Server(const TemporaryFolder& folder, const std::string& upstream_url,
         std::vector<std::string> extra, std::optional<uint64_t> file_size_limit = std::nullopt);

  ChildProcess& process() { return *process_; }
  int grpc_port() const { return grpc_port_; }
  int admin_port() const { return admin_port_; }
  int webhook_port() const { return webhook_port_; }  // 0: it receives no webhooks
  std::unique_ptr<v1::VideoService::Stub> Stub() const {
    return v1::VideoService::NewStub(NewChannel("127.0.0.1:" + std::to_string(grpc_port_)));
  }
  // The whole answer of the admin port to a GET.
  std::string AdminPage(const std::string& path) const;
  // The value of one line of /metrics, as "dreamgate_streams"; "missing": there is no such line.
  std::string Metric(const std::string& series) const;

 private:
  std::unique_ptr<ChildProcess> process_;
  int grpc_port_ = 0;
  int admin_port_ = 0;
  int webhook_port_ = 0;
};

class Deployment {
 public:
  explicit Deployment(std::vector<std::string> server_arguments = {},
                      simulator::Options simulator_options = {});

  simulator::Simulator& simulator() { return *simulator_; }
  Server& server() { return *server_; }
  const Server& server() const { return *server_; }
  const TemporaryFolder& folder() const { return folder_; }
  v1::VideoService::Stub& stub() { return *stub_; }

  // POSTs that asked upstream for a video.
  size_t Posts() const { return simulator_->Count("POST", simulator_->SubmitPath()); }
  // The fault meets such a POST, and no other: history is asked with POST, too. Its number.
  int OnSubmit(simulator::Fault fault);

  // Ends the server (SIGKILL) and starts it again on the same ledger.
  void CrashAndRestart();
  // Starts the server with other arguments on the same ledger; the running one is ended with SIGTERM.
  void Restart(std::vector<std::string> server_arguments);

 private:
  TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  std::vector<std::string> server_arguments_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::VideoService::Stub> stub_;
};

v1::SubmitVideoRequest Request(const std::string& request_id,
                               const std::string& prompt = "a red kite");

struct SubmitResult {
  grpc::Status status;
  v1::SubmitVideoResponse response;
};
SubmitResult Submit(v1::VideoService::Stub& stub, const v1::SubmitVideoRequest& request,
                    const std::string& token = "");
// Submits and expects OK.
v1::Prediction MustSubmit(v1::VideoService::Stub& stub, const std::string& request_id,
                          const std::string& prompt = "a red kite");

// Asks and expects OK.
v1::Prediction GetPrediction(v1::VideoService::Stub& stub, const std::string& id);
bool IsTerminal(v1::PredictionState state);
// Asks until the prediction has ended, whatever befalls the server meanwhile. Without an end in time:
// as it was last. Nullopt: it is gone, or nobody answers.
std::optional<v1::Prediction> WaitUntilTerminal(v1::VideoService::Stub& stub, const std::string& id,
                                                absl::Duration timeout = kPatience);

// A watch stream that collects what it sees; every update goes through the watch validator.
class Stream final : private grpc::ClientReadReactor<v1::WatchPredictionResponse> {
 public:
  Stream(v1::VideoService::Stub& stub, const std::string& prediction_id,
         std::optional<int64_t> after_sequence = std::nullopt, const std::string& token = "");
  ~Stream() override;  // cancels and waits for the end

  bool WaitForUpdates(size_t count, absl::Duration timeout = kPatience);
  bool WaitForHeartbeats(size_t count, absl::Duration timeout = kPatience);
  bool WaitForEnd(absl::Duration timeout = kPatience);
  void Cancel() { context_.TryCancel(); }

  std::vector<v1::Prediction> updates() const;
  std::vector<v1::PredictionState> states() const;
  std::vector<v1::Heartbeat> heartbeats() const;
  bool saw_reconnect() const;
  grpc::Status status() const;  // once it has ended
  std::vector<std::string> violations() const;

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  bool WaitUntil(const std::function<bool()>& condition, absl::Duration timeout);

  grpc::ClientContext context_;
  v1::WatchPredictionRequest request_;
  v1::WatchPredictionResponse response_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::Prediction> updates_;
  std::vector<v1::Heartbeat> heartbeats_;
  bool reconnect_ = false;
  std::optional<grpc::Status> status_;
  fakes::WatchValidator validator_;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_DEPLOYMENT_H_
