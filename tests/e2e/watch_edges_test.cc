// WatchPrediction at its edges, against the real server program: every position, streams opened while a
// transition happens, callers who leave at every state, readers who stall, connections that die, limits,
// and what heartbeats say. Every stream goes through the watch validator.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "dreamgate/client/error_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/api/seen_update.h"
#include "tests/e2e/deployment.h"

namespace dreamgate::e2e {
namespace {

using client::Decode;
using ::grpc::StatusCode;
using simulator::FaultAction;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Position = std::optional<int64_t>;

constexpr int64_t kFarthest = std::numeric_limits<int64_t>::max();
constexpr char kUnknownId[] = "01hzzzzzzzzzzzzzzzzzzzzzzz";

// A deployment with what these tests ask of it again and again.
class World : public Deployment {
 public:
  using Deployment::Deployment;

  void SetStatus(const v1::Prediction& prediction, const std::string& status) {
    EXPECT_TRUE(simulator().SetTaskState(prediction.upstream_id(), {.status = status}));
  }
  v1::Prediction Get(const std::string& id) { return GetPrediction(stub(), id); }
  bool Reaches(const std::string& id, v1::PredictionState state) {
    return Eventually([&] { return Get(id).state() == state; });
  }
  // Streams that are open, as /metrics says.
  bool OpenStreamsBecome(int count) {
    return Eventually([&] { return server().Metric("dreamgate_streams") == absl::StrCat(count); });
  }
  // The ids of what is in flight in this state, as /statusz says: also what no caller may see yet.
  std::vector<std::string> InFlightIn(const std::string& state) const {
    const std::string page = server().AdminPage("/statusz");
    std::vector<std::string> ids;
    const std::string before_id = R"({"id":")";
    for (size_t at = page.find(before_id); at != std::string::npos; at = page.find(before_id, at)) {
      at += before_id.size();
      const std::string id = page.substr(at, page.find('"', at) - at);
      const std::string before_state = R"("state":")";
      const size_t found = page.find(before_state, at) + before_state.size();
      if (page.substr(found, page.find('"', found) - found) == state) ids.push_back(id);
    }
    return ids;
  }
};

std::vector<int64_t> Sequences(const Stream& stream) {
  std::vector<int64_t> sequences;
  for (const v1::Prediction& update : stream.updates()) sequences.push_back(update.sequence());
  return sequences;
}

std::vector<int64_t> Range(int64_t first, int64_t last) {
  std::vector<int64_t> range;
  for (int64_t i = first; i <= last; ++i) range.push_back(i);
  return range;
}

void ExpectEnd(Stream& stream, StatusCode code) {
  ASSERT_TRUE(stream.WaitForEnd());
  EXPECT_EQ(stream.status().error_code(), code) << stream.status().error_message();
  EXPECT_THAT(stream.violations(), IsEmpty());
}

// The stream ended with OK and showed exactly these.
void ExpectAll(Stream& stream, int64_t first, int64_t last) {
  ExpectEnd(stream, StatusCode::OK);
  EXPECT_EQ(Sequences(stream), Range(first, last));
}

void ExpectRefusedPosition(Stream& stream, int64_t last) {
  ExpectEnd(stream, StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Decode(stream.status()).reason, "SEQUENCE_OUT_OF_RANGE");
  const auto metadata = Decode(stream.status()).metadata;
  EXPECT_THAT(metadata, Contains(Pair("first_sequence", "0")));
  EXPECT_THAT(metadata, Contains(Pair("last_sequence", absl::StrCat(last))));
  EXPECT_THAT(stream.updates(), IsEmpty());
}

// -------------------------------------------------------------------------------------- positions

