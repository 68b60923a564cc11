// A crowd of watchers on the real server while upstream fails half of all looks, callbacks are lost,
// doubled, late and forged, connections break, readers stall, and the server itself is ended now and
// then. Round after round, in three scenes each: the faults with one watcher for each prediction, the
// same with the crowd, and the crowd with an upstream that is well. Everything seen is judged, and the
// server's memory is followed over the rounds.
#include <grpcpp/create_channel.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/core/prediction.h"
#include "tests/bench/measure.h"
#include "tests/e2e/deployment.h"
#include "tests/e2e/tcp_proxy.h"
#include "tests/e2e/watch_crowd.h"
#include "tests/simulator/simulator.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::Schedule;
using simulator::WebhookBehavior;

constexpr char kUsage[] =
    "usage: fault_run [--watchers N] [--predictions N] [--rounds N] [--restarts N] [--seed N]\n"
    "                 [--fail-percent N] [--stalled-percent N] [--pace long|short] [--json FILE]\n"
    "  --watchers N         in the crowd (10000)\n"
    "  --predictions N      in every scene (100)\n"
    "  --rounds N           (6)\n"
    "  --restarts N         of the server, one a round from the first on; memory is followed after "
    "the\n"
    "                       last (0)\n"
    "  --seed N             of everything drawn here (1); moments differ all the same\n"
    "  --fail-percent N     of the looks at a task that fail (50)\n"
    "  --stalled-percent N  of the watchers that stop reading, half of them for ever (5)\n"
    "  --pace PACE          long: videos of some 15 s, and streams that are not read are left to "
    "the\n"
    "                       server's stall timer, which takes a minute (the default); short: "
    "videos of\n"
    "                       under a second, and their callers give up on them\n"
    "  --json FILE          the figures as JSON\n"
    "Ends with 1 if anything was lost, repeated, reordered, paid for twice or not ended.\n";

struct Arguments {
  uint64_t watchers = 10'000;
  uint64_t predictions = 100;
  uint64_t rounds = 6;
  uint64_t restarts = 0;
  uint64_t seed = 1;
  uint64_t fail_percent = 50;
  uint64_t stalled_percent = 5;
  bool short_pace = false;
  std::string json_file;
};

std::optional<Arguments> Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    const std::string& name = words[i];
    const std::string& text = words[i + 1];
    if (name == "--json") {
      arguments.json_file = text;
      continue;
    }
    if (name == "--pace" && (text == "long" || text == "short")) {
      arguments.short_pace = text == "short";
      continue;
    }
    uint64_t* const value = name == "--watchers"          ? &arguments.watchers
                            : name == "--predictions"     ? &arguments.predictions
                            : name == "--rounds"          ? &arguments.rounds
                            : name == "--restarts"        ? &arguments.restarts
                            : name == "--seed"            ? &arguments.seed
                            : name == "--fail-percent"    ? &arguments.fail_percent
                            : name == "--stalled-percent" ? &arguments.stalled_percent
                                                          : nullptr;
    if (value == nullptr || !absl::SimpleAtoi(text, value)) return std::nullopt;
  }
  if (words.size() % 2 != 0 || arguments.watchers == 0 || arguments.predictions == 0 ||
      arguments.rounds == 0 || arguments.fail_percent > 95 || arguments.stalled_percent > 90) {
    return std::nullopt;
  }
  return arguments;
}

// How long everything takes.
struct Pace {
  absl::Duration created_for;     // at least; at most three times as long
  absl::Duration processing_for;  // likewise
  absl::Duration cut_interval;    // between two cuts of some connections
  absl::Duration restart_after;   // from the crowd's coming
  absl::Duration late_callback;
  absl::Duration stall;
  absl::Duration longest_deadline;
  absl::Duration outage;    // how long the faults of a scene last
  absl::Duration patience;  // for the end of a scene
  int silent_percent;       // of the videos end so that upstream never calls back
  // A callback comes a moment after the end, and sometimes a look is there before it: the longer videos
  // take, the rarer.
  double most_gets_with_callbacks;
  std::vector<std::string> server_arguments;
};

