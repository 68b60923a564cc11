#include "server/web/acceptor.h"

#include <boost/asio/ip/address.hpp>
#include <future>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/net/loop_asio.h"

namespace dreamgate::web {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
}  // namespace

Acceptor::Acceptor(net::Loop& loop) : loop_(loop), acceptor_(net::AsioContext(loop)) {}

absl::StatusOr<std::shared_ptr<Acceptor>> Acceptor::Bind(net::Loop& loop, const std::string& host,
                                                         uint16_t port) {
  ErrorCode error;
  const asio::ip::address address =
      asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("not an IP address: ", host));
  std::shared_ptr<Acceptor> result(new Acceptor(loop));
  tcp::acceptor& acceptor = result->acceptor_;
  const tcp::endpoint endpoint(address, port);
  acceptor.open(endpoint.protocol(), error);
  // A port whose last connections are in TIME_WAIT is free, one with a listener is not.
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return absl::UnavailableError(error.message());
  result->port_ = acceptor.local_endpoint().port();
  return result;
}

void Acceptor::ServeOnLoop(OnSocket on_socket) {
  on_socket_ = std::move(on_socket);
  AcceptOnLoop();
}

void Acceptor::AcceptOnLoop() {
  acceptor_.async_accept([self = shared_from_this()](const ErrorCode& error, tcp::socket socket) {
    if (self->closed_) return;
    if (error) {  // out of descriptors, most likely: there may be some again soon
      self->pause_ = self->loop_.After(kAcceptPause, [raw = self.get()] { raw->AcceptOnLoop(); });
      return;
    }
    self->on_socket_(std::move(socket));
    self->AcceptOnLoop();
  });
}

void Acceptor::CloseOnLoop() {
  closed_ = true;
  pause_.reset();
  ErrorCode ignored;
  acceptor_.close(ignored);
}

uint16_t Acceptor::port() const { return port_; }

void RunOnLoopAndWait(net::Loop& loop, absl::AnyInvocable<void()> work) {
  auto has_run = std::make_shared<std::promise<bool>>();  // the loop may be in set_value for longer
  auto ran = std::make_shared<bool>(false);
  // Notifies when the work has been run, or when a stopped loop throws it away.
  loop.Post([&work, ran, notify = absl::MakeCleanup([has_run, ran] { has_run->set_value(*ran); })] {
    work();
    *ran = true;
  });
  if (!has_run->get_future().get()) work();
}

}  // namespace dreamgate::web
