// TLS contexts: what we trust as a client, what we show as a server. Shared by connections and
// immutable, once made. Free of OpenSSL and Asio; see tls_asio.h for the inside.
#ifndef DREAMGATE_SERVER_NET_TLS_H_
#define DREAMGATE_SERVER_NET_TLS_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/watched_files.h"

namespace dreamgate::net {

struct TlsContext;  // defined in tls_asio.h

// TLS 1.2 or newer, peer verification on. Trusts the authorities in the PEM file `ca_file`, or the
// system's if it is empty. The host name is checked per connection, not here.
absl::StatusOr<std::shared_ptr<TlsContext>> MakeClientTls(const std::string& ca_file);

// TLS 1.2 or newer. PEM files: the chain, leaf first, and its private key.
absl::StatusOr<std::shared_ptr<TlsContext>> MakeServerTls(const std::string& chain_file,
                                                          const std::string& key_file);

// A server's context from files that may be replaced while it serves: a certificate is renewed every
// few weeks. Entered by one thread.
class ServerTls {
 public:
  // As MakeServerTls. `now` is a monotonic clock, the system's if empty.
  static absl::StatusOr<std::unique_ptr<ServerTls>> FromFiles(
      const std::string& chain_file, const std::string& key_file,
      absl::AnyInvocable<absl::Time()> now = nullptr);

  // For the next connection: looks at the files at most once a second, and makes a new context if
  // they have changed. An error says why they cannot be used, once; the context stays as it was then.
  absl::Status Refresh();
  const std::shared_ptr<TlsContext>& context() const { return context_; }

 private:
  ServerTls(const std::string& chain_file, const std::string& key_file,
            absl::AnyInvocable<absl::Time()> now)
      : chain_file_(chain_file),
        key_file_(key_file),
        watched_({chain_file, key_file}, std::move(now)) {}
  absl::Status ReadFiles();

  const std::string chain_file_;
  const std::string key_file_;
  WatchedFiles watched_;
  std::shared_ptr<TlsContext> context_;
};

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_TLS_H_