// By then the stall timer (a minute, looked at every 5 s) has ended what was not read from the start.
const absl::Duration kStallPatience = absl::Seconds(100);

Pace LongPace() {
  return {.created_for = absl::Seconds(3),
          .processing_for = absl::Seconds(4),
          .cut_interval = absl::Milliseconds(500),
          .restart_after = absl::Seconds(6),
          .late_callback = absl::Seconds(3),
          .stall = absl::Seconds(6),
          .longest_deadline = absl::Seconds(8),
          .outage = absl::Seconds(30),
          .patience = absl::Minutes(5),
          .silent_percent = 5,
          .most_gets_with_callbacks = 2,
          .server_arguments = {"--poll-min-interval=200ms", "--poll-max-interval=30s",
                               "--absence-settle-time=2s", "--unresolved-timeout=2m",
                               "--submit-soft-timeout=3s", "--late-answer-timeout=10s",
                               "--upstream-response-timeout=5s"}};
}

Pace ShortPace() {
  return {.created_for = absl::Milliseconds(150),
          .processing_for = absl::Milliseconds(200),
          .cut_interval = absl::Milliseconds(100),
          .restart_after = absl::Milliseconds(300),
          .late_callback = absl::Milliseconds(300),
          .stall = absl::Milliseconds(500),
          .longest_deadline = absl::Milliseconds(500),
          .outage = absl::Milliseconds(1500),
          .patience = absl::Minutes(1),
          .silent_percent = 0,  // only a look would find them, perhaps after many that have failed
          .most_gets_with_callbacks = 5,
          .server_arguments = {"--poll-min-interval=20ms", "--poll-max-interval=1s",
                               "--absence-settle-time=300ms", "--unresolved-timeout=3s",
                               "--submit-soft-timeout=1s", "--late-answer-timeout=2s",
                               "--upstream-response-timeout=1s"}};
}

class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  bool Percent(int percent) { return Below(100) < percent; }
  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random_); }
  absl::Duration Between(absl::Duration least, absl::Duration most) {
    return least + (most - least) * std::uniform_real_distribution<double>(0, 1)(random_);
  }

 private:
  std::mt19937_64 random_;
};

// --------------------------------------------------------------------------------------- upstream

// Prompts differ within their first words.
std::string RequestIdFor(const std::string& prompt) {
  return absl::StrReplaceAll(prompt.substr(0, 60), {{" ", "-"}});
}

struct FaultShare {
  double percent;  // of all requests that match
  Fault fault;
};

// The simulator asks its faults one after the other; each must know how many requests are left to it.
void AddShares(simulator::Simulator& simulator, std::vector<FaultShare> shares, uint64_t seed) {
  double left = 100;
  for (FaultShare& share : shares) {
    share.fault.times = -1;
    share.fault.probability = share.percent / left;
    share.fault.seed = seed++;
    left -= share.percent;
    simulator.AddFault(std::move(share.fault));
  }
}

void FailLooks(simulator::Simulator& simulator, double percent, absl::Duration slow,
               uint64_t seed) {
  const auto get = [](Fault fault) {
    fault.method = "GET";
    fault.path_prefix = "/api/v3/predictions/";
    return fault;
  };
  const double part = percent / 100;
  // Few 429s: after one the server asks so rarely for a while that other faults would not be met.
  AddShares(simulator,
            {{8 * part, get({.action = FaultAction::kResetBeforeRequest})},
             {23 * part, get({.status = 500})},
             {22 * part, get({.status = 503})},
             {1 * part, get({.action = FaultAction::kRateLimited, .retry_after = "1"})},
             {2 * part, get({.action = FaultAction::kRateLimited})},
             {18 * part, get({.action = FaultAction::kResetAfterRequest})},
             {12 * part, get({.action = FaultAction::kCloseMidBody})},
             {8 * part, get({.action = FaultAction::kNotJson})},
             {6 * part, get({.action = FaultAction::kNotJson, .status = 502})},
             // Slow, but right in the end.
             {10, get({.action = FaultAction::kLatency, .delay = slow})},
             {5, get({.action = FaultAction::kSlowBytes, .bytes = 40})},
             {5, get({.action = FaultAction::kUnknownStatus, .text = "dreaming"})}},
            seed);
}

