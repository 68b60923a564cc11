#include "server/net/loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/net/signal.h"

namespace dreamgate::net {
namespace {

TEST(LoopTest, RunsPostedWorkInTheOrderPosted) {
  Loop loop;
  loop.Start();
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) loop.Post([&order, i] { order.push_back(i); });
  loop.Stop();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(LoopTest, TakesWorkFromManyThreadsAndRunsItAllOnItsOwn) {
  Loop loop;
  loop.Start();
  int ran = 0;  // not atomic on purpose: only the loop may touch it
  std::atomic<int> elsewhere = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        loop.Post([&] {
          ++ran;
          if (!loop.OnLoop()) ++elsewhere;
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  loop.Stop();
  EXPECT_EQ(ran, 2000);
  EXPECT_EQ(elsewhere, 0);
  EXPECT_FALSE(loop.OnLoop());
}

TEST(LoopTest, RunsWorkPostedBeforeTheStart) {
  Loop loop;
  bool ran = false;
  loop.Post([&ran] { ran = true; });
  loop.Start();
  loop.Stop();
  EXPECT_TRUE(ran);
}

TEST(LoopTest, DestroysWorkPostedAfterTheStopWithoutRunningIt) {
  Loop loop;
  loop.Start();
  loop.Stop();
  bool ran = false;
  auto held = std::make_shared<int>(1);
  loop.Post([&ran, held] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(LoopTest, DestroysUnrunWorkWhenItWasNeverStarted) {
  auto held = std::make_shared<int>(1);
  {
    Loop loop;
    loop.Post([held] {});
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(LoopTest, WorkMayPostMoreWork) {
  Loop loop;
  loop.Start();
  net_test::Signal done;
  loop.Post([&] { loop.Post([&] { loop.Post([&] { done.Set(); }); }); });
  EXPECT_TRUE(done.Wait());
}

TEST(LoopTest, StopMayBeRepeated) {
  Loop loop;
  loop.Start();
  loop.Stop();
  loop.Stop();
  bool ran = false;
  loop.Post([&ran] { ran = true; });
  EXPECT_FALSE(ran);
}

TEST(LoopTimerTest, RunsItsCallbackOnTheLoop) {
  Loop loop;
  loop.Start();
  net_test::Signal fired;
  bool on_loop = false;
  std::unique_ptr<LoopTimer> timer;
  loop.Post([&] {
    timer = loop.After(absl::Milliseconds(1), [&] {
      on_loop = loop.OnLoop();
      fired.Set();
    });
  });
  EXPECT_TRUE(fired.Wait());
  EXPECT_TRUE(on_loop);
  loop.Stop();
}

TEST(LoopTimerTest, NeverRunsAfterItsDestructionEvenIfItHasAlreadyExpired) {
  Loop loop;
  loop.Start();
  int ran = 0;
  net_test::Signal done;
  // Both timers are due at once. Whichever runs first destroys the other, whose handler then may
  // already stand in the queue.
  std::unique_ptr<LoopTimer> first, second, later;
  loop.Post([&] {
    first = loop.After(absl::ZeroDuration(), [&] {
      ++ran;
      second.reset();
    });
    second = loop.After(absl::ZeroDuration(), [&] {
      ++ran;
      first.reset();
    });
    later = loop.After(absl::Milliseconds(5), [&] { done.Set(); });
  });
  EXPECT_TRUE(done.Wait());
  loop.Stop();
  EXPECT_EQ(ran, 1);
}

TEST(LoopTimerTest, MayBeDestroyedByItsOwnCallback) {
  Loop loop;
  loop.Start();
  net_test::Signal fired;
  std::unique_ptr<LoopTimer> timer;
  loop.Post([&] {
    timer = loop.After(absl::ZeroDuration(), [&] {
      timer.reset();
      fired.Set();
    });
  });
  EXPECT_TRUE(fired.Wait());
}

TEST(LoopTimerTest, MayOutliveTheLoop) {
  std::unique_ptr<LoopTimer> timer;
  bool ran = false;
  {
    Loop loop;
    timer = loop.After(absl::InfiniteDuration(), [&ran] { ran = true; });
    loop.Start();
  }
  timer.reset();
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace dreamgate::net
