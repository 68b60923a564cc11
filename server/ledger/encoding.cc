#include "server/ledger/encoding.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <limits>
#include <optional>
#include <utility>

#include "server/ledger/known_values.h"

namespace dreamgate::ledger {
namespace {

namespace json = boost::json;

absl::Status Unreadable() { return absl::DataLossError("holds no value of its kind"); }

std::string Text(const json::string& string) { return std::string(string.data(), string.size()); }

absl::StatusOr<json::value> Parse(absl::string_view text) {
  json::parse_options options;
  options.allow_invalid_utf8 = true;  // upstream's words are kept byte for byte
  json::error_code error;
  json::value value =
      json::parse(json::string_view(text.data(), text.size()), error, json::storage_ptr(), options);
  if (error) return Unreadable();
  return value;
}

}  // namespace

std::string EncodeOutputs(const std::vector<core::Output>& outputs) {
  json::array array;
  for (const core::Output& output : outputs) {
    json::object object{{"url", output.url}};
    if (output.has_nsfw_content.has_value()) object["nsfw"] = *output.has_nsfw_content;
    array.push_back(std::move(object));
  }
  return json::serialize(array);
}

absl::StatusOr<std::vector<core::Output>> DecodeOutputs(absl::string_view text) {
  const absl::StatusOr<json::value> value = Parse(text);
  if (!value.ok()) return value.status();
  const json::array* array = value->if_array();
  if (array == nullptr) return Unreadable();
  std::vector<core::Output> outputs;
  for (const json::value& element : *array) {
    const json::object* object = element.if_object();
    const json::value* url = object == nullptr ? nullptr : object->if_contains("url");
    if (url == nullptr || !url->is_string()) return Unreadable();
    core::Output output{.url = Text(url->get_string()), .has_nsfw_content = std::nullopt};
    if (const json::value* nsfw = object->if_contains("nsfw"); nsfw != nullptr) {
      if (!nsfw->is_bool()) return Unreadable();
      output.has_nsfw_content = nsfw->get_bool();
    }
    outputs.push_back(std::move(output));
  }
  return outputs;
}

std::string EncodeFailure(const core::Failure& failure) {
  return json::serialize(json::object{{"code", static_cast<int>(failure.code)},
                                      {"message", failure.message},
                                      {"upstream_code", failure.upstream_code},
                                      {"resubmission_may_help", failure.resubmission_may_help}});
}

absl::StatusOr<core::Failure> DecodeFailure(absl::string_view text) {
  const absl::StatusOr<json::value> value = Parse(text);
  if (!value.ok()) return value.status();
  const json::object* object = value->if_object();
  if (object == nullptr) return Unreadable();
  const json::value* code = object->if_contains("code");
  const json::value* message = object->if_contains("message");
  const json::value* upstream_code = object->if_contains("upstream_code");
  const json::value* resubmission_may_help = object->if_contains("resubmission_may_help");
  if (code == nullptr || !code->is_int64() || message == nullptr || !message->is_string() ||
      upstream_code == nullptr || !upstream_code->is_int64() || resubmission_may_help == nullptr ||
      !resubmission_may_help->is_bool()) {
    return Unreadable();
  }
  const std::optional<core::FailureCode> known = KnownValue<core::FailureCode>(code->get_int64());
  const int64_t number = upstream_code->get_int64();
  if (!known.has_value() || number < std::numeric_limits<int>::min() ||
      number > std::numeric_limits<int>::max()) {
    return Unreadable();
  }
  return core::Failure{.code = *known,
                       .message = Text(message->get_string()),
                       .upstream_code = static_cast<int>(number),
                       .resubmission_may_help = resubmission_may_help->get_bool()};
}

std::string EncodeStringMap(const StringMap& map) {
  json::object object;
  for (const auto& [key, value] : map) object[key] = value;
  return json::serialize(object);
}

absl::StatusOr<StringMap> DecodeStringMap(absl::string_view text) {
  const absl::StatusOr<json::value> value = Parse(text);
  if (!value.ok()) return value.status();
  const json::object* object = value->if_object();
  if (object == nullptr) return Unreadable();
  StringMap map;
  for (const json::key_value_pair& element : *object) {
    if (!element.value().is_string()) return Unreadable();
    map[std::string(element.key().data(), element.key().size())] =
        Text(element.value().get_string());
  }
  return map;
}

}  // namespace dreamgate::ledger
