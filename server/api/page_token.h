// The opaque page token of ListPredictions: versioned, bound to the filters it was made for,
// and with a checksum, so that a mangled or foreign token is refused instead of giving a
// wrong page. Not a secret and not signed: it holds nothing that its owner has not seen.
// Pure functions; any thread.
#ifndef DREAMGATE_SERVER_API_PAGE_TOKEN_H_
#define DREAMGATE_SERVER_API_PAGE_TOKEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/ports.h"

namespace dreamgate::api {

// The token for the page after the prediction `before_id`, under the filters of `query` (tenant,
// states, labels; the page size may change from page to page). URL-safe characters only.
std::string MakePageToken(const core::ListQuery& query, absl::string_view before_id);

// The `before_id` in `token`. InvalidArgument with a message for people if the token is not one of
// ours or belongs to other filters.
absl::StatusOr<std::string> ReadPageToken(const core::ListQuery& query, absl::string_view token);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_PAGE_TOKEN_H_
