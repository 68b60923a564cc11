// WatchPrediction beside a bare gRPC server: memory per stream, processor time and delay of a fan-out.
// Both servers run as programs of their own, round by round in turn, with the same client, the same
// number of streams and connections, and messages of the same size.
//
//   watch_bench [--watchers N] [--connections N] [--rounds N] [--json FILE]
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/bench/measure.h"
#include "tests/e2e/child_process.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::bench {
namespace {

using e2e::ChildProcess;

struct Settings {
  int watchers = 10'000;
  int connections = 100;
  int rounds = 5;
  std::string json_file;
};

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "watch_bench: %s\n", why.c_str());
  std::exit(1);
}

// ----------------------------------------------------------------------------------------- client

// All streams of one run and what they have received.
class Crowd {
 public:
  Crowd(int port, const Settings& settings, const std::string& prediction_id,
        std::optional<int64_t> after_sequence)
      : settings_(settings) {
    for (int i = 0; i < settings.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stubs_.push_back(v1::VideoService::NewStub(grpc::CreateCustomChannel(
          absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments)));
    }
    request_.set_prediction_id(prediction_id);
    if (after_sequence) request_.set_after_sequence(*after_sequence);
    request_.mutable_heartbeat_interval()->set_seconds(25);
    for (int i = 0; i < settings.watchers; ++i) {
      readers_.push_back(std::make_unique<Reader>(*this));
      readers_.back()->Start(*stubs_[static_cast<size_t>(i % settings.connections)]);
      // A burst of opens would measure the accept queue, not the streams.
      if (i % 500 == 499) WaitFor(opened_, i + 1, "streams to open");
    }
    WaitFor(opened_, settings.watchers, "streams to open");
  }
  ~Crowd() {
    for (auto& reader : readers_) reader->Cancel();
    WaitFor(ended_, settings_.watchers, "streams to end");
  }

  void WaitForUpdates(int per_stream) {
    WaitFor(updates_, per_stream * settings_.watchers, "updates");
  }
  void WaitForEnd() { WaitFor(ended_, settings_.watchers, "streams to end"); }

  absl::Time last_update() const { return absl::FromUnixNanos(last_update_.load()); }
  v1::Prediction latest() {
    const std::lock_guard<std::mutex> lock(latest_mutex_);
    return latest_;
  }

 private:
  class Reader final : public grpc::ClientReadReactor<v1::WatchPredictionResponse> {
   public:
    explicit Reader(Crowd& crowd) : crowd_(crowd) {}
    void Start(v1::VideoService::Stub& stub) {
      stub.async()->WatchPrediction(&context_, &crowd_.request_, this);
      StartRead(&response_);
      StartCall();
    }
    void Cancel() { context_.TryCancel(); }
    void OnReadInitialMetadataDone(bool) override { ++crowd_.opened_; }
    void OnReadDone(bool ok) override {
      if (!ok) return;
      if (response_.has_update()) crowd_.Note(response_.update());
      StartRead(&response_);
    }
    void OnDone(const grpc::Status&) override { ++crowd_.ended_; }

   private:
    Crowd& crowd_;
    grpc::ClientContext context_;
    v1::WatchPredictionResponse response_;
  };

  void Note(const v1::Prediction& update) {
    last_update_ = absl::ToUnixNanos(absl::Now());
    if (updates_++ % settings_.watchers == 0) {
      const std::lock_guard<std::mutex> lock(latest_mutex_);
      latest_ = update;
    }
  }

  void WaitFor(const std::atomic<int>& counter, int count, const char* what) {
    const absl::Time deadline = absl::Now() + absl::Minutes(2);
    while (counter < count) {
      if (absl::Now() > deadline) Die(absl::StrCat("waited too long for ", what));
      absl::SleepFor(absl::Microseconds(200));
    }
  }

  const Settings& settings_;
  v1::WatchPredictionRequest request_;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs_;
  std::vector<std::unique_ptr<Reader>> readers_;
  std::atomic<int> opened_{0};
  std::atomic<int> updates_{0};
  std::atomic<int> ended_{0};
  std::atomic<int64_t> last_update_{0};
  std::mutex latest_mutex_;
  v1::Prediction latest_;
};

// ---------------------------------------------------------------------------------------- servers

