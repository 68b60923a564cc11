// Very many idle watch streams on one server, for minutes: is its memory flat, does every stream get
// every heartbeat in time and is what they say true, what do they cost? Then one terminal transition
// for each prediction: does every stream get that one update and end OK, and how soon?
//
//   idle_streams [--minutes M] [--streams N] [--connections N] [--predictions N] [--json FILE]
//
// Ends with 1 if anything is missing, repeated, out of order or untrue, or if memory grows.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "dreamgate/v1/video_service.grpc.pb.h"
#include "tests/bench/crowd.h"
#include "tests/bench/flags.h"
#include "tests/bench/measure.h"
#include "tests/bench/subject.h"

namespace dreamgate::bench {
namespace {

struct Settings {
  double minutes = 10;
  int streams = 50'000;
  int connections = 500;
  int predictions = 50;
  std::string json_file;
};

// The longest silence and the shortest interval that the contract knows. A heartbeat left out would
// make 30 s. How close they come to the interval depends on who else uses the processors: it is shown.
constexpr absl::Duration kLongestSilence = absl::Seconds(25);
constexpr absl::Duration kShortestInterval = absl::Seconds(5);
// How far a planned poll may lie outside of where it belongs.
constexpr absl::Duration kTolerance = absl::Seconds(2);
// Longest time between two polls of a prediction: what heartbeats tell changes that often.
constexpr absl::Duration kPollInterval = absl::Seconds(5);
// From upstream's reading of a poll to the heartbeats that know its answer.
constexpr absl::Duration kPollAnswered = absl::Seconds(1);
constexpr double kMostGrowthPercent = 1;

// Counts what went wrong and keeps the first few in words. Any thread.
class Complaints {
 public:
  void Add(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (++count_ <= 10) first_.push_back(what);
  }
  int64_t count() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return count_;
  }
  void Print() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& what : first_) std::printf("WRONG: %s\n", what.c_str());
    if (count_ > 10) std::printf("WRONG: and %lld more\n", static_cast<long long>(count_ - 10));
  }

 private:
  mutable std::mutex mutex_;
  int64_t count_ = 0;
  std::vector<std::string> first_;
};

// Counts durations up to a minute by hundredths of a second. Any thread.
class Histogram {
 public:
  void Add(absl::Duration duration) {
    const int64_t bin = std::max<int64_t>(0, duration / absl::Milliseconds(10));
    ++bins_[std::min(static_cast<size_t>(bin), kBins - 1)];
  }
  int64_t count() const {
    int64_t sum = 0;
    for (const std::atomic<int64_t>& bin : bins_) sum += bin;
    return sum;
  }
  // In seconds; 0: the smallest, 1: the largest.
  double Quantile(double share) const {
    const int64_t rank =
        std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share * static_cast<double>(count()))));
    int64_t seen = 0;
    for (size_t i = 0; i < bins_.size(); ++i) {
      seen += bins_[i];
      if (seen >= rank) return static_cast<double>(i) / 100;
    }
    return 0;
  }

 private:
  static constexpr size_t kBins = 6000;
  std::array<std::atomic<int64_t>, kBins> bins_ = {};
};

// Watches the watchers: what one stream after the other is told, and whether it should have been.
class Witness final : public Crowd::Observer {
 public:
  Witness(const Settings& settings, const std::vector<v1::Prediction>& predictions,
          Complaints& complaints)
      : watchers_each_(static_cast<size_t>(settings.streams / settings.predictions)),
        predictions_(predictions),
        complaints_(complaints),
        streams_(static_cast<size_t>(settings.streams)),
        told_(predictions.size()),
        per_second_(static_cast<size_t>(settings.minutes * 60) + 600) {}

  void OnOpen(size_t stream) override { streams_[stream].latest = Clock::now(); }

  void OnMessage(size_t stream, const v1::WatchPredictionResponse& message) override {
    const Clock::time_point now = Clock::now();
    Stream& state = streams_[stream];
    if (state.updated) Complain(stream, "was told more after the terminal update");
    if (message.has_heartbeat()) {
      OnHeartbeat(stream, message.heartbeat(), now);
    } else if (message.has_update()) {
      CheckGap(stream, now, absl::ZeroDuration());
      OnUpdate(stream, message.update());
    } else {
      Complain(stream, "was asked to reconnect");
    }
    state.latest = now;
  }

