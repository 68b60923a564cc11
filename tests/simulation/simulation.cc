#include "tests/simulation/simulation.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/gateway.h"
#include "server/ledger/store.h"
#include "tests/fakes/fake_random.h"
#include "tests/fakes/memory_vfs.h"
#include "tests/simulation/callers.h"
#include "tests/simulation/model_upstream.h"
#include "tests/simulation/simulated_ledger.h"
#include "tests/simulation/watch_clients.h"
#include "tests/simulation/webhooks.h"
#include "tests/simulation/world.h"

namespace dreamgate::simulation {

using fakes::CrashKind;
using fakes::DiskFault;
using fakes::MemoryVfs;
namespace {

// Longer than upstream's retention, after which nothing may be left open.
constexpr absl::Duration kHorizon = absl::Hours(24 * 9);
// Ten times what the busiest history takes: what goes on for longer goes round in circles.
constexpr int64_t kMostEvents = 500'000;
// The shortest an operator may choose.
constexpr absl::Duration kShortestMemory = absl::Hours(24 * 8);
// For history to be asked twice about everything that is open.
constexpr absl::Duration kTimeForEvidence = absl::Minutes(130);
constexpr absl::string_view kTenants[] = {"tenant-1", "tenant-2"};

// How the next process is going to end.
enum class Ending {
  kNone,
  kAfterEvents,       // between any two events
  kAfterBatch,        // between a commit and its completions
  kDuringBatch,       // in the middle of the disk's work
  kAfterPost,         // the POST has left
  kAfterPostAnswer,   // upstream's answer has arrived, and is not written yet
  kAfterTaskCreated,  // upstream has created the task, and nobody knows yet
  kAfterAnswer,       // a caller has just been told what became of its submission
  kAfterTrouble,      // a transaction has just failed
  kDrain,             // orderly
};

absl::string_view EndingName(Ending ending) {
  switch (ending) {
    case Ending::kNone: return "by itself";
    case Ending::kAfterEvents: return "at a random moment";
    case Ending::kAfterBatch: return "right after a commit";
    case Ending::kDuringBatch: return "in the middle of a transaction";
    case Ending::kAfterPost: return "right after a POST has left";
    case Ending::kAfterPostAnswer: return "right after the answer to a POST";
    case Ending::kAfterTaskCreated: return "right after a task was created";
    case Ending::kAfterAnswer: return "right after an answer";
    case Ending::kAfterTrouble: return "right after a failed transaction";
    case Ending::kDrain: return "drained";
  }
  return "";
}

absl::string_view FaultName(DiskFault fault) {
  switch (fault) {
    case DiskFault::kNone: return "works";
    case DiskFault::kFull: return "is full";
    case DiskFault::kWriteError: return "cannot be written";
    case DiskFault::kSyncError: return "cannot be synced";
    case DiskFault::kDead: return "is dead";
  }
  return "";
}

// A new ledger, made once: most histories begin with a copy of it.
const MemoryVfs& NewLedgersDisk() {
  static const MemoryVfs* const kDisk = [] {
    auto* const disk = new MemoryVfs;
    ledger::StoreOptions options;
    options.path = "ledger.db";
    options.vfs = disk->name();
    const bool made = ledger::Store::Open(options).ok();
    return made ? disk : new MemoryVfs;
  }();
  return *kDisk;
}

std::string Name(const core::LedgerCall& call) {
  constexpr absl::string_view kNames[] = {
      "Reserve", "Propose",     "Reject",       "Load",        "List",        "TakeOver",   "Prune",
      "Review",  "FindAttempt", "RecordOrphan", "ListOrphans", "LoadLearned", "SaveLearned"};
  static_assert(std::size(kNames) == std::variant_size_v<core::LedgerCall>);
  std::string name(kNames[call.index()]);
  if (const auto* propose = core::CallAs<core::Proposal>(call)) {
    const core::Proposal& proposal = propose->request;
    absl::StrAppend(&name, "(", core::StateName(proposal.transition.state), " ",
                    proposal.transition.sequence);
    if (proposal.attempt_outcome) {
      absl::StrAppend(&name, ", attempt ", proposal.attempt_outcome->number, " ",
                      core::AttemptResultName(proposal.attempt_outcome->result), " ",
                      proposal.attempt_outcome->upstream_id);
    }
    absl::StrAppend(&name, ")");
  }
  if (const auto* record = core::CallAs<core::OrphanRecord>(call)) {
    absl::StrAppend(&name, "(", record->request.orphan.upstream_id,
                    record->request.ended ? ", ended)" : ")");
  }
  return name;
}

class InFlightGauge final : public core::Events {
 public:
  void PredictionsInFlight(int64_t count) override { count_ = count; }
  void Reset() { count_ = 0; }
  int64_t count() const { return count_; }

