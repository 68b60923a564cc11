// The ledger file's schema as numbered steps, and who the file belongs to. Private to this room.
#ifndef DREAMGATE_SERVER_LEDGER_SCHEMA_H_
#define DREAMGATE_SERVER_LEDGER_SCHEMA_H_

#include <cstdint>

#include "absl/types/span.h"

namespace dreamgate::ledger {

// PRAGMA application_id of a ledger file: "dgat".
inline constexpr int64_t kApplicationId = 0x64676174;

// The SQL of each step, in order. A file whose PRAGMA user_version is n has steps 1 .. n applied.
// A released step is never edited; a change is a new step.
absl::Span<const char* const> SchemaSteps();

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_SCHEMA_H_
