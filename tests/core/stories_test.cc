// Lives of submissions in which some writes of the ledger go wrong, or the process ends at them.
// Whatever happens: never more POSTs than allowed, nothing stuck, no task lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

enum class Trouble { kFail, kWorkButReportFailure, kCrash, kCrashAfter };

// The `burst` writes from the `at`-th on go wrong.
struct Fault {
  Trouble trouble;
  int at = 1;
  int burst = 1;
};

std::ostream& operator<<(std::ostream& out, const Fault& fault) {
  constexpr const char* kNames[] = {"failure", "lost commit", "crash before", "crash after"};
  return out << kNames[static_cast<int>(fault.trouble)] << " at write " << fault.at << ", "
             << fault.burst << " times; ";
}

class Life {
 public:
  Life(int resend, std::vector<Fault> faults) : world(WithResend(resend)) {
    world.ledger.choose_writes = [this, faults = std::move(faults)] {
      ++writes_;
      for (const Fault& fault : faults) {
        if (healed_ || writes_ < fault.at || writes_ >= fault.at + fault.burst) continue;
        switch (fault.trouble) {
          case Trouble::kFail: return FakeLedger::Writes::kFail;
          case Trouble::kWorkButReportFailure: return FakeLedger::Writes::kWorkButReportFailure;
          case Trouble::kCrash: crash_ = true; return FakeLedger::Writes::kFail;
          case Trouble::kCrashAfter: crash_ = true; return FakeLedger::Writes::kWork;
        }
      }
      return FakeLedger::Writes::kWork;
    };
  }

  int writes() const { return writes_; }

  void Pass(absl::Duration span) {
    const absl::Time until = world.time.Now() + span;
    while (world.time.AdvanceUntil([this] { return crash_; }, until - world.time.Now())) {
      crash_ = false;
      world.Crash();
      world.StartGateway();
    }
  }

  void PassUntilSentAgain() {
    for (int i = 0; i < 300 && world.upstream.posts_counted < 2; ++i) Pass(absl::Seconds(1));
  }

  // A caller that tries until it has an answer that is OK or the POST is on its way. The POST's
  // index, if there is one.
  std::optional<size_t> Post(const std::string& request_id, std::optional<int32_t> seed = {}) {
    for (int tries = 0; tries < 5; ++tries) {
      const int posts = world.upstream.posts_counted;
      // The prompt tells whose POST it is.
      const auto call =
          world.SubmitSeeded(request_id, seed ? "equal" : request_id, seed.value_or(5));
      Pass(absl::Seconds(1));
      if (world.upstream.posts_counted > posts && !world.upstream.creates.empty()) {
        return world.upstream.creates.size() - 1;
      }
      if (call->answered() && call->result.ok()) return std::nullopt;
      Pass(absl::Seconds(5));
    }
    return std::nullopt;
  }
  std::string Make(size_t index) { return world.MakeTask(index); }
  void Answer(CreateOutcome outcome, size_t index = 0) {
    if (index >= world.upstream.creates.size()) return;  // the process that waited for it is gone
    world.upstream.AnswerCreate(std::move(outcome), index);
    Pass(absl::Milliseconds(1));
  }
  // Upstream calls until it is told that it need not.
  void Webhook(const std::string& token, const std::string& upstream_id) {
    for (int tries = 0; tries < 4; ++tries) {
      const auto answer = world.WebhookLater(token, upstream_id);
      Pass(absl::Milliseconds(1));
      if (answer->answers == 1 && answer->status.ok()) return;
      Pass(absl::Seconds(30));
    }
  }

  void ExpectAllWell(int posts_allowed) {
    healed_ = true;
    world.account.inputs_shown = true;
    world.account.failure.reset();
    while (!world.upstream.creates.empty()) Answer(Unknown());
    Pass(absl::Hours(4));
    EXPECT_LE(world.upstream.posts_counted, posts_allowed);
    for (const auto& prediction : world.ledger.All()) {
      EXPECT_TRUE(IsTerminal(prediction->state))
          << prediction->request_id << " is " << StateName(prediction->state);
    }
    EXPECT_EQ(world.gateway->Status().predictions_in_flight, 0);
    EXPECT_EQ(world.gateway->Status().predictions_unresolved, 0);
    EXPECT_EQ(world.gateway->Status().orphans, 0);
    EXPECT_EQ(world.gateway->submissions_in_flight(), 0);
    EXPECT_LE(world.ledger.most_proposals_outstanding(), 1);
    world.ExpectNothingLost(Indistinguishable());
  }

  ReconcilerWorld world;

 private:
  // Tasks of which nobody can tell whose they are: fewer than the predictions that asked for them.
  std::set<std::string> Indistinguishable() const {
    std::set<std::string> tasks;
    for (const Account::AccountTask& task : world.account.tasks()) {
      std::set<std::string> may_own;
      size_t equal_tasks = 0;
      for (const StoredAttempt& attempt : world.ledger.Attempts()) {
        if (attempt.input == task.input) may_own.insert(attempt.prediction_id);
      }
      for (const Account::AccountTask& other : world.account.tasks()) {
        if (other.input == task.input) ++equal_tasks;
      }
      if (may_own.size() > equal_tasks) tasks.insert(task.upstream_id);
    }
    return tasks;
  }

  bool crash_ = false;
  bool healed_ = false;
  int writes_ = 0;
};

