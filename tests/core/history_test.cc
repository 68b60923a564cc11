// Random histories: many request ids, every sort of answer at every time, ledger trouble, crashes and
// watchers that come, go and resume. Whatever happens, the promises of the contract hold. A failure
// names its seed; the same seed replays the same history.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

constexpr int kSeeds = 400;
constexpr int kActions = 120;
constexpr int kRequestIds = 5;

// What became of the latest POST of one request_id, as far as the gateway could know.
enum class Fate { kNone, kOpen, kMaySendAgain, kFinal };

class History {
 public:
  explicit History(uint64_t seed) : chance_(seed), world_(MakeOptions(), seed) {
    world_.upstream.answer_gets = [this](const std::string& task) { return AnswerGet(task); };
    world_.ledger.choose_writes = [this] {
      if (!trouble_ || !Chance(60)) return FakeLedger::Writes::kWork;
      return Chance(50) ? FakeLedger::Writes::kFail : FakeLedger::Writes::kWorkButReportFailure;
    };
  }

  // What happened, by the names of states and errors: the test checks that its histories go far.
  const std::set<std::string>& reached() const { return reached_; }

  void Run() {
    for (int i = 0; i < kActions; ++i) {
      Act();
      NoteNewPosts();
      NoteUpdates();
    }
    Heal();
    CheckTheEnd();
  }

 private:
  static Options MakeOptions() {
    Options options;
    options.max_submits_in_flight = 2;
    options.submit_soft_timeout = absl::Seconds(5);
    options.unresolved_timeout = absl::Minutes(6);
    return options;
  }

  uint64_t Pick(uint64_t below) { return chance_() % below; }
  bool Chance(uint64_t percent) { return Pick(100) < percent; }

  void Act() {
    const uint64_t die = Pick(100);
    if (die < 25) {
      const std::string request_id = "r" + std::to_string(Pick(kRequestIds));
      // The prompt tells which request_id a POST belongs to.
      const auto call = world_.SubmitLater(request_id, request_id + (Chance(5) ? " other" : ""));
      if (Chance(5)) call->cancelled = true;
    } else if (die < 45) {
      AnswerSomePost();
    } else if (die < 70) {
      for (uint64_t steps = Pick(6); steps > 0 && world_.time.Step(); --steps) NoteNewPosts();
    } else if (die < 82) {
      Advance(absl::Milliseconds(static_cast<int64_t>(Pick(4000))));
    } else if (die < 85) {
      trouble_ = !trouble_;
    } else if (die < 87) {
      Crash();
    } else {
      ComeOrGo();
    }
  }

  void Advance(absl::Duration by) {
    const absl::Time until = world_.time.Now() + by;
    while (world_.time.AdvanceUntil([this] { return HasNewPosts(); }, until - world_.time.Now())) {
      NoteNewPosts();
    }
    NoteNewPosts();
  }

  // ------------------------------------------------------------------------------------- upstream

  static std::string RequestIdOf(const std::string& prompt) { return prompt.substr(0, 2); }

  bool HasNewPosts() const { return world_.upstream.posts_counted > posts_noted_; }

  // The rule about money: a POST leaves only if the one before it certainly created nothing.
  void NoteNewPosts() {
    const int fresh = world_.upstream.posts_counted - posts_noted_;
    posts_noted_ = world_.upstream.posts_counted;
    auto& creates = world_.upstream.creates;
    ASSERT_LE(fresh, static_cast<int>(creates.size()));
    for (auto create = creates.end() - fresh; create != creates.end(); ++create) {
      Fate& fate = fates_[RequestIdOf(create->request.prompt)];
      ASSERT_TRUE(fate == Fate::kNone || fate == Fate::kMaySendAgain)
          << create->request.prompt << " was sent although the last POST may have been accepted";
      fate = Fate::kOpen;
    }
  }