int WaitForPort(ChildProcess& process, const std::string& ports_file) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  std::string text;
  while ((text = e2e::ReadFile(ports_file)).empty()) {
    if (!process.Running() || absl::Now() > deadline) {
      Die(absl::StrCat("a server did not start:\n", process.StandardError()));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  int port = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> setting = absl::StrSplit(line, '=');
    if (setting.first == "grpc" && !absl::SimpleAtoi(setting.second, &port)) Die(text);
  }
  return port;
}

// A server under measurement: one prediction, whose transitions the bench makes happen.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual pid_t pid() const = 0;
  virtual int port() const = 0;
  virtual std::string prediction_id() const = 0;
  virtual std::optional<int64_t> current_sequence() const = 0;
  // Brings every stream that replays from 0 to three updates received.
  virtual void SendThird(Crowd& crowd) = 0;
  // Sends the terminal update, after which streams end. Returns when the server began to: for
  // dreamgate the time the transition carries, for the floor the time of the trigger.
  virtual absl::Time SendLast(Crowd& crowd) = 0;
};

class Gateway final : public Subject {
 public:
  explicit Gateway(const Settings& settings) : simulator_(simulator::Simulator::Start().value()) {
    process_ = std::make_unique<ChildProcess>(e2e::ChildOptions{
        .arguments = {DREAMGATED_PROGRAM, "--listen-address=127.0.0.1:0",
                      "--admin-address=127.0.0.1:0",
                      "--upstream-base-url=" + simulator_->base_url(),
                      "--ledger-path=" + folder_.File("ledger.db"),
                      "--ports-file=" + folder_.File("ports"), "--poll-min-interval=100ms",
                      "--poll-max-interval=100ms",
                      absl::StrCat("--max-streams=", 2 * settings.watchers),
                      absl::StrCat("--max-streams-per-peer=", 2 * settings.watchers)},
        .environment = {{"WAVESPEED_API_KEY", "simulator-key"}}});
    port_ = WaitForPort(*process_, folder_.File("ports"));
    const auto stub = v1::VideoService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::SubmitVideoRequest request;
    request.set_prompt("a red kite over the sea");
    request.set_request_id("bench");
    v1::SubmitVideoResponse response;
    const grpc::Status status = stub->SubmitVideo(&context, request, &response);
    if (!status.ok()) Die(status.error_message());
    prediction_ = response.prediction();
  }

  pid_t pid() const override { return process_->pid(); }
  int port() const override { return port_; }
  std::string prediction_id() const override { return prediction_.id(); }
  std::optional<int64_t> current_sequence() const override { return prediction_.sequence(); }
  void SendThird(Crowd& crowd) override {
    crowd.WaitForUpdates(2);
    simulator_->SetTaskState(simulator_->TaskIds().at(0), {.status = "processing"});
    crowd.WaitForUpdates(3);
  }
  absl::Time SendLast(Crowd& crowd) override {
    simulator_->SetTaskState(simulator_->TaskIds().at(0), {.status = "completed"});
    crowd.WaitForUpdates(4);
    const auto& time = crowd.latest().update_time();
    return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
  }

 private:
  e2e::TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  std::unique_ptr<ChildProcess> process_;
  int port_ = 0;
  v1::Prediction prediction_;
};

class Floor final : public Subject {
 public:
  // `message_bytes`: the size of the updates that dreamgate sends.
  explicit Floor(size_t message_bytes) : message_bytes_(message_bytes) {
    process_ = std::make_unique<ChildProcess>(
        e2e::ChildOptions{.arguments = {FLOOR_SERVER_PROGRAM, folder_.File("ports")}});
    port_ = WaitForPort(*process_, folder_.File("ports"));
    stub_ = v1::VideoService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials()));
    Trigger("");  // the first call sets up what the other side has set up too
  }

  pid_t pid() const override { return process_->pid(); }
  int port() const override { return port_; }
  std::string prediction_id() const override { return "01hzzzzzzzzzzzzzzzzzzzzzzz"; }
  std::optional<int64_t> current_sequence() const override { return std::nullopt; }
  void SendThird(Crowd& crowd) override {
    for (int i = 1; i <= 3; ++i) {
      Trigger("");
      crowd.WaitForUpdates(i);
    }
  }
  absl::Time SendLast(Crowd& crowd) override {
    const absl::Time start = absl::Now();
    Trigger("finish");
    crowd.WaitForUpdates(4);
    return start;
  }

 private:
  void Trigger(const std::string& request_id) {
    grpc::ClientContext context;
    v1::SubmitVideoRequest request;
    request.set_prompt(std::string(message_bytes_, 'x'));
    request.set_request_id(request_id);
    v1::SubmitVideoResponse response;
    if (!stub_->SubmitVideo(&context, request, &response).ok()) Die("the floor server failed");
  }

  const size_t message_bytes_;
  e2e::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<v1::VideoService::Stub> stub_;
  int port_ = 0;
};

