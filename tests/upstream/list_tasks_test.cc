// History over real sockets: paging, what it shows and hides, clocks, and every way of not getting a
// whole page, which must never look like one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/simulator/simulator.h"
#include "tests/upstream/client_fixture.h"

namespace dreamgate::upstream {
namespace {

using net_test::RawPeer;
using net_test::RawServer;
using simulator::Fault;
using simulator::FaultAction;
using simulator::HistoryInput;
using simulator::Simulator;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kHistoryPath[] = "/api/v3/predictions";
constexpr char kEmptyPage[] =
    R"({"code":200,"message":"success","data":{"page":1,"total":0,"items":[]}})";
constexpr char kRefusal[] = R"({"code":400,"message":"unknown field: include_inputs"})";

class ListTasksTest : public ClientTest {
 protected:
  ~ListTasksTest() override {
    if (client_ != nullptr && !closed_) CloseClient();  // before the simulator goes
  }

  void StartSimulator(absl::Duration timeout = absl::Minutes(1)) {
    auto started = Simulator::Start();
    ASSERT_TRUE(started.ok()) << started.status();
    simulator_ = *std::move(started);
    MakeClient(simulator_->base_url(), {.list_timeout = timeout},
               *ApiKey::FromText("simulator-key"));
  }

  // Fails the test if the outcome is no page.
  static core::HistoryPage PageOf(core::HistoryOutcome outcome) {
    if (const auto* failed = std::get_if<core::HistoryFailed>(&outcome)) {
      ADD_FAILURE() << failed->http_status << " " << failed->message;
      return {};
    }
    return std::get<core::HistoryPage>(std::move(outcome));
  }
  static core::HistoryFailed FailureOf(core::HistoryOutcome outcome) {
    if (std::holds_alternative<core::HistoryPage>(outcome)) {
      ADD_FAILURE() << "got a page";
      return {};
    }
    return std::get<core::HistoryFailed>(std::move(outcome));
  }
  static std::vector<std::string> IdsOf(const core::HistoryPage& page) {
    std::vector<std::string> ids;
    for (const core::HistoryItem& item : page.items) ids.push_back(item.upstream_id);
    return ids;
  }

  std::unique_ptr<Simulator> simulator_;
};

// ------------------------------------------------------------------------------- what is sent

TEST_F(ListTasksTest, AsksUnderTheBaseUrlsPathForOurModelOnly) {
  RawServer server([](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) peer.Answer(R"({"data":{"page":3,"items":[]}})");
  });
  MakeClient(server.Url() + "/prefix");
  const core::HistoryQuery query{absl::FromUnixSeconds(784111777), 3};
  EXPECT_THAT(PageOf(StartList(query).get()).items, IsEmpty());
  const std::string request = server.Requests().at(0);
  EXPECT_THAT(request, StartsWith("POST /prefix/api/v3/predictions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nAuthorization: Bearer the-key\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(
      request,
      HasSubstr(R"({"page":3,"page_size":100,"model":"bytedance/dreamina-v3.0-pro/text-to-video",)"
                R"("created_after":"1994-11-06T08:49:37Z","include_inputs":true})"));
}

TEST_F(ListTasksTest, ReportsEveryRequest) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddFault({.skip = 1, .action = FaultAction::kStatus, .status = 503});
  PageOf(List());
  EXPECT_TRUE(Health().last_success.has_value());
  FailureOf(List());
  const auto requests = events_.requests();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[0].operation, "list");
  EXPECT_EQ(requests[0].http_status, 200);
  EXPECT_EQ(requests[1].http_status, 503);
  EXPECT_TRUE(Health().last_failure.has_value());
}

// ------------------------------------------------------------------------------ what is shown

TEST_F(ListTasksTest, ShowsWhatWasSubmitted) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  core::CreateTaskRequest request = FoxRequest();
  request.prompt = "a fox \U0001F98A says \"\n\"";
  request.aspect_ratio = core::AspectRatio::k9x21;
  request.seed = 2147483647;
  ASSERT_TRUE(Accepted(StartCreate(request).get()));
  const core::HistoryPage page = PageOf(List());
  ASSERT_THAT(page.items, SizeIs(1));
  EXPECT_FALSE(page.more);
  const core::HistoryItem& item = page.items[0];
  EXPECT_EQ(item.upstream_id, simulator_->TaskIds()[0]);
  EXPECT_EQ(item.model, "bytedance/dreamina-v3.0-pro/text-to-video");
  EXPECT_EQ(item.raw_status, "created");
  EXPECT_EQ(item.input, (core::TaskInput{request.prompt, "9:21", 2147483647}));
  ASSERT_TRUE(item.create_time.has_value());
  EXPECT_LT(absl::AbsDuration(*item.create_time - absl::Now()), absl::Minutes(1));
}

