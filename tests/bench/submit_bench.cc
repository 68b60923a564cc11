// SubmitVideo beside a bare gRPC server around a bare POST: submits per second with many callers and
// the ledger on disk, and latency with one caller and the ledger in memory. Both servers run as
// programs of their own, round by round in turn, with the same client and the same simulator, which
// live in this process. After every run the simulator must have seen one POST a submit and no GET.
//
//   submit_bench [--callers N] [--connections N] [--submits N] [--latency-submits N] [--rounds N]
//                [--disk FOLDER] [--memory FOLDER] [--json FILE]
#include <grpcpp/grpcpp.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/bench/flags.h"
#include "tests/bench/measure.h"
#include "tests/bench/server_port.h"
#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::bench {
namespace {

using fakes::ChildProcess;

struct Settings {
  int callers = 256;
  int connections = 16;
  int submits = 20'000;         // a run, at many callers
  int latency_submits = 3'000;  // a run, at one caller
  int rounds = 5;
  std::string disk = std::filesystem::temp_directory_path().string();
  std::string memory = "/dev/shm";
  std::string json_file;
};

// After its start a gateway asks upstream's history once what earlier processes may have left behind.
// That is no part of a submit and has to be over by then.
constexpr absl::Duration kFirstQuestion = absl::Seconds(6);

// No run begins new submits after this long.
constexpr absl::Duration kLongestRun = absl::Seconds(30);

// ----------------------------------------------------------------------------------------- client

struct Run {
  int submits = 0;
  absl::Duration took;
  std::vector<absl::Duration> latencies;  // ascending

  double PerSecond() const { return submits / absl::ToDoubleSeconds(took); }
  double LatencyMillis(double quantile) const {
    const auto last = static_cast<double>(latencies.size() - 1);
    return absl::ToDoubleMilliseconds(latencies[static_cast<size_t>(quantile * last)]);
  }
};

// Callers that submit one after the other, all in the thread that calls.
class Client {
 public:
  Client(int port, int callers, int connections) {
    for (int i = 0; i < std::min(callers, connections); ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stubs_.push_back(v1::VideoService::NewStub(grpc::CreateCustomChannel(
          absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments)));
    }
    for (int i = 0; i < callers; ++i) callers_.push_back(std::make_unique<Caller>());
  }

  // Every submit has a request_id that no other of this client has.
  Run Submit(int count) {
    Run run;
    const absl::Time start = absl::Now();
    int begun = 0;
    const auto begin = [&](size_t caller) {
      if (begun == count || absl::Now() - start > kLongestRun) return;
      ++begun;
      Begin(caller);
    };
    for (size_t i = 0; i < callers_.size(); ++i) begin(i);
    while (run.submits < begun) {
      void* tag = nullptr;
      bool ok = false;
      if (!queue_.Next(&tag, &ok)) Die("the client's queue ended");
      Caller& caller = *callers_[reinterpret_cast<size_t>(tag)];
      if (!caller.status.ok())
        Die(absl::StrCat("a submit failed: ", caller.status.error_message()));
      run.latencies.push_back(absl::Now() - caller.start);
      ++run.submits;
      begin(reinterpret_cast<size_t>(tag));
    }
    run.took = absl::Now() - start;
    std::sort(run.latencies.begin(), run.latencies.end());
    return run;
  }

 private:
  struct Caller {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::SubmitVideoResponse>> reader;
    v1::SubmitVideoResponse response;
    grpc::Status status;
    absl::Time start;
  };

  void Begin(size_t index) {
    Caller& caller = *callers_[index];
    v1::SubmitVideoRequest request;
    request.set_prompt("a red kite over the sea in the evening, filmed from a slow boat");
    request.set_request_id(absl::StrCat("bench-", ++last_request_));
    caller.start = absl::Now();
    caller.context = std::make_unique<grpc::ClientContext>();
    caller.reader =
        stubs_[index % stubs_.size()]->AsyncSubmitVideo(caller.context.get(), request, &queue_);
    caller.reader->Finish(&caller.response, &caller.status, reinterpret_cast<void*>(index));
  }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<v1::VideoService::Stub>> stubs_;
  std::vector<std::unique_ptr<Caller>> callers_;
  int64_t last_request_ = 0;
};

// ---------------------------------------------------------------------------------------- servers

// A server under measurement, with a simulator of its own.
class Subject {
 public:
  virtual ~Subject() = default;
  pid_t pid() const { return process_->pid(); }
  int port() const { return port_; }