  void OnEnd(size_t stream, const grpc::Status& status) override {
    Stream& state = streams_[stream];
    if (!status.ok()) {
      Complain(stream,
               absl::StrCat("ended with ", status.error_code(), " ", status.error_message()));
    } else if (!state.updated) {
      Complain(stream, "ended without the terminal update");
    }
  }

  // From now on heartbeats are counted by seconds.
  void StartHold() {
    hold_start_ = ToNanoseconds(Clock::now());
    holding_ = true;
  }
  void EndHold() {
    holding_ = false;
    beats_in_hold_ = heartbeats_.load();
    seconds_in_hold_ = (ToNanoseconds(Clock::now()) - hold_start_) / 1'000'000'000;
  }

  int64_t heartbeats() const { return heartbeats_; }
  int64_t heartbeats_in_hold() const { return beats_in_hold_; }
  const Histogram& intervals() const { return intervals_; }
  // Of upstream's latest answer, as heartbeats of the hold tell it.
  const Histogram& ages() const { return ages_; }

  // The quietest and the busiest second of the hold, the first round of heartbeats left out.
  std::pair<int64_t, int64_t> PerSecond() const {
    int64_t least = INT64_MAX, most = 0;
    for (int64_t second = 16; second < seconds_in_hold_; ++second) {
      const int64_t beats = per_second_[static_cast<size_t>(second)];
      least = std::min(least, beats);
      most = std::max(most, beats);
    }
    return {least == INT64_MAX ? 0 : least, most};
  }

  // The rest is for when all have ended.

  // From the commit to each stream, in milliseconds, ascending.
  std::vector<double> Delays() const {
    std::vector<double> delays;
    for (const Stream& stream : streams_) {
      delays.push_back(absl::ToDoubleMilliseconds(stream.delay));
    }
    std::sort(delays.begin(), delays.end());
    return delays;
  }
  int64_t updated() const {
    return std::count_if(streams_.begin(), streams_.end(),
                         [](const Stream& stream) { return stream.updated; });
  }