void FailSubmissions(simulator::Simulator& simulator, absl::Duration slow, uint64_t seed) {
  const auto post = [&simulator](Fault fault) {
    fault.method = "POST";
    fault.path_prefix = simulator.SubmitPath();
    return fault;
  };
  AddShares(simulator,
            {{3, post({.action = FaultAction::kResetBeforeRequest})},
             {6, post({.create_task = true, .status = 500})},
             {4, post({.status = 503})},
             {5, post({.action = FaultAction::kResetAfterRequest, .create_task = true})},
             {3, post({.action = FaultAction::kResetAfterRequest})},
             {4, post({.action = FaultAction::kCloseMidBody, .create_task = true})},
             {2, post({.action = FaultAction::kNoId, .create_task = true})},
             {2, post({.action = FaultAction::kNotJson, .create_task = true})},
             {4, post({.action = FaultAction::kRateLimited})},
             {8, post({.action = FaultAction::kLatency, .create_task = true, .delay = slow})}},
            seed);
  Fault history = {.method = "POST", .path_prefix = "/api/v3/predictions"};
  history.status = 502;
  AddShares(simulator, {{15, history}}, seed + 50);
}

WebhookBehavior DrawCallback(Chance& chance, absl::Duration late) {
  WebhookBehavior behavior;
  behavior.redelivery_backoff = absl::Milliseconds(50);
  const int way = chance.Below(100);
  if (way < 30) {
    behavior.silent = true;
  } else if (way < 45) {
    behavior.copies = 3;
  } else if (way < 55) {
    behavior.hold_until_next = true;
  } else if (way < 70) {
    behavior.delay = late;
  } else if (way < 78) {
    behavior.forged = true;
  }
  return behavior;
}

Schedule DrawLife(Chance& chance, const Pace& pace) {
  const auto about = [&chance](absl::Duration least) { return chance.Between(least, 3 * least); };
  const absl::Duration start = about(pace.created_for);
  Schedule schedule = chance.Percent(15)
                          ? Schedule::Failing(start, about(pace.processing_for), 1200, "flagged")
                          : Schedule::Completing(start, about(pace.processing_for));
  if (chance.Percent(pace.silent_percent)) schedule.steps.back().status = "cancelled";
  if (chance.Percent(20)) schedule.steps.insert(schedule.steps.begin() + 1, {start / 2, "queued"});
  return schedule;
}

// ------------------------------------------------------------------------------------------ world

// What one scene has shown.
struct SceneReport {
  WatchCrowdTotals watched;
  double gets_per_video = 0;
  uint64_t tasks = 0;
  uint64_t duplicates = 0;
  uint64_t wrong = 0;  // transitions lost, repeated or reordered
  absl::Duration took;
  std::vector<std::string> violations;
};

struct SceneOptions {
  std::string name;
  int watchers = 1;
  bool crowded = true;  // watchers do all they can; otherwise they only watch
  bool faults = true;
  bool restart = false;
  uint64_t seed = 1;
};

class World {
 public:
  explicit World(const Arguments& arguments)
      : arguments_(arguments),
        pace_(arguments.short_pace ? ShortPace() : LongPace()),
        simulator_(simulator::Simulator::Start({.log_limit = 1000}).value()) {
    WriteFile(folder_.File("secret"), "whsec_simulator-webhook-secret\n");
    StartServer();
  }

  SceneReport Play(const SceneOptions& options);
  int64_t ServerMemory() { return bench::ResidentBytes(server_->process().pid()); }
  // Videos that end with callbacks, until the server relies on them.
  void EarnTrust();
  uint64_t cuts() const { return proxy_.cuts(); }
  const Pace& pace() const { return pace_; }

