#include "server/core/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/core/world.h"

namespace dreamgate::core {
namespace {

TEST(GatewayTest, AStartTakesOverWhatIsUnfinished) {
  World world;
  world.Create("r1", "u1");
  world.Create("r2", "u2", State::kCompleted);
  EXPECT_TRUE(world.started.ok());
  world.Crash();
  world.StartGateway();
  world.time.RunDue();
  EXPECT_TRUE(world.started.ok());
  EXPECT_EQ(world.gateway->Status().predictions_in_flight, 1);
  EXPECT_EQ(world.events.predictions_in_flight, 1);
}

TEST(GatewayTest, AStartWithoutALedgerFails) {
  World world;
  world.Crash();
  world.ledger.set_reads_work(false);
  world.StartGateway();
  world.time.RunDue();
  EXPECT_EQ(ReasonOf(world.started), Reason::kLedgerUnavailable);
}

TEST(GatewayTest, GetShowsWhatTheLedgerHolds) {
  World world;
  const std::string id = world.Create("r1", "u1");
  EXPECT_EQ(**world.Get(id), *world.ledger.Find(kTenant, id));
  world.AnswerGet(Shows("u1", State::kCompleted));
  EXPECT_EQ(**world.Get(id), *world.ledger.Find(kTenant, id)) << "also what is over";
}

TEST(GatewayTest, GetInLedgerTroubleAnswersFromMemoryOrSaysSo) {
  World world;
  const std::string followed = world.Create("r1", "u1");
  const std::string over = world.Create("r2", "u2", State::kCompleted);
  world.ledger.set_reads_work(false);
  EXPECT_EQ(world.StateOf(followed), State::kCreated);
  EXPECT_EQ(ReasonOf(world.Get(over).status()), Reason::kLedgerUnavailable);
}

TEST(GatewayTest, ListShowsTheTenantsVisiblePredictionsNewestFirst) {
  World world;
  const std::string first = world.Create("r1", "u1");
  const std::string second = world.Create("r2", "u2");
  world.Submit("r3");
  world.Submit("r1", "a cat", "tenant-b");
  absl::StatusOr<ListPage> page = absl::UnknownError("not answered");
  ListQuery query;
  query.tenant = kTenant;
  world.gateway->List(query,
                      [&page](absl::StatusOr<ListPage> answer) { page = std::move(answer); });
  world.time.RunDue();
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->predictions.size(), 2u);
  EXPECT_EQ(page->predictions[0]->id, second);
  EXPECT_EQ(page->predictions[1]->id, first);
}

TEST(GatewayTest, ADrainingGatewayRefusesWhatIsNewAndGoesOnWithWhatIsSent) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto sent = world.Submit("r2");
  world.gateway->Drain();
  const auto refused = world.Submit("r3");
  EXPECT_EQ(refused->reason(), Reason::kDraining);
  EXPECT_EQ(refused->result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(DetailsOf(refused->result.status()).retry_after.has_value());
  const auto watcher = world.Watch(id);
  EXPECT_EQ(ReasonOf(watcher->error), Reason::kDraining);
  EXPECT_EQ(world.gateway->submissions_in_flight(), 1);
  world.Answer(Accepted("u2"));
  EXPECT_TRUE(sent->result.ok());
  EXPECT_EQ(world.gateway->submissions_in_flight(), 0);
  EXPECT_TRUE(world.Get(id).ok());
  EXPECT_TRUE(world.gateway->Status().draining);
}

TEST(GatewayTest, CompletionsAreNeverCalledInline) {
  World world;
  const std::string id = world.Create("r1", "u1");
  const auto replay = world.SubmitLater("r1");
  const auto begun = world.SubmitLater("r2");
  const auto conflict = world.SubmitLater("r2", "a dog");
  EXPECT_FALSE(replay->answered() || begun->answered() || conflict->answered());
  bool got = false;
  world.gateway->Get(kTenant, id, [&got](const absl::StatusOr<std::shared_ptr<const Prediction>>&) {
    got = true;
  });
  EXPECT_FALSE(got);
  world.gateway->Drain();
  EXPECT_FALSE(world.SubmitLater("r3")->answered());
  world.time.RunDue();
  EXPECT_TRUE(got);
}

TEST(GatewayTest, StatusListsTheOldestInFlightWithTheirWatchers) {
  World world;
  const std::string first = world.Create("r1", "u1");
  for (int i = 0; i < 120; ++i) {
    world.time.Advance(absl::Milliseconds(1));
    world.Create("more" + std::to_string(i), "task" + std::to_string(i));
  }
  world.Watch(first);
  world.Watch(first);
  const GatewayStatus status = world.gateway->Status();
  EXPECT_EQ(status.predictions_in_flight, 121);
  ASSERT_EQ(status.oldest.size(), 100u);
  EXPECT_EQ(status.oldest.front().prediction->id, first);
  EXPECT_EQ(status.oldest.front().watchers, 2);
}

// AddressSanitizer judges what is used after its end, and what is never freed.
TEST(GatewayTest, AGatewayMayBeDestroyedAtAnyStepOfItsWork) {
  bool over = false;
  for (int steps = 0; !over; ++steps) {
    ASSERT_LT(steps, 500);
    Options options;
    options.max_submits_in_flight = 2;
    World world(options);
    const std::string id = world.Create("r0", "u0");
    world.ledger.choose_writes = [tried = 0]() mutable {
      return ++tried % 3 == 0 ? FakeLedger::Writes::kFail : FakeLedger::Writes::kWork;
    };
    for (const std::string request_id : {"r1", "r2", "r3", "r4", "r0"}) {
      world.SubmitLater(request_id);
      world.SubmitLater(request_id);
    }
    world.WatchLater(id);
    world.gateway->Get(kTenant, "unknown",
                       [](const absl::StatusOr<std::shared_ptr<const Prediction>>&) {});
    for (int i = 0; i < steps && !over; ++i) {
      over = !world.time.Step();
      if (i == 20) world.WatchLater(id, 0);
    }
    world.gateway.reset();
    // Whoever still owes an answer gives it to nobody.
    while (!world.upstream.creates.empty()) world.upstream.AnswerCreate(Accepted("u1"));
    while (!world.upstream.gets.empty()) world.upstream.AnswerGet(Shows("u0", State::kCompleted));
    world.time.Advance(absl::Hours(1));
    EXPECT_EQ(world.upstream.gets_counted, 0);
  }
}

TEST(GatewayTest, AGatewayMayBeDestroyedWhilePostsAreOpenAndCallersWait) {
  World world;
  world.Submit("answered unresolved");
  world.time.Advance(world.options.submit_soft_timeout);
  world.Submit("open");
  world.Submit("waits to try again");
  world.upstream.AnswerCreate(NotSent(), 2);
  world.time.RunDue();
  world.gateway.reset();
  world.Answer(Accepted("u1"));
  world.Answer(Rejected(Reason::kUpstreamRejected, 400));
  world.time.Advance(absl::Hours(1));
  EXPECT_EQ(world.upstream.posts_counted, 3);
}

}  // namespace
}  // namespace dreamgate::core
