// How history is asked for, and what each kind of answer proves: a page is whole, or it is no
// evidence at all.
#include "server/wavespeed/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace dreamgate::wavespeed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(784111777);  // Sun, 06 Nov 1994 08:49:37 GMT

HttpAnswer Answer(const std::string& body, int status = 200) {
  return {status, "application/json", "", body};
}

core::HistoryOutcome Read(const HttpAnswer& answer, int page = 1) {
  return ReadHistoryAnswer(answer, page, {kNow, {"the-secret-key"}});
}

// Fails the test if the answer is no page.
core::HistoryPage Page(const HttpAnswer& answer, int page = 1) {
  core::HistoryOutcome outcome = Read(answer, page);
  if (const auto* failed = std::get_if<core::HistoryFailed>(&outcome)) {
    ADD_FAILURE() << failed->message << "\n" << answer.body.substr(0, 200);
    return {};
  }
  return std::get<core::HistoryPage>(std::move(outcome));
}

// Fails the test if the answer is taken for a page.
core::HistoryFailed Failure(const HttpAnswer& answer, int page = 1) {
  core::HistoryOutcome outcome = Read(answer, page);
  if (std::holds_alternative<core::HistoryPage>(outcome)) {
    ADD_FAILURE() << "taken for a page: " << answer.body.substr(0, 200);
    return {};
  }
  return std::get<core::HistoryFailed>(std::move(outcome));
}

std::string Envelope(const std::string& data) {
  return absl::StrCat(R"({"code":200,"message":"success","data":)", data, "}");
}

// `count` items with ids t0, t1, ...
std::string Items(int count) {
  std::vector<std::string> items;
  for (int i = 0; i < count; ++i) items.push_back(absl::StrCat(R"({"id":"t)", i, R"("})"));
  return absl::StrCat("[", absl::StrJoin(items, ","), "]");
}

std::string Listing(int page, const std::string& total, int count) {
  return Envelope(
      absl::StrCat(R"({"page":)", page, R"(,"total":)", total, R"(,"items":)", Items(count), "}"));
}

core::HistoryItem OnlyItem(const std::string& item) {
  const core::HistoryPage page =
      Page(Answer(Envelope(absl::StrCat(R"({"page":1,"total":1,"items":[)", item, "]}"))));
  if (page.items.size() != 1) {
    ADD_FAILURE() << page.items.size() << " items";
    return {};
  }
  return page.items[0];
}

std::optional<core::TaskInput> InputIn(const std::string& input) {
  return OnlyItem(absl::StrCat(R"({"id":"t1","input":)", input, "}")).input;
}

std::vector<std::string> IdsOf(const core::HistoryPage& page) {
  std::vector<std::string> ids;
  for (const core::HistoryItem& item : page.items) ids.push_back(item.upstream_id);
  return ids;
}

// ------------------------------------------------------------------------------------- asking

TEST(HistoryBodyTest, AsksForAFullPageOfOurModelSinceATime) {
  core::HistoryQuery query;
  query.created_after = kNow + absl::Milliseconds(999);
  query.page = 3;
  EXPECT_EQ(HistoryBody(query, "maker/model", false),
            R"({"page":3,"page_size":100,"model":"maker/model",)"
            R"("created_after":"1994-11-06T08:49:37Z"})");
  EXPECT_EQ(HistoryTarget(), "/api/v3/predictions");
}

TEST(HistoryBodyTest, AsksForInputsOnlyIfTold) {
  EXPECT_THAT(HistoryBody({kNow, 1}, "m", true), HasSubstr(R"(,"include_inputs":true})"));
  EXPECT_THAT(HistoryBody({kNow, 1}, "m", false), Not(HasSubstr("include_inputs")));
}

TEST(HistoryBodyTest, NeverSendsATimeThatNobodyCanRead) {
  EXPECT_THAT(HistoryBody({absl::InfinitePast(), 1}, "m", false),
              HasSubstr(R"("created_after":"1970-01-01T00:00:00Z")"));
  EXPECT_THAT(HistoryBody({absl::InfiniteFuture(), 1}, "m", false),
              HasSubstr(R"("created_after":"9999-01-01T00:00:00Z")"));
}

// ------------------------------------------------------------------------------------ reading

