// Private to this room: the connections of one HttpServer, and what they share. Works on the loop. Not to
// be included elsewhere (Asio).
#ifndef DREAMGATE_SERVER_WEB_HTTP_CONNECTION_H_
#define DREAMGATE_SERVER_WEB_HTTP_CONNECTION_H_

#include <boost/asio/ip/tcp.hpp>
#include <list>
#include <memory>

#include "server/net/loop.h"
#include "server/web/http_server.h"

namespace dreamgate::web {

// Shared by its connections, so it outlives the HttpServer if the loop is stopped with some open.
class HttpConnections : public std::enable_shared_from_this<HttpConnections> {
 public:
  HttpConnections(net::Loop& loop, HttpOptions options, std::unique_ptr<HttpService> service);

  // Serves, or refuses; makes room if there is none.
  void AddOnLoop(boost::asio::ip::tcp::socket socket);
  // Closes all of them; the service is not called after that.
  void CloseOnLoop();

 private:
  friend class HttpConnection;
  // Of those that are open, in the order in which they came into the list.
  using List = std::list<HttpConnection*>;

  net::Loop& loop_;
  const HttpOptions options_;
  const std::unique_ptr<HttpService> service_;
  List waiting_;    // for a handshake or a whole request: the first one makes room for a newcomer
  List answering_;  // a whole request; never closed for another
  List leaving_;    // get their last answer, or have it; the first one makes room for another
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_HTTP_CONNECTION_H_