TEST(WatchPositionTest, EachOfManyAtOnceSeesExactlyWhatFollowsItsOwn) {
  World world;
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  ASSERT_EQ(prediction.sequence(), 2);
  std::vector<std::pair<int64_t, std::unique_ptr<Stream>>> streams;  // by first expected sequence
  for (int round = 0; round < 5; ++round) {
    const std::vector<std::pair<Position, int64_t>> cases = {
        {std::nullopt, 2}, {0, 1}, {1, 2}, {2, 3}};
    for (const auto& [position, first] : cases) {
      streams.emplace_back(first,
                           std::make_unique<Stream>(world.stub(), prediction.id(), position));
    }
  }
  for (const auto& [first, stream] : streams) {
    ASSERT_TRUE(stream->WaitForUpdates(static_cast<size_t>(3 - first)));
  }
  world.SetStatus(prediction, "processing");
  for (const auto& [first, stream] : streams) {
    ASSERT_TRUE(stream->WaitForUpdates(static_cast<size_t>(4 - first)));
  }
  world.SetStatus(prediction, "completed");
  for (const auto& [first, stream] : streams) ExpectAll(*stream, first, 4);
}

TEST(WatchPositionTest, APositionBeyondTheEndIsOutOfRangeAndANegativeOneIsInvalid) {
  World world;
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  const auto expect_refusals = [&](int64_t last) {
    for (const int64_t beyond : {last + 1, last + 100, kFarthest - 1, kFarthest}) {
      Stream stream(world.stub(), prediction.id(), beyond);
      ExpectRefusedPosition(stream, last);
    }
    for (const int64_t negative : {int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
      Stream stream(world.stub(), prediction.id(), negative);
      ExpectEnd(stream, StatusCode::INVALID_ARGUMENT);
      ASSERT_EQ(Decode(stream.status()).field_violations.size(), 1u);
      EXPECT_EQ(Decode(stream.status()).field_violations[0].field, "after_sequence");
    }
  };
  expect_refusals(2);  // read from the ledger
  Stream open(world.stub(), prediction.id());
  ASSERT_TRUE(open.WaitForUpdates(1));
  expect_refusals(2);  // while another stream is fed
  world.SetStatus(prediction, "completed");
  ExpectAll(open, 2, 3);
  expect_refusals(3);
}

TEST(WatchPositionTest, OfATerminalPredictionEachShowsTheRestAndEndsWithOk) {
  World world;
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  world.SetStatus(prediction, "failed");
  ASSERT_TRUE(world.Reaches(prediction.id(), v1::PREDICTION_STATE_FAILED));
  const int64_t last = world.Get(prediction.id()).sequence();
  for (const bool restarted : {false, true}) {
    if (restarted) world.CrashAndRestart();
    for (int64_t position = 0; position <= last; ++position) {
      Stream stream(world.stub(), prediction.id(), position);
      ExpectAll(stream, position + 1, last);
      EXPECT_THAT(stream.heartbeats(), IsEmpty());
    }
    Stream current(world.stub(), prediction.id());
    ExpectAll(current, last, last);
  }
  EXPECT_TRUE(world.OpenStreamsBecome(0));
}

TEST(WatchPositionTest, OfAnotherTenantsPredictionAllAreNotFoundAsOfNone) {
  TemporaryFolder folder;
  World world(
      {"--callers-file=" +
       folder.Write("callers", "one first-tenant-token-0001\ntwo second-tenant-token-002\n")});
  const SubmitResult mine = Submit(world.stub(), Request("id-1"), "first-tenant-token-0001");
  ASSERT_TRUE(mine.status.ok()) << mine.status.error_message();
  const v1::Prediction& prediction = mine.response.prediction();
  for (const Position position :
       {Position(), Position(0), Position(2), Position(3), Position(kFarthest)}) {
    Stream foreign(world.stub(), prediction.id(), position, "second-tenant-token-002");
    ExpectEnd(foreign, StatusCode::NOT_FOUND);
    Stream unknown(world.stub(), kUnknownId, position, "second-tenant-token-002");
    ExpectEnd(unknown, StatusCode::NOT_FOUND);
    EXPECT_EQ(foreign.status().error_message(), unknown.status().error_message());
    EXPECT_EQ(Decode(foreign.status()).reason, "PREDICTION_NOT_FOUND");
    EXPECT_EQ(Decode(foreign.status()).metadata, Decode(unknown.status()).metadata);
  }
  // Nor does its owner's open stream make a difference.
  Stream own(world.stub(), prediction.id(), 0, "first-tenant-token-0001");
  ASSERT_TRUE(own.WaitForUpdates(2));
  Stream foreign(world.stub(), prediction.id(), 0, "second-tenant-token-002");
  ExpectEnd(foreign, StatusCode::NOT_FOUND);
  world.SetStatus(prediction, "completed");
  ExpectAll(own, 1, 3);
}

// Makes one prediction of a ledger that no process has open end `days` days earlier.
void EndEarlier(const std::string& ledger, const std::string& id, int days) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(ledger.c_str(), &database), SQLITE_OK);
  const std::string statement =
      absl::StrCat("UPDATE predictions SET end_time = end_time - ", days, " * 86400 * 1000000000",
                   " WHERE prediction_id = '", id, "' AND end_time IS NOT NULL");
  EXPECT_EQ(sqlite3_exec(database, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(sqlite3_changes(database), 1);
  sqlite3_close(database);
}

TEST(WatchPositionTest, OfAForgottenPredictionAllAreNotFound) {
  const TemporaryFolder folder;
  const auto upstream = simulator::Simulator::Start().value();
  std::vector<v1::Prediction> predictions;
  {
    Server server(folder, upstream->base_url(), {});
    const auto stub = server.Stub();
    for (const char* request_id : {"old", "young"}) {
      predictions.push_back(MustSubmit(*stub, request_id));
      upstream->SetTaskState(predictions.back().upstream_id(), {.status = "completed"});
      Stream watch(*stub, predictions.back().id());
      ExpectEnd(watch, StatusCode::OK);
    }
    server.process().Signal(SIGTERM);
    ASSERT_EQ(server.process().Wait(kPatience), 0);
  }
  EndEarlier(folder.File("ledger.db"), predictions[0].id(), 31);

  Server server(folder, upstream->base_url(), {});
  const auto stub = server.Stub();
  // A start may keep the prediction in memory for a moment before it is forgotten.
  ASSERT_TRUE(Eventually([&] {
    Stream watch(*stub, predictions[0].id(), 0);
    EXPECT_TRUE(watch.WaitForEnd());
    EXPECT_THAT(watch.violations(), IsEmpty());
    if (watch.status().ok()) {
      EXPECT_EQ(Sequences(watch), Range(1, 3));
      return false;
    }
    return watch.status().error_code() == StatusCode::NOT_FOUND;
  }));
  for (const Position position :
       {Position(), Position(0), Position(1), Position(3), Position(4), Position(kFarthest)}) {
    Stream forgotten(*stub, predictions[0].id(), position);
    ExpectEnd(forgotten, StatusCode::NOT_FOUND);
    EXPECT_EQ(Decode(forgotten.status()).reason, "PREDICTION_NOT_FOUND");
  }
  Stream kept(*stub, predictions[1].id(), 0);
  ExpectAll(kept, 1, 3);
}

// ------------------------------------------------------------------------------------------ races

// Streams from every position, opened together.
class Volley {
 public:
  Volley(v1::VideoService::Stub& stub, const std::string& id) {
    for (const Position position : {Position(), Position(0), Position(1), Position(2)}) {
      streams_.emplace_back(position, std::make_unique<Stream>(stub, id, position));
    }
  }
  // `seen_before`: a sequence that was committed when the streams were opened.
  void ExpectNothingLostOrRepeated(int64_t seen_before, int64_t last) {
    for (const auto& [position, stream] : streams_) {
      ExpectEnd(*stream, StatusCode::OK);
      const std::vector<int64_t> sequences = Sequences(*stream);
      ASSERT_FALSE(sequences.empty());
      EXPECT_EQ(sequences, Range(sequences.front(), last));
      if (position) {
        EXPECT_EQ(sequences.front(), *position + 1);
      } else {
        EXPECT_GE(sequences.front(), seen_before);
      }
    }
  }

 private:
  std::vector<std::pair<Position, std::unique_ptr<Stream>>> streams_;
};

TEST(WatchRaceTest, AStreamOpenedAtTheMomentOfATransitionLosesAndRepeatsNothing) {
  constexpr int kRounds = 200;
  World world({"--poll-min-interval=10ms", "--poll-max-interval=10ms", "--gets-per-video=1000"});
  simulator::Simulator& upstream = world.simulator();
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    const v1::Prediction prediction = MustSubmit(world.stub(), absl::StrCat("id-", round));
    const std::string& task = prediction.upstream_id();
    // One round in three, somebody watches already; in another, the transition is to PROCESSING.
    std::optional<Stream> before;
    if (round % 3 == 0) before.emplace(world.stub(), prediction.id(), 0);
    const bool by_processing = round % 2 == 0;
    upstream.SetTaskState(task, {.status = by_processing ? "processing" : "completed"});
    const uint64_t polls = upstream.ResultRequests(task);
    // Upstream has just answered with the news: the transition is being written and delivered.
    ASSERT_TRUE(
        upstream.WaitUntil([&] { return upstream.ResultRequests(task) > polls; }, kPatience));
    Volley at_the_moment(world.stub(), prediction.id());
    if (by_processing) {
      upstream.SetTaskState(task, {.status = "completed"});
      Volley at_another(world.stub(), prediction.id());
      at_another.ExpectNothingLostOrRepeated(2, 4);
    }
    at_the_moment.ExpectNothingLostOrRepeated(2, by_processing ? 4 : 3);
    if (before) ExpectAll(*before, 1, by_processing ? 4 : 3);
    if (HasFailure()) return;
  }
  EXPECT_EQ(upstream.TasksCreated(), static_cast<size_t>(kRounds));
  EXPECT_TRUE(world.OpenStreamsBecome(0));
}