 private:
  struct Submission {
    std::string prompt;
    v1::Prediction prediction;
  };

  void StartServer();
  void RestartServer(int signal);
  std::unique_ptr<v1::VideoService::Stub> CalmStub() const;
  std::vector<Submission> SubmitAll(const SceneOptions& options, Chance& chance,
                                    SceneReport& report);
  std::optional<v1::Prediction> SubmitOne(const std::string& prompt);
  std::optional<v1::Prediction> WaitUntilTerminal(const std::string& id);
  void Disturb(WatchCrowd& crowd, const SceneOptions& options,
               const std::vector<Submission>& submissions);
  void EndOutage(const std::vector<Submission>& submissions);
  void AwaitStalled(WatchCrowd& crowd, absl::Time start);
  void Judge(WatchCrowd& crowd, const std::vector<Submission>& submissions, SceneReport& report);

  const Arguments arguments_;
  const Pace pace_;
  TemporaryFolder folder_;
  std::unique_ptr<simulator::Simulator> simulator_;
  TcpProxy proxy_;
  TcpProxy calm_proxy_;
  std::unique_ptr<Server> server_;
  int restarts_ = 0;
};

void World::StartServer() {
  std::vector<std::string> server_arguments = {
      "--webhook-public-url=https://hooks.example/dreamgate",
      "--webhook-listen-address=127.0.0.1:0",
      "--webhook-secret-file=" + folder_.File("secret"),
      "--max-streams=0",
      "--max-streams-per-peer=0",
      "--heartbeat-interval=5s",
      "--shutdown-timeout=3s",
      "--log-level=error"};
  server_arguments.insert(server_arguments.end(), pace_.server_arguments.begin(),
                          pace_.server_arguments.end());
  server_.reset();
  server_ = std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments);
  if (server_->grpc_port() == 0) std::exit(1);  // it has said why
  proxy_.SetTarget(server_->grpc_port());
  calm_proxy_.SetTarget(server_->grpc_port());
  simulator_->SetWebhookOrigin(absl::StrCat("http://127.0.0.1:", server_->webhook_port()));
}

void World::RestartServer(int signal) {
  server_->process().Signal(signal);
  const std::optional<int> code = server_->process().Wait(kPatience);
  if (signal == SIGTERM && code != 0) {
    std::cout << "the server left with " << code.value_or(-1) << "\n";
  }
  StartServer();
}

std::unique_ptr<v1::VideoService::Stub> World::CalmStub() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::VideoService::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", calm_proxy_.port()),
                                grpc::InsecureChannelCredentials(), arguments));
}

// A caller that asks again with the same request_id until it is answered.
std::optional<v1::Prediction> World::SubmitOne(const std::string& prompt) {
  const auto stub = CalmStub();
  const absl::Time deadline = absl::Now() + pace_.patience;
  v1::SubmitVideoRequest request;
  request.set_request_id(RequestIdFor(prompt));
  request.set_prompt(prompt);
  while (absl::Now() < deadline) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::SubmitVideoResponse response;
    if (stub->SubmitVideo(&context, request, &response).ok()) return response.prediction();
    absl::SleepFor(absl::Milliseconds(50));  // what refuses at once may take a moment to accept
  }
  return std::nullopt;
}

