// An upstream that fails every submission, through real sockets: it gets a few more, each of which may be
// billed, and then only a probe now and then.
#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "dreamgate/client/error_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using client::Decode;
using ::grpc::StatusCode;
using simulator::Fault;
using simulator::FaultAction;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;

class OverloadTest : public ::testing::Test {
 protected:
  void FailSubmissions(Fault fault) {
    fault.times = -1;
    fault.delay = absl::Milliseconds(40);  // the circuit opens after a second of it at the earliest
    deployment_.OnSubmit(fault);
  }
  SubmitResult SubmitNew() {
    return Submit(deployment_.stub(), Request(absl::StrCat("id-", made_++)));
  }
  static bool IsRefused(const SubmitResult& result) {
    return Decode(result.status).metadata.count("circuit") > 0;
  }
  // Submits until one is withdrawn, and answers that.
  SubmitResult SubmitUntilRefused() {
    for (const absl::Time deadline = absl::Now() + kPatience; absl::Now() < deadline;) {
      SubmitResult result = SubmitNew();
      if (IsRefused(result)) return result;
    }
    ADD_FAILURE() << "upstream is fed with submissions for ever";
    return {};
  }
  std::string CircuitOpen() {
    return deployment_.server().Metric("dreamgate_upstream_circuit_open{call=\"post\"}");
  }

  Deployment deployment_;
  int made_ = 0;
};

TEST_F(OverloadTest, AnUpstreamThatFailsEverySubmissionIsNotFedWithMore) {
  const v1::Prediction known = MustSubmit(deployment_.stub(), "known");
  EXPECT_EQ(CircuitOpen(), "0");
  FailSubmissions({.action = FaultAction::kStatus, .status = 500});
  const SubmitResult refused = SubmitUntilRefused();
  EXPECT_EQ(refused.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Decode(refused.status).reason, "UPSTREAM_UNREACHABLE");
  EXPECT_THAT(refused.status.error_message(), HasSubstr("nothing was sent"));
  ASSERT_TRUE(Decode(refused.status).retry_after.has_value());
  EXPECT_GE(absl::FromChrono(*Decode(refused.status).retry_after), absl::Seconds(1));
  EXPECT_EQ(CircuitOpen(), "1");
  EXPECT_TRUE(deployment_.server().process().WaitForOutput("upstream fails every call"));

  // One of the next may be a probe; whatever is refused was not sent.
  size_t refusals = 0;
  for (int i = 0; i < 50; ++i) {
    const size_t before = deployment_.Posts();
    const bool sent = !IsRefused(SubmitNew());
    EXPECT_EQ(deployment_.Posts(), before + (sent ? 1 : 0));
    if (!sent) ++refusals;
  }
  EXPECT_GE(refusals, 40u);
  const SubmitResult again = Submit(deployment_.stub(), Request("known"));
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_TRUE(again.response.replayed());
  EXPECT_EQ(again.response.prediction().id(), known.id());

  deployment_.simulator().ClearFaults();
  const v1::SubmitVideoRequest retried = Request("id-refused");
  SubmitResult healed;
  ASSERT_TRUE(Eventually([&] {
    healed = Submit(deployment_.stub(), retried);
    return healed.status.ok();
  })) << healed.status.error_message();
  EXPECT_EQ(healed.response.prediction().state(), v1::PREDICTION_STATE_CREATED);
  MustSubmit(deployment_.stub(), "after");
  MustSubmit(deployment_.stub(), "after-that");
  EXPECT_EQ(CircuitOpen(), "0");
}

TEST_F(OverloadTest, AfterRateLimitsTheRefusalNamesThemAndKeepsToRetryAfter) {
  FailSubmissions({.action = FaultAction::kRateLimited, .retry_after = "60"});
  const SubmitResult refused = SubmitUntilRefused();
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Decode(refused.status).reason, "UPSTREAM_RATE_LIMITED");
  EXPECT_THAT(Decode(refused.status).metadata, Contains(Pair("circuit", "open")));
  ASSERT_TRUE(Decode(refused.status).retry_after.has_value());
  EXPECT_GE(absl::FromChrono(*Decode(refused.status).retry_after), absl::Seconds(50));
  const size_t posts = deployment_.Posts();
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(IsRefused(SubmitNew()));
  EXPECT_EQ(deployment_.Posts(), posts);
}

}  // namespace
}  // namespace dreamgate::e2e
