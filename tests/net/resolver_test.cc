#include "server/net/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "tests/net/signal.h"

namespace dreamgate::net {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A resolver over a name table that the test changes, and a clock that the test moves.
class ResolverTest : public ::testing::Test {
 protected:
  ResolverTest() {
    ResolverOptions options;
    options.look_up = [this](const std::string& host) -> absl::StatusOr<Addresses> {
      std::unique_lock<std::mutex> lock(mutex_);
      ++lookups_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !held_; });
      return answer_[host];
    };
    options.now = [this] { return now_; };
    resolver_ = std::make_unique<Resolver>(loop_, std::move(options));
    loop_.Start();
  }

  ~ResolverTest() override {
    loop_.Stop();
    resolver_.reset();
  }

  void SetAnswer(const std::string& host, absl::StatusOr<Addresses> answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_.insert_or_assign(host, std::move(answer));
  }

  absl::StatusOr<Addresses> Resolve(const std::string& host) {
    net_test::Signal done;
    absl::StatusOr<Addresses> result;
    loop_.Post([&] {
      resolver_->Resolve(host, [&](absl::StatusOr<Addresses> addresses) {
        result = std::move(addresses);
        done.Set();
      });
    });
    done.Wait();
    return result;
  }

  void Advance(absl::Duration time) {
    net_test::Signal done;
    loop_.Post([&] {
      now_ += time;
      done.Set();
    });
    done.Wait();
  }

  int Lookups() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lookups_;
  }

  Loop loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int lookups_ = 0;
  bool held_ = false;
  std::map<std::string, absl::StatusOr<Addresses>> answer_;
  absl::Time now_ = absl::UnixEpoch();  // the loop's
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, GivesAddressesWithTheFamiliesAlternating) {
  SetAnswer("a.test", Addresses{"::1", "::2", "::3", "10.0.0.1"});
  const auto addresses = Resolve("a.test");
  ASSERT_TRUE(addresses.ok());
  EXPECT_THAT(*addresses, ElementsAre("::1", "10.0.0.1", "::2", "::3"));
}

TEST_F(ResolverTest, LeavesLiteralsAlone) {
  EXPECT_THAT(*Resolve("127.0.0.1"), ElementsAre("127.0.0.1"));
  EXPECT_THAT(*Resolve("::1"), ElementsAre("::1"));
  EXPECT_EQ(Lookups(), 0);
}

TEST_F(ResolverTest, BelievesAnAnswerForThirtySeconds) {
  SetAnswer("a.test", Addresses{"10.0.0.1"});
  (void)Resolve("a.test");
  SetAnswer("a.test", Addresses{"10.0.0.2"});
  Advance(absl::Seconds(29));
  EXPECT_THAT(*Resolve("a.test"), ElementsAre("10.0.0.1"));
  Advance(absl::Seconds(1));
  EXPECT_THAT(*Resolve("a.test"), ElementsAre("10.0.0.2"));
  EXPECT_EQ(Lookups(), 2);
}

TEST_F(ResolverTest, BelievesAFailureForASecond) {
  SetAnswer("a.test", absl::UnavailableError("no such name"));
  EXPECT_THAT(Resolve("a.test").status().message(), HasSubstr("no such name"));
  SetAnswer("a.test", Addresses{"10.0.0.1"});
  EXPECT_FALSE(Resolve("a.test").ok());
  EXPECT_EQ(Lookups(), 1);
  Advance(absl::Seconds(1));
  EXPECT_TRUE(Resolve("a.test").ok());
}

TEST_F(ResolverTest, GivesAStaleAnswerRatherThanAFailure) {
  SetAnswer("a.test", Addresses{"10.0.0.1"});
  (void)Resolve("a.test");
  SetAnswer("a.test", absl::UnavailableError("the name server is away"));
  Advance(absl::Hours(1));
  EXPECT_THAT(*Resolve("a.test"), ElementsAre("10.0.0.1"));
}

TEST_F(ResolverTest, TreatsAnEmptyAnswerAsAFailure) {
  SetAnswer("a.test", Addresses{});
  EXPECT_THAT(Resolve("a.test").status().message(), HasSubstr("has no address"));
}

TEST_F(ResolverTest, AnswersEqualQuestionsWithOneLookup) {
  SetAnswer("a.test", Addresses{"10.0.0.1"});
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ = true;
  }
  int answered = 0;
  net_test::Signal all;
  loop_.Post([&] {
    for (int i = 0; i < 10; ++i) {
      resolver_->Resolve("a.test", [&](absl::StatusOr<Addresses> addresses) {
        answered += addresses.ok() ? 1 : 0;
        if (answered == 10) all.Set();
      });
    }
  });
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return lookups_ == 1; });
    held_ = false;
    changed_.notify_all();
  }
  ASSERT_TRUE(all.Wait());
  EXPECT_EQ(answered, 10);
  EXPECT_EQ(Lookups(), 1);
}

TEST_F(ResolverTest, NeverAnswersInsideTheCall) {
  net_test::Signal done;
  bool inside = true;
  loop_.Post([&] {
    resolver_->Resolve("127.0.0.1", [&](absl::StatusOr<Addresses>) {
      EXPECT_FALSE(inside);
      done.Set();
    });
    inside = false;
  });
  done.Wait();
}

TEST(ResolverShutdownTest, LeavesALookupThatHangsBehind) {
  // Everything the lookup touches must outlive the test's scope: its thread does.
  struct Hang {
    net_test::Signal begun, may_end;
  };
  auto hang = std::make_shared<Hang>();
  {
    Loop loop;
    ResolverOptions options;
    options.look_up = [hang](const std::string&) -> absl::StatusOr<Addresses> {
      hang->begun.Set();
      hang->may_end.Wait();
      return Addresses{"10.0.0.1"};
    };
    Resolver resolver(loop, std::move(options));
    loop.Start();
    loop.Post([&] {
      resolver.Resolve("a.test", [](absl::StatusOr<Addresses>) { FAIL() << "answered"; });
    });
    hang->begun.Wait();
    loop.Stop();
  }
  hang->may_end.Set();
}

TEST(SystemLookupTest, KnowsLocalhost) {
  const absl::StatusOr<Addresses> addresses = LookUpWithSystem("localhost");
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_FALSE(addresses->empty());
}

TEST(InterleaveFamiliesTest, BeginsWithTheFavouriteFamily) {
  EXPECT_THAT(InterleaveFamilies({"10.0.0.1", "::1", "10.0.0.2", "::2"}),
              ElementsAre("10.0.0.1", "::1", "10.0.0.2", "::2"));
  EXPECT_THAT(InterleaveFamilies({"10.0.0.1", "10.0.0.2", "::1"}),
              ElementsAre("10.0.0.1", "::1", "10.0.0.2"));
  EXPECT_TRUE(InterleaveFamilies({}).empty());
}

}  // namespace
}  // namespace dreamgate::net
