// When answers come, and what requests under way at the same time see of one another. Caller checks
// the order of all answers and what the commit observer is told.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/ledger/conformance/conformance.h"

namespace dreamgate::ledger {
namespace {

using core::State;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Order = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Order);

TEST_P(Order, RequestsSeeOneAnotherInTheOrderAsked) {
  std::vector<std::string> log;
  const auto reserve = [&](int number) {
    caller_.Ask(MakeReservation(number), [&](const core::AnswerTo<core::Reservation>& answer) {
      log.push_back(Is<core::Reserved>(answer)          ? "reserved"
                    : Is<core::ReserveExisting>(answer) ? "existing"
                                                        : "refused");
    });
  };
  const auto propose = [&](int64_t sequence, State state) {
    caller_.Ask(MakeProposal(1, sequence, state),
                [&](const core::AnswerTo<core::Proposal>& answer) {
                  log.push_back(Is<core::Committed>(answer) ? "committed" : "conflict");
                });
  };
  const auto load = [&] {
    caller_.Ask(MakeLoad(1), [&](const core::AnswerTo<core::LoadRequest>& stored) {
      log.push_back(stored.ok() ? absl::StrCat("loaded ", stored->transitions.size())
                                : "not found");
    });
  };
  load();
  reserve(1);
  reserve(1);
  propose(1, State::kUnresolved);
  load();
  propose(1, State::kProcessing);
  propose(2, State::kFailed);
  caller_.Ask(MakeList(), [&](const core::AnswerTo<core::ListQuery>& page) {
    log.push_back(absl::StrCat("listed ", core::StateName(page->predictions.at(0)->state)));
  });
  caller_.Ask(MakeOrphan(1, "late"), [&](const core::AnswerTo<core::OrphanRecord>& orphan) {
    log.push_back(orphan.ok() && orphan->news ? "orphan" : "no orphan");
  });
  caller_.Ask(core::OpenOrphansQuery(), [&](const core::AnswerTo<core::OpenOrphansQuery>& orphans) {
    log.push_back(absl::StrCat("orphans ", orphans->size()));
  });
  caller_.Ask(core::AttemptQuery{"token-1"}, [&](const core::AnswerTo<core::AttemptQuery>& found) {
    log.push_back(std::string(core::AttemptResultName(found->result.value())));
  });
  caller_.Ask(MakeReview(Second(0), {"late", "other"}),
              [&](const core::AnswerTo<core::AttemptReviewQuery>& review) {
                log.push_back(absl::StrCat("bound ", review->bound.size()));
              });
  caller_.Ask(core::TakeOverRequest(), [&](const core::AnswerTo<core::TakeOverRequest>& taken) {
    log.push_back(absl::StrCat("took over ", taken->size()));
  });
  caller_.Ask(core::PruneRequest{Second(100), 5}, [&](const core::AnswerTo<core::PruneRequest>& n) {
    log.push_back(absl::StrCat("forgot ", *n));
  });
  load();
  EXPECT_THAT(log, IsEmpty());
  caller_.Wait();
  EXPECT_THAT(log, ElementsAre("not found", "reserved", "existing", "committed", "loaded 2",
                               "conflict", "committed", "listed FAILED", "orphan", "orphans 1",
                               "ORPHANED", "bound 1", "took over 0", "forgot 1", "not found"));
}

TEST_P(Order, ManyRequestsAtOnceAreAnsweredOneByOneInOrder) {
  int reserved = 0;
  for (int i = 1; i <= 600; ++i) {
    caller_.Ask(MakeReservation(i), [&](const core::AnswerTo<core::Reservation>& answer) {
      if (Is<core::Reserved>(answer)) ++reserved;
    });
    caller_.Ask(MakeLoad(i), [](const core::AnswerTo<core::LoadRequest>& stored) {
      EXPECT_TRUE(stored.ok()) << stored.status();
    });
  }
  caller_.Wait();
  EXPECT_EQ(reserved, 600);
}

TEST_P(Order, ARequestThatAnAnswerLeadsToIsAnsweredAfterThoseThatWait) {
  bool answered = false;
  caller_.Ask(MakeReservation(1), [&](const core::AnswerTo<core::Reservation>&) {
    caller_.Ask(
        MakeProposal(1, 1, State::kCreated),
        [&](const core::AnswerTo<core::Proposal>& next) { answered = Is<core::Committed>(next); });
  });
  caller_.Ask(MakeLoad(1), [&](const core::AnswerTo<core::LoadRequest>& stored) {
    EXPECT_THAT(stored->transitions, SizeIs(1));
    EXPECT_FALSE(answered);
  });
  caller_.Wait();
  EXPECT_TRUE(answered);
}

TEST_P(Order, ARequestThatBreaksARuleDoesNotHurtThoseAroundIt) {
  core::Proposal bad = MakeProposal(1, 1, State::kCreated);
  bad.attempt_outcome = MakeOutcome(9, core::AttemptResult::kAccepted);
  caller_.Ask(MakeReservation(1), [](const core::AnswerTo<core::Reservation>& answer) {
    EXPECT_TRUE(Is<core::Reserved>(answer));
  });
  caller_.Ask(bad, [](const core::AnswerTo<core::Proposal>& answer) {
    EXPECT_EQ(core::ReasonOf(answer.status()), core::Reason::kInternal);
  });
  caller_.Ask(MakeReservation(2), [](const core::AnswerTo<core::Reservation>& answer) {
    EXPECT_TRUE(Is<core::Reserved>(answer));
  });
  caller_.Wait();
  caller_.Reopen();
  EXPECT_EQ(Stored(1).sequence, 1);
  EXPECT_EQ(Stored(2).sequence, 1);
}

TEST_P(Order, ALedgerNeedsNoObserver) {
  caller_.StopObserving();
  Make(1, {State::kCreated});
  EXPECT_EQ(Stored(1).sequence, 2);
}

}  // namespace
}  // namespace dreamgate::ledger
