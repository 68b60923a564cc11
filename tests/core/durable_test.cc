#include "server/core/durable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "tests/fakes/fake_events.h"
#include "tests/fakes/fake_ledger.h"
#include "tests/fakes/fake_random.h"
#include "tests/fakes/fake_upstream.h"
#include "tests/fakes/fake_watcher.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::core {
namespace {

using Writes = fakes::FakeLedger::Writes;

// Upper bound of the wait between two tries.
constexpr absl::Duration kLongestWait = absl::Seconds(10);

// A ledger that was asked to save something, and when.
class DurableTest : public testing::Test {
 protected:
  void Call() {
    durable_->Call(SaveLearnedRequest{"model", "bytes"},
                   [this](const absl::StatusOr<Done>& answer) {
                     tried_.push_back(time_.Now());
                     latest_ = answer.status();
                   });
    time_.RunDue();
  }

  fakes::VirtualTime time_;
  fakes::FakeRandom random_;
  fakes::FakeUpstream upstream_{time_};
  fakes::FakeLedger ledger_{time_};
  fakes::FakeSink sink_;
  fakes::FakeEvents events_;
  std::unique_ptr<Durable> durable_ = std::make_unique<Durable>(
      Ports{time_, time_, time_, random_, upstream_, ledger_, sink_, events_});
  std::vector<absl::Time> tried_;  // when each try was answered
  absl::Status latest_;            // answer
};

TEST_F(DurableTest, TheFirstTryIsImmediateAndAnAnswerEndsTheMatter) {
  const absl::Time start = time_.Now();
  Call();
  EXPECT_THAT(tried_, testing::ElementsAre(start));
  EXPECT_TRUE(latest_.ok()) << latest_;
  EXPECT_EQ(durable_->waiting(), 0u);
  time_.Advance(absl::Hours(1));
  EXPECT_EQ(tried_.size(), 1u);
}

TEST_F(DurableTest, ARequestIsRepeatedWithBackoffUntilItIsAnswered) {
  ledger_.set_writes(Writes::kFail);
  Call();
  time_.Advance(absl::Hours(1));
  EXPECT_GT(tried_.size(), 360u) << "the waits are bounded";
  EXPECT_LT(tried_.size(), 1000u) << "that is no backoff";
  EXPECT_LT(tried_[1] - tried_[0], absl::Milliseconds(200));
  EXPECT_LT(tried_[5] - tried_[0], absl::Seconds(7)) << "the waits grow from small ones";
  for (size_t i = 1; i < tried_.size(); ++i) EXPECT_LE(tried_[i] - tried_[i - 1], kLongestWait);
  EXPECT_TRUE(IsLedgerTrouble(latest_)) << latest_;

  const size_t failed = tried_.size();
  ledger_.set_writes(Writes::kWork);
  time_.Advance(absl::Hours(1));
  EXPECT_EQ(tried_.size(), failed + 1);
  EXPECT_TRUE(latest_.ok()) << latest_;
}

TEST_F(DurableTest, AnErrorThatIsNoLedgerTroubleIsAnAnswer) {
  int answers = 0;
  durable_->Call(AttemptQuery{"nobody's token"}, [&](const absl::StatusOr<StoredAttempt>& answer) {
    ++answers;
    EXPECT_FALSE(answer.ok());
    EXPECT_FALSE(IsLedgerTrouble(answer.status())) << answer.status();
  });
  time_.Advance(absl::Hours(1));
  EXPECT_EQ(answers, 1);
}

TEST_F(DurableTest, EveryTryAsksForItsRequestAndNoRequestEndsTheMatter) {
  ledger_.set_writes(Writes::kFail);
  int asked = 0;
  int answers = 0;
  durable_->Repeat<SaveLearnedRequest>(
      [&]() -> std::optional<SaveLearnedRequest> {
        if (++asked == 4) return std::nullopt;
        return SaveLearnedRequest{"model", "bytes"};
      },
      [&](const absl::StatusOr<Done>&) {
        ++answers;
        return true;
      });
  time_.Advance(absl::Hours(1));
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(answers, 3);
  EXPECT_EQ(durable_->waiting(), 0u);
}

TEST_F(DurableTest, MattersThatWaitForTheirNextTryAreCounted) {
  ledger_.set_writes(Writes::kFail);
  Call();
  Call();
  EXPECT_EQ(durable_->waiting(), 2u);
  ledger_.Hold();
  time_.Advance(kLongestWait);
  EXPECT_EQ(durable_->waiting(), 0u) << "the ledger has been asked";
  ledger_.Release();
  time_.RunDue();
  EXPECT_EQ(durable_->waiting(), 2u);
  ledger_.set_writes(Writes::kWork);
  time_.Advance(kLongestWait);
  EXPECT_EQ(durable_->waiting(), 0u);
}

TEST_F(DurableTest, NothingIsCalledAfterItsEnd) {
  for (const bool held : {false, true}) {
    SCOPED_TRACE(held ? "while the ledger is asked" : "while it waits");
    durable_ = std::make_unique<Durable>(
        Ports{time_, time_, time_, random_, upstream_, ledger_, sink_, events_});
    tried_.clear();
    ledger_.set_writes(Writes::kFail);
    if (held) ledger_.Hold();
    Call();
    const size_t before = tried_.size();
    EXPECT_EQ(before, held ? 0u : 1u);
    durable_.reset();
    ledger_.Release();
    time_.Advance(absl::Hours(1));
    EXPECT_EQ(tried_.size(), before);
  }
}

}  // namespace
}  // namespace dreamgate::core