TEST(HistoryAnswerTest, ReadsAPageAsUpstreamSendsIt) {
  const core::HistoryPage page = Page(Answer(R"({
    "code": 200, "message": "success",
    "data": {"page": 1, "total": 2, "items": [
      {"id": "4f1f2c", "model": "bytedance/dreamina-v3.0-pro/text-to-video",
       "input": {"prompt": "a fox \u00e9", "aspect_ratio": "9:16", "seed": 2147483647},
       "status": "completed", "created_at": "2026-01-31T23:59:59.123456789Z",
       "outputs": ["https://c.example/v.mp4"], "error": "", "executionTime": 51234,
       "has_nsfw_contents": null, "timings": {"inference": 51234}, "new_field": {"a": [1]}},
      {"id": "another-one", "model": null, "input": null, "status": "processing",
       "created_at": null, "outputs": null, "error": null, "executionTime": null}]}})"));
  ASSERT_THAT(page.items, SizeIs(2));
  EXPECT_FALSE(page.more);
  const core::HistoryItem& first = page.items[0];
  EXPECT_EQ(first.upstream_id, "4f1f2c");
  EXPECT_EQ(first.model, "bytedance/dreamina-v3.0-pro/text-to-video");
  EXPECT_EQ(first.raw_status, "completed");
  absl::Time created;
  ASSERT_TRUE(
      absl::ParseTime(absl::RFC3339_full, "2026-01-31T23:59:59.123456789Z", &created, nullptr));
  EXPECT_EQ(first.create_time, created);
  EXPECT_EQ(first.input, (core::TaskInput{"a fox \u00e9", "9:16", 2147483647}));
  const core::HistoryItem& second = page.items[1];
  EXPECT_EQ(second.upstream_id, "another-one");
  EXPECT_EQ(second.model, "");
  EXPECT_EQ(second.raw_status, "processing");
  EXPECT_FALSE(second.create_time.has_value());
  EXPECT_FALSE(second.input.has_value());
}

TEST(HistoryAnswerTest, FindsTheListWhereverItIs) {
  for (const char* body :
       {R"({"code":200,"data":[{"id":"t1"},{"id":"t2"}]})",
        R"({"data":[{"id":"t1"},{"id":"t2"}],"total":2})",
        R"({"code":"200","data":{"predictions":[{"id":"t1"},{"id":"t2"}]}})",
        R"({"code":200,"data":{"items":null,"predictions":)"
        R"([{"id":"t1"},{"id":"t2"}],"total":"2"}})",
        R"({"page":1,"total":2,"items":[{"id":"t1"},{"id":"t2"}]})",
        "\xEF\xBB\xBF{\"data\":{\"items\":[{\"id\":\"t1\"},{\"id\":\"t2\"}]}}"}) {
    const core::HistoryPage page = Page(Answer(body));
    EXPECT_THAT(IdsOf(page), ElementsAre("t1", "t2")) << body;
    EXPECT_FALSE(page.more) << body;
  }
}

TEST(HistoryAnswerTest, TakesAnEmptyPageForOne) {
  for (const char* data : {R"({"page":1,"total":0,"items":[]})", R"({"items":[]})", "[]",
                           R"({"page":1,"total":0,"items":null})", R"({"page":1,"total":"0"})"}) {
    const core::HistoryPage page = Page(Answer(Envelope(data)));
    EXPECT_THAT(page.items, IsEmpty()) << data;
    EXPECT_FALSE(page.more) << data;
  }
  EXPECT_THAT(Page(Answer(Listing(4, "301", 1)), 4).items, SizeIs(1));
  EXPECT_THAT(Page(Answer(Listing(5, "301", 0)), 5).items, IsEmpty());
}

// ---- inputs