 private:
  int64_t count_ = 0;
};

class Simulation final : public ModelUpstream::Observer, public SimulatedLedger::Observer {
 public:
  explicit Simulation(const HistoryOptions& options)
      : seed_(options.seed),
        large_(options.size == Size::kLarge),
        world_(options.seed, options.trace),
        upstream_(world_.time, world_.chance, *this),
        webhooks_(world_),
        watch_clients_(world_),
        callers_(world_, watch_clients_, [this] { CountDown(Ending::kAfterAnswer); }) {}
  ~Simulation() override {
    if (world_.process != nullptr) EndProcess(CrashKind::kProcessKilled);
  }

  History Run();

  void OnPost(int64_t number, const core::CreateTaskRequest& request) override;
  void OnTaskCreated(int64_t post, const ModelTask& task) override;
  void OnPostAnswered(int64_t number, PostAnswer answer, int http_status) override;
  void OnHistoryAnswered(const core::HistoryQuery& query,
                         const core::HistoryOutcome& outcome) override;
  void OnBatchBegins() override;
  void OnBatchApplied(const ledger::Batch& batch, const ledger::BatchResult& done) override;
  bool ProcessIsOver() const override { return disk_.died(); }

 private:
  void SetTheScene();
  void DrawOptions();
  void DrawManners();
  void ScheduleWeather(absl::Duration period);
  void ScheduleForeignTasks(absl::Duration period);
  void ScheduleChangeOfAccount(absl::Duration period);
  void ScheduleDiskTrouble(absl::Duration period);
  void Heal();

  void StartProcess();
  void StartLater();
  absl::StatusOr<std::unique_ptr<ledger::Store>> OpenStore();
  void CheckWhatIsOnDisk(ledger::Store& store);
  void PlanEnding();
  void CountDown(Ending ending);
  void Drain();
  void FinishDrained();
  void EndProcess(CrashKind kind);

  void MimicPerhaps(const ModelTask& task);
  void NoteIntents(const ledger::Batch& batch);
  void NoteEnds(const ledger::Batch& batch, bool committed);
  void NotePruned(const core::LedgerCallOf<core::PruneRequest>& prune);

  bool Quiet() const;
  void Pass(absl::Duration duration);
  void ComplainOfWhatGoesOn(const std::string& after);
  bool EvidenceIsAwaited();
  // What nobody waits for comes to its end as well. False: that has been.
  bool GoesOn();
  void CheckTheEnd();
  std::optional<TheEnd> ReadTheEnd(ledger::Store& store);

  const uint64_t seed_;
  const bool large_;
  World world_;
  MemoryVfs disk_;
  ModelUpstream upstream_;
  Webhooks webhooks_;
  WatchClients watch_clients_;
  Callers callers_;
  WatchSink sink_;
  InFlightGauge in_flight_;
  core::Options options_;
  ledger::StoreOptions store_options_;
  Weather usual_weather_;
  bool changes_account_ = false;
  bool lingers_ = false;  // until predictions are forgotten
  absl::Time end_of_patience_;
  absl::Time healed_time_ = absl::InfiniteFuture();
  std::vector<absl::Time> process_starts_;

  // The process of now.
  int64_t process_number_ = 0;
  std::unique_ptr<fakes::FakeRandom> random_;
  std::unique_ptr<ledger::Store> store_;
  std::unique_ptr<SimulatedLedger> ledger_;
  Ending ending_ = Ending::kNone;
  int64_t countdown_ = 0;
  int64_t patience_ = 0;  // events until it ends anyway, whatever was planned
  int64_t endings_left_ = 0;
  bool process_must_end_ = false;
  bool ends_drained_ = false;
  absl::Duration slowest_commit_ = absl::Milliseconds(20);