  void AnswerSomePost() {
    auto& creates = world_.upstream.creates;
    if (creates.empty()) return;
    const size_t index = Pick(creates.size());
    Fate& fate = fates_[RequestIdOf(creates[index].request.prompt)];
    ASSERT_EQ(fate, Fate::kOpen);
    CreateOutcome outcome = Unknown();
    fate = Fate::kFinal;
    switch (Pick(8)) {
      case 0: outcome = Rejected(Reason::kUpstreamRejected, 400); break;
      case 1:
        outcome = Rejected(Reason::kUpstreamRateLimited, 429);
        fate = Fate::kMaySendAgain;
        break;
      case 2:
        outcome = NotSent();
        fate = Fate::kMaySendAgain;
        break;
      case 3: break;
      default: outcome = Accepted("task" + std::to_string(++tasks_));
    }
    world_.upstream.AnswerCreate(std::move(outcome), index);
  }

  PollOutcome AnswerGet(const std::string& task) {
    if (!healed_) {
      if (Chance(5)) return Fails(PollProblem::kTransient, 503);
      if (Chance(3)) return Fails(PollProblem::kCredentialsRejected, 401);
      if (Chance(3)) return Fails(PollProblem::kNotFound, 404);
      if (Chance(3)) return Shows("another", State::kCompleted);
    }
    const uint64_t die = healed_ ? 100 : Pick(100);
    if (die < 20) return Shows(task, State::kCreated);
    if (die < 80) return Shows(task, State::kProcessing);
    return Shows(task, Chance(80) ? State::kCompleted : State::kFailed);
  }

  // -------------------------------------------------------------------------------------- watchers

  // Everybody watches from the start or from where an earlier stream broke off.
  void ComeOrGo() {
    if (!open_.empty() && Chance(40)) {
      const auto gone = open_.begin() + static_cast<std::ptrdiff_t>(Pick(open_.size()));
      world_.gateway->Unwatch(gone->second);
      positions_[gone->first] = gone->second->validator.last_sequence();
      open_.erase(gone);
      return;
    }
    const std::vector<std::shared_ptr<const Prediction>> all = world_.ledger.All();
    if (all.empty()) return;
    const std::string id = all[Pick(all.size())]->id;
    std::optional<int64_t> after;
    if (Chance(30)) after = 0;
    if (const auto known = positions_.find(id); known != positions_.end() && Chance(80)) {
      after = known->second;
    }
    open_.emplace_back(id, world_.WatchLater(id, after));
  }

  void NoteUpdates() {
    for (auto& [id, watcher] : open_) {
      for (const Prediction& update : watcher->updates) {
        // Durable: whatever was shown once is what everybody is shown, before and after a crash.
        const auto [known, fresh] = shown_.try_emplace({id, update.sequence}, update);
        if (!fresh) {
          ASSERT_EQ(known->second, update) << "what was shown has been withdrawn";
        }
      }
      watcher->updates.clear();
      const bool never_ends = watcher->error.code() == absl::StatusCode::kOutOfRange;
      ASSERT_FALSE(never_ends) << "a position that was shown lies in the future: " << id;
    }
    open_.erase(std::remove_if(open_.begin(), open_.end(),
                               [](const auto& each) { return each.second->ended(); }),
                open_.end());
  }

  void Crash() {
    NoteUpdates();
    for (const auto& [id, watcher] : open_) positions_[id] = watcher->validator.last_sequence();
    open_.clear();
    NoteNewPosts();
    world_.Crash(/*ledger_goes_on=*/Chance(50));
    // An answer that was on its way to the dead process is as good as none.
    for (auto& [request_id, fate] : fates_) {
      if (fate == Fate::kOpen) fate = Fate::kFinal;
    }
    world_.StartGateway();
  }

  // --------------------------------------------------------------------------------------- the end

  void Heal() {
    trouble_ = false;
    healed_ = true;
    for (int i = 0; i < 100; ++i) {
      while (!world_.upstream.creates.empty()) {
        fates_[RequestIdOf(world_.upstream.creates.front().request.prompt)] = Fate::kFinal;
        world_.upstream.AnswerCreate(Accepted("task" + std::to_string(++tasks_)));
      }
      Advance(absl::Seconds(10));
      NoteUpdates();
    }
  }

