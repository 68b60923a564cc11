#include "server/wavespeed/history.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/reading.h"
#include "server/wavespeed/request.h"
#include "server/wavespeed/retry_after.h"
#include "server/wavespeed/text.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;

namespace {

constexpr int64_t kPageSize = 100;  // the most upstream gives
constexpr size_t kLongestModel = 256;
constexpr char kDefaultAspectRatio[] = "16:9";  // upstream's, where none was sent

// The list, and the object that says how many tasks and pages there are.
struct Listing {
  const json::array* items = nullptr;  // null: there is no list
  const json::object* about = nullptr;
};

const json::array* ArrayMember(const json::object* object, absl::string_view name) {
  const json::value* value = Member(object, name);
  return value == nullptr ? nullptr : value->if_array();
}

Listing ListingOf(const json::object& document) {
  Listing listing;
  listing.items = ArrayMember(&document, "data");
  listing.about = document.contains("data") && listing.items == nullptr
                      ? ObjectMember(&document, "data")
                      : &document;
  for (absl::string_view name : {"items", "predictions"}) {
    if (listing.items == nullptr) listing.items = ArrayMember(listing.about, name);
  }
  return listing;
}

std::optional<int64_t> CountMember(const json::object* object, absl::string_view name) {
  const std::optional<int64_t> count = WholeNumberOf(Member(object, name));
  return count.has_value() && *count >= 0 ? count : std::nullopt;
}

std::optional<core::TaskInput> InputOf(const json::object& item) {
  const json::value* value = Member(&item, "input");
  if (value == nullptr) return std::nullopt;
  json::value unpacked;  // some bodies carry it as JSON within JSON
  if (const json::string* text = value->if_string()) {
    absl::StatusOr<json::value> parsed = ParseJson({text->data(), text->size()});
    if (!parsed.ok()) return std::nullopt;
    unpacked = *std::move(parsed);
    value = &unpacked;
  }
  const json::object* object = value->if_object();

  const json::value* prompt = Member(object, "prompt");
  const json::value* ratio = Member(object, "aspect_ratio");
  const std::optional<int64_t> seed = WholeNumberOf(Member(object, "seed"));
  if (prompt == nullptr || !prompt->is_string()) return std::nullopt;
  if (ratio != nullptr && !ratio->is_string()) return std::nullopt;
  if (!seed.has_value() || *seed < -1 || *seed > std::numeric_limits<int32_t>::max()) {
    return std::nullopt;
  }

  const absl::string_view prompt_text = TextMember(object, "prompt");
  const absl::string_view ratio_text =
      ratio == nullptr ? kDefaultAspectRatio : TextMember(object, "aspect_ratio");
  core::TaskInput input;
  input.prompt = ValidUtf8(prompt_text);
  input.aspect_ratio = ValidUtf8(ratio_text);
  input.seed = *seed;
  // Damaged on the way: whose it was cannot be told any more, so nothing is claimed about it.
  if (input.prompt != prompt_text || input.aspect_ratio != ratio_text) return std::nullopt;
  return input;
}

// Nothing if the item does not name its task.
std::optional<core::HistoryItem> ItemOf(const json::value& value,
                                        const std::vector<std::string>& secrets) {
  const json::object* object = value.if_object();
  const absl::string_view id = TextMember(object, "id");
  if (!IsSafeTaskId(id)) return std::nullopt;
  core::HistoryItem item;
  item.upstream_id = std::string(id);
  item.model = MessageWithoutSecrets(TextMember(object, "model"), secrets, kLongestModel);
  item.raw_status = RawStatusOf(*object, secrets);
  // The list may show less of a task than the task itself does: how it ended is for a GET to say.
  item.state = std::min(StateOf(TextMember(object, "status")), core::State::kProcessing);
  item.create_time = CreateTimeOf(*object);
  item.input = InputOf(*object);
  return item;
}

// `expected`: how many tasks upstream counts from this page on. Asking for a page that is not there
// costs a request; not asking for one that is would make its tasks look absent. So a page whose
// length the count does not explain is never the last, unless it is empty.
bool IsThereMore(int64_t items, std::optional<int64_t> expected) {
  if (!expected.has_value()) return items >= kPageSize;
  return *expected > kPageSize || (items > 0 && items != *expected);
}

}  // namespace

std::string HistoryTarget() { return "/api/v3/predictions"; }

std::string HistoryBody(const core::HistoryQuery& query, absl::string_view model,
                        bool include_inputs) {
  // Whole seconds, rounded down: every parser takes them, and the window only grows.
  const absl::Time last = absl::FromCivil(absl::CivilYear(9999), absl::UTCTimeZone());
  const absl::Time after = std::clamp(query.created_after, absl::UnixEpoch(), last);
  json::object body;
  body["page"] = query.page;
  body["page_size"] = kPageSize;
  body["model"] = json::string(model.data(), model.size());
  body["created_after"] = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", after, absl::UTCTimeZone());
  if (include_inputs) body["include_inputs"] = true;
  return json::serialize(body);
}

core::HistoryOutcome ReadHistoryAnswer(const HttpAnswer& answer, int page,
                                       const AnswerContext& context) {
  Reading reading = ReadAnswer(answer, context);
  const auto failed = [&reading, &answer](std::string message) -> core::HistoryOutcome {
    return core::HistoryFailed{reading.status == 0 ? answer.status : reading.status,
                               std::move(message), reading.retry_after};
  };
  if (!IsSuccess(reading.status) || !reading.document.ok()) {
    return failed(std::move(reading.message));
  }

  const json::object& document = *ObjectOf(*reading.document);
  if (Member(&document, "code") != nullptr && CodeMember(&document, "code") != 200) {
    return failed("upstream answered with a code that is not 200");
  }
  const Listing listing = ListingOf(document);
  const std::optional<int64_t> total = CountMember(listing.about, "total");
  // An empty list may be null or left out, but only if upstream says that it is empty.
  if (listing.items == nullptr && total != 0) return failed("upstream's history holds no list");
  if (CountMember(listing.about, "page").value_or(page) != page) {
    return failed("upstream's history answered with another page");
  }

  core::HistoryPage result;
  const size_t count = listing.items == nullptr ? 0 : listing.items->size();
  std::optional<int64_t> expected;
  if (total.has_value()) expected = std::max<int64_t>(*total - (page - 1) * kPageSize, 0);
  if (count == 0 && expected.value_or(0) > 0) {
    return failed("upstream's history counts tasks that it does not list");
  }
  result.items.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    std::optional<core::HistoryItem> item = ItemOf((*listing.items)[i], context.secrets);
    if (!item.has_value()) {
      return failed(absl::StrCat("upstream's history holds an item without a usable id (item ",
                                 i + 1, " of ", count, ")"));
    }
    result.items.push_back(*std::move(item));
  }
  result.more = IsThereMore(static_cast<int64_t>(count), expected);
  const std::optional<absl::Time> date = ParseHttpDate(answer.date);
  if (date.has_value()) result.clock_offset = *date - context.now;
  return result;
}

}  // namespace dreamgate::wavespeed