struct Story {
  const char* name;
  int resend;
  int posts_allowed;
  void (*tell)(Life&);
};

void PrintTo(const Story& story, std::ostream* out) { *out << story.name; }

const Story kStories[] = {
    {"FoundInHistory", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"AcceptedAfterTheSoftTimeout", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       std::string task;
       if (post) task = life.Make(*post);
       life.Pass(absl::Minutes(1));
       if (post) life.Answer(Accepted(task), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"NothingCreated", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndAccepted", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndLostAgain", 1, 2,
     [](Life& life) {
       life.world.upstream.answer_creates = [](const CreateTaskRequest&) { return Unknown(); };
       life.Post("r1");
       life.Pass(absl::Minutes(30));
     }},
    {"SentAgainAndRejected", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       life.Answer(Rejected(Reason::kUpstreamRejected, 400));
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndTheFirstTurnsUpLate", 1, 2,
     [](Life& life) {
       life.world.account.lag = absl::Minutes(30);
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.PassUntilSentAgain();
       life.world.account.lag = absl::ZeroDuration();
       if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       life.Pass(absl::Hours(2));
     }},
    {"GivenUpAndFound", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) life.Make(*post), life.Answer(Unknown(), *post);
       life.Pass(absl::Minutes(30));
       life.world.account.inputs_shown = true;
       life.Pass(absl::Hours(3));
     }},
    {"GivenUpAndAnsweredLate", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       std::string task;
       if (post) task = life.Make(*post);
       life.Pass(absl::Minutes(30));
       if (post) life.Answer(Accepted(task), *post);
       life.Pass(absl::Hours(1));
     }},
    {"WebhookBeforeTheAnswer", 0, 1,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Webhook(token, task);
         life.Answer(Accepted(task), *post);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"WebhookAfterTheAnswerWasLost", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Unknown(), *post);
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"WebhookAfterGivingUp", 0, 1,
     [](Life& life) {
       life.world.account.inputs_shown = false;
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Unknown(), *post);
         life.Pass(absl::Minutes(20));
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"RejectedButCreated", 0, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       if (post) {
         const std::string token = life.world.upstream.creates[*post].request.attempt_token;
         const std::string task = life.Make(*post);
         life.Answer(Rejected(Reason::kUpstreamRejected, 400), *post);
         life.Webhook(token, task);
       }
       life.Pass(absl::Minutes(20));
     }},
    {"SentAgainAndTheFirstCallsBack", 1, 2,
     [](Life& life) {
       const auto post = life.Post("r1");
       std::string token;
       if (post) {
         token = life.world.upstream.creates[*post].request.attempt_token;
         life.Answer(Unknown(), *post);
       }
       life.PassUntilSentAgain();
       if (life.world.upstream.posts_counted == 2) {
         life.Webhook(token, life.world.account.Add({"r1", "16:9", 5}));
         if (!life.world.upstream.creates.empty()) life.Answer(Accepted(life.Make(0)));
       }
       life.Pass(absl::Hours(2));
     }},
    {"TwoEqualOnesBothFound", 0, 2,
     [](Life& life) {
       for (const char* request_id : {"r1", "r2"}) {
         const auto post = life.Post(request_id, 7);
         if (post) life.Make(*post), life.Answer(Unknown(), *post);
       }
       life.Pass(absl::Minutes(30));
     }},
};

class LedgerTroubleTest : public testing::TestWithParam<Story> {};

TEST_P(LedgerTroubleTest, AtAnyWriteItCostsNeitherMoneyNorVideos) {
  const Story& story = GetParam();
  int longest = 0;
  for (const Trouble trouble :
       {Trouble::kFail, Trouble::kWorkButReportFailure, Trouble::kCrash, Trouble::kCrashAfter}) {
    for (const int burst : {1, 3, 12}) {
      if (burst > 3 && trouble >= Trouble::kCrash) continue;
      for (int at = 1; at <= 24; ++at) {
        const Fault fault{trouble, at, burst};
        SCOPED_TRACE(testing::Message() << fault);
        Life life(story.resend, {fault});
        story.tell(life);
        longest = std::max(longest, life.writes());
        const bool reached = life.writes() >= at;
        life.ExpectAllWell(story.posts_allowed);
        if (testing::Test::HasFailure()) return;
        if (!reached) break;
      }
    }
  }
  EXPECT_GE(longest, 4) << "a story without writes proves little";
}

TEST_P(LedgerTroubleTest, TroubleAtAnyTwoWritesCostsNeitherMoneyNorVideos) {
  const Story& story = GetParam();
  std::mt19937_64 chance(1);
  const auto some_fault = [&chance] {
    return Fault{static_cast<Trouble>(chance() % 4), 1 + static_cast<int>(chance() % 20),
                 1 + static_cast<int>(chance() % 2)};
  };
  for (int round = 0; round < 100; ++round) {
    const std::vector<Fault> faults = {some_fault(), some_fault()};
    SCOPED_TRACE(testing::Message() << faults[0] << faults[1]);
    Life life(story.resend, faults);
    story.tell(life);
    life.ExpectAllWell(story.posts_allowed);
    if (testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Stories, LedgerTroubleTest, testing::ValuesIn(kStories),
                         [](const auto& story) { return std::string(story.param.name); });

}  // namespace
}  // namespace dreamgate::core
