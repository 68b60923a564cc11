// The simulator's HTTP/1.1 server, plain or TLS, with keep-alive: reads requests, asks the Backend what
// to do and does exactly that to the bytes. Lives in the io_context's single thread.
#ifndef DREAMGATE_TESTS_SIMULATOR_HTTP_SERVER_H_
#define DREAMGATE_TESTS_SIMULATOR_HTTP_SERVER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "tests/simulator/options.h"

namespace boost::asio {
class io_context;
}

namespace dreamgate::simulator {

class Backend;

class HttpServer {
 public:
  // Binds and listens on 127.0.0.1; nothing is accepted before Serve. Fails when the port is taken or
  // a PEM file cannot be read.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(boost::asio::io_context& context,
                                                            const Options& options);
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;
  // Once. `backend` outlives the running of the io_context.
  virtual void Serve(Backend& backend) = 0;

  // In the io_context's thread:
  virtual void CloseIdleConnections() = 0;  // FIN on those that are not in a request
  virtual void ResetConnections() = 0;      // RST on all
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_HTTP_SERVER_H_
