#include "client/cpp/src/watch_cursor.h"

#include <gtest/gtest.h>

namespace dreamgate::client {
namespace {

using Arrival = WatchCursor::Arrival;
using AfterEnd = WatchCursor::AfterEnd;

const grpc::Status kOutOfRange(grpc::OUT_OF_RANGE, "x");
const grpc::Status kUnavailable(grpc::UNAVAILABLE, "x");

TEST(WatchCursorTest, WithoutAPositionTheFirstUpdateMayHaveAnySequence) {
  WatchCursor cursor(std::nullopt);
  EXPECT_EQ(cursor.UpdateArrived(5, false), Arrival::kDeliver);
  EXPECT_EQ(cursor.position(), 5);
}

TEST(WatchCursorTest, UpdatesAtOrBelowThePositionAreDropped) {
  WatchCursor cursor(3);
  EXPECT_EQ(cursor.UpdateArrived(2, false), Arrival::kDrop);
  EXPECT_EQ(cursor.UpdateArrived(3, false), Arrival::kDrop);
  EXPECT_EQ(cursor.UpdateArrived(4, false), Arrival::kDeliver);
}

TEST(WatchCursorTest, ASkippedSequenceIsAGapAndDoesNotMoveThePosition) {
  WatchCursor cursor(3);
  EXPECT_EQ(cursor.UpdateArrived(5, true), Arrival::kGap);
  EXPECT_EQ(cursor.position(), 3);
  EXPECT_FALSE(cursor.at_terminal());
}

TEST(WatchCursorTest, OkAfterTheTerminalUpdateIsTheEnd) {
  WatchCursor cursor(0);
  cursor.UpdateArrived(1, true);
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kDone);
}

TEST(WatchCursorTest, AnyEndAfterTheTerminalUpdateIsTheEnd) {
  WatchCursor cursor(0);
  cursor.UpdateArrived(1, true);
  EXPECT_EQ(cursor.StreamEnded(kUnavailable), AfterEnd::kDone);
}

TEST(WatchCursorTest, OkBeforeTheTerminalUpdateBreaksTheContract) {
  WatchCursor cursor(0);
  cursor.UpdateArrived(1, false);
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kContractBroken);
}

TEST(WatchCursorTest, OkAtOnceFromAGivenPositionMeansThatItWasTheTerminalOne) {
  WatchCursor cursor(7);
  cursor.StreamOpened();
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kDone);
}

TEST(WatchCursorTest, OkAfterAHeartbeatFromAGivenPositionIsAskedAgain) {
  WatchCursor cursor(7);
  cursor.StreamOpened();
  cursor.SignOfLife();
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kContractBroken);
  cursor.StreamOpened();
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kDone);
}

TEST(WatchCursorTest, OkWithoutAnythingAndWithoutAPositionBreaksTheContract) {
  WatchCursor cursor(std::nullopt);
  EXPECT_EQ(cursor.StreamEnded(grpc::Status::OK), AfterEnd::kContractBroken);
}

TEST(WatchCursorTest, OutOfRangeGivesUpThePositionOnce) {
  WatchCursor cursor(9);
  EXPECT_EQ(cursor.StreamEnded(kOutOfRange), AfterEnd::kRestart);
  EXPECT_EQ(cursor.position(), std::nullopt);
  EXPECT_EQ(cursor.UpdateArrived(3, false), Arrival::kDeliver);
}

TEST(WatchCursorTest, OutOfRangeTwiceAtOnePositionIsFinal) {
  WatchCursor cursor(9);
  EXPECT_EQ(cursor.StreamEnded(kOutOfRange), AfterEnd::kRestart);
  cursor.UpdateArrived(9, false);
  EXPECT_EQ(cursor.StreamEnded(kOutOfRange), AfterEnd::kGiveUp);
}

TEST(WatchCursorTest, OutOfRangeWithoutAPositionIsFinal) {
  WatchCursor cursor(std::nullopt);
  EXPECT_EQ(cursor.StreamEnded(kOutOfRange), AfterEnd::kGiveUp);
}

}  // namespace
}  // namespace dreamgate::client
