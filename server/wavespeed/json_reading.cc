#include "server/wavespeed/json_reading.h"

#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;

namespace {

json::string_view Key(absl::string_view name) { return {name.data(), name.size()}; }

absl::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// The code unit of the "\uXXXX" escape at `at`, or nothing.
std::optional<unsigned> EscapedCodeUnit(absl::string_view text, size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return std::nullopt;
  unsigned unit = 0;
  if (!absl::SimpleHexAtoi(text.substr(at + 2, 4), &unit)) return std::nullopt;
  return unit;
}

// JavaScript cuts strings between the halves of a surrogate pair; the parser refuses such halves.
std::string ReplaceLoneSurrogates(absl::string_view text) {
  const auto is_high = [](unsigned unit) { return unit >= 0xD800 && unit <= 0xDBFF; };
  const auto is_low = [](unsigned unit) { return unit >= 0xDC00 && unit <= 0xDFFF; };
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const std::optional<unsigned> unit = EscapedCodeUnit(text, i);
    if (unit.has_value()) {
      const std::optional<unsigned> next = EscapedCodeUnit(text, i + 6);
      if (is_high(*unit) && next.has_value() && is_low(*next)) {
        absl::StrAppend(&result, text.substr(i, 12));
        i += 12;
      } else {
        absl::StrAppend(&result, is_high(*unit) || is_low(*unit) ? "\\uFFFD" : text.substr(i, 6));
        i += 6;
      }
    } else {
      const size_t length = text[i] == '\\' ? 2 : 1;  // keeps "\\" from starting an escape
      absl::StrAppend(&result, text.substr(i, length));
      i += length;
    }
  }
  return result;
}

json::value ParseOnce(absl::string_view text, json::error_code& error) {
  json::parse_options options;
  options.max_depth = 32;
  options.allow_invalid_utf8 = true;
  return json::parse(Key(text), error, json::storage_ptr(), options);
}

}  // namespace

absl::StatusOr<json::value> ParseJson(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  json::error_code error;
  json::value value = ParseOnce(text, error);
  if (error && (absl::StrContains(text, "\\ud") || absl::StrContains(text, "\\uD"))) {
    value = ParseOnce(ReplaceLoneSurrogates(text), error);
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat("not JSON: ", error.message()));
  return value;
}

const json::value* Member(const json::object* object, absl::string_view name) {
  if (object == nullptr) return nullptr;
  const json::value* value = object->if_contains(Key(name));
  return value == nullptr || value->is_null() ? nullptr : value;
}

const json::object* ObjectMember(const json::object* object, absl::string_view name) {
  const json::value* value = Member(object, name);
  return value == nullptr ? nullptr : value->if_object();
}

const json::object* ObjectOf(const json::value& value) { return value.if_object(); }

absl::string_view TextMember(const json::object* object, absl::string_view name) {
  const json::value* value = Member(object, name);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? absl::string_view() : View(*text);
}

std::optional<double> NumberOf(const json::value* value) {
  if (value == nullptr) return std::nullopt;
  double number = 0;
  if (const auto* whole = value->if_int64()) {
    number = static_cast<double>(*whole);
  } else if (const auto* large = value->if_uint64()) {
    number = static_cast<double>(*large);
  } else if (const auto* real = value->if_double()) {
    number = *real;
  } else if (const auto* text = value->if_string()) {
    if (!absl::SimpleAtod(View(*text), &number)) return std::nullopt;
  } else {
    return std::nullopt;
  }
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<int64_t> WholeNumberOf(const json::value* value) {
  constexpr double kLargestExact = 9007199254740992.0;  // 2^53
  const std::optional<double> number = NumberOf(value);
  if (!number.has_value() || std::fabs(*number) > kLargestExact || *number != std::floor(*number)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(*number);
}

std::optional<int> CodeMember(const json::object* object, absl::string_view name) {
  const std::optional<int64_t> number = WholeNumberOf(Member(object, name));
  if (!number.has_value() || *number < std::numeric_limits<int>::min() ||
      *number > std::numeric_limits<int>::max()) {
    return std::nullopt;
  }
  return static_cast<int>(*number);
}

absl::string_view ReasonMember(const json::object* object, absl::string_view name) {
  const absl::string_view text = TextMember(object, name);
  return text.empty() ? TextMember(ObjectMember(object, name), "message") : text;
}

bool IsEnvelope(const json::object& document) {
  // A bare task names itself at the top; an envelope has "data", null in an error.
  return document.contains("data") || !document.contains("id");
}

}  // namespace dreamgate::wavespeed
