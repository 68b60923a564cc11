#include "tests/e2e/fault_world.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "tests/bench/measure.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::Schedule;
using simulator::WebhookBehavior;

// From the end of the videos. By then the stall timer (a minute, checked every 5 s) has ended every
// stream that is not read.
const absl::Duration kStallPatience = absl::Seconds(100);

}  // namespace

Pace LongPace() {
  return {.created_for = absl::Seconds(3),
          .processing_for = absl::Seconds(4),
          .cut_interval = absl::Milliseconds(500),
          .restart_after = absl::Seconds(6),
          .late_webhook = absl::Seconds(3),
          .stall = absl::Seconds(6),
          .longest_deadline = absl::Seconds(8),
          .outage = absl::Seconds(30),
          .awaits_stall_timer = true,
          .patience = absl::Minutes(5),
          .silent_percent = 5,
          .most_gets_with_webhooks = 2,
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
          .late_webhook = absl::Milliseconds(300),
          .stall = absl::Milliseconds(500),
          .longest_deadline = absl::Milliseconds(500),
          .outage = absl::Milliseconds(1500),
          .awaits_stall_timer = false,
          .patience = absl::Minutes(1),
          .silent_percent = 0,  // only a poll would find them, perhaps after many that have failed
          .most_gets_with_webhooks = 5,
          .server_arguments = {"--poll-min-interval=20ms", "--poll-max-interval=1s",
                               "--absence-settle-time=300ms", "--unresolved-timeout=3s",
                               "--submit-soft-timeout=1s", "--late-answer-timeout=2s",
                               "--upstream-response-timeout=1s"}};
}

