// The JSON in the ledger's *_json columns. Readable with any SQLite shell on purpose: an operator
// may have to look. Private to this room; pure functions. Decoding gives DataLossError for text that
// Encode did not make.
#ifndef DREAMGATE_SERVER_LEDGER_ENCODING_H_
#define DREAMGATE_SERVER_LEDGER_ENCODING_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/prediction.h"

namespace dreamgate::ledger {

using StringMap = std::map<std::string, std::string>;

std::string EncodeOutputs(const std::vector<core::Output>& outputs);
std::string EncodeFailure(const core::Failure& failure);
std::string EncodeStringMap(const StringMap& map);

absl::StatusOr<std::vector<core::Output>> DecodeOutputs(absl::string_view json);
absl::StatusOr<core::Failure> DecodeFailure(absl::string_view json);
absl::StatusOr<StringMap> DecodeStringMap(absl::string_view json);

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_ENCODING_H_
