// How values lie in the columns of the ledger's tables: what all that has statements shares. Private to
// this room; functions of their arguments alone.
#ifndef DREAMGATE_SERVER_LEDGER_COLUMNS_H_
#define DREAMGATE_SERVER_LEDGER_COLUMNS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/ledger/sqlite.h"

namespace dreamgate::ledger {

struct PredictionKey {
  std::string tenant;
  std::string prediction_id;
};

template <typename T>
constexpr int64_t ToInteger(T value) {
  return static_cast<int64_t>(value);
}

// Keeps the columns of absent values NULL.
template <typename T, typename Encode>
std::optional<std::string> Encoded(const std::optional<T>& value, Encode encode) {
  if (!value.has_value()) return std::nullopt;
  return encode(*value);
}

inline Cursor& BindText(Cursor& cursor, const std::optional<std::string>& text) {
  return text.has_value() ? cursor.Bind(absl::string_view(*text)) : cursor.BindNull();
}

inline Cursor& BindKey(Cursor& cursor, const PredictionKey& key) {
  cursor.Concerns(key.prediction_id);
  return cursor.Bind(key.tenant).Bind(key.prediction_id);
}

// The next column, decoded; nullopt if it is NULL or, see the cursor's status, damaged.
template <typename T>
std::optional<T> ReadJson(Cursor& cursor, absl::StatusOr<T> (*decode)(absl::string_view)) {
  const std::optional<std::string> text = cursor.OptionalText();
  if (!text.has_value() || !cursor.status().ok()) return std::nullopt;
  absl::StatusOr<T> value = decode(*text);
  if (value.ok()) return *std::move(value);
  cursor.RefuseColumn(value.status().message());
  return std::nullopt;
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_COLUMNS_H_