// ------------------------------------------------------------------------------ callers who leave

// A watch that its deadline ends, read by this thread.
grpc::Status WatchUntilDeadline(v1::VideoService::Stub& stub, const std::string& id) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
  v1::WatchPredictionRequest request;
  request.set_prediction_id(id);
  request.set_after_sequence(0);
  fakes::WatchValidator validator(0);
  const auto reader = stub.WatchPrediction(&context, request);
  for (v1::WatchPredictionResponse message; reader->Read(&message);) {
    if (message.has_update()) validator.OnUpdate(api::Seen(message.update()));
  }
  const grpc::Status status = reader->Finish();
  validator.OnEnd(status.ok());
  EXPECT_THAT(validator.violations(), IsEmpty());
  return status;
}

// Callers watch what can be watched and leave: at once, in the middle, at their deadline.
void ComeAndGo(World& world, const std::string& id) {
  for (int i = 0; i < 5; ++i) {
    Stream at_once(world.stub(), id, 0);
    at_once.Cancel();
    ExpectEnd(at_once, StatusCode::CANCELLED);
  }
  {
    Stream in_the_middle(world.stub(), id, 0);
    ASSERT_TRUE(in_the_middle.WaitForUpdates(1));
    in_the_middle.Cancel();
    ExpectEnd(in_the_middle, StatusCode::CANCELLED);
  }
  EXPECT_EQ(WatchUntilDeadline(world.stub(), id).error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(world.OpenStreamsBecome(0));
}

// The same where callers may not see the prediction yet.
void ComeAndGoUnseen(World& world, const std::string& id) {
  Stream refused(world.stub(), id, 0);
  ExpectEnd(refused, StatusCode::NOT_FOUND);
  for (int i = 0; i < 5; ++i) {
    Stream at_once(world.stub(), id, 0);
    at_once.Cancel();
    ASSERT_TRUE(at_once.WaitForEnd());
    EXPECT_THAT(at_once.violations(), IsEmpty());
  }
  EXPECT_EQ(WatchUntilDeadline(world.stub(), id).error_code(), StatusCode::NOT_FOUND);
  EXPECT_TRUE(world.OpenStreamsBecome(0));
}

TEST(WatchCancelTest, LeavingAtAnyStateNeverTouchesThePaidWork) {
  World world({"--max-submits-in-flight=1"});
  simulator::Simulator& upstream = world.simulator();
  world.OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(700)});
  std::future<v1::Prediction> first = std::async(
      std::launch::async, [&world] { return MustSubmit(world.stub(), "id-1", "first"); });
  ASSERT_TRUE(upstream.WaitForTasks(1, kPatience));
  std::future<v1::Prediction> second = std::async(
      std::launch::async, [&world] { return MustSubmit(world.stub(), "id-2", "second"); });
  ASSERT_TRUE(Eventually([&] { return world.InFlightIn("QUEUED").size() == 1; }));
  ASSERT_EQ(world.InFlightIn("SUBMITTING").size(), 1u);
  const std::string submitting = world.InFlightIn("SUBMITTING")[0];
  const std::string queued = world.InFlightIn("QUEUED")[0];
  ComeAndGoUnseen(world, submitting);
  ComeAndGoUnseen(world, queued);
  const v1::Prediction prediction = first.get();
  EXPECT_EQ(prediction.id(), submitting);
  EXPECT_EQ(second.get().id(), queued);

  ComeAndGo(world, prediction.id());
  EXPECT_EQ(world.Get(prediction.id()).state(), v1::PREDICTION_STATE_CREATED);
  world.SetStatus(prediction, "processing");
  ASSERT_TRUE(world.Reaches(prediction.id(), v1::PREDICTION_STATE_PROCESSING));
  ComeAndGo(world, prediction.id());
  world.SetStatus(prediction, "completed");
  ASSERT_TRUE(world.Reaches(prediction.id(), v1::PREDICTION_STATE_COMPLETED));
  Stream last(world.stub(), prediction.id());
  last.Cancel();  // races with the end
  ASSERT_TRUE(last.WaitForEnd());
  EXPECT_THAT(last.violations(), IsEmpty());

  Stream replay(world.stub(), prediction.id(), 0);
  ExpectAll(replay, 1, 4);
  EXPECT_EQ(world.Posts(), 2u);
  EXPECT_EQ(upstream.TasksCreatedForPrompt("first"), 1u);
  EXPECT_EQ(upstream.TasksCreatedForPrompt("second"), 1u);
}

