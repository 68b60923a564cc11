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

using Read = Conformance;
CONFORMANCE_OF_EACH_LEDGER(Read);

TEST_P(Read, ALoadFindsInvisibleAndRejectedOnesOfItsTenantOnly) {
  Make(1, {});
  Make(2, {});
  ASSERT_TRUE(Run(MakeReject(2, core::Rejection())).ok());
  Make(3, {State::kCreated}, "other");
  EXPECT_EQ(Stored(1).state, State::kSubmitting);
  EXPECT_EQ(Stored(2).state, State::kSubmitting);
  EXPECT_EQ(Stored(3, "other").state, State::kCreated);
  ExpectNotFound(MakeLoad(3));
  ExpectNotFound(MakeLoad(4));
}

TEST_P(Read, AListHasWhatIsVisibleNewestFirst) {
  Make(1, {State::kCreated});
  Make(2, {});
  Make(3, {State::kUnresolved});
  Make(4, {State::kCreated}, "other");
  Make(5, {State::kQueued});
  Make(6, {State::kUnresolved, State::kSubmitting});
  Make(7, {});
  ASSERT_TRUE(Run(MakeReject(7, core::Rejection())).ok());
  EXPECT_THAT(ListedIds(MakeList()), ElementsAre(IdOf(6), IdOf(3), IdOf(1)));
}

TEST_P(Read, ListedPredictionsCarryTheirHistory) {
  Make(1, {State::kCreated, State::kProcessing});
  caller_.Reopen();
  const core::AnswerTo<core::ListQuery> page = Run(MakeList());
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_THAT(page->predictions, SizeIs(1));
  EXPECT_EQ(*page->predictions[0], Stored(1));
  EXPECT_THAT(page->predictions[0]->history, SizeIs(3));
}

TEST_P(Read, PagesFollowOneAnotherWithoutGapOrOverlap) {
  for (int i = 1; i <= 5; ++i) Make(i, {State::kCreated});
  core::ListQuery query = MakeList();
  query.page_size = 2;
  const struct {
    std::string before_id;
    std::vector<std::string> ids;
    bool more;
  } pages[] = {{"", {IdOf(5), IdOf(4)}, true},
               {IdOf(4), {IdOf(3), IdOf(2)}, true},
               {IdOf(3), {IdOf(2), IdOf(1)}, false},  // a full page that is the last
               {IdOf(2), {IdOf(1)}, false},
               {IdOf(1), {}, false},
               {"p000002z", {IdOf(2), IdOf(1)}, false}};  // no prediction's
  for (const auto& expected : pages) {
    query.before_id = expected.before_id;
    EXPECT_EQ(ListedIds(query), expected.ids);
    EXPECT_EQ(Run(query)->more, expected.more);
  }
}

TEST_P(Read, AListFiltersByStatesAndByAllLabels) {
  Make(1, {State::kCreated});
  Make(2, {State::kCompleted});
  Make(3, {State::kFailed});
  core::Reservation labelled = MakeReservation(4);
  labelled.prediction.input.labels = {{"team", "films"}, {"stage", "prod"}};
  ASSERT_TRUE(Is<core::Reserved>(Run(labelled)));
  ASSERT_TRUE(Is<core::Committed>(Run(MakeProposal(4, 1, State::kCreated))));

  core::ListQuery query = MakeList();
  query.states = {State::kCompleted, State::kFailed};
  EXPECT_THAT(ListedIds(query), ElementsAre(IdOf(3), IdOf(2)));
  query.page_size = 1;  // pages are of what matches
  EXPECT_THAT(ListedIds(query), ElementsAre(IdOf(3)));
  EXPECT_TRUE(Run(query)->more);
  query.states = {};
  query.labels = {{"team", "films"}};
  EXPECT_THAT(ListedIds(query), ElementsAre(IdOf(4)));
  EXPECT_FALSE(Run(query)->more);
  query.labels = {{"team", "films"}, {"stage", "test"}};
  EXPECT_THAT(ListedIds(query), IsEmpty());
  query.labels = {{"stage", ""}};
  EXPECT_THAT(ListedIds(query), IsEmpty());
  query.labels = {{"stage", "prod"}};
  query.states = {State::kCompleted};
  EXPECT_THAT(ListedIds(query), IsEmpty());
}

// ----------------------------------------------------------------------------- what was learned

TEST_P(Read, NothingLearnedIsFoundOfAModelThatNothingWasSavedOf) {
  ExpectNotFound(core::LoadLearnedRequest{"model"});
  ASSERT_TRUE(Run(core::SaveLearnedRequest{"model", "bytes"}).ok());
  ExpectNotFound(core::LoadLearnedRequest{"Model"});
  ExpectNotFound(core::LoadLearnedRequest{""});
}

TEST_P(Read, AnyLearnedBytesComeBackAsTheyWereSaved) {
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every.push_back(static_cast<char>(byte));
  for (const std::string& bytes : {every, std::string(), std::string(5000, '\0')}) {
    ASSERT_TRUE(Run(core::SaveLearnedRequest{"model", bytes}).ok());
    EXPECT_EQ(*Run(core::LoadLearnedRequest{"model"}), bytes);
    caller_.Reopen();
    EXPECT_EQ(*Run(core::LoadLearnedRequest{"model"}), bytes);
  }
}

TEST_P(Read, LaterLearnedBytesTakeThePlaceOfTheirModelsAndOfNoOthers) {
  ASSERT_TRUE(Run(core::SaveLearnedRequest{"one", "old"}).ok());
  ASSERT_TRUE(Run(core::SaveLearnedRequest{"two", "other"}).ok());
  ASSERT_TRUE(Run(core::SaveLearnedRequest{"one", "new"}).ok());
  EXPECT_EQ(*Run(core::LoadLearnedRequest{"one"}), "new");
  EXPECT_EQ(*Run(core::LoadLearnedRequest{"two"}), "other");
}

}  // namespace
}  // namespace dreamgate::ledger
