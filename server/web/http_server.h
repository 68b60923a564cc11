// The one HTTP/1.1 server: the admin port and the webhook receiver are services on top of it. Strangers
// may reach it, so it bounds what they can make it hold and for how long, and slow ones make room for
// others. Works on the loop. This header is free of Asio and Beast.
#ifndef DREAMGATE_SERVER_WEB_HTTP_SERVER_H_
#define DREAMGATE_SERVER_WEB_HTTP_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/loop.h"
#include "server/net/tls.h"
#include "server/web/http_message.h"

namespace dreamgate::web {

class HttpConnection;

struct HttpOptions {
  std::string host = "127.0.0.1";  // an IP literal without brackets, or "localhost"
  uint16_t port = 0;               // 0: any free one
  // For a handshake; for a whole request, from the end of the one before; for an answer, or each piece
  // of a stream. Bytes that drip do not move it.
  absl::Duration timeout = absl::Seconds(10);
  absl::Duration answer_timeout = absl::InfiniteDuration();  // for a service to answer, 503 then
  // The connections that have no request yet, or only a part of one, or are being answered. A newcomer
  // above that takes the place of the one that has kept its request longest, and is itself refused (503,
  // or closed where TLS would have to be spoken) if all are being answered. As many again may be about
  // to leave: these have their last answer, and are closed before their client has read it only if
  // there are more.
  size_t max_connections = 128;
  int max_requests_per_connection = 1000;  // closed after so many
  size_t max_body = 1024;                  // bytes; 8 KiB for a header
};

// Where the answer to one request goes.
class HttpReply {
 public:
  explicit HttpReply(std::shared_ptr<HttpConnection> connection)
      : connection_(std::move(connection)) {}
  HttpReply(HttpReply&&) = default;
  HttpReply& operator=(HttpReply&&) = default;

  // Whether an answer can still be sent: neither has `answer_timeout` passed nor has the server gone.
  bool waiting() const;
  // On the loop, once. Does nothing if nobody waits. A reply that goes without it closes its connection.
  void Send(HttpResponse response) &&;

 private:
  std::shared_ptr<HttpConnection> connection_;
};

// Why the server itself answered a request, or closed a connection without.
enum class HttpRefusal {
  kMalformed,   // 400, 417, 501
  kOversize,    // 413, 431
  kIncomplete,  // closed: the request came too slowly, or its client left in the middle
  kUnanswered,  // 503: `answer_timeout` has passed
  kBusy,        // too many connections: a newcomer got 503, or another was closed to make room
};

// What is served. Owned by the server, called on the loop.
class HttpService {
 public:
  virtual ~HttpService() = default;

  // An answer that refuses the request by its header, before its body (still empty) is read.
  virtual std::optional<HttpResponse> RefuseByHeader(const HttpRequest& /*head*/) { return {}; }
  // A whole request. The reply may be sent later; until then its connection is not closed for others.
  virtual void Handle(HttpRequest request, HttpReply reply) = 0;
  virtual void OnRefused(HttpRefusal /*why*/) {}
  // What the next connection speaks TLS with; null: plain HTTP.
  virtual std::shared_ptr<net::TlsContext> Tls() { return nullptr; }
};

class HttpServer {
 public:
  // Binds and listens before it returns; serves once the loop runs. Unavailable if the address cannot
  // be bound, InvalidArgument if it is none. `loop` is borrowed.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(net::Loop& loop, HttpOptions options,
                                                           std::unique_ptr<HttpService> service);

  // Closes the listener and every connection, and waits until the loop has done so; the service is not
  // called after that. Not to be called on the loop; the loop must run or have been stopped.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;  // as bound

 private:
  struct Listener;
  HttpServer(net::Loop& loop, std::shared_ptr<Listener> listener);

  net::Loop& loop_;
  std::shared_ptr<Listener> listener_;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_HTTP_SERVER_H_
