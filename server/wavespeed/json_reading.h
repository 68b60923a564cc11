// Private to this room: reading foreign JSON with forgiveness. Every getter answers "nothing" for
// what is absent, null or of a wrong type. Not to be included elsewhere (Boost.JSON stays in this
// room).
#ifndef DREAMGATE_SERVER_WAVESPEED_JSON_READING_H_
#define DREAMGATE_SERVER_WAVESPEED_JSON_READING_H_

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/upstream_task.h"

namespace dreamgate::wavespeed {

// Parses one JSON document. Accepts a byte order mark, invalid UTF-8 and lone surrogate escapes
// inside strings (each becomes U+FFFD); refuses more than 32 levels. InvalidArgument says why.
absl::StatusOr<boost::json::value> ParseJson(absl::string_view text);

// The member, or nullptr if it is absent or null, or if `object` is nullptr.
const boost::json::value* Member(const boost::json::object* object, absl::string_view name);
const boost::json::object* ObjectMember(const boost::json::object* object, absl::string_view name);

// A string member, as it is; empty if there is none.
absl::string_view TextMember(const boost::json::object* object, absl::string_view name);

// A number, or a string that holds one.
std::optional<double> NumberOf(const boost::json::value* value);
// The same, if it is a whole number within int.
std::optional<int> CodeMember(const boost::json::object* object, absl::string_view name);

// The same, if it is a whole number that a double holds exactly.
std::optional<int64_t> WholeNumberOf(const boost::json::value* value);

// The object of a whole document, or nullptr.
const boost::json::object* ObjectOf(const boost::json::value& value);

// Upstream's words about what went wrong: `name` as a string, or as an object with a "message".
absl::string_view ReasonMember(const boost::json::object* object, absl::string_view name);

// Whether the document wraps its payload: {"code", "message", "data"}.
bool IsEnvelope(const boost::json::object& document);

// Two fields that tasks and history's items share: "created_at", if it fits a protobuf Timestamp, and
// "status" as short text without `secrets`.
std::optional<absl::Time> CreateTimeOf(const boost::json::object& task);
// What WaveSpeed's `status` of a task stands for.
core::State StateOf(absl::string_view status);
std::string RawStatusOf(const boost::json::object& task, const std::vector<std::string>& secrets);

// A bare task. `known_id` is used where the task does not name itself (empty: it must).
// `secrets` are kept out of its texts.
absl::StatusOr<core::TaskObservation> ObservationOf(const boost::json::object& task,
                                                    absl::string_view known_id,
                                                    const std::vector<std::string>& secrets);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_JSON_READING_H_
