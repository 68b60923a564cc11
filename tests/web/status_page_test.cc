#include "server/web/status_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <string>

namespace dreamgate::web {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StatusReport Report() {
  StatusReport report;
  report.start_time = absl::FromUnixSeconds(1'700'000'000);
  report.now = report.start_time + absl::Seconds(3725);
  report.ready = true;
  report.ready_reason = "serving";
  report.build = {{"version", "1.2.3"}};
  report.configuration = {{"listen-address", "0.0.0.0:50051"}, {"ledger-path", "a & <b>"}};
  report.upstream = {{"url", "https://api.example.com"}};
  report.gateway.predictions_in_flight = 5;
  report.gateway.watchers = 9;
  report.gateway.predictions_unresolved = 2;
  report.gateway.orphans = 1;
  auto prediction = std::make_shared<core::Prediction>();
  prediction->id = "p1";
  prediction->tenant = "<script>";
  prediction->input.prompt = "a secret plan";
  prediction->state = core::State::kProcessing;
  prediction->create_time = report.start_time;
  core::InFlight entry;
  entry.prediction = prediction;
  entry.last_observed = report.now - absl::Seconds(4);
  entry.next_poll = report.now + absl::Milliseconds(2500);
  entry.watchers = 3;
  report.gateway.oldest.push_back(entry);
  return report;
}

TEST(StatusPageTest, TheJsonDocumentHasEveryPart) {
  const boost::json::value status = boost::json::parse(RenderStatusJson(Report()));
  EXPECT_EQ(status.at("build").at("version").as_string(), "1.2.3");
  EXPECT_EQ(status.at("uptime_seconds").as_int64(), 3725);
  EXPECT_TRUE(status.at("ready").as_bool());
  EXPECT_EQ(status.at("configuration").at("listen-address").as_string(), "0.0.0.0:50051");
  EXPECT_EQ(status.at("upstream").at("url").as_string(), "https://api.example.com");
  EXPECT_EQ(status.at("gateway").at("predictions_in_flight").as_int64(), 5);
  EXPECT_EQ(status.at("gateway").at("watchers").as_int64(), 9);
  EXPECT_EQ(status.at("gateway").at("predictions_unresolved").as_int64(), 2);
  EXPECT_EQ(status.at("gateway").at("orphans").as_int64(), 1);
  const boost::json::value& oldest = status.at("gateway").at("oldest").at(0);
  EXPECT_EQ(oldest.at("id").as_string(), "p1");
  EXPECT_EQ(oldest.at("state").as_string(), "PROCESSING");
  EXPECT_EQ(oldest.at("last_observed").as_string(), "2023-11-14T23:15:21.000Z");
  EXPECT_EQ(oldest.at("watchers").as_int64(), 3);
}

TEST(StatusPageTest, WhatIsNotKnownIsNullInJson) {
  StatusReport report = Report();
  report.gateway.oldest[0].last_observed.reset();
  report.gateway.oldest[0].next_poll.reset();
  const boost::json::value status = boost::json::parse(RenderStatusJson(report));
  EXPECT_TRUE(status.at("gateway").at("oldest").at(0).at("last_observed").is_null());
  EXPECT_TRUE(status.at("gateway").at("oldest").at(0).at("next_poll").is_null());
}

TEST(StatusPageTest, EachCircuitOfUpstreamIsShownClosedOpenOrHalfOpen) {
  StatusReport report = Report();
  const auto shown = [&report](const char* call) {
    const boost::json::value status = boost::json::parse(RenderStatusJson(report));
    return std::string(status.at("gateway").at("circuit").at(call).as_string());
  };
  EXPECT_EQ(shown("get"), "closed");
  EXPECT_EQ(shown("post"), "closed");
  report.gateway.get_circuit = core::CircuitBreaker::State::kOpen;
  report.gateway.post_circuit = core::CircuitBreaker::State::kHalfOpen;
  EXPECT_EQ(shown("get"), "open");
  EXPECT_EQ(shown("post"), "half-open");
  const std::string html = RenderStatusHtml(report);
  EXPECT_THAT(html, HasSubstr("<th>circuit of polls</th><td>open</td>"));
  EXPECT_THAT(html, HasSubstr("<th>circuit of submissions</th><td>half-open</td>"));
}

TEST(StatusPageTest, ThePageSaysAgesAsPeopleDo) {
  const std::string html = RenderStatusHtml(Report());
  EXPECT_THAT(html, HasSubstr("<td>1h2m5s</td>"));
  EXPECT_THAT(html, HasSubstr("<td>4s ago</td>"));
  EXPECT_THAT(html, HasSubstr("<td>in 2s</td>"));
  EXPECT_THAT(html, HasSubstr("<td>PROCESSING</td>"));
  EXPECT_THAT(html, HasSubstr("<th>unresolved predictions</th><td>2</td>"));
  EXPECT_THAT(html, HasSubstr("<th>orphans polled</th><td>1</td>"));
}

TEST(StatusPageTest, ThePageEscapesWhatOthersWrote) {
  const std::string html = RenderStatusHtml(Report());
  EXPECT_THAT(html, Not(HasSubstr("<script>")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("a &amp; &lt;b&gt;"));
}

TEST(StatusPageTest, PromptsAreNeverShown) {
  EXPECT_THAT(RenderStatusHtml(Report()), Not(HasSubstr("secret plan")));
  EXPECT_THAT(RenderStatusJson(Report()), Not(HasSubstr("secret plan")));
}

}  // namespace
}  // namespace dreamgate::web