TEST(WatchCancelTest, LeavingWhileTheOutcomeIsUnknownNeverTouchesThePaidWork) {
  World world({"--submit-soft-timeout=100ms", "--unresolved-timeout=1h"});
  simulator::Simulator& upstream = world.simulator();
  upstream.SetHistory(simulator::HistoryInput::kAlways, absl::Hours(1));  // shows nothing
  world.OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Milliseconds(700)});
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  ASSERT_EQ(prediction.state(), v1::PREDICTION_STATE_UNRESOLVED);
  ComeAndGo(world, prediction.id());
  ASSERT_TRUE(world.Reaches(prediction.id(), v1::PREDICTION_STATE_CREATED));
  ASSERT_TRUE(upstream.SetTaskState(upstream.TaskIds().at(0), {.status = "completed"}));
  Stream replay(world.stub(), prediction.id(), 0);
  ExpectAll(replay, 1, 4);
  EXPECT_THAT(replay.states(),
              ElementsAre(v1::PREDICTION_STATE_SUBMITTING, v1::PREDICTION_STATE_UNRESOLVED,
                          v1::PREDICTION_STATE_CREATED, v1::PREDICTION_STATE_COMPLETED));
  EXPECT_EQ(world.Posts(), 1u);
}

// ------------------------------------------------------------------------------------ connections