TEST(HistoryAnswerTest, ReadsInputsHoweverTheyAreWrapped) {
  const core::TaskInput fox{"a fox", "4:3", 7};
  EXPECT_EQ(InputIn(R"({"prompt":"a fox","aspect_ratio":"4:3","seed":7})"), fox);
  EXPECT_EQ(InputIn(R"({"prompt":"a fox","aspect_ratio":"4:3","seed":"7","x":null})"), fox);
  EXPECT_EQ(InputIn(R"({"prompt":"a fox","aspect_ratio":"4:3","seed":7.0})"), fox);
  EXPECT_EQ(InputIn(R"("{\"prompt\":\"a fox\",\"aspect_ratio\":\"4:3\",\"seed\":7}")"), fox);
}

TEST(HistoryAnswerTest, TakesAnAbsentRatioForUpstreamsDefaultAndAnyOtherAsItIs) {
  EXPECT_EQ(InputIn(R"({"prompt":"p","seed":0})"), (core::TaskInput{"p", "16:9", 0}));
  EXPECT_EQ(InputIn(R"({"prompt":"p","seed":0,"aspect_ratio":null})"),
            (core::TaskInput{"p", "16:9", 0}));
  EXPECT_EQ(InputIn(R"({"prompt":"p","seed":0,"aspect_ratio":"auto "})"),
            (core::TaskInput{"p", "auto ", 0}));
}

TEST(HistoryAnswerTest, TellsASeedThatWasLeftToUpstreamFromOneThatIsNotSaid) {
  EXPECT_EQ(InputIn(R"({"prompt":"p","seed":-1})"), (core::TaskInput{"p", "16:9", -1}));
  EXPECT_EQ(InputIn(R"({"prompt":"p"})"), std::nullopt);
}

TEST(HistoryAnswerTest, KeepsAPromptExactly) {
  const std::string prompt = " two\\n lines, \\\"quotes\\\", \\ud83e\\udd8a and a tab\\t ";
  EXPECT_EQ(InputIn(absl::StrCat(R"({"prompt":")", prompt, R"(","seed":1})"))->prompt,
            " two\n lines, \"quotes\", \U0001F98A and a tab\t ");
  const std::string longest(100'000, 'x');
  EXPECT_EQ(InputIn(absl::StrCat(R"({"prompt":")", longest, R"(","seed":1})"))->prompt, longest);
}

TEST(HistoryAnswerTest, ListsATaskWithoutAnInputThatIsNotAllThere) {
  for (const char* input : {"null",
                            "{}",
                            "[]",
                            "7",
                            R"("")",
                            R"("not json")",
                            R"("[1]")",
                            R"("{\"prompt\":\"p\"}")",
                            R"({"prompt":"p"})",
                            R"({"seed":7})",
                            R"({"prompt":null,"seed":7})",
                            R"({"prompt":["p"],"seed":7})",
                            R"({"prompt":"p","seed":null})",
                            R"({"prompt":"p","seed":-2})",
                            R"({"prompt":"p","seed":2147483648})",
                            R"({"prompt":"p","seed":1.5})",
                            R"({"prompt":"p","seed":"soon"})",
                            R"({"prompt":"p","seed":true})",
                            R"({"prompt":"p","seed":1e300})",
                            R"({"prompt":"p","seed":7,"aspect_ratio":169})",
                            "{\"prompt\":\"cut in the middle of a letter \xC3\",\"seed\":7}",
                            "{\"prompt\":\"p\",\"seed\":7,\"aspect_ratio\":\"\xFF\"}"}) {
    const core::HistoryItem item = OnlyItem(absl::StrCat(R"({"id":"t1","input":)", input, "}"));
    EXPECT_EQ(item.upstream_id, "t1") << input;
    EXPECT_FALSE(item.input.has_value()) << input;
  }
}

TEST(HistoryAnswerTest, ListsATaskWhoseOtherFieldsAreOdd) {
  const core::HistoryItem item = OnlyItem(
      "{\"id\":\"t1\",\"model\":7,\"status\":\"half \xFF\\u0007way\",\"created_at\":\"yesterday\","
      "\"outputs\":{},\"executionTime\":\"long\"}");
  EXPECT_EQ(item.model, "");
  EXPECT_EQ(item.raw_status, "half \xEF\xBF\xBD way");
  EXPECT_FALSE(item.create_time.has_value());
  EXPECT_FALSE(OnlyItem(R"({"id":"t1","created_at":"infinite-past"})").create_time.has_value());
  EXPECT_FALSE(OnlyItem(R"({"id":"t1","created_at":1700000000})").create_time.has_value());
  EXPECT_EQ(OnlyItem(R"({"id":"t1","created_at":"1994-11-06T09:49:37.5+01:00"})").create_time,
            kNow + absl::Milliseconds(500));
}

// ---- items that cannot be named

TEST(HistoryAnswerTest, IsNoEvidenceAtAllIfOneItemHasNoUsableId) {
  for (const char* item :
       {"{}", "null", "7", R"("t2")", "[]", R"({"id":null})", R"({"id":""})", R"({"id":7})",
        R"({"id":".."})", R"({"id":"../balance"})", R"({"id":"t 2"})", R"({"id":"t\u00002"})",
        R"({"id":"a?b"})", R"({"ID":"t2"})", R"({"task_id":"t2"})", "{\"id\":\"\xFF\"}"}) {
    const std::string list = absl::StrCat(R"([{"id":"t1"},)", item, R"(,{"id":"t3"}])");
    const core::HistoryFailed failed =
        Failure(Answer(Envelope(absl::StrCat(R"({"total":3,"items":)", list, "}"))));
    EXPECT_THAT(failed.message, HasSubstr("item 2 of 3")) << item;
    EXPECT_EQ(failed.http_status, 200);
    Failure(Answer(Envelope(list)));
  }
  const std::string long_id(129, 'a');
  Failure(Answer(Envelope(absl::StrCat(R"([{"id":")", long_id, R"("}])"))));
}

// ---- is there more?

TEST(HistoryAnswerTest, GoesByTheTotalWhereThereIsOne) {
  EXPECT_TRUE(Page(Answer(Listing(1, "101", 100))).more);
  EXPECT_TRUE(Page(Answer(Listing(1, R"("250")", 100))).more);
  EXPECT_FALSE(Page(Answer(Listing(1, "100", 100))).more);
  EXPECT_FALSE(Page(Answer(Listing(2, "101", 1)), 2).more);
  EXPECT_TRUE(Page(Answer(Listing(2, "201", 100)), 2).more);
  EXPECT_FALSE(Page(Answer(Listing(3, "201", 1)), 3).more);
}

TEST(HistoryAnswerTest, GoesByAFullPageWhereThereIsNoTotal) {
  for (const char* total : {"null", "-1", "1.5", R"("many")", "{}"}) {
    EXPECT_TRUE(Page(Answer(Listing(1, total, 100))).more) << total;
    EXPECT_FALSE(Page(Answer(Listing(1, total, 99))).more) << total;
  }
  EXPECT_TRUE(Page(Answer(Envelope(Items(100)))).more);
  EXPECT_FALSE(Page(Answer(Envelope(Items(99)))).more);
}

TEST(HistoryAnswerTest, GoesOnAfterAPageWhoseLengthTheTotalDoesNotExplain) {
  // Upstream gives 20 a page whatever is asked for: 50 tasks are three pages and an empty one.
  EXPECT_TRUE(Page(Answer(Listing(1, "50", 20))).more);
  EXPECT_TRUE(Page(Answer(Listing(2, "50", 20)), 2).more);
  EXPECT_TRUE(Page(Answer(Listing(3, "50", 10)), 3).more);
  EXPECT_FALSE(Page(Answer(Listing(4, "50", 0)), 4).more);
  // The total counts something else.
  EXPECT_TRUE(Page(Answer(Listing(1, "0", 3))).more);
}

TEST(HistoryAnswerTest, IsNoEvidenceIfItCountsTasksThatItDoesNotList) {
  EXPECT_THAT(Failure(Answer(Listing(1, "30", 0))).message, HasSubstr("counts"));
  EXPECT_THAT(Failure(Answer(Listing(3, "201", 0)), 3).message, HasSubstr("counts"));
}

TEST(HistoryAnswerTest, IsNoEvidenceIfItIsAnotherPage) {
  EXPECT_THAT(Failure(Answer(Listing(1, "250", 100)), 2).message, HasSubstr("another page"));
  EXPECT_THAT(Failure(Answer(Listing(2, "250", 100)), 1).message, HasSubstr("another page"));
  Page(Answer(Envelope(R"({"page":"2","total":101,"items":[{"id":"t1"}]})")), 2);
  Page(Answer(Envelope(R"({"page":null,"total":101,"items":[{"id":"t1"}]})")), 2);
}

// ---- what is no page

TEST(HistoryAnswerTest, IsNoEvidenceInAnyOtherShape) {
  for (const char* body : {"",
                           "null",
                           "[]",
                           "7",
                           "<html>",
                           R"([{"id":"t1"}])",
                           "{}",
                           R"({"code":200})",
                           R"({"code":200,"message":"success","data":null})",
                           R"({"code":200,"data":{}})",
                           R"({"code":200,"data":"none"})",
                           R"({"code":200,"data":7})",
                           R"({"code":200,"data":{"items":null}})",
                           R"({"code":200,"data":{"items":{}}})",
                           R"({"code":200,"data":{"items":"[]"}})",
                           R"({"code":200,"data":{"total":3,"items":null}})",
                           R"({"code":200,"data":{"total":3}})",
                           R"({"code":200,"data":{"results":[]}})",
                           R"({"code":200,"data":{"id":"t1","status":"created"}})",
                           R"({"id":"t1"})",
                           R"({"code":200,"data":{"total":1,"items":[{"id":"t1"}]})",
                           R"({"code":200,"data":[)",
                           R"({"code":200,"data":[]}{"code":200,"data":[]})"}) {
    const core::HistoryFailed failed = Failure(Answer(body));
    EXPECT_THAT(failed.message, Not(IsEmpty())) << body;
    EXPECT_EQ(failed.http_status, 200) << body;
  }
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += R"({"data":)";
  Failure(Answer(deep));
}

TEST(HistoryAnswerTest, IsNoEvidenceUnlessHttpAndTheEnvelopeBothSaySo) {
  const std::string list = R"(,"message":"no","data":{"total":1,"items":[{"id":"t1"}]}})";
  for (const auto& [code, status] : std::vector<std::pair<std::string, int>>{{"401", 401},
                                                                             {"429", 429},
                                                                             {"500", 500},
                                                                             {R"("403")", 403},
                                                                             {"1400", 400},
                                                                             {"5003", 500},
                                                                             {"9", 200},
                                                                             {"0", 200},
                                                                             {"201", 200},
                                                                             {R"("ok")", 200},
                                                                             {"true", 200},
                                                                             {"{}", 200}}) {
    const core::HistoryFailed failed = Failure(Answer(absl::StrCat(R"({"code":)", code, list)));
    EXPECT_EQ(failed.http_status, status) << code;
    EXPECT_THAT(failed.message, Not(IsEmpty())) << code;
  }
  for (int status : {100, 199, 302, 400, 401, 404, 422, 429, 500, 503, 504}) {
    EXPECT_EQ(Failure(Answer(Listing(1, "1", 1), status)).http_status, status);
    EXPECT_EQ(Failure(Answer("", status)).http_status, status);
  }
}

TEST(HistoryAnswerTest, SaysWhenToAskAgain) {
  HttpAnswer answer = Answer(R"({"code":429,"message":"slow down","data":null})", 429);
  answer.retry_after = "17";
  const core::HistoryFailed failed = Failure(answer);
  EXPECT_EQ(failed.retry_after, absl::Seconds(17));
  EXPECT_EQ(failed.message, "slow down");
  answer.retry_after = "Sun, 06 Nov 1994 08:50:07 GMT";
  EXPECT_EQ(Failure(answer).retry_after, absl::Seconds(30));
  EXPECT_FALSE(Failure(Answer("", 503)).retry_after.has_value());
}

TEST(HistoryAnswerTest, NeverShowsTheKeyOrALongText) {
  const std::string message = absl::StrCat("bad key the-secret-key: ", std::string(10'000, 'x'));
  const core::HistoryFailed failed =
      Failure(Answer(absl::StrCat(R"({"code":401,"message":")", message, R"("})"), 401));
  EXPECT_THAT(failed.message, AllOf(HasSubstr("[redacted]"), Not(HasSubstr("the-secret-key"))));
  EXPECT_LE(failed.message.size(), 512u);
  HttpAnswer page = Answer("<html>", 502);
  page.content_type = "text/the-secret-key";
  EXPECT_THAT(Failure(page).message, Not(HasSubstr("the-secret-key")));
  const core::HistoryItem item =
      OnlyItem(R"({"id":"t1","model":"the-secret-key","status":"the-secret-key"})");
  EXPECT_EQ(item.model, "[redacted]");
  EXPECT_EQ(item.raw_status, "[redacted]");
}

// ---- clocks

TEST(HistoryAnswerTest, TakesTheClockOffsetFromTheDate) {
  HttpAnswer answer = Answer(Listing(1, "0", 0));
  answer.date = "Sun, 06 Nov 1994 08:51:07 GMT";
  EXPECT_EQ(Page(answer).clock_offset, absl::Seconds(90));
  answer.date = "Sunday, 06-Nov-94 08:49:30 GMT";
  EXPECT_EQ(Page(answer).clock_offset, -absl::Seconds(7));
  answer.date = " Sun Nov  6 08:49:37 1994 ";
  EXPECT_EQ(Page(answer).clock_offset, absl::ZeroDuration());
}

TEST(HistoryAnswerTest, KnowsNoClockOffsetWithoutAReadableDate) {
  HttpAnswer answer = Answer(Listing(1, "0", 0));
  for (const char* date : {"", "now", "infinite-future", "x, infinite-past", "784111777", ",",
                           "Sun, 06 Nov 1994 08:49:37 CET", "1994-11-06T08:49:37Z"}) {
    answer.date = date;
    EXPECT_FALSE(Page(answer).clock_offset.has_value()) << date;
  }
}

}  // namespace
}  // namespace dreamgate::wavespeed