TEST_F(ListTasksTest, PagesThroughMoreThanAHundredTasksNewestFirst) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  for (int i = 0; i < 205; ++i) simulator_->AddForeignTask("theirs", absl::Seconds(60 + i), i);
  std::vector<core::HistoryItem> items;
  for (int page_number = 1; page_number <= 3; ++page_number) {
    const core::HistoryPage page = PageOf(List(page_number));
    EXPECT_THAT(page.items, SizeIs(page_number < 3 ? 100 : 5));
    EXPECT_EQ(page.more, page_number < 3);
    items.insert(items.end(), page.items.begin(), page.items.end());
  }
  std::set<std::string> ids;
  for (size_t i = 0; i < items.size(); ++i) {
    ids.insert(items[i].upstream_id);
    EXPECT_EQ(items[i].input, (core::TaskInput{"theirs", "16:9", static_cast<int64_t>(i)}));
  }
  EXPECT_THAT(ids, SizeIs(205));
}

TEST_F(ListTasksTest, ShowsOnlyTasksOfTheWindow) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddForeignTask("old", absl::Hours(2));
  const std::string recent = simulator_->AddForeignTask("recent", absl::Minutes(30));
  EXPECT_THAT(IdsOf(PageOf(List())), ElementsAre(recent));
}

TEST_F(ListTasksTest, ListsTasksWhoseInputsAreHidden) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  ASSERT_TRUE(Accepted(Create()));
  simulator_->SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  const core::HistoryPage hidden = PageOf(List());
  EXPECT_THAT(IdsOf(hidden), ElementsAre(simulator_->TaskIds()[0]));
  EXPECT_FALSE(hidden.items.at(0).input.has_value());
  simulator_->SetHistory(HistoryInput::kWhenAsked, absl::ZeroDuration());
  EXPECT_EQ(PageOf(List()).items.at(0).input, (core::TaskInput{"a fox", "16:9", 7}));
}

TEST_F(ListTasksTest, TellsOtherClientsTasksByTheirInput) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddForeignTask("a fox", absl::Minutes(1), 8);
  simulator_->AddForeignTask("a fox", absl::Minutes(2));  // upstream drew the seed
  ASSERT_TRUE(Accepted(Create()));
  const core::HistoryPage page = PageOf(List());
  ASSERT_THAT(page.items, SizeIs(3));
  EXPECT_EQ(page.items[0].input, (core::TaskInput{"a fox", "16:9", 7}));
  EXPECT_EQ(page.items[1].input, (core::TaskInput{"a fox", "16:9", 8}));
  EXPECT_FALSE(page.items[2].input.has_value());
}

TEST_F(ListTasksTest, ShowsWhatUpstreamShowsWhileItLags) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  const std::string old = simulator_->AddForeignTask("theirs", absl::Minutes(30));
  ASSERT_TRUE(Accepted(Create()));
  simulator_->SetHistory(HistoryInput::kAlways, absl::Minutes(10));
  EXPECT_THAT(IdsOf(PageOf(List())), ElementsAre(old));
  simulator_->SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  EXPECT_THAT(IdsOf(PageOf(List())), ElementsAre(simulator_->TaskIds()[0], old));
}

TEST_F(ListTasksTest, KnowsHowFarUpstreamsClockIsOff) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  for (const absl::Duration offset : {absl::ZeroDuration(), absl::Hours(3), -absl::Hours(48)}) {
    simulator_->SetClockOffset(offset);
    const core::HistoryPage page = PageOf(List());
    ASSERT_TRUE(page.clock_offset.has_value());
    EXPECT_LT(absl::AbsDuration(*page.clock_offset - offset), absl::Minutes(1)) << offset;
  }
}

TEST_F(ListTasksTest, KnowsNoClockOffsetWithoutADate) {
  RawServer server([](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) peer.Answer(kEmptyPage);
  });
  MakeClient(server.Url());
  EXPECT_FALSE(PageOf(List()).clock_offset.has_value());
}

TEST_F(ListTasksTest, TakesAPageOfVeryLongPrompts) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  const std::string prompt(40'000, 'x');  // 100 of them are more than any other answer may have
  for (int i = 0; i < 100; ++i) simulator_->AddForeignTask(prompt, absl::Seconds(i + 1), i);
  const core::HistoryPage page = PageOf(List());
  ASSERT_THAT(page.items, SizeIs(100));
  EXPECT_EQ(page.items[99].input->prompt, prompt);
}

