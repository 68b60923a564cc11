#include "server/api/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "server/api/page_token.h"
#include "server/api/status_mapping.h"
#include "server/core/errors.h"
#include "tests/api/error_details.h"

namespace dreamgate::api {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

v1::SubmitVideoRequest GoodSubmit() {
  v1::SubmitVideoRequest request;
  request.set_prompt("a fox in the snow");
  request.set_request_id("5f0c8f3e-1");
  return request;
}

std::vector<std::string> FieldsOfError(const absl::Status& status) {
  if (status.ok()) return {};
  EXPECT_EQ(core::ReasonOf(status), core::Reason::kInvalidRequest);
  return Details(ToGrpcStatus(status)).fields();
}

TEST(ValidateSubmitTest, DefaultsAreApplied) {
  const auto valid = ValidateSubmit(GoodSubmit(), {});
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->request_id, "5f0c8f3e-1");
  EXPECT_EQ(valid->input.prompt, "a fox in the snow");
  EXPECT_EQ(valid->input.aspect_ratio, core::AspectRatio::k16x9);
  EXPECT_EQ(valid->input.seed, std::nullopt);
  EXPECT_FALSE(valid->validate_only);
}

TEST(ValidateSubmitTest, EveryFieldIsCarriedOver) {
  v1::SubmitVideoRequest request = GoodSubmit();
  request.set_aspect_ratio(v1::ASPECT_RATIO_21_9);
  request.set_seed(0);
  request.set_validate_only(true);
  (*request.mutable_labels())["team/a"] = "";
  (*request.mutable_labels())["größe mit \"Rand\""] = "v";
  const auto valid = ValidateSubmit(request, {});
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->input.aspect_ratio, core::AspectRatio::k21x9);
  EXPECT_EQ(valid->input.seed, 0);
  EXPECT_TRUE(valid->validate_only);
  EXPECT_EQ(valid->input.labels.at("team/a"), "");
}

TEST(ValidateSubmitTest, SeedMinusOneMeansRandom) {
  v1::SubmitVideoRequest request = GoodSubmit();
  request.set_seed(-1);
  EXPECT_EQ(ValidateSubmit(request, {})->input.seed, std::nullopt);
  request.set_seed(2147483647);
  EXPECT_EQ(ValidateSubmit(request, {})->input.seed, 2147483647);
}

struct BadField {
  const char* situation;
  std::function<void(v1::SubmitVideoRequest&)> spoil;
  const char* field;
};

TEST(ValidateSubmitTest, EachBadFieldIsNamed) {
  const std::vector<BadField> rows = {
      {"no prompt", [](auto& r) { r.clear_prompt(); }, "prompt"},
      {"blank prompt", [](auto& r) { r.set_prompt(" \t\xE3\x80\x80\n"); }, "prompt"},
      {"long prompt", [](auto& r) { r.set_prompt(std::string(2001, 'x')); }, "prompt"},
      {"prompt not UTF-8", [](auto& r) { r.set_prompt("fox \xC3("); }, "prompt"},
      {"prompt with NUL", [](auto& r) { r.set_prompt(std::string("a\0b", 3)); }, "prompt"},
      {"unknown ratio", [](auto& r) { r.set_aspect_ratio(static_cast<v1::AspectRatio>(8)); },
       "aspect_ratio"},
      {"seed too small", [](auto& r) { r.set_seed(-2); }, "seed"},
      {"no request_id", [](auto& r) { r.clear_request_id(); }, "request_id"},
      {"request_id with space", [](auto& r) { r.set_request_id("a b"); }, "request_id"},
      {"request_id not ASCII", [](auto& r) { r.set_request_id("\xC3\xA9"); }, "request_id"},
      {"request_id too long", [](auto& r) { r.set_request_id(std::string(129, 'a')); },
       "request_id"},
      {"empty label key", [](auto& r) { (*r.mutable_labels())[""] = "v"; }, "labels"},
      {"long label key", [](auto& r) { (*r.mutable_labels())[std::string(64, 'k')] = "v"; },
       "labels"},
      {"odd label key", [](auto& r) { (*r.mutable_labels())["a\nb"] = "v"; }, "labels"},
      {"long label value", [](auto& r) { (*r.mutable_labels())["k"] = std::string(257, 'v'); },
       "labels[\"k\"]"},
      {"label value not UTF-8", [](auto& r) { (*r.mutable_labels())["k"] = "\xff"; },
       "labels[\"k\"]"},
      {"17 labels",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) (*r.mutable_labels())["k" + std::to_string(i)] = "v";
       },
       "labels"},
  };
  for (const BadField& row : rows) {
    v1::SubmitVideoRequest request = GoodSubmit();
    row.spoil(request);
    EXPECT_THAT(FieldsOfError(ValidateSubmit(request, {}).status()), ElementsAre(row.field))
        << row.situation;
  }
}

