// Private to this room: a listening TCP socket that hands its connections over one by one. Works on
// the loop; shared with the handler under way. Not to be included elsewhere (Asio).
#ifndef DREAMGATE_SERVER_WEB_ACCEPTOR_H_
#define DREAMGATE_SERVER_WEB_ACCEPTOR_H_

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/net/loop.h"

namespace dreamgate::web {

class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  using OnSocket = absl::AnyInvocable<void(boost::asio::ip::tcp::socket)>;

  // Binds and listens before it returns. `host` is an IP literal without brackets, or "localhost";
  // port 0: any free one. Unavailable if the address cannot be bound, InvalidArgument if it is none.
  // `loop` is borrowed.
  static absl::StatusOr<std::shared_ptr<Acceptor>> Bind(net::Loop& loop, const std::string& host,
                                                        uint16_t port);

  // `on_socket` must not own this.
  void ServeOnLoop(OnSocket on_socket);
  void CloseOnLoop();

  uint16_t port() const;  // as bound

 private:
  explicit Acceptor(net::Loop& loop);
  void AcceptOnLoop();

  net::Loop& loop_;
  boost::asio::ip::tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  OnSocket on_socket_;
  bool closed_ = false;
  std::unique_ptr<net::LoopTimer> pause_;
};

// Runs `work` on the loop and waits until it has; where the loop has been stopped, runs it here. Not to
// be called on the loop; the loop must run or have been stopped.
void RunOnLoopAndWait(net::Loop& loop, absl::AnyInvocable<void()> work);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_ACCEPTOR_H_