  // Holds every time that heartbeats gave for "upstream last answered" against the requests that
  // upstream has read: one was answered then, and none that came later was kept quiet about.
  int64_t CheckAgainst(const simulator::Simulator& upstream) {
    std::map<std::string, std::vector<absl::Time>> polls;  // by target, ascending
    for (const simulator::LoggedRequest& request : upstream.Log()) {
      if (request.method == "GET") polls[request.target].push_back(request.time);
    }
    int64_t times = 0;
    for (size_t i = 0; i < told_.size(); ++i) {
      const std::vector<absl::Time>* of_task = nullptr;
      for (const auto& [target, at] : polls) {
        if (absl::StrContains(target, predictions_[i].upstream_id())) of_task = &at;
      }
      if (of_task == nullptr) {
        complaints_.Add("upstream was never asked for a prediction");
        continue;
      }
      for (const auto& [observed, latest_receipt] : told_[i].by_observed) {
        ++times;
        CheckPolls(i, *of_task, observed, latest_receipt);
      }
    }
    return times;
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Touched by the stream's own reactions alone.
  struct Stream {
    Clock::time_point latest;  // opened, or the latest message
    absl::Time observed = absl::InfinitePast();
    absl::Duration delay;
    uint32_t beats = 0;
    bool updated = false;
  };

  // The values of "upstream last answered" in the heartbeats of one prediction, and the time of the last
  // one during the hold. Before and after the hold, heartbeats wait behind thousands of other messages.
  struct Told {
    std::mutex mutex;
    std::map<absl::Time, absl::Time> by_observed;
  };

  static int64_t ToNanoseconds(Clock::time_point time) {
    return std::chrono::nanoseconds(time.time_since_epoch()).count();
  }

  void Complain(size_t stream, const std::string& what) {
    complaints_.Add(absl::StrCat("stream ", stream, " ", what));
  }

  void CheckGap(size_t stream, Clock::time_point now, absl::Duration at_least) {
    const absl::Duration gap = absl::FromChrono(now - streams_[stream].latest);
    if (gap > kLongestSilence || gap < at_least) {
      Complain(stream, absl::StrCat("received nothing for ", absl::FormatDuration(gap), " after ",
                                    streams_[stream].beats, " heartbeats"));
    }
  }

  void OnHeartbeat(size_t stream, const v1::Heartbeat& heartbeat, Clock::time_point now) {
    Stream& state = streams_[stream];
    // The first comes at a random second of the interval.
    const bool first = state.beats++ == 0;
    CheckGap(stream, now, first ? absl::ZeroDuration() : kShortestInterval);
    if (!first) intervals_.Add(absl::FromChrono(now - state.latest));
    ++heartbeats_;
    const int64_t start = hold_start_;
    if (start != 0) {
      const int64_t second = (ToNanoseconds(now) - start) / 1'000'000'000;
      if (second < static_cast<int64_t>(per_second_.size())) {
        ++per_second_[static_cast<size_t>(second)];
      }
    }
    CheckTimes(stream, heartbeat);
  }

  void CheckTimes(size_t stream, const v1::Heartbeat& heartbeat) {
    if (!heartbeat.has_last_observed_time()) {
      Complain(stream, "was not told when upstream last answered");
      return;
    }
    const absl::Time now = absl::Now();
    const absl::Time observed = TimeOf(heartbeat.last_observed_time());
    if (observed < streams_[stream].observed) Complain(stream, "was told of an earlier answer");
    streams_[stream].observed = observed;
    if (observed > now) Complain(stream, "was told of an answer still to come");
    if (holding_) ages_.Add(now - observed);
    if (heartbeat.has_next_poll_time()) {
      const absl::Time next = TimeOf(heartbeat.next_poll_time());
      if (next < now - kTolerance || next > now + kPollInterval + kTolerance) {
        Complain(stream, "was told of a next poll too early or too late");
      }
    }
    Told& told = told_[stream / watchers_each_];
    const std::lock_guard<std::mutex> lock(told.mutex);
    absl::Time& latest_receipt =
        told.by_observed.try_emplace(observed, absl::InfinitePast()).first->second;
    if (holding_) latest_receipt = now;
  }

  void OnUpdate(size_t stream, const v1::Prediction& update) {
    Stream& state = streams_[stream];
    const v1::Prediction& before = predictions_[stream / watchers_each_];
    state.updated = true;
    state.delay = absl::Now() - TimeOf(update.update_time());
    if (update.id() != before.id()) Complain(stream, "was told of another prediction");
    if (update.sequence() != before.sequence() + 1) {
      Complain(stream, absl::StrCat("was given sequence ", update.sequence(), " after ",
                                    before.sequence()));
    }
    if (update.state() != v1::PREDICTION_STATE_COMPLETED) {
      Complain(stream, "was given another state than COMPLETED");
    }
  }

  void CheckPolls(size_t prediction, const std::vector<absl::Time>& polls, absl::Time observed,
                  absl::Time latest_receipt) {
    // The first time that is told is that of the submission's answer.
    const auto later = std::upper_bound(polls.begin(), polls.end(), observed);
    const absl::Time submitted = TimeOf(predictions_[prediction].update_time());
    if (observed != submitted &&
        (later == polls.begin() || *(later - 1) < observed - kPollAnswered)) {
      complaints_.Add(absl::StrCat("prediction ", prediction, ": upstream was not asked by ",
                                   absl::FormatTime(observed)));
    }
    if (later != polls.end() && *later < latest_receipt - kPollAnswered) {
      complaints_.Add(absl::StrCat("prediction ", prediction, ": told of ",
                                   absl::FormatTime(observed), " at ",
                                   absl::FormatTime(latest_receipt),
                                   ", though upstream was asked at ", absl::FormatTime(*later)));
    }
  }

  const size_t watchers_each_;
  const std::vector<v1::Prediction>& predictions_;
  Complaints& complaints_;
  std::vector<Stream> streams_;
  std::vector<Told> told_;
  Histogram intervals_;
  Histogram ages_;
  std::atomic<int64_t> heartbeats_{0};
  std::atomic<int64_t> hold_start_{0};
  std::atomic<bool> holding_{false};
  int64_t beats_in_hold_ = 0;
  int64_t seconds_in_hold_ = 0;
  std::vector<std::atomic<int64_t>> per_second_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double Megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

struct Memory {
  double warm = 0;  // median of the 30 s after the warm-up
  double end = 0;   // median of the last 30 s
  double most = 0;  // after the warm-up
};

// Waits out the hold, with a line every half minute.
Memory Hold(const Settings& settings, const Subject& subject, const Witness& witness) {
  const absl::Duration length = settings.minutes * absl::Minutes(1);
  const absl::Duration warm_up = std::min(absl::Minutes(1), length / 3);
  const absl::Duration span = std::min(absl::Seconds(30), length / 3);
  const absl::Time start = absl::Now();
  std::vector<double> first, last;
  Memory memory;
  absl::Time next_line = start;
  for (absl::Time now = start; now < start + length; now = absl::Now()) {
    const int64_t resident = ResidentBytes(subject.pid());
    if (resident == 0) Die("the server is gone");
    const double megabytes = Megabytes(resident);
    if (now >= next_line) {
      std::fprintf(stderr, "%5.0f s: server %.1f MB, client %.1f MB, heartbeats %lld\n",
                   absl::ToDoubleSeconds(now - start), megabytes,
                   Megabytes(ResidentBytes(getpid())),
                   static_cast<long long>(witness.heartbeats()));
      next_line += absl::Seconds(30);
    }
    if (now >= start + warm_up) {
      memory.most = std::max(memory.most, megabytes);
      if (now < start + warm_up + span) first.push_back(megabytes);
      if (now >= start + length - span) last.push_back(megabytes);
    }
    absl::SleepFor(std::min(absl::Seconds(2), start + length - now));
  }
  memory.warm = Median(first);
  memory.end = Median(last);
  return memory;
}

int Main(const Settings& settings) {
  rlimit descriptors = {};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);

  Gateway::Options options;
  options.predictions = settings.predictions;
  options.max_streams = settings.streams;
  options.poll_min_interval = absl::Seconds(2);
  options.poll_max_interval = kPollInterval;
  Gateway subject(options);
  const int64_t before = ResidentBytes(subject.pid());

  Complaints complaints;
  Witness witness(settings, subject.predictions(), complaints);
  Crowd crowd(subject.port(), settings.connections, &witness);
  for (const v1::Prediction& prediction : subject.predictions()) {
    v1::WatchPredictionRequest request;
    request.set_prediction_id(prediction.id());
    request.set_after_sequence(prediction.sequence());
    crowd.Open(request, settings.streams / settings.predictions);
  }
  std::fprintf(stderr, "%d streams are open\n", settings.streams);

  witness.StartHold();
  const int64_t beats_before = witness.heartbeats();
  const absl::Time hold_start = absl::Now();
  const absl::Duration processor_before = ProcessorTime(subject.pid());
  const Memory memory = Hold(settings, subject, witness);
  const absl::Duration processor = ProcessorTime(subject.pid()) - processor_before;
  const absl::Duration held = absl::Now() - hold_start;
  witness.EndHold();
  if (crowd.ended() != 0) complaints.Add(absl::StrCat(crowd.ended(), " streams ended early"));
  const double beats = static_cast<double>(witness.heartbeats_in_hold() - beats_before);

  std::fprintf(stderr, "%d predictions end\n", settings.predictions);
  const absl::Time moved = absl::Now();
  for (size_t i = 0; i < subject.predictions().size(); ++i) subject.Move(i, true);
  crowd.WaitForEnd();
  const absl::Duration ending = absl::Now() - moved;
  const int64_t times_checked = witness.CheckAgainst(subject.simulator());
  const int64_t after = ResidentBytes(subject.pid());

  const std::vector<double> delays = witness.Delays();
  const auto delay = [&delays](double share) {
    return delays[static_cast<size_t>(share * static_cast<double>(delays.size() - 1))];
  };
  const auto [quietest, busiest] = witness.PerSecond();
  const double growth = 100 * (memory.end - memory.warm) / memory.warm;
  const double seconds = absl::ToDoubleSeconds(held);
  const auto figure = [](const char* name, const char* unit, double value, Target target = {}) {
    return Figure{name, unit, "", target, {value}, {}};
  };
  using Kind = Target::Kind;
  const std::vector<Figure> figures = {
      figure("server memory, before the streams", "MB", Megabytes(before)),
      figure("server memory, after the warm-up", "MB", memory.warm),
      figure("server memory, at the end", "MB", memory.end),
      figure("server memory, most after the warm-up", "MB", memory.most),
      figure("server memory, after all have ended", "MB", Megabytes(after)),
      figure("server memory per stream", "bytes",
             (memory.end * 1e6 - static_cast<double>(before)) / settings.streams),
      figure("growth from the warm-up to the end", "%", growth,
             {Kind::kAtMost, kMostGrowthPercent}),
      figure("server's processor time while idle", "% of one core",
             100 * absl::ToDoubleSeconds(processor) / seconds),
      figure("server's processor time per heartbeat", "us",
             absl::ToDoubleMicroseconds(processor) / beats),
      figure("heartbeats", "a second", beats / seconds),
      figure("heartbeats in the quietest second", "", static_cast<double>(quietest)),
      figure("heartbeats in the busiest second", "", static_cast<double>(busiest)),
      figure("time between a stream's heartbeats, smallest", "s", witness.intervals().Quantile(0)),
      figure("time between a stream's heartbeats, median", "s", witness.intervals().Quantile(0.5)),
      figure("time between a stream's heartbeats, p99.9", "s", witness.intervals().Quantile(0.999)),
      figure("time between a stream's heartbeats, largest", "s", witness.intervals().Quantile(1)),
      figure("age of upstream's answer in a heartbeat, median", "s", witness.ages().Quantile(0.5)),
      figure("age of upstream's answer in a heartbeat, largest", "s", witness.ages().Quantile(1)),
      figure("terminal update, from its commit: median", "ms", delay(0.5)),
      figure("terminal update, from its commit: p99", "ms", delay(0.99)),
      figure("terminal update, from its commit: last", "ms", delays.back()),
      figure("all predictions, from their end to the last stream's", "ms",
             absl::ToDoubleMilliseconds(ending)),
  };
  const std::string about = absl::StrFormat(
      "%d streams on %d connections, %d predictions with %d watchers each, held for %.4g minutes",
      settings.streams, settings.connections, settings.predictions,
      settings.streams / settings.predictions, settings.minutes);
  std::printf("%s\n\n%s\n", about.c_str(), Table(figures).c_str());
  std::printf("%lld heartbeats; %lld intervals between them, each within %s to %s\n",
              static_cast<long long>(witness.heartbeats()),
              static_cast<long long>(witness.intervals().count()),
              absl::FormatDuration(kShortestInterval).c_str(),
              absl::FormatDuration(kLongestSilence).c_str());
  std::printf("%lld times that upstream \"last answered\", held against upstream's own log\n",
              static_cast<long long>(times_checked));
  std::printf("%lld of %d streams had exactly the one update and ended OK\n",
              static_cast<long long>(witness.updated()), settings.streams);
  WriteJson(settings.json_file, about, figures);

  if (growth > kMostGrowthPercent) {
    complaints.Add(absl::StrFormat("memory grew by %.2f %% after the warm-up", growth));
  }
  complaints.Print();
  std::printf(complaints.count() == 0 ? "all is well\n" : "not all is well\n");
  return complaints.count() == 0 ? 0 : 1;
}

bool Read(int argc, char** argv, Settings& settings) {
  return ReadFlags(argc, argv,
                   {{"--minutes", &settings.minutes},
                    {"--streams", &settings.streams},
                    {"--connections", &settings.connections},
                    {"--predictions", &settings.predictions},
                    {"--json", &settings.json_file}}) &&
         settings.streams % settings.predictions == 0;
}

}  // namespace
}  // namespace dreamgate::bench

int main(int argc, char** argv) {
  dreamgate::bench::Settings settings;
  if (!dreamgate::bench::Read(argc, argv, settings)) {
    std::fprintf(stderr,
                 "usage: idle_streams [--minutes M] [--streams N] [--connections N]"
                 " [--predictions N] [--json FILE]\n"
                 "  N streams must share out evenly among the predictions\n");
    return 2;
  }
  return dreamgate::bench::Main(settings);
}
