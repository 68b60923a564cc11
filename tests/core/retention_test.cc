#include "server/core/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/core/evidence/reconciler_world.h"

namespace dreamgate::core {
namespace {

constexpr absl::Duration kKept = absl::Hours(10 * 24);

Options Keeping() {
  Options options;
  options.request_id_retention = kKept;
  return options;
}

// A prediction that is over.
std::string Finish(ReconcilerWorld& world, const std::string& request_id) {
  const auto call = world.Submit(request_id);
  const std::string task = world.MakeTask();
  TaskObservation done = fakes::Task(task, State::kCompleted);
  done.outputs = {{Account::UrlOf(task), false}};
  world.Answer(CreateAccepted{done});
  EXPECT_EQ(call->state(), State::kCompleted);
  return call->id();
}

TEST(RetentionTest, APredictionOverForLongEnoughIsForgottenAndNothingSooner) {
  ReconcilerWorld world(Keeping());
  const std::string id = Finish(world, "r1");
  world.time.Advance(kKept - absl::Minutes(1));
  EXPECT_NE(world.ledger.Find(kTenant, id), nullptr);
  EXPECT_TRUE(world.Submit("r1")->result->replayed);
  world.time.Advance(absl::Hours(25));
  EXPECT_EQ(world.ledger.Find(kTenant, id), nullptr);
  EXPECT_EQ(world.Get(id).status().code(), absl::StatusCode::kNotFound);
}

TEST(RetentionTest, ItsRequestIdIsFreeAgain) {
  ReconcilerWorld world(Keeping());
  const std::string id = Finish(world, "r1");
  world.time.Advance(kKept + absl::Hours(25));
  const auto again = world.Submit("r1", "another payload");
  world.MakeAndAccept();
  ASSERT_TRUE(again->result.ok()) << again->result.status();
  EXPECT_FALSE(again->result->replayed);
  EXPECT_NE(again->id(), id);
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

TEST(RetentionTest, ARememberedRejectionIsForgottenToo) {
  ReconcilerWorld world(Keeping());
  const auto call = world.Submit("r1");
  world.Answer(Rejected(Reason::kUpstreamRejected, 400));
  ASSERT_EQ(call->reason(), Reason::kUpstreamRejected);
  world.time.Advance(kKept - absl::Minutes(1));
  EXPECT_EQ(world.Submit("r1")->reason(), Reason::kUpstreamRejected);
  EXPECT_EQ(world.upstream.posts_counted, 1);
  world.time.Advance(absl::Hours(25));
  world.Submit("r1");
  EXPECT_EQ(world.upstream.posts_counted, 2);
}

TEST(RetentionTest, APredictionThatIsNotOverStaysHoweverOldItIs) {
  Options options = Keeping();
  options.request_id_retention = absl::Hours(1);
  options.unresolved_timeout = absl::Hours(24 * 365);
  ReconcilerWorld world(options);
  world.account.duration = absl::Hours(48);
  world.account.inputs_shown = false;
  const auto lost = world.Lose("r1");
  const auto call = world.Submit("r2");
  world.MakeAndAccept();
  const auto on_the_wire = world.Submit("r3");
  world.time.Advance(absl::Hours(36));
  EXPECT_EQ(world.ledger.All().size(), 3u);
  EXPECT_EQ(world.Durable(lost.id).state, State::kUnresolved);
  EXPECT_EQ(world.Durable(call->id()).state, State::kProcessing);
}

TEST(RetentionTest, TheAgeCountsFromTheEnd) {
  Options options;
  options.request_id_retention = absl::Hours(24);
  ReconcilerWorld world(options);
  world.account.duration = absl::Hours(30);
  const auto call = world.Submit("r1");
  world.MakeAndAccept();
  ASSERT_TRUE(world.Ends(call->id(), absl::Hours(32)));
  world.time.Advance(absl::Hours(23));
  EXPECT_NE(world.ledger.Find(kTenant, call->id()), nullptr);
  world.time.Advance(absl::Hours(26));
  EXPECT_EQ(world.ledger.Find(kTenant, call->id()), nullptr);
}

TEST(RetentionTest, ManyAreForgottenInSmallSteps) {
  constexpr size_t kMany = 700;
  ReconcilerWorld world(Keeping());
  world.upstream.answer_creates = [](const CreateTaskRequest& request) {
    return Accepted("u" + request.attempt_token, State::kCompleted);
  };
  for (size_t i = 0; i < kMany; ++i) world.Submit("r" + std::to_string(i));
  ASSERT_EQ(world.ledger.reservations(), kMany);
  size_t most = 0;
  size_t steps = 0;
  size_t before = kMany;
  world.time.AdvanceUntil(
      [&] {
        const size_t now = world.ledger.reservations();
        if (now < before) ++steps;
        most = std::max(most, before - now);
        before = now;
        return now == 0;
      },
      kKept + absl::Hours(25));
  EXPECT_EQ(world.ledger.reservations(), 0u);
  EXPECT_LE(most, 200u);
  EXPECT_GE(steps, 3u);
}

TEST(RetentionTest, ForgettingGoesOnAfterLedgerTrouble) {
  for (const auto writes : {FakeLedger::Writes::kFail, FakeLedger::Writes::kWorkButReportFailure}) {
    ReconcilerWorld world(Keeping());
    const std::string id = Finish(world, "r1");
    world.time.Advance(absl::Hours(24));
    world.ledger.set_writes(writes);
    const size_t tried = world.ledger.writes_tried();
    world.time.Advance(kKept + absl::Hours(24));
    EXPECT_GT(world.ledger.writes_tried(), tried);
    EXPECT_LE(world.ledger.writes_tried() - tried, 24u * 60 * 11) << "no storm";
    world.ledger.set_writes(FakeLedger::Writes::kWork);
    const std::string second = Finish(world, "r2");
    world.time.Advance(absl::Hours(25));
    EXPECT_EQ(world.ledger.Find(kTenant, id), nullptr);
    world.time.Advance(kKept);
    EXPECT_EQ(world.ledger.Find(kTenant, second), nullptr);
  }
}

TEST(RetentionTest, ARestartDoesNotMakeItForget) {
  ReconcilerWorld world(Keeping());
  const std::string id = Finish(world, "r1");
  for (int day = 0; day < 12; ++day) {
    world.time.Advance(absl::Hours(23));
    world.Crash();
    world.StartGateway();
  }
  world.time.Advance(absl::Hours(2));
  EXPECT_EQ(world.ledger.Find(kTenant, id), nullptr)
      << "a server that never runs a whole day forgets all the same";
}

TEST(RetentionTest, WatchersAndGetsDuringItAreServed) {
  ReconcilerWorld world(Keeping());
  const std::string old_id = Finish(world, "r1");
  world.time.Advance(kKept - absl::Hours(1));
  const std::string young = Finish(world, "r2");
  world.time.Advance(absl::Hours(26));
  EXPECT_EQ(world.ledger.Find(kTenant, old_id), nullptr);
  const auto watcher = world.Watch(young, 0);
  EXPECT_TRUE(watcher->ended_ok);
  EXPECT_EQ(world.Watch(old_id)->error.code(), absl::StatusCode::kNotFound);
}

TEST(RetentionTest, AGatewayMayEndDuringIt) {
  ReconcilerWorld world(Keeping());
  Finish(world, "r1");
  world.ledger.Hold();
  world.time.Advance(kKept + absl::Hours(25));
  world.gateway.reset();
  world.ledger.Release();
  world.time.RunDue();
}

}  // namespace
}  // namespace dreamgate::core