  History history_;
};

// ----------------------------------------------------------------------------------------- the scene

void Simulation::DrawOptions() {
  Chance& chance = world_.chance;
  const int scale = large_ ? 5 : 1;
  options_.max_submits_in_flight = chance.Weighted<int>({{2, 64}, {1, 1}, {1, 2}}) * scale;
  options_.max_in_flight_per_tenant = chance.Weighted<int64_t>({{4, 0}, {1, 3}}) * scale;
  // A task that never ends is polled for as long; not so often if that is a week.
  changes_account_ = chance.Percent(6);
  if (chance.Percent(30) && !changes_account_) {
    options_.poll_max_interval = absl::Minutes(30);
  } else {
    options_.upstream_retention = absl::Hours(5);
    if (chance.Percent(50)) options_.poll_max_interval = absl::Minutes(2);
  }
  options_.absence_settle_time = chance.Weighted<absl::Duration>(
      {{2, absl::Minutes(1)}, {4, absl::Minutes(2)}, {1, absl::Minutes(5)}});
  options_.unresolved_timeout = chance.Weighted<absl::Duration>(
      {{4, absl::Minutes(15)}, {1, absl::Minutes(6)}, {1, absl::Minutes(40)}});
  options_.resend_after_absence = chance.Weighted<int>({{5, 0}, {1, 1}, {1, 2}});
  lingers_ = chance.Percent(large_ ? 20 : 2);
  if (lingers_) options_.request_id_retention = kShortestMemory;
  store_options_.path = "ledger.db";
  store_options_.vfs = disk_.name();
  store_options_.checkpoint_pages = chance.Weighted<int>({{1, 5}, {1, 40}, {1, 4000}});
  store_options_.cached_predictions = chance.Weighted<size_t>({{1, 1}, {2, 4096}});
}

void Simulation::DrawManners() {
  using Lag = HistoryManners::Lag;
  Chance& chance = world_.chance;
  HistoryManners manners;
  manners.page_size = chance.Weighted<size_t>({{2, 3}, {2, 10}, {3, 100}});
  manners.lag_kind =
      chance.Weighted<Lag>({{3, Lag::kConstant}, {2, Lag::kPerTask}, {1, Lag::kPerCall}});
  switch (chance.Weighted<int>({{3, 0}, {3, 1}, {2, 2}})) {
    case 1: manners.lag = chance.Spread(absl::Milliseconds(100), absl::Seconds(30)); break;
    case 2: manners.lag = chance.Spread(absl::Seconds(30), absl::Minutes(6)); break;
    default: break;
  }
  manners.input_percent = chance.Weighted<double>({{5, 100}, {2, 0}, {1, 60}});
  manners.tells_model = chance.Percent(85);
  manners.tells_create_time = chance.Percent(90);
  manners.guesses_more = chance.Percent(20);
  manners.reports_clock_offset = chance.Percent(75);
  // What nobody can know, nobody can allow for: an unreported offset is that of clocks in order.
  if (chance.Percent(40)) {
    const int64_t most = manners.reports_clock_offset ? 600'000 : 10'000;
    manners.clock_offset = absl::Milliseconds(chance.Between(-most, most));
  }
  upstream_.set_manners(manners);
  webhooks_.set_percent(chance.Weighted<double>({{3, 0}, {1, 100}, {1, 50}}));
  if (chance.Percent(5)) webhooks_.AddForgery(chance.Spread(absl::Seconds(1), absl::Minutes(20)));
}

void Simulation::SetTheScene() {
  Chance& chance = world_.chance;
  if (chance.Percent(90)) disk_.CopyFilesOf(NewLedgersDisk());
  DrawOptions();
  DrawManners();
  const absl::Duration period =
      chance.Spread(absl::Seconds(30), absl::Minutes(20)) * (large_ ? 3 : 1);
  const int64_t requests = chance.Between(4, 10) * (large_ ? 10 : 1);
  for (int64_t i = 0; i < requests; ++i) callers_.AddRequest(period);

  usual_weather_.post_trouble_percent = chance.Weighted<double>({{1, 0}, {2, 15}, {1, 50}});
  usual_weather_.get_trouble_percent = chance.Weighted<double>({{1, 0}, {2, 10}, {1, 40}});
  upstream_.set_weather(usual_weather_);
  ScheduleWeather(period);
  ScheduleDiskTrouble(period);
  ScheduleForeignTasks(period);
  if (changes_account_) ScheduleChangeOfAccount(period);
  endings_left_ = large_ ? chance.Between(4, 24) : chance.Between(0, 6);
  world_.agenda.Later(period + absl::Minutes(10), [this] { Heal(); });
}

void Simulation::ScheduleWeather(absl::Duration period) {
  Chance& chance = world_.chance;
  for (int64_t spells = chance.Between(0, 3); spells > 0; --spells) {
    Weather spell = usual_weather_;
    absl::string_view name;
    switch (chance.Index(4)) {
      case 0: spell.unreachable = true, name = "cannot be reached"; break;
      case 1: spell.refuses_the_key = true, name = "refuses the key"; break;
      case 2: spell.answers_late = true, name = "answers late"; break;
      default:
        spell.post_trouble_percent = 90, spell.get_trouble_percent = 90, name = "is in trouble";
    }
    const absl::Duration length = chance.Spread(absl::Seconds(1), absl::Minutes(5));
    world_.agenda.Later(chance.Uniform(absl::ZeroDuration(), period), [this, spell, name, length] {
      ++history_.faults;
      world_.trace.Add("upstream ", name);
      upstream_.set_weather(spell);
      world_.agenda.Later(length, [this] {
        if (world_.healed) return;
        world_.trace.Add("upstream is as usual again");
        upstream_.set_weather(usual_weather_);
      });
    });
  }
}

void Simulation::ScheduleForeignTasks(absl::Duration period) {
  Chance& chance = world_.chance;
  for (int64_t left = chance.Weighted<int64_t>({{4, 0}, {3, 2}, {2, 6}, {1, 30}}); left > 0;
       --left) {
    core::CreateTaskRequest wish;
    wish.prompt = absl::StrCat("what foreign client ", left, " wants");
    wish.aspect_ratio = static_cast<core::AspectRatio>(chance.Between(1, 7));
    wish.seed = static_cast<int32_t>(chance.Between(0, 2147483647));
    if (const auto ours = chance.Percent(30) ? callers_.AnyWithSeed() : std::nullopt) {
      wish.prompt = ours->prompt;
      wish.aspect_ratio = ours->aspect_ratio;
      wish.seed = *ours->seed;
    }
    const bool our_model = chance.Percent(80);
    world_.agenda.Later(
        chance.Uniform(absl::ZeroDuration(), period + absl::Minutes(20)), [this, wish, our_model] {
          world_.trace.Add("another client creates a task, \"", wish.prompt, "\"");
          upstream_.AddForeignTask(wish, our_model ? options_.model : "other/model");
        });
  }
}

// For a while the operator has the key of another account in the configuration; now and then for some
// seconds before that.
void Simulation::ScheduleChangeOfAccount(absl::Duration period) {
  Chance& chance = world_.chance;
  const absl::Duration begin = chance.Uniform(absl::ZeroDuration(), period);
  for (int64_t left = chance.Between(0, 20); left > 0; --left) {
    const absl::Duration early = chance.Uniform(absl::ZeroDuration(), begin);
    world_.agenda.Later(early, [this] { upstream_.set_account(1); });
    world_.agenda.Later(std::min(begin, early + chance.Spread(absl::Seconds(1), absl::Seconds(20))),
                        [this] { upstream_.set_account(0); });
  }
  const absl::Duration length = chance.Spread(absl::Seconds(10), absl::Hours(2));
  world_.agenda.Later(begin, [this] {
    world_.trace.Add("the key is that of another account");
    upstream_.set_account(1);
  });
  world_.agenda.Later(begin + length, [this] {
    world_.trace.Add("the key is the first one again");
    upstream_.set_account(0);
    healed_time_ = std::max(world_.time.Now(), healed_time_);
  });
}

void Simulation::ScheduleDiskTrouble(absl::Duration period) {
  Chance& chance = world_.chance;
  for (int64_t spells = chance.Between(-1, 4); spells > 0; --spells) {
    const auto fault = chance.Weighted<DiskFault>({{1, DiskFault::kFull},
                                                   {1, DiskFault::kWriteError},
                                                   {2, DiskFault::kSyncError},
                                                   {1, DiskFault::kDead},
                                                   {2, DiskFault::kNone}});
    const absl::Duration length = chance.Spread(absl::Milliseconds(1), absl::Minutes(2));
    world_.agenda.Later(chance.Uniform(absl::ZeroDuration(), period), [this, fault, length] {
      ++history_.faults;
      world_.trace.Add("the disk ", fault == DiskFault::kNone ? "is very slow" : FaultName(fault));
      disk_.set_fault(fault);
      if (fault == DiskFault::kNone) slowest_commit_ = absl::Seconds(40);
      if (ledger_ != nullptr) ledger_->set_slowest_commit(slowest_commit_);
      world_.agenda.Later(length, [this] {
        if (world_.healed) return;
        world_.trace.Add("the disk works as usual again");
        disk_.set_fault(DiskFault::kNone);
        slowest_commit_ = absl::Milliseconds(20);
        if (ledger_ != nullptr) ledger_->set_slowest_commit(slowest_commit_);
      });
    });
  }
}

void Simulation::Heal() {
  world_.trace.Add("everything heals");
  world_.healed = true;
  healed_time_ = world_.time.Now();
  endings_left_ = 0;
  ending_ = Ending::kNone;
  upstream_.set_weather({});
  disk_.set_fault(DiskFault::kNone);
  slowest_commit_ = absl::Milliseconds(20);
  if (ledger_ != nullptr) ledger_->set_slowest_commit(slowest_commit_);
}

// --------------------------------------------------------------------------------------- the process

absl::StatusOr<std::unique_ptr<ledger::Store>> Simulation::OpenStore() {
  disk_.Restart();
  if (endings_left_ > 0 && world_.chance.Percent(10)) {
    disk_.DieAfter(static_cast<int>(world_.chance.Between(0, 20)));
  }
  absl::StatusOr<std::unique_ptr<ledger::Store>> store = ledger::Store::Open(store_options_);
  if (disk_.died()) {
    --endings_left_;
    ++history_.crashes;
    world_.trace.Add("the process dies while it opens the ledger");
    store = absl::AbortedError("died");
    disk_.Crash(world_.chance.Percent(50) ? CrashKind::kPowerLoss : CrashKind::kProcessKilled,
                world_.chance);
    return store;
  }
  disk_.DieAfter(-1);
  if (!store.ok()) {
    world_.trace.Add("the ledger cannot be opened: ", store.status().message());
    if (disk_.fault() == DiskFault::kNone || absl::IsDataLoss(store.status())) {
      world_.invariants.Complain("The ledger opens after every crash", store.status().message());
    }
  }
  return store;
}

void Simulation::StartLater() {
  world_.agenda.Later(world_.chance.Spread(absl::Milliseconds(10), absl::Seconds(30)),
                      [this] { StartProcess(); });
}

void Simulation::StartProcess() {
  absl::StatusOr<std::unique_ptr<ledger::Store>> store = OpenStore();
  if (!store.ok()) {
    StartLater();
    return;
  }
  Chance& chance = world_.chance;
  store_ = *std::move(store);
  CheckWhatIsOnDisk(*store_);

  ++process_number_;
  world_.trace.Add("process ", process_number_, " starts");
  absl::Duration clock_error;
  if (chance.Percent(20)) clock_error = absl::Milliseconds(chance.Between(-3'000, 3'000));
  world_.process = std::make_unique<Process>(world_.time, clock_error);
  upstream_.set_callers_clock_error(clock_error);
  process_starts_.push_back(world_.time.Now());
  random_ = std::make_unique<fakes::FakeRandom>(
      static_cast<uint64_t>(chance.Between(0, int64_t{1} << 62)));
  ledger_ = std::make_unique<SimulatedLedger>(*store_, *world_.process, chance, *this);
  ledger_->set_slowest_commit(slowest_commit_);
  Process& process = *world_.process;
  world_.gateway = std::make_unique<core::Gateway>(
      core::Ports{process, process, process, *random_, upstream_, *ledger_, sink_, in_flight_},
      options_);
  world_.gateway->Start([this, healed = world_.healed](absl::Status status) {
    world_.trace.Add("process ", process_number_, " has taken over: ", status.message());
    if (status.ok()) return;
    process_must_end_ = true;  // as the program does
    if (healed) {
      world_.invariants.Complain("The ledger can be taken over after every crash",
                                 status.message());
    }
  });
  for (auto& knock : std::exchange(world_.doorstep, {})) {
    world_.agenda.Later(chance.Spread(absl::Microseconds(1), absl::Milliseconds(10)),
                        std::move(knock));
  }
  PlanEnding();
}

void Simulation::CheckWhatIsOnDisk(ledger::Store& store) {
  for (const PredictionKey& key : world_.invariants.Known()) {
    const absl::StatusOr<core::StoredPrediction> stored =
        store.Run(core::LoadRequest{key.first, key.second});
    if (!stored.ok() && disk_.fault() != DiskFault::kNone && !absl::IsNotFound(stored.status())) {
      continue;
    }
    world_.invariants.OnFoundOnDisk(key, stored);
  }
}

void Simulation::PlanEnding() {
  Chance& chance = world_.chance;
  ending_ = Ending::kNone;
  if (endings_left_ <= 0) return;
  ending_ = chance.Weighted<Ending>({{4, Ending::kAfterEvents},
                                     {2, Ending::kAfterBatch},
                                     {3, Ending::kDuringBatch},
                                     {1, Ending::kAfterPost},
                                     {1, Ending::kAfterPostAnswer},
                                     {1, Ending::kAfterTaskCreated},
                                     {2, Ending::kAfterAnswer},
                                     {2, Ending::kAfterTrouble},
                                     {1, Ending::kDrain}});
  switch (ending_) {
    case Ending::kAfterEvents:
    case Ending::kDrain: countdown_ = chance.Between(1, chance.Percent(50) ? 30 : 200); break;
    case Ending::kAfterBatch:
    case Ending::kDuringBatch: countdown_ = chance.Between(1, 10); break;
    default: countdown_ = chance.Between(1, 4);
  }
  patience_ = chance.Between(100, 600) * (large_ ? 5 : 1);
}

void Simulation::CountDown(Ending ending) {
  if (ending_ != ending || --countdown_ > 0) return;
  if (ending == Ending::kDuringBatch) {
    disk_.DieAfter(static_cast<int>(world_.chance.Between(0, 12)));
    return;
  }
  if (ending == Ending::kDrain) {
    Drain();
    return;
  }
  process_must_end_ = true;
}

void Simulation::Drain() {
  world_.trace.Add("process ", process_number_, " drains");
  ending_ = Ending::kNone;
  --endings_left_;
  world_.gateway->Drain();
  world_.agenda.Later(world_.chance.Spread(absl::Milliseconds(1), absl::Seconds(20)),
                      [this, process = process_number_] {
                        if (process == process_number_ && world_.gateway != nullptr) {
                          FinishDrained();
                        }
                      });
}

void Simulation::FinishDrained() {
  ledger_->Stop();
  if (disk_.died()) {
    process_must_end_ = true;
    return;
  }
  store_.reset();
  world_.agenda.Later(world_.chance.Spread(absl::Microseconds(1), absl::Milliseconds(50)),
                      [this, process = process_number_] {
                        if (process != process_number_ || world_.gateway == nullptr) return;
                        ends_drained_ = true;
                        process_must_end_ = true;
                      });
}

void Simulation::EndProcess(CrashKind kind) {
  disk_.Crash(kind, world_.chance);
  world_.gateway.reset();
  world_.process->agenda().Clear();
  ledger_.reset();
  store_.reset();
  upstream_.ForgetCallers();
  callers_.OnProcessEnd();
  webhooks_.OnProcessEnd();
  watch_clients_.OnProcessEnd();
  in_flight_.Reset();
  world_.process.reset();
}

// ------------------------------------------------------------------------------------ what is observed

void Simulation::OnPost(int64_t number, const core::CreateTaskRequest& request) {
  world_.trace.Add("POST ", number, " \"", request.prompt, "\", seed ", request.seed);
  world_.invariants.OnPost(number, request, upstream_.KeyFingerprint(),
                           options_.resend_after_absence, process_number_);
  CountDown(Ending::kAfterPost);
}

void Simulation::OnTaskCreated(int64_t post, const ModelTask& task) {
  world_.trace.Add("POST ", post, " has created ", task.id);
  world_.invariants.OnTaskCreated(post, task, options_.resend_after_absence);
  webhooks_.OnTaskCreated(task);
  MimicPerhaps(task);
  if (world_.gateway != nullptr) CountDown(Ending::kAfterTaskCreated);
}

// Who asks us with a seed of his own may have asked upstream itself for the same.
void Simulation::MimicPerhaps(const ModelTask& task) {
  if (!callers_.WasAskedWithSeed(task.input.prompt, task.input.seed)) return;
  if (!world_.chance.Percent(8)) return;
  core::CreateTaskRequest wish = task.input;
  wish.attempt_token.clear();
  world_.agenda.Later(world_.chance.Spread(absl::Seconds(1), absl::Minutes(10)), [this, wish] {
    world_.trace.Add("another client creates a task, \"", wish.prompt, "\"");
    upstream_.AddForeignTask(wish, options_.model);
  });
}

void Simulation::OnPostAnswered(int64_t number, PostAnswer answer, int http_status) {
  if (world_.trace.on()) {
    constexpr absl::string_view kNames[] = {"accepted", "rejected", "not sent", "unknown"};
    world_.trace.Add("POST ", number, " is answered: ", kNames[static_cast<size_t>(answer)], " ",
                     http_status);
  }
  world_.invariants.OnPostAnswered(number, answer, process_number_, world_.time.Now());
  CountDown(Ending::kAfterPostAnswer);
}

void Simulation::OnHistoryAnswered(const core::HistoryQuery& query,
                                   const core::HistoryOutcome& outcome) {
  if (!world_.trace.on()) return;
  if (const auto* failed = std::get_if<core::HistoryFailed>(&outcome)) {
    world_.trace.Add("history cannot be read: ", failed->http_status, " ", failed->message);
    return;
  }
  const auto& page = std::get<core::HistoryPage>(outcome);
  std::string line;
  for (const core::HistoryItem& item : page.items) {
    absl::StrAppend(&line, " ", item.upstream_id, item.input ? "" : "(?)");
  }
  world_.trace.Add("history since ", absl::FormatDuration(query.created_after - world_.time.Now()),
                   ", page ", query.page, page.more ? " and more:" : ":", line);
}

void Simulation::OnBatchBegins() { CountDown(Ending::kDuringBatch); }

void Simulation::NoteIntents(const ledger::Batch& batch) {
  for (const auto& call : batch) {
    if (const auto* reserve = core::CallAs<core::Reservation>(*call)) {
      world_.invariants.OnReserved(reserve->request);
    }
    const auto* propose = core::CallAs<core::Proposal>(*call);
    if (propose != nullptr && propose->request.new_attempt) {
      world_.invariants.OnNewAttempt({propose->request.tenant, propose->request.prediction_id},
                                     *propose->request.new_attempt);
    }
  }
}

void Simulation::NoteEnds(const ledger::Batch& batch, bool committed) {
  for (const auto& call : batch) {
    if (const auto* propose = core::CallAs<core::Proposal>(*call);
        propose != nullptr && propose->answer.ok()) {
      const auto* done = std::get_if<core::Committed>(&*propose->answer);
      if (done != nullptr) world_.invariants.OnCommitted(*done->prediction);
    }
    const auto* prune = core::CallAs<core::PruneRequest>(*call);
    if (prune != nullptr && committed && prune->answer.ok() && *prune->answer > 0) {
      NotePruned(*prune);
    }
  }
}

void Simulation::NotePruned(const core::LedgerCallOf<core::PruneRequest>& prune) {
  history_.forgotten += *prune.answer;
  world_.invariants.OnRejectionsForgotten(prune.request.ended_before);
  for (const PredictionKey& key : world_.invariants.Reserved()) {
    const auto stored = store_->Run(core::LoadRequest{key.first, key.second});
    if (!absl::IsNotFound(stored.status())) continue;
    world_.invariants.OnForgotten(key, world_.time.Now(), options_.request_id_retention);
  }
}

void Simulation::OnBatchApplied(const ledger::Batch& batch, const ledger::BatchResult& done) {
  ++history_.transactions;
  if (!done.commit.ok()) ++history_.transactions_failed;
  NoteIntents(batch);
  if (world_.trace.on()) {
    std::string line = "commit of";
    for (const auto& call : batch) absl::StrAppend(&line, " ", Name(*call));
    world_.trace.Add(line, ": ", done.commit.ok() ? "done" : done.commit.message());
  }
  NoteEnds(batch, done.commit.ok());
  if (disk_.died()) {
    process_must_end_ = true;
    return;
  }
  if (!done.commit.ok() && disk_.fault() == DiskFault::kNone) {
    world_.invariants.Complain("A disk that works takes every transaction", done.commit.message());
  }
  if (ending_ == Ending::kDuringBatch && countdown_ <= 0) disk_.DieAfter(-1);  // it was too short
  CountDown(Ending::kAfterBatch);
  if (!done.commit.ok()) CountDown(Ending::kAfterTrouble);
}

// --------------------------------------------------------------------------------------------- running

bool Simulation::Quiet() const {
  return world_.gateway != nullptr && callers_.busy() == 0 && watch_clients_.open() == 0 &&
         in_flight_.count() == 0 && !upstream_.posts_under_way();
}

bool Simulation::EvidenceIsAwaited() {
  const auto review = store_->Run(core::AttemptReviewQuery{absl::InfinitePast(), {}, false});
  return review.ok() && !review->open.empty();
}

// Lets time pass, whatever happens meanwhile.
void Simulation::Pass(absl::Duration duration) {
  world_.time.AdvanceUntil([this] { return ++history_.events > kMostEvents; }, duration);
}

void Simulation::ComplainOfWhatGoesOn(const std::string& after) {
  world_.invariants.Complain(
      "Everything ends",
      absl::StrCat("after ", after, " and ", process_number_, " processes, ", callers_.busy(),
                   " callers and ", watch_clients_.open(), " watchers still wait, and ",
                   in_flight_.count(), " predictions are in flight"));
}

bool Simulation::GoesOn() {
  Pass(absl::Minutes(1));
  if (!Quiet()) return true;
  if (EvidenceIsAwaited()) Pass(kTimeForEvidence);
  if (!Quiet()) return true;
  if (!std::exchange(lingers_, false)) return false;
  world_.trace.Add("years pass, or so it seems");
  const absl::Duration long_time =
      kShortestMemory + world_.chance.Uniform(absl::Hours(-6), absl::Hours(6));
  Pass(long_time);
  callers_.ComeBack();
  end_of_patience_ = world_.time.Now() + kHorizon;
  return true;
}

History Simulation::Run() {
  const absl::Time start = world_.time.Now();
  end_of_patience_ = start + kHorizon;
  SetTheScene();
  StartProcess();
  const auto& violations = world_.invariants.violations();
  while (violations.empty()) {
    world_.time.AdvanceUntil(
        [this, &violations] {
          ++history_.events;
          if (world_.gateway != nullptr) {
            CountDown(Ending::kAfterEvents);
            CountDown(Ending::kDrain);
            if (ending_ != Ending::kNone && --patience_ <= 0) {
              ending_ = Ending::kAfterEvents;
              process_must_end_ = true;
            }
          }
          return process_must_end_ || !violations.empty() || (world_.healed && Quiet()) ||
                 history_.events > kMostEvents;
        },
        end_of_patience_ - world_.time.Now());
    if (!violations.empty()) break;
    if (history_.events > kMostEvents) {
      ComplainOfWhatGoesOn(absl::StrCat(kMostEvents, " events in ",
                                        absl::FormatDuration(world_.time.Now() - start)));
      break;
    }
    if (std::exchange(process_must_end_, false)) {
      if (world_.process == nullptr) continue;  // asked for twice
      const bool power_loss = !ends_drained_ && world_.chance.Percent(50);
      if (ends_drained_) {
        ++history_.restarts;
      } else {
        ++history_.crashes;
        --endings_left_;
      }
      world_.trace.Add("process ", process_number_, " ends ",
                       ends_drained_ ? "in order" : EndingName(ending_),
                       power_loss ? ", the power fails" : "");
      ends_drained_ = false;
      EndProcess(power_loss ? CrashKind::kPowerLoss : CrashKind::kProcessKilled);
      StartLater();
      continue;
    }
    if (world_.healed && Quiet()) {
      if (GoesOn()) continue;
      break;
    }
    ComplainOfWhatGoesOn("nine days");
  }
  if (violations.empty()) CheckTheEnd();

  history_.seed = seed_;
  history_.violations = violations;
  history_.trace = world_.trace.text();
  history_.calls = callers_.calls();
  history_.streams = watch_clients_.streams();
  history_.posts = upstream_.posts();
  history_.gets = upstream_.gets();
  history_.lists = upstream_.lists();
  history_.webhooks = webhooks_.calls();
  history_.tasks = upstream_.tasks_created();
  history_.faults += upstream_.faults();
  history_.orphans = world_.invariants.orphans();
  history_.resends = world_.invariants.resends();
  history_.absences = world_.invariants.absences();
  history_.ambiguous_answers = upstream_.ambiguous_answers();
  history_.videos_lost_sight_of = world_.invariants.videos_lost_sight_of();
  history_.transitions = world_.invariants.transitions_shown();
  history_.length = world_.time.Now() - start;
  return std::move(history_);
}

// The power fails a last time: what is on the disk then is what counts.
void Simulation::CheckTheEnd() {
  callers_.OnEnd();
  webhooks_.OnEnd();
  EndProcess(CrashKind::kPowerLoss);
  absl::StatusOr<std::unique_ptr<ledger::Store>> store = OpenStore();
  if (!store.ok()) return;
  for (const PredictionKey& key : world_.invariants.Reserved()) {
    world_.invariants.OnFoundOnDisk(key, (*store)->Run(core::LoadRequest{key.first, key.second}));
  }
  if (const std::optional<TheEnd> end = ReadTheEnd(**store)) {
    world_.invariants.OnEnd(*end, upstream_);
  }
  const auto unfinished = (*store)->Run(core::TakeOverRequest());
  if (!unfinished.ok() || !unfinished->empty()) {
    world_.invariants.Complain("Everything ends", "the ledger still has something unfinished");
  }
}

std::optional<TheEnd> Simulation::ReadTheEnd(ledger::Store& store) {
  TheEnd end;
  end.now = world_.time.Now();
  end.healed = healed_time_;
  end.options = options_;
  end.process_starts = process_starts_;
  core::AttemptReviewQuery everything{absl::InfinitePast(), {}, false};
  for (const auto& [id, task] : upstream_.tasks()) everything.upstream_ids.push_back(id);
  auto review = store.Run(std::move(everything));
  auto orphans = store.Run(core::OpenOrphansQuery());
  bool readable = review.ok() && orphans.ok();
  for (const absl::string_view tenant : kTenants) {
    core::ListQuery query;
    query.tenant = std::string(tenant);
    query.page_size = 1000;
    const auto page = store.Run(std::move(query));
    readable = readable && page.ok();
    if (!page.ok()) continue;
    for (const auto& prediction : page->predictions) end.listed.push_back(*prediction);
  }
  if (!readable) {
    world_.invariants.Complain("The ledger can be read", "what is left cannot");
    return std::nullopt;
  }
  end.review = *std::move(review);
  end.orphans = *std::move(orphans);
  return end;
}

}  // namespace

History Simulate(const HistoryOptions& options) { return Simulation(options).Run(); }

}  // namespace dreamgate::simulation