namespace {

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

// Longer than the window of those that stall.
std::string LongPrompt(const std::string& beginning) {
  return absl::StrCat(beginning, " ", std::string(1500, 'z'));
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

void FailPolls(simulator::Simulator& simulator, double percent, absl::Duration slow,
               uint64_t seed) {
  const auto get = [](Fault fault) {
    fault.method = "GET";
    fault.path_prefix = "/api/v3/predictions/";
    return fault;
  };
  const double part = percent / 100;
  // Few 429s: after one the server asks less for a while, and other faults would not be met.
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

WebhookBehavior DrawWebhook(Chance& chance, absl::Duration late) {
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

}  // namespace

// ------------------------------------------------------------------------------------------ world

FaultWorld::FaultWorld(const FaultWorldOptions& options)
    : options_(options), simulator_(simulator::Simulator::Start({.log_limit = 1000}).value()) {
  folder_.Write("secret", "whsec_simulator-webhook-secret\n");
  StartServer();
}

int64_t FaultWorld::ServerMemory() const { return bench::ResidentBytes(server_->process().pid()); }

void FaultWorld::StartServer() {
  std::vector<std::string> server_arguments = {
      "--webhook-public-url=https://hooks.example/dreamgate",
      "--webhook-listen-address=127.0.0.1:0", "--webhook-secret-file=" + folder_.File("secret"),
      "--max-streams=0", "--max-streams-per-peer=0", "--heartbeat-interval=5s",
      "--shutdown-timeout=3s",
      // Without a limit, one 429 decides what all polls of a scene come to.
      "--max-gets-per-second=200", "--log-level=error"};
  server_arguments.insert(server_arguments.end(), options_.pace.server_arguments.begin(),
                          options_.pace.server_arguments.end());
  server_.reset();
  server_ = std::make_unique<Server>(folder_, simulator_->base_url(), server_arguments);
  if (server_->grpc_port() == 0) std::exit(1);  // it has said why
  proxy_.SetTarget(server_->grpc_port());
  calm_proxy_.SetTarget(server_->grpc_port());
  simulator_->SetWebhookOrigin(absl::StrCat("http://127.0.0.1:", server_->webhook_port()));
}

void FaultWorld::RestartServer(int signal) {
  server_->process().Signal(signal);
  const std::optional<int> code = server_->process().Wait(kPatience);
  if (signal == SIGTERM && code != 0) {
    std::cout << "the server left with " << code.value_or(-1) << "\n";
  }
  StartServer();
}

std::unique_ptr<v1::VideoService::Stub> FaultWorld::CalmStub() const {
  return v1::VideoService::NewStub(NewChannel(absl::StrCat("127.0.0.1:", calm_proxy_.port())));
}

// A caller that asks again with the same request_id until it is answered.
std::optional<v1::Prediction> FaultWorld::SubmitOne(v1::VideoService::Stub& stub,
                                                    const std::string& prompt) {
  const absl::Time deadline = absl::Now() + options_.pace.patience;
  const v1::SubmitVideoRequest request = Request(RequestIdFor(prompt), prompt);
  while (absl::Now() < deadline) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::SubmitVideoResponse response;
    if (stub.SubmitVideo(&context, request, &response).ok()) return response.prediction();
    absl::SleepFor(absl::Milliseconds(50));  // what refuses at once may take a moment to accept
  }
  return std::nullopt;
}

std::vector<FaultWorld::Submission> FaultWorld::SubmitAll(const std::vector<std::string>& prompts) {
  constexpr int kCallers = 16;
  std::vector<Submission> submissions(prompts.size());
  std::atomic<size_t> next = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      const auto stub = CalmStub();
      for (size_t mine; (mine = next++) < prompts.size();) {
        submissions[mine] = {prompts[mine], SubmitOne(*stub, prompts[mine])};
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  return submissions;
}

std::vector<std::string> FaultWorld::Prepare(const SceneOptions& options) {
  Chance chance(options.seed);
  std::vector<std::string> prompts;
  for (uint64_t i = 0; i < options_.predictions; ++i) {
    prompts.push_back(LongPrompt(absl::StrCat("a kite ", i, " in scene ", options.name)));
    simulator_->SetScheduleForPrompt(prompts.back(), DrawLife(chance, options_.pace));
    simulator_->SetWebhookBehaviorForPrompt(
        prompts.back(),
        options.faults ? DrawWebhook(chance, options_.pace.late_webhook) : WebhookBehavior());
  }
  return prompts;
}

SceneReport FaultWorld::Play(const SceneOptions& options) {
  SceneReport report;
  const absl::Time start = absl::Now();
  if (options.faults) {
    const absl::Duration slow = options_.pace.created_for / 3;
    FailPolls(*simulator_, options_.fail_percent, slow, options.seed * 1000);
    FailSubmissions(*simulator_, 2 * slow, options.seed * 1000 + 100);
  }
  const size_t gets_before = simulator_->Count("GET", "/api/v3/predictions/");
  const size_t tasks_before = simulator_->TasksCreated();
  const std::vector<Submission> submissions = SubmitAll(Prepare(options));
  std::vector<v1::Prediction> predictions;
  for (const Submission& submission : submissions) {
    if (submission.prediction) {
      predictions.push_back(*submission.prediction);
    } else {
      report.violations.push_back("no answer to " + RequestIdFor(submission.prompt));
    }
  }
  if (predictions.empty()) return report;
  WatchCrowd crowd(
      {.watchers = options.watchers,
       .connections = std::clamp(options.watchers / 100, 4, 100),
       .seed = options.seed,
       .port = options.crowded ? proxy_.port() : calm_proxy_.port(),
       .calm_port = calm_proxy_.port(),
       .restless = options.crowded,
       .stalled_percent = options.crowded && options.faults ? options_.stalled_percent : 0,
       .stall = options_.pace.stall,
       .longest_deadline = options_.pace.longest_deadline},
      predictions);
  Disturb(crowd, options, submissions);
  AwaitStalled(crowd, report);
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
void FaultWorld::Disturb(WatchCrowd& crowd, const SceneOptions& options,
                         const std::vector<Submission>& submissions) {
  const absl::Time deadline = absl::Now() + options_.pace.patience;
  const absl::Time restart = absl::Now() + options_.pace.restart_after;
  absl::Time recovery = absl::Now() + options_.pace.outage;
  bool restarted = false;
  uint64_t cut = options.seed;
  while (!crowd.WaitForOthers(options_.pace.cut_interval)) {
    if (absl::Now() > deadline) return;
    if (options.crowded) proxy_.Cut(5, ++cut);
    if (options.restart && !restarted && absl::Now() > restart) {
      RestartServer(restarts_++ % 2 == 0 ? SIGTERM : SIGKILL);
      restarted = true;
    }
    if (options.faults && absl::Now() > recovery) {
      EndOutage(submissions);
      recovery = absl::Now() + options_.pace.outage;
    }
  }
}

// Upstream is well again, and delivers once more what it has, or should have, delivered.
void FaultWorld::EndOutage(const std::vector<Submission>& submissions) {
  simulator_->ClearFaults();
  for (const Submission& submission : submissions) {
    simulator_->SetWebhookBehaviorForPrompt(submission.prompt, WebhookBehavior());
  }
  const std::vector<std::string> tasks = simulator_->TaskIds();
  const size_t newest = std::min(tasks.size(), submissions.size());
  for (auto task = tasks.end() - static_cast<std::ptrdiff_t>(newest); task != tasks.end(); ++task) {
    simulator_->ResendWebhook(*task);
  }
}

// The server has to let go of the streams that are not read. Their callers do not notice, give up on
// them and see the rest on another stream.
//
// Stalled callers cannot notice that the server lets go: a client's transport shows the end of a stream
// only when it has taken all that came before. A server that breaks a stream sends trailers with
// CANCELLED, an orderly end, which waits behind the piece of an update that nobody takes. Only a stream
// that is reset, or a connection that is lost before, drops that piece.
void FaultWorld::AwaitStalled(WatchCrowd& crowd, SceneReport& report) {
  bool let_go = false;
  if (options_.pace.awaits_stall_timer && crowd.WaitForOthers(absl::ZeroDuration())) {
    std::string held;
    let_go = Eventually([&] { return (held = server_->Metric("dreamgate_streams")) == "0"; },
                        kStallPatience);
    if (!let_go) {
      report.violations.push_back(
          absl::StrCat("the server still holds ", held, " streams that nobody reads"));
    }
  }
  crowd.StopStalling(let_go);
  if (!crowd.WaitForAll(options_.pace.patience)) crowd.AccuseTheWaiting();
}

void FaultWorld::Judge(WatchCrowd& crowd, const std::vector<Submission>& submissions,
                       SceneReport& report) {
  const auto stub = CalmStub();
  for (const Submission& submission : submissions) {
    if (!submission.prediction) continue;
    const std::string& id = submission.prediction->id();
    const std::optional<v1::Prediction> prediction =
        WaitUntilTerminal(*stub, id, options_.pace.patience);
    if (!prediction) {
      report.violations.push_back(absl::StrCat("prediction ", id, " is gone"));
      continue;
    }
    if (!IsTerminal(prediction->state())) {
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

void FaultWorld::EarnTrust() {
  constexpr int kVideos = 4;
  for (int i = 0; i < kVideos; ++i) MakeQuickVideos(1);
}

void FaultWorld::FillMemory() {
  constexpr size_t kVideos = 12'000;  // measured: flat from there on, over as many again
  MakeQuickVideos(kVideos);
}

void FaultWorld::MakeQuickVideos(size_t count) {
  simulator_->ClearFaults();
  std::vector<std::string> prompts;
  for (size_t i = 0; i < count; ++i) {
    prompts.push_back(LongPrompt(absl::StrCat("a warm wind ", ++quick_videos_)));
    simulator_->SetScheduleForPrompt(
        prompts.back(), Schedule::Completing(absl::ZeroDuration(), absl::Milliseconds(30)));
    simulator_->SetWebhookBehaviorForPrompt(prompts.back(), WebhookBehavior());
  }
  const auto stub = CalmStub();
  for (const Submission& submission : SubmitAll(prompts)) {
    if (submission.prediction) {
      WaitUntilTerminal(*stub, submission.prediction->id(), options_.pace.patience);
    }
  }
}

}  // namespace dreamgate::e2e