std::vector<World::Submission> World::SubmitAll(const SceneOptions& options, Chance& chance,
                                                SceneReport& report) {
  constexpr int kCallers = 16;
  std::vector<Submission> submissions(arguments_.predictions);
  for (size_t i = 0; i < submissions.size(); ++i) {
    // Longer than the window of those that stall.
    submissions[i].prompt = absl::StrCat("a kite ", i, " in scene ", options.name, " ",
                                         std::string(1500, static_cast<char>('a' + i % 26)));
    simulator_->SetScheduleForPrompt(submissions[i].prompt, DrawLife(chance, pace_));
    simulator_->SetWebhookBehaviorForPrompt(
        submissions[i].prompt,
        options.faults ? DrawCallback(chance, pace_.late_callback) : WebhookBehavior());
  }
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      for (size_t mine; (mine = next++) < submissions.size();) {
        auto prediction = SubmitOne(submissions[mine].prompt);
        if (prediction) {
          submissions[mine].prediction = *std::move(prediction);
          continue;
        }
        const std::lock_guard<std::mutex> lock(mutex);
        report.violations.push_back(absl::StrCat("no answer to the submission of ",
                                                 submissions[mine].prompt.substr(0, 60)));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  std::erase_if(submissions,
                [](const Submission& submission) { return submission.prediction.id().empty(); });
  return submissions;
}

SceneReport World::Play(const SceneOptions& options) {
  SceneReport report;
  const absl::Time start = absl::Now();
  Chance chance(options.seed);
  if (options.faults) {
    const absl::Duration slow = pace_.created_for / 3;
    FailLooks(*simulator_, static_cast<double>(arguments_.fail_percent), slow, options.seed * 1000);
    FailSubmissions(*simulator_, 2 * slow, options.seed * 1000 + 100);
  }
  const size_t gets_before = simulator_->Count("GET", "/api/v3/predictions/");
  const size_t tasks_before = simulator_->TasksCreated();
  const std::vector<Submission> submissions = SubmitAll(options, chance, report);
  if (submissions.empty()) return report;
  std::vector<v1::Prediction> predictions;
  for (const Submission& submission : submissions) predictions.push_back(submission.prediction);
  const absl::Time opening = absl::Now();
  WatchCrowd crowd(
      {.watchers = options.watchers,
       .connections = std::clamp(options.watchers / 100, 4, 100),
       .seed = options.seed,
       .port = options.crowded ? proxy_.port() : calm_proxy_.port(),
       .calm_port = calm_proxy_.port(),
       .restless = options.crowded,
       .stalled_percent =
           options.crowded && options.faults ? static_cast<int>(arguments_.stalled_percent) : 0,
       .stall = pace_.stall,
       .longest_deadline = pace_.longest_deadline},
      predictions);
  Disturb(crowd, options, submissions);
  AwaitStalled(crowd, opening);
  report.tasks = simulator_->TasksCreated() - tasks_before;
  const size_t gets = simulator_->Count("GET", "/api/v3/predictions/") - gets_before;
  report.gets_per_video =
      static_cast<double>(gets) / static_cast<double>(std::max<uint64_t>(1, report.tasks));
  simulator_->ClearFaults();
  Judge(crowd, submissions, report);
  report.took = absl::Now() - start;
  return report;
}

// Breaks connections, and once the server, until all have seen the end but those who do not read.
void World::Disturb(WatchCrowd& crowd, const SceneOptions& options,
                    const std::vector<Submission>& submissions) {
  const absl::Time deadline = absl::Now() + pace_.patience;
  const absl::Time restart = absl::Now() + pace_.restart_after;
  absl::Time recovery = absl::Now() + pace_.outage;
  bool restarted = false;
  uint64_t cut = options.seed;
  while (!crowd.WaitForOthers(pace_.cut_interval)) {
    if (absl::Now() > deadline) return;
    if (options.crowded) proxy_.Cut(5, ++cut);
    if (options.restart && !restarted && absl::Now() > restart) {
      RestartServer(restarts_++ % 2 == 0 ? SIGTERM : SIGKILL);
      restarted = true;
    }
    if (absl::Now() > recovery) {
      EndOutage(submissions);
      recovery = absl::InfiniteFuture();
    }
  }
}

// Upstream is well again, and delivers at last what it has not.
void World::EndOutage(const std::vector<Submission>& submissions) {
  simulator_->ClearFaults();
  for (const Submission& submission : submissions) {
    simulator_->SetWebhookBehaviorForPrompt(submission.prompt, WebhookBehavior());
  }
  for (const std::string& task : simulator_->TaskIds()) simulator_->ResendWebhook(task);
}

// Those that do not read are ended by the server, or by their callers, and see the rest then.
void World::AwaitStalled(WatchCrowd& crowd, absl::Time start) {
  if (!arguments_.short_pace && !crowd.WaitForAll(start + kStallPatience - absl::Now())) {
    crowd.AccuseTheWaiting();
  }
  crowd.StopStalling();
  if (!crowd.WaitForAll(pace_.patience)) crowd.AccuseTheWaiting();
}

std::optional<v1::Prediction> World::WaitUntilTerminal(const std::string& id) {
  const auto stub = CalmStub();
  const absl::Time deadline = absl::Now() + pace_.patience;
  std::optional<v1::Prediction> latest;
  while (absl::Now() < deadline) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::GetPredictionRequest request;
    request.set_prediction_id(id);
    v1::GetPredictionResponse response;
    if (stub->GetPrediction(&context, request, &response).ok()) {
      latest = response.prediction();
      if (core::IsTerminal(static_cast<core::State>(latest->state()))) return latest;
    }
    absl::SleepFor(absl::Milliseconds(50));  // only if its watchers have been accused already
  }
  return latest;
}