  // And nothing else.
  void CheckOnePostEach(int submits) const {
    const std::map<std::string, size_t> expected = {
        {absl::StrCat("POST ", simulator_->SubmitPath()), static_cast<size_t>(submits)}};
    const std::map<std::string, size_t> seen = simulator_->CountsByRoute();
    if (seen == expected) return;
    std::string text = absl::StrCat(submits, " submits made");
    for (const auto& [route, count] : seen) absl::StrAppend(&text, "; ", count, " ", route);
    Die(text);
  }

 protected:
  explicit Subject(const std::string& parent) : folder_(parent) {
    simulator::Options options;
    options.log_limit = 0;
    simulator_ = simulator::Simulator::Start(std::move(options)).value();
  }
  void Start(fakes::ChildOptions options) {
    process_ = std::make_unique<ChildProcess>(std::move(options));
    port_ = WaitForGrpcPort(*process_, folder_);
  }

  fakes::TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;

 private:
  std::unique_ptr<ChildProcess> process_;
  int port_ = 0;
};

class Gateway final : public Subject {
 public:
  // With a new ledger in `parent`. No task is polled before the run is over.
  Gateway(const std::string& parent, const std::vector<std::string>& limits) : Subject(parent) {
    std::vector<std::string> arguments = {DREAMGATED_PROGRAM,
                                          "--listen-address=127.0.0.1:0",
                                          "--admin-address=127.0.0.1:0",
                                          "--upstream-base-url=" + simulator_->base_url(),
                                          "--ledger-path=" + folder_.File("ledger.db"),
                                          "--ports-file=" + folder_.File("ports"),
                                          "--poll-min-interval=1h",
                                          "--poll-max-interval=2h"};
    arguments.insert(arguments.end(), limits.begin(), limits.end());
    Start({.arguments = std::move(arguments),
           .environment = {{"WAVESPEED_API_KEY", "simulator-key"}}});
  }
};

class Floor final : public Subject {
 public:
  explicit Floor(const std::string& parent) : Subject(parent) {
    Start({.arguments = {ECHO_SERVER_PROGRAM, folder_.File("ports"),
                         absl::StrCat(simulator_->port())}});
  }
};

// ------------------------------------------------------------------------------------------ rounds

struct Sample {
  Run run;
  double processor_micros = 0;  // of the server, a submit
};

Sample Measure(const Subject& subject, int callers, int connections, int submits) {
  Client client(subject.port(), callers, connections);
  // Connections open, caches fill.
  const int warm_up = client.Submit(std::max(2 * callers, 200)).submits;
  Sample sample;
  const absl::Duration processor_before = ProcessorTime(subject.pid());
  sample.run = client.Submit(submits);
  sample.processor_micros =
      absl::ToDoubleMicroseconds(ProcessorTime(subject.pid()) - processor_before) /
      sample.run.submits;
  subject.CheckOnePostEach(warm_up + sample.run.submits);
  return sample;
}

// The settings that let every caller's POST go out at once: a quarter of the connections is kept for
// GETs.
std::vector<std::string> LimitsFor(int callers) {
  return {absl::StrCat("--max-submits-in-flight=", callers),
          absl::StrCat("--max-upstream-connections=", 2 * callers)};
}

bool IsInMemory(const std::string& folder) {
  struct statfs about {};
  return statfs(folder.c_str(), &about) == 0 && about.f_type == TMPFS_MAGIC;
}

int Main(const Settings& settings) {
  if (IsInMemory(settings.disk)) {
    Die(absl::StrCat(settings.disk, " is in memory: give a folder on a disk with --disk"));
  }
  if (!IsInMemory(settings.memory)) {
    Die(absl::StrCat(settings.memory, " is not in memory: give a tmpfs with --memory"));
  }
  const std::string many = absl::StrCat(settings.callers, " callers");
  const auto figure = [](const std::string& name, const char* unit, Target target) {
    return Figure{name, unit, "bare gRPC server, bare POST", target, {}, {}};
  };
  std::vector<Figure> figures = {
      figure(absl::StrCat("submits, ", many, ", ledger on disk"), "1/s",
             {Target::Kind::kRatioAtLeast, 0.5}),
      figure(absl::StrCat("the same, ", settings.callers, " submits in flight"), "1/s",
             {Target::Kind::kRatioAtLeast, 0.5}),
      figure("processor time per submit", "us", {}),
      figure("latency p50, 1 caller, ledger in memory", "ms", {Target::Kind::kRatioAtMost, 3}),
      figure("latency p99, 1 caller, ledger in memory", "ms", {}),
  };

  for (int round = 1; round <= settings.rounds; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round, settings.rounds);
    const Gateway gateway(settings.disk, {});
    const Gateway wide_gateway(settings.disk, LimitsFor(settings.callers));
    const Floor floor_server(settings.disk);
    const Gateway memory_gateway(settings.memory, {});
    const Floor memory_floor(settings.memory);
    absl::SleepFor(kFirstQuestion);

    const auto throughput = [&](const Subject& subject) {
      return Measure(subject, settings.callers, settings.connections, settings.submits);
    };
    const Sample plain = throughput(gateway);
    const Sample floor = throughput(floor_server);
    const Sample wide = throughput(wide_gateway);
    figures[0].ours.push_back(plain.run.PerSecond());
    figures[0].peers.push_back(floor.run.PerSecond());
    figures[1].ours.push_back(wide.run.PerSecond());
    figures[1].peers.push_back(floor.run.PerSecond());
    figures[2].ours.push_back(plain.processor_micros);
    figures[2].peers.push_back(floor.processor_micros);

    const auto latency = [&](const Subject& subject) {
      return Measure(subject, 1, 1, settings.latency_submits);
    };
    const Sample ours_alone = latency(memory_gateway);
    const Sample floor_alone = latency(memory_floor);
    figures[3].ours.push_back(ours_alone.run.LatencyMillis(0.5));
    figures[3].peers.push_back(floor_alone.run.LatencyMillis(0.5));
    figures[4].ours.push_back(ours_alone.run.LatencyMillis(0.99));
    figures[4].peers.push_back(floor_alone.run.LatencyMillis(0.99));
  }

