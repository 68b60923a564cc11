// Stands between clients and a server on loopback and breaks their connections at will. The server may
// come back at another port. Owned by a test; one thread of its own moves the bytes, every method may
// be called from any thread.
#ifndef DREAMGATE_TESTS_E2E_TCP_PROXY_H_
#define DREAMGATE_TESTS_E2E_TCP_PROXY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dreamgate::e2e {

class TcpProxy {
 public:
  TcpProxy();  // listens on a free port of 127.0.0.1
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  // Leads new connections to `port`. 0: closes them at once.
  void SetTarget(int port);
  // Breaks about `percent` of the connections, whatever they are doing: half with a reset, half with
  // an orderly close in the midst of what is being said. `seed` chooses.
  void Cut(int percent, uint64_t seed);
  size_t cuts() const;

 private:
  class Core;
  std::unique_ptr<Core> core_;
  const int port_;
};

}  // namespace dreamgate::e2e

#endif  // DREAMGATE_TESTS_E2E_TCP_PROXY_H_
