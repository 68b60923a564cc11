// The admin port: /livez, /readyz, /metrics, /statusz and /backup over plain HTTP/1.1, on a
// listener of its own. Meant for probes, scrapers and operators, so it binds to loopback unless
// told otherwise, and caps what a client can make it hold. Owned by app; works on the loop. This
// header is free of Beast.
#ifndef DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_
#define DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/loop.h"
#include "server/web/backup.h"
#include "server/web/status_page.h"

namespace dreamgate::web {

struct AdminOptions {
  std::string host = "127.0.0.1";  // an IP literal without brackets, or "localhost"
  uint16_t port = 9090;            // 0: any free one
  // For reading one request, for writing one answer, and for an idle connection.
  absl::Duration timeout = absl::Seconds(10);
  int max_connections = 64;  // more are answered 503 and closed
};

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

class AdminServer {
 public:
  // Binds and listens before it returns; serves once the loop runs. Unavailable if the address
  // cannot be bound, InvalidArgument if it is none. `loop` is borrowed.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(net::Loop& loop, AdminOptions options,
                                                            AdminPages pages);

  // Closes the listener and every connection, and waits until the loop has done so; after that no
  // page is asked for. Not to be called on the loop; the loop must run or have been stopped.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  uint16_t port() const;  // as bound

 private:
  struct Listener;
  AdminServer(net::Loop& loop, std::shared_ptr<Listener> listener);

  net::Loop& loop_;
  std::shared_ptr<Listener> listener_;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_ADMIN_SERVER_H_