// ------------------------------------------------------------------------------------------ rounds

struct Sample {
  double idle_bytes = 0;        // per stream, nothing received yet
  double used_bytes = 0;        // per stream, after three messages
  double processor_micros = 0;  // per delivered transition
  double last_delivery_millis = 0;
  size_t message_bytes = 0;
};

template <typename MakeSubject>
Sample Measure(const Settings& settings, const MakeSubject& make_subject) {
  Sample sample;
  const double streams = settings.watchers;
  {
    const std::unique_ptr<Subject> subject = make_subject();
    const int64_t before = ResidentBytes(subject->pid());
    const Crowd crowd(subject->port(), settings, subject->prediction_id(),
                      subject->current_sequence());
    sample.idle_bytes = static_cast<double>(ResidentBytes(subject->pid()) - before) / streams;
  }
  const std::unique_ptr<Subject> subject = make_subject();
  const int64_t before = ResidentBytes(subject->pid());
  Crowd crowd(subject->port(), settings, subject->prediction_id(), 0);
  subject->SendThird(crowd);
  sample.message_bytes = crowd.latest().ByteSizeLong();
  sample.used_bytes = static_cast<double>(ResidentBytes(subject->pid()) - before) / streams;
  const absl::Duration processor_before = ProcessorTime(subject->pid());
  const absl::Time start = subject->SendLast(crowd);
  crowd.WaitForEnd();
  sample.processor_micros =
      absl::ToDoubleMicroseconds(ProcessorTime(subject->pid()) - processor_before) / streams;
  sample.last_delivery_millis = absl::ToDoubleMilliseconds(crowd.last_update() - start);
  return sample;
}

int Main(const Settings& settings) {
  const auto figure = [](const char* name, const char* unit, double at_most) {
    return Figure{name, unit, "bare gRPC server", {Target::Kind::kRatioAtMost, at_most}, {}, {}};
  };
  std::vector<Figure> figures = {
      figure("memory per idle stream, nothing received", "bytes", 1.10),
      figure("memory per idle stream, after 3 messages", "bytes", 1.10),
      figure("processor time per delivered terminal update", "us", 1.25),
      figure("terminal update at the last watcher after", "ms", 1.30),
  };
  const auto add = [&figures](const Sample& sample, std::vector<double> Figure::*side) {
    (figures[0].*side).push_back(sample.idle_bytes);
    (figures[1].*side).push_back(sample.used_bytes);
    (figures[2].*side).push_back(sample.processor_micros);
    (figures[3].*side).push_back(sample.last_delivery_millis);
  };
  for (int round = 1; round <= settings.rounds; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round, settings.rounds);
    const Sample ours = Measure(settings, [&] { return std::make_unique<Gateway>(settings); });
    const Sample floor =
        Measure(settings, [&] { return std::make_unique<Floor>(ours.message_bytes); });
    add(ours, &Figure::ours);
    add(floor, &Figure::peers);
  }
  const std::string about =
      absl::StrFormat("%d watchers of one prediction on %d connections, %d rounds",
                      settings.watchers, settings.connections, settings.rounds);
  std::printf("%s: median (minimum .. maximum)\n\n%s", about.c_str(), Table(figures).c_str());
  if (!settings.json_file.empty()) e2e::WriteFile(settings.json_file, Json(about, figures));
  return 0;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  dreamgate::bench::Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    bool ok = true;
    if (name == "--watchers") {
      ok = absl::SimpleAtoi(value, &settings.watchers);
    } else if (name == "--connections") {
      ok = absl::SimpleAtoi(value, &settings.connections);
    } else if (name == "--rounds") {
      ok = absl::SimpleAtoi(value, &settings.rounds);
    } else if (name == "--json") {
      settings.json_file = value;
    } else {
      ok = false;
    }
    if (!ok) {
      std::fprintf(
          stderr,
          "usage: watch_bench [--watchers N] [--connections N] [--rounds N] [--json FILE]\n");
      return 2;
    }
  }
  return dreamgate::bench::Main(settings);
}
