#include "server/api/admission.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "server/core/errors.h"

namespace dreamgate::api {
namespace {

TEST(PeerAddressTest, LeavesThePortOut) {
  EXPECT_EQ(PeerAddress("ipv4:203.0.113.7:40112"), "203.0.113.7");
  EXPECT_EQ(PeerAddress("ipv6:%5B2001:db8::7%5D:40112"), "2001:db8::7");
  EXPECT_EQ(PeerAddress("ipv6:[2001:db8::7]:40112"), "2001:db8::7");
  EXPECT_EQ(PeerAddress("ipv6:%5B::ffff:203.0.113.7%5D:1"), "203.0.113.7");
  EXPECT_EQ(PeerAddress("unix:/run/x"), "unix:/run/x");
  EXPECT_EQ(PeerAddress(""), "");
  EXPECT_EQ(PeerAddress("ipv4:"), "");
}

TEST(AdmissionTest, RefusesStreamsAboveTheTotalAndLetsInAgain) {
  const auto admission = Admission::Create({.streams = 2, .streams_per_peer = 0});
  auto first = admission->AdmitStream("ipv4:203.0.113.1:1");
  std::optional<Admission::Ticket> second = *admission->AdmitStream("ipv4:203.0.113.2:1");
  ASSERT_TRUE(first.ok());
  const absl::Status refused = admission->AdmitStream("ipv4:203.0.113.3:1").status();
  EXPECT_EQ(core::ReasonOf(refused), core::Reason::kTooManyStreams);
  const auto retry_after = core::DetailsOf(refused).retry_after;
  ASSERT_TRUE(retry_after.has_value());
  EXPECT_GE(*retry_after, absl::Milliseconds(500));
  EXPECT_LE(*retry_after, absl::Milliseconds(1500));
  second.reset();
  EXPECT_TRUE(admission->AdmitStream("ipv4:203.0.113.3:1").ok());
}

TEST(AdmissionTest, APeerCannotTakeTheOthersPlaces) {
  const auto admission = Admission::Create({.requests = 10, .requests_per_peer = 1});
  const auto first = admission->AdmitRequest("ipv4:203.0.113.1:1");
  EXPECT_EQ(core::ReasonOf(admission->AdmitRequest("ipv4:203.0.113.1:2").status()),
            core::Reason::kTooManyRequests);
  EXPECT_TRUE(admission->AdmitRequest("ipv4:203.0.113.2:1").ok());
  EXPECT_TRUE(admission->AdmitStream("ipv4:203.0.113.1:1").ok()) << "streams are counted apart";
}

TEST(AdmissionTest, ZeroMeansNoLimit) {
  const auto admission = Admission::Create(
      {.streams = 0, .streams_per_peer = 0, .requests = 0, .requests_per_peer = 0});
  std::vector<Admission::Ticket> tickets;
  for (int i = 0; i < 1000; ++i) tickets.push_back(*admission->AdmitStream("ipv4:203.0.113.1:1"));
  EXPECT_EQ(admission->streams(), 1000);
}

TEST(AdmissionTest, ATicketIsReleasedOnceHoweverItIsMoved) {
  auto admission = Admission::Create({});
  Admission::Ticket ticket = *admission->AdmitRequest("ipv4:203.0.113.1:1");
  Admission::Ticket moved = std::move(ticket);
  EXPECT_EQ(admission->requests(), 1);
  moved = *admission->AdmitRequest("ipv4:203.0.113.1:1");
  EXPECT_EQ(admission->requests(), 1);
  moved.Release();
  moved.Release();
  EXPECT_EQ(admission->requests(), 0);
  moved = *admission->AdmitRequest("ipv4:203.0.113.1:1");
  admission.reset();  // the ticket keeps what it needs
}

TEST(AdmissionTest, CountsRightUnderThreadsThatRace) {
  const auto admission = Admission::Create({.streams = 3});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&admission] {
      for (int round = 0; round < 2000; ++round) {
        const auto ticket = admission->AdmitStream("ipv4:203.0.113.1:1");
        EXPECT_LE(admission->streams(), 3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admission->streams(), 0);
}

}  // namespace
}  // namespace dreamgate::api
