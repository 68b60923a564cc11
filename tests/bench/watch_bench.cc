// WatchPrediction beside a bare gRPC server: memory per stream, processor time and delay of a fan-out,
// and what a fan-out does to the watchers of other predictions. Both servers run as programs of their
// own, round by round in turn, with the same client, the same number of streams and connections, and
// messages of the same size.
//
//   watch_bench [--watchers N] [--connections N] [--rounds N] [--json FILE]
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
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
#include "tests/bench/crowd.h"
#include "tests/bench/flags.h"
#include "tests/bench/measure.h"
#include "tests/bench/subject.h"
#include "tests/fakes/child_process.h"

namespace dreamgate::bench {
namespace {

using fakes::ChildProcess;

struct Settings {
  int watchers = 10'000;
  int connections = 100;
  int rounds = 5;
  std::string json_file;
};

v1::WatchPredictionRequest WatchOf(const std::string& prediction_id, int64_t after_sequence) {
  v1::WatchPredictionRequest request;
  request.set_prediction_id(prediction_id);
  request.set_after_sequence(after_sequence);
  request.mutable_heartbeat_interval()->set_seconds(25);
  return request;
}

// The smallest value that so large a share of them does not exceed.
double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::max<size_t>(rank, 1) - 1];
}

// ------------------------------------------------------------------------------------- neighbours

constexpr int kNeighbours = 30;   // predictions beside the one that ten thousand watch
constexpr int kWatchersEach = 2;  // of each neighbour
constexpr int kNeighbourUpdates = kNeighbours * kWatchersEach;  // per transition of all
constexpr absl::Duration kTrickle = absl::Milliseconds(5);  // between two neighbours' transitions
constexpr char kNeighboursMode[] = "neighbours";

// An update that a neighbour's watcher has received.
struct Receipt {
  bool terminal = false;
  absl::Time committed;
  absl::Time received;
};

// The neighbours' watchers are a program of their own with precedence over the crowd, so that what they
// wait for is the server, not the ten thousand updates that the crowd has to read on the same
// processors. It writes a line when the streams are open and one for each update.
class NeighbourWatch final : public Crowd::Observer {
 public:
  void OnOpen(size_t) override {}
  void OnMessage(size_t, const v1::WatchPredictionResponse& message) override {
    const absl::Time now = absl::Now();
    if (!message.has_update()) return;
    const v1::Prediction& update = message.update();
    std::printf("%d %lld %lld\n", update.state() == v1::PREDICTION_STATE_COMPLETED,
                static_cast<long long>(absl::ToUnixNanos(TimeOf(update.update_time()))),
                static_cast<long long>(absl::ToUnixNanos(now)));
    std::fflush(stdout);
  }
  void OnEnd(size_t, const grpc::Status&) override {}
};

// watch_bench neighbours PORT AFTER_SEQUENCE PREDICTION_ID...
int WatchNeighbours(const std::vector<std::string>& arguments) {
  int port = 0;
  int64_t after_sequence = 0;
  if (arguments.size() < 3 || !absl::SimpleAtoi(arguments[0], &port) ||
      !absl::SimpleAtoi(arguments[1], &after_sequence)) {
    return 2;
  }
  if (setpriority(PRIO_PROCESS, 0, -10) != 0) {
    std::fprintf(stderr, "without the right to precedence the neighbours wait for the crowd too\n");
  }
  NeighbourWatch observer;
  Crowd crowd(port, 2, &observer);
  for (size_t i = 2; i < arguments.size(); ++i) {
    crowd.Open(WatchOf(arguments[i], after_sequence), kWatchersEach);
  }
  std::printf("open\n");
  std::fflush(stdout);
  crowd.WaitForEnd();
  return 0;
}

class Neighbours {
 public:
  // Of all predictions but the first.
  explicit Neighbours(const Subject& subject) {
    std::vector<std::string> arguments = {"/proc/self/exe", kNeighboursMode,
                                          absl::StrCat(subject.port()),
                                          absl::StrCat(subject.current_sequence())};
    const std::vector<std::string> ids = subject.prediction_ids();
    arguments.insert(arguments.end(), ids.begin() + 1, ids.end());
    process_ = std::make_unique<ChildProcess>(fakes::ChildOptions{.arguments = arguments});
    WaitForLines(1);
  }

  void WaitForUpdates(int updates) { WaitForLines(1 + updates); }

  // Once every stream has ended.
  std::vector<Receipt> Receipts() {
    if (process_->Wait(absl::Minutes(2)) != 0) {
      Die(absl::StrCat("the neighbours' watchers failed:\n", process_->StandardError()));
    }
    std::fputs(process_->StandardError().c_str(), stderr);
    std::vector<Receipt> receipts;
    const std::string output = process_->StandardOutput();
    for (const absl::string_view line : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      int64_t committed = 0, received = 0;
      if (words.size() != 3 || !absl::SimpleAtoi(words[1], &committed) ||
          !absl::SimpleAtoi(words[2], &received)) {
        continue;
      }
      receipts.push_back(
          {words[0] == "1", absl::FromUnixNanos(committed), absl::FromUnixNanos(received)});
    }
    return receipts;
  }

