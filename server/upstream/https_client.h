// A pool of connections to one origin. Knows about connections and their reuse, nothing of
// WaveSpeed. Owned by WaveSpeedClient and entered on the loop only.
//
// The rule the whole gateway rests on: a request that is not idempotent is written at most once,
// and only on a connection that is new or was in use a moment ago. It failed "unsent" only if its
// first write was never started.
#ifndef DREAMGATE_SERVER_UPSTREAM_HTTPS_CLIENT_H_
#define DREAMGATE_SERVER_UPSTREAM_HTTPS_CLIENT_H_

#include <memory>
#include <string>
#include <variant>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "server/net/loop.h"
#include "server/net/resolver.h"
#include "server/upstream/https_connection.h"
#include "server/wavespeed/answer.h"

namespace dreamgate::upstream {

struct HttpsClientOptions {
  ConnectionOptions connection;
  int max_connections = 96;
  absl::Duration idle_timeout = absl::Seconds(30);
  // A connection idle for this long or longer is not used for a request that is not idempotent.
  absl::Duration fresh_window = absl::Seconds(1);
  // How long a request may wait for a connection to become free.
  absl::Duration queue_timeout = absl::Seconds(10);
  absl::AnyInvocable<absl::Time()> now;  // monotonic; empty: the system's
};

struct HttpRequest {
  std::string text;         // the whole HTTP/1.1 request, header and body
  bool idempotent = false;  // may be written again if a pooled connection turns out to be dead
  absl::Duration timeout;   // from the first write to the end of the answer
  size_t body_limit = size_t{1} << 20;  // bytes of the answer's body
};

struct HttpFailure {
  bool sent = false;  // false: surely no byte left
  std::string problem;
};

using HttpResult = std::variant<wavespeed::HttpAnswer, HttpFailure>;

struct PoolCounts {
  int open = 0;  // connections, including those being opened
  int idle = 0;
  int in_flight = 0;  // requests on a connection
  int waiting = 0;    // requests without one
};

class HttpsClient {
 public:
  using Done = absl::AnyInvocable<void(HttpResult) &&>;

  // `loop` and `resolver` outlive the client.
  HttpsClient(net::Loop& loop, net::Resolver& resolver, HttpsClientOptions options);
  // On the loop after Close, or anywhere once the loop has stopped.
  ~HttpsClient();
  HttpsClient(const HttpsClient&) = delete;
  HttpsClient& operator=(const HttpsClient&) = delete;

  // `done` runs on the loop, later, exactly once. Requests beyond the limit of connections wait in
  // the order sent. Neither kind (idempotent or not) can take all connections from the other.
  void Send(HttpRequest request, Done done);

  // Ends everything: what waits or is still connecting fails unsent, what is in flight fails as
  // sent. `done` runs after all their completions. Later requests fail unsent.
  void Close(absl::AnyInvocable<void() &&> done);

  PoolCounts Counts() const;

 private:
  class Pool;
  std::shared_ptr<Pool> pool_;
};

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_HTTPS_CLIENT_H_