  const std::string about = absl::StrFormat(
      "SubmitVideo, every setting at its default (64 submits in flight, 96 connections to "
      "upstream); "
      "in the second row --max-submits-in-flight=%d --max-upstream-connections=%d; %d submits a "
      "run "
      "on %d connections, %d for latency, %d rounds; the floor has no ledger; one POST a submit",
      settings.callers, 2 * settings.callers, settings.submits, settings.connections,
      settings.latency_submits, settings.rounds);
  std::printf("%s: median (minimum .. maximum)\n\n%s", about.c_str(), Table(figures).c_str());
  WriteJson(settings.json_file, about, figures);
  return 0;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  dreamgate::bench::Settings settings;
  if (!dreamgate::bench::ReadFlags(argc, argv,
                                   {{"--callers", &settings.callers},
                                    {"--connections", &settings.connections},
                                    {"--submits", &settings.submits},
                                    {"--latency-submits", &settings.latency_submits},
                                    {"--rounds", &settings.rounds},
                                    {"--disk", &settings.disk},
                                    {"--memory", &settings.memory},
                                    {"--json", &settings.json_file}})) {
    std::fprintf(stderr,
                 "usage: submit_bench [--callers N] [--connections N] [--submits N]\n"
                 "                    [--latency-submits N] [--rounds N] [--disk FOLDER]\n"
                 "                    [--memory FOLDER] [--json FILE]\n");
    return 2;
  }
  return dreamgate::bench::Main(settings);
}
