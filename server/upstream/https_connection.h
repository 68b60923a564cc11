// One connection to the origin, plain or TLS, and one exchange on it at a time. Owned by the pool,
// entered on the loop only; every completion runs on the loop, later, exactly once. The Beast and
// TLS templates stay in the .cc file.
#ifndef DREAMGATE_SERVER_UPSTREAM_HTTPS_CONNECTION_H_
#define DREAMGATE_SERVER_UPSTREAM_HTTPS_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/net/loop.h"
#include "server/net/resolver.h"
#include "server/net/tls.h"
#include "server/wavespeed/answer.h"

namespace dreamgate::upstream {

struct ConnectionOptions {
  std::string host;  // a name or an IP literal
  uint16_t port = 443;
  std::shared_ptr<net::TlsContext> tls;               // null: plain HTTP
  absl::Duration connect_timeout = absl::Seconds(5);  // resolving and all addresses together
  absl::Duration tls_timeout = absl::Seconds(5);
  // How long one address may keep the next one waiting (RFC 8305 recommends 250 ms).
  absl::Duration address_stagger = absl::Milliseconds(250);
  size_t buffer_limit = size_t{64} << 10;  // bytes of a header, or of one chunk header
};

// The result of one exchange.
struct ExchangeResult {
  std::optional<wavespeed::HttpAnswer> answer;  // set: complete
  std::string problem;                          // if there is no answer
  bool response_started = false;                // at least one byte of the response arrived
  bool timed_out = false;
  bool reusable = false;  // the connection may serve another exchange
};

class HttpsConnection {
 public:
  using Opened = absl::AnyInvocable<void(absl::Status) &&>;
  using Exchanged = absl::AnyInvocable<void(ExchangeResult) &&>;

  virtual ~HttpsConnection() = default;

  // Resolves, connects (address families staggered) and shakes hands, checking the certificate's
  // name. Unavailable with the reason if that fails. Once.
  virtual void Open(Opened done) = 0;

  // Writes `request` (a whole HTTP/1.1 request) and reads its response, whose body may have
  // `body_limit` bytes, all within `timeout`. From this call on, bytes may have left. One exchange at
  // a time, after Open or after an exchange that was reusable.
  virtual void Exchange(std::string request, absl::Duration timeout, size_t body_limit,
                        Exchanged done) = 0;

  // The connection is idle: calls `gone` once when the peer ends it, sends anything, or `timeout`
  // passes. Not called after TakeFromIdle or Shut.
  virtual void WatchIdle(absl::Duration timeout, absl::AnyInvocable<void() &&> gone) = 0;

  // Ends WatchIdle. False if the peer has ended the connection or sent anything meanwhile: shut it.
  virtual bool TakeFromIdle() = 0;

  // Closes the socket. A pending Open or Exchange completes with an error.
  virtual void Shut() = 0;
};

// `loop` and `resolver` outlive the connection.
std::shared_ptr<HttpsConnection> MakeHttpsConnection(net::Loop& loop, net::Resolver& resolver,
                                                     const ConnectionOptions& options);

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_HTTPS_CONNECTION_H_