// HTTP/2 by hand: a connection with one watch that does nothing a client should. The server may send it
// no more than `window` bytes of messages, for it never gives more room.
class BareWatch {
 public:
  BareWatch(int port, const v1::WatchPredictionRequest& request, uint32_t window = 65535,
            const std::string& source_address = "127.0.0.1") {
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, source_address.c_str(), &address.sin_addr);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    address.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);

    constexpr uint16_t kInitialWindowSize = 4;
    const std::string settings = Big(kInitialWindowSize, 2) + Big(window, 4);
    std::string headers;
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
             {":method", "POST"},
             {":scheme", "http"},
             {":path", "/dreamgate.v1.VideoService/WatchPrediction"},
             {":authority", "localhost"},
             {"content-type", "application/grpc"},
             {"te", "trailers"}}) {
      headers += std::string(1, '\0') + Short(name) + Short(value);  // a literal, not indexed
    }
    const std::string message = request.SerializeAsString();
    Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, settings) +
         Frame(kHeaders, kEndHeaders, 1, headers) +
         Frame(kData, kEndStream, 1,
               std::string(1, '\0') + Big(static_cast<uint32_t>(message.size()), 4) + message));
  }
  ~BareWatch() { Close(); }
  BareWatch(const BareWatch&) = delete;
  BareWatch& operator=(const BareWatch&) = delete;

  void Cancel() { Send(Frame(kResetStream, 0, 1, Big(8, 4))); }
  // The server may go on sending; nobody says anything to it any more.
  void HalfClose() { EXPECT_EQ(shutdown(socket_, SHUT_WR), 0); }
  void Close() {
    if (socket_ >= 0) close(std::exchange(socket_, -1));
  }
  void Reset() {
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    Close();
  }

 private:
  static constexpr uint8_t kData = 0, kHeaders = 1, kResetStream = 3, kSettings = 4;
  static constexpr uint8_t kEndStream = 1, kEndHeaders = 4;

  static std::string Big(uint32_t value, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
    return text;
  }
  static std::string Short(const std::string& text) {
    EXPECT_LT(text.size(), 127u);
    return std::string(1, static_cast<char>(text.size())) + text;
  }
  static std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                           const std::string& payload) {
    return Big(static_cast<uint32_t>(payload.size()), 3) + Big(type, 1) + Big(flags, 1) +
           Big(stream, 4) + payload;
  }
  void Send(const std::string& bytes) {
    EXPECT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  int socket_ = -1;
};