void World::Judge(WatchCrowd& crowd, const std::vector<Submission>& submissions,
                  SceneReport& report) {
  for (const Submission& submission : submissions) {
    const std::string& id = submission.prediction.id();
    const std::optional<v1::Prediction> prediction = WaitUntilTerminal(id);
    if (!prediction) {
      report.violations.push_back(absl::StrCat("prediction ", id, " is gone"));
      continue;
    }
    if (!core::IsTerminal(static_cast<core::State>(prediction->state()))) {
      report.violations.push_back(absl::StrCat(
          "prediction ", id, " does not end: ", v1::PredictionState_Name(prediction->state())));
    }
    crowd.Compare(*prediction);
    const size_t tasks = simulator_->TasksCreatedForPrompt(submission.prompt);
    if (tasks > 1) {
      report.duplicates += tasks - 1;
      report.violations.push_back(
          absl::StrCat("prediction ", id, " was paid for ", tasks, " times"));
    }
  }
  report.watched = crowd.totals();
  const std::vector<std::string> watched = crowd.violations();
  report.wrong = crowd.broken_guarantees();
  report.violations.insert(report.violations.end(), watched.begin(), watched.end());
  for (const std::string& violation : simulator_->Violations()) {
    report.violations.push_back("upstream: " + violation);
  }
}

void World::EarnTrust() {
  simulator_->ClearFaults();
  for (int i = 0; i < 4; ++i) {
    static int number = 0;
    const std::string prompt = absl::StrCat("a warm wind ", ++number);
    simulator_->SetScheduleForPrompt(
        prompt, Schedule::Completing(absl::ZeroDuration(), absl::Milliseconds(30)));
    simulator_->SetWebhookBehaviorForPrompt(prompt, WebhookBehavior());
    if (const auto prediction = SubmitOne(prompt)) WaitUntilTerminal(prediction->id());
  }
}

// ------------------------------------------------------------------------------------------ rounds

struct RoundReport {
  double gets_few = 0;
  double gets_crowd = 0;
  double gets_healthy = 0;
  double megabytes = 0;
  bool restarted = false;
  uint64_t wrong = 0;
  uint64_t duplicates = 0;
};

// How much a straight line through the values rises over them, in percent of its beginning.
double GrowthPercent(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double at = static_cast<double>(i);
    x += at;
    y += values[i];
    xx += at * at;
    xy += at * values[i];
  }
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  const double begin = (y - slope * x) / n;
  return 100 * slope * (n - 1) / begin;
}

class Run {
 public:
  explicit Run(const Arguments& arguments) : arguments_(arguments), world_(arguments) {}

  int Finish() {
    const absl::Time start = absl::Now();
    for (uint64_t round = 1; round <= arguments_.rounds; ++round) PlayRound(round);
    JudgeLooks();
    Summarize(absl::Now() - start);
    return violations_ == 0 ? 0 : 1;
  }