  void CheckTheEnd() {
    for (const auto& call : world_.calls) {
      EXPECT_EQ(call->answers, call->void_by_crash ? 0 : 1) << call->request_id;
      if (call->void_by_crash) continue;
      if (call->result.ok()) reached_.insert(call->result->replayed ? "replayed" : "answered");
      if (const auto reason = ReasonOf(call->result.status()))
        reached_.emplace(ReasonName(*reason));
    }
    EXPECT_TRUE(open_.empty()) << "a stream that never ends";
    EXPECT_EQ(world_.gateway->Status().predictions_in_flight, 0);
    EXPECT_EQ(world_.gateway->submissions_in_flight(), 0);
    EXPECT_FALSE(world_.gateway->Status().polling_paused);
    EXPECT_LE(world_.ledger.most_proposals_outstanding(), 1);
    std::map<std::string, std::string> id_of;
    for (const auto& prediction : world_.ledger.All()) {
      EXPECT_TRUE(IsTerminal(prediction->state)) << StateName(prediction->state);
      for (const HistoryEntry& entry : prediction->history) {
        reached_.emplace(StateName(entry.state));
      }
      if (prediction->failure) reached_.emplace(FailureCodeName(prediction->failure->code));
      EXPECT_TRUE(id_of.emplace(prediction->request_id, prediction->id).second)
          << "two predictions of one request_id";
      const auto watcher = world_.Watch(prediction->id, 0);
      EXPECT_TRUE(watcher->ended_ok);
      ASSERT_EQ(watcher->updates.size(), static_cast<size_t>(prediction->sequence));
      for (const Prediction& update : watcher->updates) {
        const auto shown = shown_.find({prediction->id, update.sequence});
        if (shown != shown_.end()) {
          EXPECT_EQ(shown->second, update);
        }
      }
    }
    for (const auto& [position, update] : shown_) {
      EXPECT_NE(world_.ledger.Find(kTenant, position.first), nullptr)
          << "what was shown is gone: " << position.first;
    }
    for (const auto& call : world_.calls) {
      if (call->void_by_crash || !call->result.ok()) continue;
      EXPECT_EQ(id_of[call->request_id], call->id()) << "acknowledged, but not durable";
    }
  }

  std::mt19937_64 chance_;
  bool trouble_ = false;
  bool healed_ = false;
  int tasks_ = 0;
  int posts_noted_ = 0;
  std::map<std::string, Fate> fates_;
  std::vector<std::pair<std::string, std::shared_ptr<FakeWatcher>>> open_;
  std::map<std::string, std::optional<int64_t>> positions_;
  std::map<std::pair<std::string, int64_t>, Prediction> shown_;
  std::set<std::string> reached_;
  World world_;  // dies first: its callbacks read the rest
};

TEST(HistoryTest, WhateverHappensThePromisesHold) {
  std::set<std::string> reached;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    History history(seed);
    history.Run();
    if (testing::Test::HasFailure()) return;
    reached.insert(history.reached().begin(), history.reached().end());
  }
  EXPECT_THAT(reached, testing::IsSupersetOf(
                           {"answered", "replayed", "QUEUED", "SUBMITTING", "UNRESOLVED", "CREATED",
                            "PROCESSING", "COMPLETED", "FAILED", "MODERATED",
                            "SUBMIT_OUTCOME_UNKNOWN", "SUBMIT_NOT_CREATED", "INVALID_INPUT",
                            "REQUEST_ID_CONFLICT", "UPSTREAM_REJECTED", "UPSTREAM_RATE_LIMITED",
                            "LEDGER_UNAVAILABLE", "TOO_MANY_REQUESTS"}))
      << "histories that do not go far prove little";
}

}  // namespace
}  // namespace dreamgate::core