v1::WatchPredictionRequest Watching(const v1::Prediction& prediction) {
  v1::WatchPredictionRequest request;
  request.set_prediction_id(prediction.id());
  request.set_after_sequence(0);
  return request;
}

TEST(WatchConnectionTest, AConnectionThatDiesInAnyWayFreesItsStreamsPlace) {
  World world;
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  for (const auto end :
       {&BareWatch::Cancel, &BareWatch::HalfClose, &BareWatch::Close, &BareWatch::Reset}) {
    for (const uint32_t window : {0u, 65535u}) {
      BareWatch watch(world.server().grpc_port(), Watching(prediction), window);
      ASSERT_TRUE(world.OpenStreamsBecome(1));
      (watch.*end)();
      ASSERT_TRUE(world.OpenStreamsBecome(0));
    }
  }
  world.SetStatus(prediction, "completed");
  Stream last(world.stub(), prediction.id(), 0);
  ExpectAll(last, 1, 3);
  EXPECT_EQ(world.Posts(), 1u);
}

TEST(WatchConnectionTest, AReaderThatStallsSlowsNobodyDownAndMayLeaveDuringItsWrite) {
  World world({"--max-prompt-chars=100000"});
  const v1::Prediction prediction =
      MustSubmit(world.stub(), "id-1", std::string(100'000, 'x'));  // more than gRPC buffers
  std::vector<std::unique_ptr<BareWatch>> stalled;
  for (int i = 0; i < 20; ++i) {
    stalled.push_back(
        std::make_unique<BareWatch>(world.server().grpc_port(), Watching(prediction), 100));
  }
  ASSERT_TRUE(world.OpenStreamsBecome(20));
  std::vector<std::unique_ptr<Stream>> readers;
  for (int i = 0; i < 5; ++i) {
    readers.push_back(std::make_unique<Stream>(world.stub(), prediction.id(), 0));
    ASSERT_TRUE(readers.back()->WaitForUpdates(2));
  }
  for (size_t i = 0; i < stalled.size(); i += 2) stalled[i]->Cancel();
  ASSERT_TRUE(world.OpenStreamsBecome(15));
  world.SetStatus(prediction, "processing");
  for (const auto& reader : readers) ASSERT_TRUE(reader->WaitForUpdates(3));
  world.SetStatus(prediction, "completed");
  for (const auto& reader : readers) ExpectAll(*reader, 1, 4);
  EXPECT_TRUE(world.OpenStreamsBecome(10)) << "those that stall are still being written to";
  for (size_t i = 1; i < stalled.size(); i += 4) stalled[i]->Cancel();
  for (size_t i = 3; i < stalled.size(); i += 4) stalled[i]->Reset();
  EXPECT_TRUE(world.OpenStreamsBecome(0));
  EXPECT_EQ(world.Posts(), 1u);
}

TEST(WatchConnectionTest, AReaderThatStallsIsLetGoOfWhenItsTimeIsOver) {
  World world({"--max-prompt-chars=100000", "--stream-stall-timeout=1s"});
  const v1::Prediction prediction =
      MustSubmit(world.stub(), "id-1", std::string(100'000, 'x'));  // more than gRPC buffers
  BareWatch stalled(world.server().grpc_port(), Watching(prediction), 100);
  ASSERT_TRUE(world.OpenStreamsBecome(1));
  Stream reader(world.stub(), prediction.id(), 0);
  world.SetStatus(prediction, "completed");
  ExpectAll(reader, 1, 3);
  EXPECT_TRUE(Eventually([&] { return world.server().Metric("dreamgate_streams") == "0"; },
                         absl::Seconds(30)))
      << "it still holds its place; by default it would for a minute";
}

TEST(WatchLimitTest, StreamsAreCountedPerPeerAndInTotalAndPlacesComeBack) {
  World world({"--max-streams=3", "--max-streams-per-peer=2"});
  const v1::Prediction prediction = MustSubmit(world.stub(), "id-1");
  const int port = world.server().grpc_port();
  const auto expect_refused = [&](const std::string& why) {
    Stream refused(world.stub(), prediction.id());
    ExpectEnd(refused, StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(Decode(refused.status()).reason, "TOO_MANY_STREAMS");
    EXPECT_THAT(refused.status().error_message(), HasSubstr(why));
    const auto retry_after = Decode(refused.status()).retry_after;
    ASSERT_TRUE(retry_after.has_value());
    EXPECT_GE(absl::FromChrono(*retry_after), absl::Milliseconds(500));
    EXPECT_LE(absl::FromChrono(*retry_after), absl::Milliseconds(1500));
  };
  Stream first(world.stub(), prediction.id(), 0);
  auto second = std::make_unique<Stream>(world.stub(), prediction.id(), 0);
  ASSERT_TRUE(first.WaitForUpdates(2) && second->WaitForUpdates(2));
  expect_refused("from your address");
  // Another address has its own count, and meets the total.
  auto other = std::make_unique<BareWatch>(port, Watching(prediction), 65535, "127.0.0.2");
  ASSERT_TRUE(world.OpenStreamsBecome(3));
  second->Cancel();
  ASSERT_TRUE(world.OpenStreamsBecome(2));
  BareWatch another(port, Watching(prediction), 65535, "127.0.0.3");
  ASSERT_TRUE(world.OpenStreamsBecome(3));
  expect_refused("too many streams;");
  other->Reset();
  ASSERT_TRUE(world.OpenStreamsBecome(2));
  Stream third(world.stub(), prediction.id(), 0);
  ASSERT_TRUE(third.WaitForUpdates(2));
  expect_refused("too many streams;");
  another.HalfClose();
  ASSERT_TRUE(world.OpenStreamsBecome(2));
  expect_refused("from your address");
  // The end gives all places back, and refusing has cost nothing.
  world.SetStatus(prediction, "completed");
  ExpectAll(first, 1, 3);
  ExpectAll(third, 1, 3);
  EXPECT_TRUE(world.OpenStreamsBecome(0));
}

// ------------------------------------------------------------------------------------- heartbeats

TEST(WatchHeartbeatTest, HeartbeatsSayWhatUpstreamSaw) {
  constexpr size_t kStreams = 16;  // their first heartbeats are spread over five seconds
  World world({"--poll-min-interval=300ms", "--poll-max-interval=400ms", "--gets-per-video=1000",
               "--submit-soft-timeout=1s", "--unresolved-timeout=1h"});
  simulator::Simulator& upstream = world.simulator();
  upstream.SetHistory(simulator::HistoryInput::kAlways, absl::Hours(1));  // shows nothing

  const v1::Prediction seen = MustSubmit(world.stub(), "seen");
  const v1::Prediction unseen = MustSubmit(world.stub(), "unseen");
  upstream.AddFault({.method = "GET",
                     .task_id = unseen.upstream_id(),
                     .times = -1,
                     .action = FaultAction::kStatus,
                     .status = 503});
  world.OnSubmit({.action = FaultAction::kResetAfterRequest, .create_task = true});
  const v1::Prediction unresolved = MustSubmit(world.stub(), "unresolved");
  ASSERT_EQ(unresolved.state(), v1::PREDICTION_STATE_UNRESOLVED);

  std::map<std::string, std::vector<std::unique_ptr<Stream>>> streams;
  for (const v1::Prediction* prediction : {&seen, &unseen, &unresolved}) {
    for (size_t i = 0; i < kStreams; ++i) {
      streams[prediction->id()].push_back(std::make_unique<Stream>(world.stub(), prediction->id()));
    }
  }
  const auto heartbeats_of = [&streams](const v1::Prediction& prediction) {
    std::vector<v1::Heartbeat> all;
    for (const auto& stream : streams[prediction.id()]) {
      EXPECT_THAT(stream->violations(), IsEmpty());
      for (const v1::Heartbeat& heartbeat : stream->heartbeats()) all.push_back(heartbeat);
    }
    return all;
  };
  ASSERT_TRUE(Eventually([&] {
    return heartbeats_of(seen).size() >= 3 && heartbeats_of(unseen).size() >= 3 &&
           heartbeats_of(unresolved).size() >= 3;
  }));
  const std::vector<v1::Heartbeat> of_seen = heartbeats_of(seen);
  const std::vector<v1::Heartbeat> of_unseen = heartbeats_of(unseen);
  const std::vector<v1::Heartbeat> of_unresolved = heartbeats_of(unresolved);
  // One poll more, so that every poll spoken of has happened or been put off.
  const uint64_t polls = upstream.ResultRequests(seen.upstream_id());
  ASSERT_TRUE(upstream.WaitUntil(
      [&] { return upstream.ResultRequests(seen.upstream_id()) > polls + 1; }, kPatience));

  std::vector<absl::Time> polled, failed;
  for (const simulator::LoggedRequest& request : upstream.Log()) {
    if (request.method != "GET") continue;
    if (request.target.find(seen.upstream_id()) != std::string::npos) {
      polled.push_back(request.time);
    }
    if (request.target.find(unseen.upstream_id()) != std::string::npos) {
      failed.push_back(request.time);
    }
  }
  // Of this machine's clock; a timer may be early by its grain.
  constexpr absl::Duration kGrain = absl::Milliseconds(2);
  for (const v1::Heartbeat& heartbeat : of_seen) {
    ASSERT_TRUE(heartbeat.has_last_observed_time());
    const absl::Time last_observed = TimeOf(heartbeat.last_observed_time());
    // The poll that comes next after what was last seen.
    const auto next = std::find_if(polled.begin(), polled.end(),
                                   [&](absl::Time time) { return time > last_observed; });
    ASSERT_NE(next, polled.end());
    if (next == polled.begin()) {
      EXPECT_GE(last_observed, TimeOf(seen.create_time()));
    }
    // None comes earlier than was said; none is said only while one is under way.
    if (heartbeat.has_next_poll_time()) {
      EXPECT_GE(TimeOf(heartbeat.next_poll_time()), last_observed);
      EXPECT_GE(*next, TimeOf(heartbeat.next_poll_time()) - kGrain);
    }
    ASSERT_TRUE(heartbeat.has_estimated_time_left());
    EXPECT_GT(heartbeat.estimated_time_left().seconds(), 0);
    ASSERT_TRUE(heartbeat.has_estimated_progress());
    EXPECT_GE(heartbeat.estimated_progress(), 0.0);
    EXPECT_LT(heartbeat.estimated_progress(), 1.0);
  }
  ASSERT_FALSE(failed.empty());
  for (const v1::Heartbeat& heartbeat : of_unseen) {
    ASSERT_TRUE(heartbeat.has_last_observed_time());
    EXPECT_LT(TimeOf(heartbeat.last_observed_time()), failed.front())
        << "a poll that fails sees nothing";
  }
  for (const v1::Heartbeat& heartbeat : of_unresolved) {
    EXPECT_FALSE(heartbeat.has_last_observed_time());
    EXPECT_FALSE(heartbeat.has_next_poll_time());
    EXPECT_FALSE(heartbeat.has_estimated_time_left());
    EXPECT_FALSE(heartbeat.has_estimated_progress());
  }
}

}  // namespace
}  // namespace dreamgate::e2e