 private:
  // The first rounds after the last restart are warm-up.
  static constexpr size_t kWarmUp = 2;
  // Chance decides what looks cost under faults; watchers would show as a multiple.
  static constexpr double kMostRatioOfGets = 1.5;

  void PlayRound(uint64_t number) {
    RoundReport round;
    round.restarted = number <= arguments_.restarts;
    const uint64_t seed = arguments_.seed * 1000 + number * 10;
    const int crowd = static_cast<int>(arguments_.watchers);
    const auto name = [number](const char* scene) { return absl::StrCat(number, " ", scene); };
    SceneReport report = Play({.name = name("few"),
                               .watchers = static_cast<int>(arguments_.predictions),
                               .crowded = false,
                               .seed = seed},
                              round);
    round.gets_few = report.gets_per_video;
    report = Play(
        {.name = name("crowd"), .watchers = crowd, .restart = round.restarted, .seed = seed + 1},
        round);
    round.gets_crowd = report.gets_per_video;
    world_.EarnTrust();
    report = Play({.name = name("healthy"), .watchers = crowd, .faults = false, .seed = seed + 2},
                  round);
    round.gets_healthy = report.gets_per_video;
    round.megabytes = static_cast<double>(world_.ServerMemory()) / 1e6;
    std::cout << absl::StrFormat("round %d: server memory %.1f MB", number, round.megabytes)
              << std::endl;
    rounds_.push_back(round);
  }

  SceneReport Play(const SceneOptions& options, RoundReport& round) {
    const SceneReport report = world_.Play(options);
    violations_ += report.violations.size();
    constexpr size_t kMostShown = 20;
    for (size_t i = 0; i < std::min(kMostShown, report.violations.size()); ++i) {
      Show(options.name, report.violations[i]);
    }
    round.wrong += report.wrong;
    round.duplicates += report.duplicates;
    totals_.Add(report.watched);
    tasks_ += report.tasks;
    predictions_ += arguments_.predictions;
    std::cout
        << absl::StrFormat(
               "round %s%s: %.0f s, %d watchers, %d streams, %d updates, %d heartbeats; "
               "ended: %d cancelled, %d deadline, %d broken, %d sent away, %d by the stall "
               "timer, %d otherwise while stalled; %d tasks, %.1f GETs a video; %d violations",
               options.name, options.restart ? " with a restart" : "",
               absl::ToDoubleSeconds(report.took), options.watchers, report.watched.streams,
               report.watched.updates, report.watched.heartbeats, report.watched.cancelled,
               report.watched.deadlines, report.watched.broken, report.watched.sent_away,
               report.watched.ended_by_stall_timer, report.watched.ended_otherwise_while_stalled,
               report.tasks, report.gets_per_video, report.violations.size())
        << std::endl;
    return report;
  }

  void Violate(const std::string& where, const std::string& what) {
    ++violations_;
    Show(where, what);
  }

  static void Show(const std::string& where, const std::string& what) {
    std::cout << "VIOLATION in round " << where << ": " << what << std::endl;
  }

  void JudgeLooks() {
    double few = 0, crowd = 0, healthy = 0;
    for (const RoundReport& round : rounds_) {
      healthy += round.gets_healthy;
      if (round.restarted) continue;  // a server that comes back looks at everything once more
      few += round.gets_few;
      crowd += round.gets_crowd;
    }
    if (healthy > world_.pace().most_gets_with_callbacks * static_cast<double>(rounds_.size())) {
      Violate("all", absl::StrFormat("%.2f GETs a video while every callback comes",
                                     healthy / static_cast<double>(rounds_.size())));
    }
    if (crowd > kMostRatioOfGets * few) {
      Violate("all",
              absl::StrFormat("the crowd costs %.1f times the GETs of few watchers", crowd / few));
    }
  }

  // Of the server's last life, without its warm-up; empty: too few rounds to tell.
  std::vector<double> SoakMegabytes() const {
    std::vector<double> megabytes;
    for (const RoundReport& round : rounds_) {
      if (round.restarted) megabytes.clear();
      megabytes.push_back(round.megabytes);
    }
    if (megabytes.size() < kWarmUp + 3) return {};
    return {megabytes.begin() + kWarmUp, megabytes.end()};
  }

