// The admin port: /livez, /readyz, /metrics, /statusz and /backup over plain HTTP/1.1, on a listener of
// its own. Meant for probes, scrapers and operators, so app binds it to loopback unless told otherwise.
#ifndef DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_
#define DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/core/ports.h"
#include "server/net/loop.h"
#include "server/web/backup.h"
#include "server/web/http_server.h"
#include "server/web/status_page.h"

namespace dreamgate::web {

struct Readiness {
  bool ready = false;
  std::string reason;  // for people, one line
};

// Where the pages come from. Called on the loop; they must not block.
struct AdminPages {
  absl::AnyInvocable<Readiness()> readiness;
  absl::AnyInvocable<std::string()> metrics;  // Prometheus text format
  absl::AnyInvocable<StatusReport()> status;
  // Begins to make a copy of the ledger; not called again while one is being made or sent. An
  // error's message is shown to whoever asked. Empty: there is no /backup.
  absl::AnyInvocable<void(core::Completion<absl::StatusOr<BackupCopy>>)> backup;
};

// As HttpServer::Start; no page is asked for once the server is gone.
absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(net::Loop& loop, HttpOptions options,
                                                             AdminPages pages);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_
