// TLS contexts: what we trust as a client, what we show as a server. Made once at the start and
// shared by all connections; immutable afterwards. Free of OpenSSL and Asio; see tls_asio.h for the
// inside.
#ifndef DREAMGATE_SERVER_NET_TLS_H_
#define DREAMGATE_SERVER_NET_TLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace dreamgate::net {

struct TlsContext;  // defined in tls_asio.h

// TLS 1.2 or newer, peer verification on. Trusts the authorities in the PEM file `ca_file`, or the
// system's if it is empty. The host name is checked per connection, not here.
absl::StatusOr<std::shared_ptr<TlsContext>> MakeClientTls(const std::string& ca_file);

// TLS 1.2 or newer. PEM files: the chain, leaf first, and its private key.
absl::StatusOr<std::shared_ptr<TlsContext>> MakeServerTls(const std::string& chain_file,
                                                          const std::string& key_file);

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_TLS_H_