TEST(ValidateSubmitTest, AllViolationsComeAtOnce) {
  v1::SubmitVideoRequest request;
  request.set_aspect_ratio(static_cast<v1::AspectRatio>(99));
  request.set_seed(-7);
  (*request.mutable_labels())["bad\nkey"] = std::string(300, 'v');
  EXPECT_THAT(FieldsOfError(ValidateSubmit(request, {}).status()),
              ElementsAre("prompt", "aspect_ratio", "seed", "request_id", "labels", "labels"));
}

TEST(ValidateSubmitTest, LengthsAreCountedInCodePoints) {
  v1::SubmitVideoRequest request = GoodSubmit();
  std::string prompt;
  for (int i = 0; i < 2000; ++i) prompt += "\xF0\x9F\xA6\x8A";
  request.set_prompt(prompt);
  EXPECT_TRUE(ValidateSubmit(request, {}).ok());
  EXPECT_FALSE(ValidateSubmit(request, {.max_prompt_code_points = 1999}).ok());
}

TEST(ValidateSubmitTest, AnErrorNeverEchoesThePrompt) {
  v1::SubmitVideoRequest request = GoodSubmit();
  request.set_prompt(std::string("secret scene\0", 13));
  EXPECT_EQ(ValidateSubmit(request, {}).status().ToString().find("secret"), std::string::npos);
}

TEST(ValidateSubmitTest, ARequestIdMayBeLeftOutIfTheServerSaysSo) {
  v1::SubmitVideoRequest request = GoodSubmit();
  request.clear_request_id();
  const auto valid = ValidateSubmit(request, {.require_request_id = false});
  ASSERT_TRUE(valid.ok());
  EXPECT_THAT(valid->request_id, IsEmpty());
}

TEST(ValidateGetTest, AnIdIsRequiredAndUrlSafe) {
  v1::GetPredictionRequest request;
  EXPECT_THAT(FieldsOfError(ValidateGet(request).status()), ElementsAre("prediction_id"));
  request.set_prediction_id("a/b");
  EXPECT_FALSE(ValidateGet(request).ok());
  request.set_prediction_id(std::string(65, 'a'));
  EXPECT_FALSE(ValidateGet(request).ok());
  request.set_prediction_id("01J9-_.~x");
  EXPECT_EQ(*ValidateGet(request), "01J9-_.~x");
}