// --------------------------------------------------------------------------- include_inputs

TEST_F(ListTasksTest, LeavesIncludeInputsOutForGoodOnceUpstreamHasRefusedIt) {
  for (const int status : {400, 422}) {
    SCOPED_TRACE(status);
    if (client_ != nullptr) CloseClient();
    ASSERT_NO_FATAL_FAILURE(StartSimulator());
    closed_ = false;
    ASSERT_TRUE(Accepted(Create()));
    const int refusal = simulator_->AddFault({.path_prefix = kHistoryPath,
                                              .body_contains = "include_inputs",
                                              .times = -1,
                                              .action = FaultAction::kStatus,
                                              .status = status,
                                              .text = "unknown field: include_inputs"});
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(PageOf(List()).items.at(0).input, (core::TaskInput{"a fox", "16:9", 7}));
    }
    EXPECT_EQ(simulator_->FaultHits(refusal), 1);
    EXPECT_EQ(simulator_->Count("POST", kHistoryPath), 4u);
  }
}

TEST_F(ListTasksTest, AsksForInputsAgainIfLeavingThemOutWasNotTheCure) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddFault({.path_prefix = kHistoryPath,
                        .times = 2,
                        .action = FaultAction::kStatus,
                        .status = 400,
                        .text = "bad request: page, page_size, include_inputs"});
  EXPECT_EQ(FailureOf(List()).http_status, 400);
  EXPECT_EQ(simulator_->Count("POST", kHistoryPath), 2u);
  simulator_->SetHistory(HistoryInput::kWhenAsked, absl::ZeroDuration());
  ASSERT_TRUE(Accepted(Create()));
  EXPECT_TRUE(PageOf(List()).items.at(0).input.has_value());
}

TEST_F(ListTasksTest, TakesNoOtherRefusalForARefusalOfInputs) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddFault(
      {.path_prefix = kHistoryPath, .action = FaultAction::kStatus, .status = 400});
  simulator_->AddFault({.path_prefix = kHistoryPath,
                        .action = FaultAction::kStatus,
                        .status = 500,
                        .text = "include_inputs"});
  EXPECT_EQ(FailureOf(List()).http_status, 400);
  EXPECT_EQ(FailureOf(List()).http_status, 500);
  EXPECT_EQ(simulator_->Count("POST", kHistoryPath), 2u);
}

// ------------------------------------------------------------------------- what is no page

struct FaultRow {
  const char* name;
  Fault fault;
  int http_status;
};
void PrintTo(const FaultRow& row, std::ostream* out) { *out << row.name; }

class ListTasksFaultTest : public ListTasksTest, public ::testing::WithParamInterface<FaultRow> {};

TEST_P(ListTasksFaultTest, IsToldApartFromAPageAndHealsByItself) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator(absl::Seconds(2)));
  const std::string task = simulator_->AddForeignTask("theirs", absl::Minutes(1));
  Fault fault = GetParam().fault;
  fault.path_prefix = kHistoryPath;
  simulator_->AddFault(fault);
  const core::HistoryFailed failed = FailureOf(List());
  EXPECT_EQ(failed.http_status, GetParam().http_status) << failed.message;
  EXPECT_THAT(failed.message, Not(IsEmpty()));
  EXPECT_THAT(failed.message, Not(HasSubstr("simulator-key")));
  EXPECT_THAT(IdsOf(PageOf(List())), ElementsAre(task));
}