 private:
  void WaitForLines(int64_t lines) {
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    for (;;) {
      const std::string output = process_->StandardOutput();
      if (std::count(output.begin(), output.end(), '\n') >= lines) return;
      if (!process_->Running() || absl::Now() > deadline) {
        Die(absl::StrCat("the neighbours' watchers failed:\n", process_->StandardError()));
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  std::unique_ptr<ChildProcess> process_;
};

void MoveNeighbours(Subject& subject, bool terminal) {
  for (size_t i = 1; i <= kNeighbours; ++i) {
    subject.Move(i, terminal);
    absl::SleepFor(kTrickle);
  }
}

// ------------------------------------------------------------------------------------------ rounds

struct Sample {
  double idle_bytes = 0;        // per stream, nothing received yet
  double used_bytes = 0;        // per stream, after three messages
  double processor_micros = 0;  // per delivered transition
  double last_delivery_millis = 0;
  std::vector<double> quiet_millis;      // neighbours' updates with no fan-out under way
  std::vector<double> meanwhile_millis;  // and while one was
  size_t message_bytes = 0;
};

double DelayMillis(const Receipt& receipt) {
  return absl::ToDoubleMilliseconds(receipt.received - receipt.committed);
}

void MeasureIdle(const Settings& settings, const Subject& subject, Sample& sample) {
  const int64_t before = ResidentBytes(subject.pid());
  Crowd crowd(subject.port(), settings.connections);
  crowd.Open(WatchOf(subject.prediction_ids()[0], subject.current_sequence()), settings.watchers);
  sample.idle_bytes =
      static_cast<double>(ResidentBytes(subject.pid()) - before) / settings.watchers;
}

// `replayed`: how many updates a watcher from the beginning is given at once.
void MeasureFanOut(const Settings& settings, Subject& subject, int replayed, Sample& sample) {
  const double streams = settings.watchers;
  const int64_t before = ResidentBytes(subject.pid());
  Crowd crowd(subject.port(), settings.connections);
  crowd.Open(WatchOf(subject.prediction_ids()[0], 0), settings.watchers);
  crowd.WaitForUpdates(replayed);
  for (int updates = replayed + 1; updates <= 3; ++updates) {
    subject.Move(0, false);
    crowd.WaitForUpdates(updates);
  }
  sample.message_bytes = crowd.latest().ByteSizeLong();
  sample.used_bytes = static_cast<double>(ResidentBytes(subject.pid()) - before) / streams;
  const absl::Duration processor_before = ProcessorTime(subject.pid());
  subject.Move(0, true);
  crowd.WaitForUpdates(4);
  crowd.WaitForEnd();
  sample.processor_micros =
      absl::ToDoubleMicroseconds(ProcessorTime(subject.pid()) - processor_before) / streams;
  sample.last_delivery_millis =
      absl::ToDoubleMilliseconds(crowd.last_update() - TimeOf(crowd.latest().update_time()));
}

// A steady trickle of the neighbours' transitions, first with nothing else going on, then while the
// terminal update goes out to the crowd.
void MeasureNeighboursOf(const Settings& settings, Subject& subject, Sample& sample) {
  Crowd crowd(subject.port(), settings.connections);
  crowd.Open(WatchOf(subject.prediction_ids()[0], subject.current_sequence()), settings.watchers);
  Neighbours neighbours(subject);
  MoveNeighbours(subject, false);
  neighbours.WaitForUpdates(kNeighbourUpdates);

  subject.Move(0, true);
  crowd.WaitForUpdatesOfAll(1);
  MoveNeighbours(subject, true);
  crowd.WaitForUpdates(1);
  crowd.WaitForEnd();
  const absl::Time committed = TimeOf(crowd.latest().update_time());
  for (const Receipt& receipt : neighbours.Receipts()) {
    if (!receipt.terminal) {
      sample.quiet_millis.push_back(DelayMillis(receipt));
    } else if (receipt.committed >= committed && receipt.committed <= crowd.last_update()) {
      sample.meanwhile_millis.push_back(DelayMillis(receipt));
    }
  }
}

// On a busy machine a fan-out may be over before the trickle has begun: then once more.
template <typename MakeSubject>
void MeasureNeighbours(const Settings& settings, const MakeSubject& make_subject, Sample& sample) {
  for (int attempt = 0; sample.meanwhile_millis.empty(); ++attempt) {
    if (attempt == 3) Die("no neighbour had a transition during the fan-out");
    const std::unique_ptr<Subject> subject = make_subject();
    MeasureNeighboursOf(settings, *subject, sample);
  }
}

Sample MeasureGateway(const Settings& settings) {
  Sample sample;
  Gateway::Options options;
  options.max_streams = 2 * settings.watchers;
  MeasureIdle(settings, Gateway(options), sample);
  Gateway fan_out(options);
  MeasureFanOut(settings, fan_out, 2, sample);
  options.predictions = 1 + kNeighbours;
  MeasureNeighbours(
      settings, [&] { return std::make_unique<Gateway>(options); }, sample);
  return sample;
}

Sample MeasureFloor(const Settings& settings, size_t message_bytes) {
  Sample sample;
  MeasureIdle(settings, Floor(1, message_bytes), sample);
  Floor fan_out(1, message_bytes);
  MeasureFanOut(settings, fan_out, 0, sample);
  MeasureNeighbours(
      settings, [&] { return std::make_unique<Floor>(1 + kNeighbours, message_bytes); }, sample);
  return sample;
}

// Of all rounds together.
struct Pool {
  std::vector<double> last_delivery, quiet, meanwhile;

  void Add(const Sample& sample) {
    last_delivery.push_back(sample.last_delivery_millis);
    quiet.insert(quiet.end(), sample.quiet_millis.begin(), sample.quiet_millis.end());
    meanwhile.insert(meanwhile.end(), sample.meanwhile_millis.begin(),
                     sample.meanwhile_millis.end());
  }
};

// Delays count from the time of a transition, which is taken before the ledger writes it. In memory the
// two are one; on a disk the figures would tell how busy it is.
void KeepLedgersInMemory() {
  const char* const folder = "/dev/shm";
  if (std::filesystem::is_directory(folder)) setenv("TMPDIR", folder, 1);
}

int Main(const Settings& settings) {
  KeepLedgersInMemory();
  const auto figure = [](const char* name, const char* unit, Target::Kind kind, double value) {
    return Figure{name, unit, "bare gRPC server", {kind, value}, {}, {}};
  };
  using Kind = Target::Kind;
  std::vector<Figure> figures = {
      figure("memory per idle stream, nothing received", "bytes", Kind::kRatioAtMost, 1.10),
      figure("memory per idle stream, after 3 messages", "bytes", Kind::kRatioAtMost, 1.10),
      figure("processor time per delivered terminal update", "us", Kind::kRatioAtMost, 1.25),
      figure("terminal update at the last watcher after", "ms", Kind::kRatioAtMost, 1.30),
      figure("terminal update at the last watcher, p99 of the rounds", "ms", Kind::kRatioAtMost,
             1.30),
      figure("another prediction's update meanwhile, median", "ms", Kind::kNone, 0),
      figure("another prediction's update meanwhile, p99 of all rounds", "ms", Kind::kAtMost, 20),
      figure("another prediction's update, no fan-out, median", "ms", Kind::kNone, 0),
      figure("another prediction's update, no fan-out, p99 of all rounds", "ms", Kind::kNone, 0),
  };
  const auto add = [&figures](const Sample& sample, std::vector<double> Figure::*side) {
    (figures[0].*side).push_back(sample.idle_bytes);
    (figures[1].*side).push_back(sample.used_bytes);
    (figures[2].*side).push_back(sample.processor_micros);
    (figures[3].*side).push_back(sample.last_delivery_millis);
    (figures[5].*side).push_back(Quantile(sample.meanwhile_millis, 0.5));
    (figures[7].*side).push_back(Quantile(sample.quiet_millis, 0.5));
  };
  const auto add_pool = [&figures](const Pool& pool, std::vector<double> Figure::*side) {
    (figures[4].*side).push_back(Quantile(pool.last_delivery, 0.99));
    (figures[6].*side).push_back(Quantile(pool.meanwhile, 0.99));
    (figures[8].*side).push_back(Quantile(pool.quiet, 0.99));
  };
  Pool our_pool, floor_pool;
  for (int round = 1; round <= settings.rounds; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round, settings.rounds);
    const Sample ours = MeasureGateway(settings);
    const Sample floor = MeasureFloor(settings, ours.message_bytes);
    add(ours, &Figure::ours);
    add(floor, &Figure::peers);
    our_pool.Add(ours);
    floor_pool.Add(floor);
  }
  add_pool(our_pool, &Figure::ours);
  add_pool(floor_pool, &Figure::peers);
  const std::string about = absl::StrFormat(
      "%d watchers of one prediction on %d connections, %d rounds; updates of %d other predictions "
      "during a fan-out: %d, the bare server's: %d",
      settings.watchers, settings.connections, settings.rounds, kNeighbours,
      our_pool.meanwhile.size(), floor_pool.meanwhile.size());
  std::printf("%s: median (minimum .. maximum)\n\n%s", about.c_str(), Table(figures).c_str());
  WriteJson(settings.json_file, about, figures);
  return 0;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == dreamgate::bench::kNeighboursMode) {
    return dreamgate::bench::WatchNeighbours({argv + 2, argv + argc});
  }
  dreamgate::bench::Settings settings;
  if (!dreamgate::bench::ReadFlags(argc, argv,
                                   {{"--watchers", &settings.watchers},
                                    {"--connections", &settings.connections},
                                    {"--rounds", &settings.rounds},
                                    {"--json", &settings.json_file}})) {
    std::fprintf(
        stderr, "usage: watch_bench [--watchers N] [--connections N] [--rounds N] [--json FILE]\n");
    return 2;
  }
  return dreamgate::bench::Main(settings);
}
