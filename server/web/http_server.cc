#include "server/web/http_server.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <future>

#include "absl/cleanup/cleanup.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/net/loop_asio.h"
#include "server/web/http_connection.h"

namespace dreamgate::web {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

// Where the loop has been stopped, runs `work` here.
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

}  // namespace

// Shared with the handler under way, so it outlives the HttpServer if the loop is stopped.
struct HttpServer::Listener : std::enable_shared_from_this<HttpServer::Listener> {
  Listener(net::Loop& on_loop, HttpOptions options, std::unique_ptr<HttpService> service)
      : loop(on_loop),
        acceptor(net::AsioContext(on_loop)),
        connections(
            std::make_shared<HttpConnections>(on_loop, std::move(options), std::move(service))) {}

  absl::Status Bind(const HttpOptions& options) {
    ErrorCode error;
    const asio::ip::address address =
        asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
    if (error) return absl::InvalidArgumentError(absl::StrCat("not an IP address: ", options.host));
    const tcp::endpoint endpoint(address, options.port);
    acceptor.open(endpoint.protocol(), error);
    // A port whose last connections are in TIME_WAIT is free, one with a listener is not.
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return absl::UnavailableError(error.message());
    port = acceptor.local_endpoint().port();
    return absl::OkStatus();
  }

  void AcceptOnLoop() {
    acceptor.async_accept([self = shared_from_this()](const ErrorCode& error, tcp::socket socket) {
      if (self->closed) return;
      if (error) {  // out of descriptors, most likely: there may be some again soon
        self->pause = self->loop.After(kAcceptPause, [raw = self.get()] { raw->AcceptOnLoop(); });
        return;
      }
      self->connections->AddOnLoop(std::move(socket));
      self->AcceptOnLoop();
    });
  }

  void CloseOnLoop() {
    closed = true;
    pause.reset();
    ErrorCode ignored;
    acceptor.close(ignored);
    connections->CloseOnLoop();
  }

  net::Loop& loop;
  tcp::acceptor acceptor;
  uint16_t port = 0;
  bool closed = false;
  std::unique_ptr<net::LoopTimer> pause;
  const std::shared_ptr<HttpConnections> connections;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    net::Loop& loop, HttpOptions options, std::unique_ptr<HttpService> service) {
  auto listener = std::make_shared<Listener>(loop, options, std::move(service));
  if (absl::Status status = listener->Bind(options); !status.ok()) return status;
  loop.Post([listener] { listener->AcceptOnLoop(); });
  return std::unique_ptr<HttpServer>(new HttpServer(loop, std::move(listener)));
}

HttpServer::HttpServer(net::Loop& loop, std::shared_ptr<Listener> listener)
    : loop_(loop), listener_(std::move(listener)) {}

HttpServer::~HttpServer() {
  RunOnLoopAndWait(loop_, [listener = listener_] { listener->CloseOnLoop(); });
}

uint16_t HttpServer::port() const { return listener_->port; }

}  // namespace dreamgate::web