  std::vector<bench::Figure> Figures() const {
    using bench::Target;
    std::vector<bench::Figure> figures = {
        {"transitions lost, repeated or reordered", "", "", {Target::Kind::kAtMost, 0}, {}, {}},
        {"duplicate paid POSTs", "", "", {Target::Kind::kAtMost, 0}, {}, {}},
        {"GETs per video with callbacks",
         "",
         "",
         {Target::Kind::kAtMost, world_.pace().most_gets_with_callbacks},
         {},
         {}},
        {"GETs per video under faults, crowd",
         "",
         "one watcher each",
         {Target::Kind::kRatioAtMost, kMostRatioOfGets},
         {},
         {}},
        {"server memory after the round", "MB", "", {}, {}, {}}};
    for (const RoundReport& round : rounds_) {
      figures[0].ours.push_back(static_cast<double>(round.wrong));
      figures[1].ours.push_back(static_cast<double>(round.duplicates));
      figures[2].ours.push_back(round.gets_healthy);
      figures[4].ours.push_back(round.megabytes);
      if (round.restarted) continue;
      figures[3].ours.push_back(round.gets_crowd);
      figures[3].peers.push_back(round.gets_few);
    }
    if (figures[3].ours.empty()) figures.erase(figures.begin() + 3);
    if (const std::vector<double> soak = SoakMegabytes(); !soak.empty()) {
      figures.push_back({"memory growth over the soak",
                         "%",
                         "",
                         {Target::Kind::kAtMost, kMostGrowthPercent},
                         {GrowthPercent(soak)},
                         {}});
    }
    return figures;
  }

  void Summarize(absl::Duration took) {
    if (const std::vector<double> soak = SoakMegabytes();
        !soak.empty() && GrowthPercent(soak) > kMostGrowthPercent) {
      Violate("all",
              absl::StrFormat("the server's memory has grown by %.1f %%", GrowthPercent(soak)));
    }
    const std::vector<bench::Figure> figures = Figures();
    const std::string about = absl::StrFormat(
        "%d watchers of %d predictions, %d rounds, %d restarts, %d %% of looks fail, %d %% of "
        "watchers stall; seed %d",
        arguments_.watchers, arguments_.predictions, arguments_.rounds, arguments_.restarts,
        arguments_.fail_percent, arguments_.stalled_percent, arguments_.seed);
    std::cout << absl::StrFormat(
        "\n%s; %.0f s\n"
        "predictions %d, tasks created %d, streams %d, updates %d, connections cut %d\n"
        "streams ended: cancelled %d, deadline %d, broken %d, sent away %d, refused %d, by the "
        "stall "
        "timer %d, otherwise while stalled %d\n\n%s\nviolations %d\n",
        about, absl::ToDoubleSeconds(took), predictions_, tasks_, totals_.streams, totals_.updates,
        world_.cuts(), totals_.cancelled, totals_.deadlines, totals_.broken, totals_.sent_away,
        totals_.refused, totals_.ended_by_stall_timer, totals_.ended_otherwise_while_stalled,
        bench::Table(figures), violations_);
    if (!arguments_.json_file.empty()) {
      WriteFile(arguments_.json_file, bench::Json(about, figures));
    }
  }

  static constexpr double kMostGrowthPercent = 5;

  const Arguments arguments_;
  World world_;
  std::vector<RoundReport> rounds_;
  WatchCrowdTotals totals_;
  uint64_t tasks_ = 0;
  uint64_t predictions_ = 0;
  uint64_t violations_ = 0;
};

}  // namespace
}  // namespace dreamgate::e2e

int main(int argc, char** argv) {
  using namespace dreamgate::e2e;
  const std::optional<Arguments> arguments = Parse(std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments) {
    std::cerr << kUsage;
    return 2;
  }
  return Run(*arguments).Finish();
}
