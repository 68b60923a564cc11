#include "dreamgate/client/error_info.h"

#include <gtest/gtest.h>

#include "tests/client/fake_video_service.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;

TEST(ErrorInfoTest, AllDetailsOfAnErrorAreDecoded) {
  const ErrorInfo info =
      Decode(ErrorWith(grpc::INVALID_ARGUMENT, "no",
                       {.reason = "INVALID_REQUEST",
                        .metadata = {{"first_sequence", "1"}, {"last_sequence", "4"}},
                        .retry_after = 1500ms,
                        .field_violations = {{"prompt", "is empty"}, {"seed", "too big"}}}));
  EXPECT_EQ(info.reason, "INVALID_REQUEST");
  EXPECT_EQ(info.domain, "dreamgate");
  EXPECT_EQ(info.metadata.at("last_sequence"), "4");
  EXPECT_EQ(info.retry_after, std::chrono::nanoseconds(1500ms));
  ASSERT_EQ(info.field_violations.size(), 2u);
  EXPECT_EQ(info.field_violations[1].field, "seed");
  EXPECT_EQ(info.field_violations[1].description, "too big");
}

TEST(ErrorInfoTest, AStatusWithoutDetailsDecodesToNothing) {
  const ErrorInfo info = Decode({grpc::UNAVAILABLE, "connection refused"});
  EXPECT_EQ(info.reason, "");
  EXPECT_EQ(info.retry_after, std::nullopt);
  EXPECT_TRUE(info.field_violations.empty());
}

TEST(ErrorInfoTest, DetailsThatAreNoMessageAreIgnored) {
  EXPECT_EQ(Decode({grpc::INTERNAL, "x", "\xff\xff not a message"}).reason, "");
}

}  // namespace
}  // namespace dreamgate::client