TEST(ValidateWatchTest, PositionAndHeartbeatAreJudged) {
  v1::WatchPredictionRequest request;
  request.set_prediction_id("p1");
  EXPECT_EQ(ValidateWatch(request, "a")->after_sequence, std::nullopt);
  EXPECT_EQ(ValidateWatch(request, "a")->heartbeat_interval, std::nullopt);
  request.set_after_sequence(0);
  request.mutable_heartbeat_interval()->set_seconds(7);
  request.mutable_heartbeat_interval()->set_nanos(500'000'000);
  const auto watch = ValidateWatch(request, "a");
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ(watch->tenant, "a");
  EXPECT_EQ(watch->after_sequence, 0);
  EXPECT_EQ(watch->heartbeat_interval, absl::Milliseconds(7500));
  request.set_after_sequence(-1);
  request.mutable_heartbeat_interval()->set_seconds(-7);
  EXPECT_THAT(FieldsOfError(ValidateWatch(request, "a").status()),
              ElementsAre("after_sequence", "heartbeat_interval"));
  request.clear_after_sequence();
  request.mutable_heartbeat_interval()->set_seconds(1);
  request.mutable_heartbeat_interval()->set_nanos(1'000'000'000);
  EXPECT_THAT(FieldsOfError(ValidateWatch(request, "a").status()),
              ElementsAre("heartbeat_interval"));
}

TEST(ValidateListTest, ThePageSizeHasADefaultAndABound) {
  v1::ListPredictionsRequest request;
  EXPECT_EQ(ValidateList(request, "a")->page_size, 50);
  request.set_page_size(5000);
  EXPECT_EQ(ValidateList(request, "a")->page_size, 1000);
  request.set_page_size(-1);
  EXPECT_THAT(FieldsOfError(ValidateList(request, "a").status()), ElementsAre("page_size"));
}

TEST(ValidateListTest, StatesMustBeKnown) {
  v1::ListPredictionsRequest request;
  request.add_states(v1::PREDICTION_STATE_FAILED);
  request.add_states(v1::PREDICTION_STATE_QUEUED);
  request.add_states(v1::PREDICTION_STATE_FAILED);
  EXPECT_THAT(ValidateList(request, "a")->states,
              ElementsAre(core::State::kQueued, core::State::kFailed));
  request.add_states(v1::PREDICTION_STATE_UNSPECIFIED);
  request.add_states(static_cast<v1::PredictionState>(77));
  EXPECT_THAT(FieldsOfError(ValidateList(request, "a").status()),
              ElementsAre("states[3]", "states[4]"));
}

TEST(PageTokenTest, GivesThePositionBackUnderTheSameFilters) {
  v1::ListPredictionsRequest request;
  request.add_states(v1::PREDICTION_STATE_FAILED);
  (*request.mutable_labels())["k"] = "v";
  const auto first = ValidateList(request, "a");
  ASSERT_TRUE(first.ok());
  request.set_page_token(MakePageToken(*first, "p42"));
  request.set_page_size(7);  // may change from page to page
  const auto second = ValidateList(request, "a");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->before_id, "p42");

  EXPECT_FALSE(ValidateList(request, "b").ok()) << "another tenant's";
  v1::ListPredictionsRequest other_label = request;
  (*other_label.mutable_labels())["k"] = "w";
  EXPECT_THAT(FieldsOfError(ValidateList(other_label, "a").status()), ElementsAre("page_token"));
  v1::ListPredictionsRequest other_state = request;
  other_state.clear_states();
  EXPECT_THAT(FieldsOfError(ValidateList(other_state, "a").status()), ElementsAre("page_token"));
}

TEST(PageTokenTest, AMangledTokenIsRefused) {
  const core::ListQuery query;
  const std::string token = MakePageToken(query, "p42");
  EXPECT_EQ(*ReadPageToken(query, token), "p42");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string mangled = token;
    mangled[i] = mangled[i] == 'A' ? 'B' : 'A';
    const auto read = ReadPageToken(query, mangled);
    EXPECT_TRUE(!read.ok() || *read == "p42") << i;  // the last character has spare bits
  }
  for (const std::string& foreign : {std::string("x"), std::string("AAAA"), std::string("!!"),
                                     std::string(10'000, 'A'), token + token}) {
    EXPECT_FALSE(ReadPageToken(query, foreign).ok());
  }
}

}  // namespace
}  // namespace dreamgate::api
