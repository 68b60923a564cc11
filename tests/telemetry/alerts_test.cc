// The example of alerting rules against the metrics that there are: a rule on a name or a label that
// does not exist would never fire, and nobody would notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/core/errors.h"
#include "server/telemetry/metrics.h"

namespace dreamgate::telemetry {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Alerts() {
  std::ifstream file(ALERTS_FILE);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Each from "- alert:" to the next.
std::vector<std::string> Rules() {
  std::vector<std::string> rules = absl::StrSplit(Alerts(), "- alert: ");
  rules.erase(rules.begin());
  return rules;
}

std::vector<std::smatch> FindAll(const std::string& text, const std::regex& pattern) {
  return {std::sregex_iterator(text.begin(), text.end(), pattern), std::sregex_iterator()};
}

// As Prometheus sees it once everything that the rules are about has happened.
std::string ScrapedText() {
  EventLog log(core::LogLevel::kError, LogFormat::kLogfmt, [](absl::string_view) {});
  Metrics metrics(log, {"1.2.3", "abcdef", "GCC 12"}, absl::FromUnixSeconds(1'700'000'000));
  for (const core::Reason reason :
       {core::Reason::kUpstreamBalanceExhausted, core::Reason::kUpstreamCredentialsRejected,
        core::Reason::kUpstreamModelUnavailable, core::Reason::kUpstreamMisconfigured}) {
    metrics.RpcFinished("SubmitVideo", absl::StatusCodeToString(core::ReasonCode(reason)),
                        absl::Milliseconds(1));
  }
  return metrics.RenderText();
}

TEST(AlertsTest, EveryMetricAndLabelTheyNameExists) {
  const std::vector<std::string> series = absl::StrSplit(ScrapedText(), '\n');
  const std::string alerts = Alerts();
  const auto selectors = FindAll(alerts, std::regex(R"((dreamgate_[a-z_]+)(\{([^}]*)\})?)"));
  ASSERT_GT(selectors.size(), 8u);
  for (const std::smatch& selector : selectors) {
    // The registry writes labels in the order of their names.
    std::string shown = absl::StrCat("^", selector.str(1), "[{ ]");
    const std::string labels = selector.str(3);
    std::vector<std::string> wanted;
    for (const std::smatch& label : FindAll(labels, std::regex(R"([a-z]+="[^"]*")"))) {
      wanted.push_back(label.str());
    }
    EXPECT_EQ(wanted.empty(), labels.empty()) << "matched by equality only: " << selector.str();
    std::sort(wanted.begin(), wanted.end());
    for (const std::string& label : wanted) absl::StrAppend(&shown, ".*", label);
    EXPECT_THAT(series, Contains(ContainsRegex(shown))) << selector.str();
  }
}

TEST(AlertsTest, EveryRuleSaysHowBadItIsWhatIsWrongAndWhatToDo) {
  ASSERT_THAT(Rules(), SizeIs(testing::Gt(5u)));
  for (const std::string& rule : Rules()) {
    for (const char* part : {"\n          expr: ", "\n            severity: ",
                             "\n            summary: ", "\n            description: "}) {
      EXPECT_THAT(rule, HasSubstr(part));
    }
  }
}

}  // namespace
}  // namespace dreamgate::telemetry