INSTANTIATE_TEST_SUITE_P(
    All, ListTasksFaultTest,
    ::testing::Values(
        FaultRow{"500", {.action = FaultAction::kStatus, .status = 500}, 500},
        FaultRow{"502 page", {.action = FaultAction::kNotJson, .status = 502}, 502},
        FaultRow{"503", {.action = FaultAction::kStatus, .status = 503}, 503},
        FaultRow{"401", {.action = FaultAction::kStatus, .status = 401}, 401},
        FaultRow{"404", {.action = FaultAction::kStatus, .status = 404}, 404},
        FaultRow{"429", {.action = FaultAction::kRateLimited}, 429},
        FaultRow{"200 page", {.action = FaultAction::kNotJson}, 200},
        FaultRow{"envelope 500", {.action = FaultAction::kEnvelopeError}, 500},
        FaultRow{"redirect", {.action = FaultAction::kRedirect, .location = "/elsewhere"}, 302},
        FaultRow{"half a body", {.action = FaultAction::kCloseMidBody}, 0},
        FaultRow{"reset before", {.action = FaultAction::kResetBeforeRequest}, 0},
        FaultRow{"reset after", {.action = FaultAction::kResetAfterRequest}, 0},
        FaultRow{"hang", {.action = FaultAction::kHang}, 0},
        FaultRow{"slow bytes",
                 {.action = FaultAction::kSlowBytes, .interval = absl::Milliseconds(100)},
                 0},
        FaultRow{"huge body", {.action = FaultAction::kHugeBody, .bytes = 17u << 20}, 0},
        FaultRow{"garbage", {.action = FaultAction::kRawResponse, .body = "SSH-2.0-x\r\n"}, 0},
        FaultRow{"nothing", {.action = FaultAction::kRawResponse}, 0},
        FaultRow{"half JSON",
                 {.action = FaultAction::kStatus,
                  .status = 200,
                  .body = R"({"code":200,"data":{"total":1,"items":[{"id":"t1")"},
                 200},
        FaultRow{"nameless item",
                 {.action = FaultAction::kStatus,
                  .status = 200,
                  .body = R"({"code":200,"data":{"total":1,"items":[{"status":"created"}]}})"},
                 200}));

TEST_F(ListTasksTest, SaysWhenUpstreamWantsToBeAskedAgain) {
  ASSERT_NO_FATAL_FAILURE(StartSimulator());
  simulator_->AddFault({.action = FaultAction::kRateLimited, .retry_after = "23"});
  const core::HistoryFailed failed = FailureOf(List());
  EXPECT_EQ(failed.http_status, 429);
  EXPECT_EQ(failed.retry_after, absl::Seconds(23));
}

TEST_F(ListTasksTest, DoesNotFollowARedirect) {
  RawServer elsewhere(AnswerEverything);
  RawServer server(RedirectEverythingTo(elsewhere.Url()));
  MakeClient(server.Url());
  EXPECT_EQ(FailureOf(List()).http_status, 307);
  EXPECT_EQ(elsewhere.Connections(), 0);
}

TEST_F(ListTasksTest, IsAskedAgainAtOnceWhereAPooledConnectionTurnsOutDead) {
  RawServer server([](RawPeer& peer) {
    if (peer.ReadRequest().empty()) return;
    peer.Answer(kEmptyPage);
    if (peer.number() == 0) {
      peer.ReadRequest();  // and closes without a word
      return;
    }
    peer.WaitForEnd();
  });
  MakeClient(server.Url());
  PageOf(List());
  PageOf(List());
  EXPECT_EQ(server.Connections(), 2);
}

TEST_F(ListTasksTest, RereadsTheKeyThatUpstreamRefuses) {
  KeyFile key("old-key");
  RawServer server(RefuseEveryKeyBut("new-key", 403, kEmptyPage));
  MakeClient(server.Url(), {}, *ApiKey::FromFile(key.path(), events_));
  key.Replace("new-key");
  // The first may or may not have seen the new file yet; once refused, the next has.
  (void)List();
  PageOf(List());
}

TEST_F(ListTasksTest, FailsWhenNobodyIsThere) {
  MakeClient(absl::StrCat("http://127.0.0.1:", net_test::UnusedPort()));
  const core::HistoryFailed failed = FailureOf(List());
  EXPECT_EQ(failed.http_status, 0);
  EXPECT_THAT(failed.message, HasSubstr("refused"));
}

TEST_F(ListTasksTest, FailsWhenTheClientIsClosed) {
  RawServer server(NeverAnswer);
  MakeClient(server.Url());
  auto asking = StartList({absl::Now(), 1});
  ASSERT_TRUE(server.WaitForRequests(1));
  CloseClient();
  FailureOf(asking.get());
  FailureOf(List());
}

TEST_F(ListTasksTest, DoesNotAskAgainOnceTheClientIsClosed) {
  RawServer server([](RawPeer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write(absl::StrCat("HTTP/1.1 400 Bad\r\nContent-Length: ", sizeof(kRefusal) - 1,
                              "\r\n\r\n", kRefusal));
    }
  });
  MakeClient(server.Url());
  auto asking = StartList({absl::Now(), 1});
  CloseClient();  // somewhere before, between or after the two questions
  FailureOf(asking.get());
  EXPECT_LE(server.Count("POST "), 2);
}

}  // namespace
}  // namespace dreamgate::upstream
