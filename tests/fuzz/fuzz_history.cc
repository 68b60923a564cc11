// Pages of upstream's history, as hostile as they come, against what core/ports.h promises of them.
// Input: five lines (HTTP status, content type, Retry-After, Date, the page asked for), then the body.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "server/api/utf8.h"
#include "server/wavespeed/history.h"
#include "server/wavespeed/request.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

namespace json = boost::json;
using wavespeed::HttpAnswer;

constexpr char kKey[] = "wsk_secret";  // in the dictionary, so that bodies echo it

constexpr size_t kLongestMessage = 512;
constexpr size_t kLongestStatus = 64;
constexpr size_t kLongestModel = 256;

struct Input {
  HttpAnswer answer;
  int page = 1;
};

Input ReadInput(absl::string_view text) {
  Input input;
  HttpAnswer& answer = input.answer;
  if (!absl::SimpleAtoi(TakeLine(text), &answer.status)) answer.status = 200;
  answer.status = std::clamp(answer.status, 100, 999);  // what an HTTP parser lets through
  answer.content_type = std::string(TakeLine(text));
  answer.retry_after = std::string(TakeLine(text));
  answer.date = std::string(TakeLine(text));
  if (!absl::SimpleAtoi(TakeLine(text), &input.page)) input.page = 1;
  input.page = std::max(input.page, 1);
  answer.body = std::string(text);
  return input;
}

bool IsUtf8(absl::string_view text) { return api::CountCodePoints(text).has_value(); }

bool IsOneLine(absl::string_view text) {
  return IsUtf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_iscntrl(static_cast<unsigned char>(c));
         });
}

void CheckItem(const core::HistoryItem& item) {
  Check(wavespeed::IsSafeTaskId(item.upstream_id), "a task id is safe in a path", item.upstream_id);
  Check(IsOneLine(item.model) && item.model.size() <= kLongestModel, "a model is short text",
        item.model);
  Check(IsOneLine(item.raw_status) && item.raw_status.size() <= kLongestStatus,
        "a raw status is short text", item.raw_status);
  Check(!absl::StrContains(item.model, kKey) && !absl::StrContains(item.raw_status, kKey),
        "no text that is shown has the key");
  Check(!item.create_time || (*item.create_time >= absl::UnixEpoch() &&
                              *item.create_time <= absl::FromUnixSeconds(253'402'300'799)),
        "a create time fits a protobuf Timestamp");
  if (!item.input) return;
  Check(IsUtf8(item.input->prompt), "a prompt is valid UTF-8", item.input->prompt);
  Check(IsUtf8(item.input->aspect_ratio), "a ratio is valid UTF-8", item.input->aspect_ratio);
  Check(item.input->seed >= -1 && item.input->seed <= std::numeric_limits<int32_t>::max(),
        "a seed is one that upstream accepts");
}

// The list, found by another parser than ours; nullptr where it is not in its usual place.
const json::array* ListIn(const json::value& document) {
  const json::value* data =
      document.is_object() ? document.as_object().if_contains("data") : nullptr;
  if (data == nullptr || data->is_array()) return data == nullptr ? nullptr : data->if_array();
  const json::value* items = data->is_object() ? data->as_object().if_contains("items") : nullptr;
  return items == nullptr ? nullptr : items->if_array();
}

// Checks that all tasks in the JSON itself are in `page`.
void CheckNothingIsDropped(const HttpAnswer& answer, const core::HistoryPage& page) {
  json::error_code error;
  const json::value document = json::parse(answer.body, error);
  const json::array* list = error ? nullptr : ListIn(document);
  if (list == nullptr) return;  // what only a forgiving parser understands
  Check(page.items.size() == list->size(), "every item is listed", answer.body);
  for (size_t i = 0; i < list->size(); ++i) {
    Check((*list)[i].as_object().at("id").as_string() == page.items[i].upstream_id.c_str(),
          "every item keeps its place and its id", answer.body);
  }
  const json::object* data = document.at("data").if_object();
  Check(page.more || list->size() < 100 || (data != nullptr && data->contains("total")),
        "a full page is the last only if upstream says so", answer.body);
}

void CheckPage(const HttpAnswer& answer, const core::HistoryPage& page) {
  Check(answer.status >= 200 && answer.status < 300, "only a success is a page");
  for (const core::HistoryItem& item : page.items) CheckItem(item);
  CheckNothingIsDropped(answer, page);
  Check(!page.clock_offset || !answer.date.empty(), "no Date, no offset");
  Check(!page.clock_offset || (*page.clock_offset > -absl::InfiniteDuration() &&
                               *page.clock_offset < absl::InfiniteDuration()),
        "a clock offset is finite");
}

void CheckFailure(const core::HistoryFailed& failed) {
  Check(!failed.message.empty(), "a message is not empty");
  Check(IsOneLine(failed.message), "a message is one line of valid UTF-8", failed.message);
  Check(failed.message.size() <= kLongestMessage, "a message is short", failed.message);
  Check(!absl::StrContains(failed.message, kKey), "a message never shows the key", failed.message);
  Check(failed.http_status >= 100 && failed.http_status <= 999, "a status is HTTP's");
  Check(!failed.retry_after ||
            (*failed.retry_after >= absl::ZeroDuration() && *failed.retry_after <= absl::Hours(1)),
        "retry_after is from 0 to 1 h");
}

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate;
  const fuzz::Input input = fuzz::ReadInput({reinterpret_cast<const char*>(data), size});
  const wavespeed::AnswerContext context{absl::FromUnixSeconds(784'111'777), {fuzz::kKey}};
  const core::HistoryOutcome outcome =
      wavespeed::ReadHistoryAnswer(input.answer, input.page, context);
  if (const auto* page = std::get_if<core::HistoryPage>(&outcome)) {
    fuzz::CheckPage(input.answer, *page);
  } else {
    fuzz::CheckFailure(std::get<core::HistoryFailed>(outcome));
  }
  return 0;
}
