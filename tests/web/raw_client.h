// A client that sends exactly the bytes it is told to and shows exactly what comes back: blocking POSIX
// sockets, one connection each, to this machine only. Every wait ends after a generous deadline.
#ifndef DREAMGATE_TESTS_WEB_RAW_CLIENT_H_
#define DREAMGATE_TESTS_WEB_RAW_CLIENT_H_

#include <cstdint>
#include <string>

namespace dreamgate::web {

class RawClient {
 public:
  // `address` is an IPv4 literal of this machine.
  explicit RawClient(uint16_t port, const std::string& address = "127.0.0.1");
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }

  // False once the server has closed.
  bool Send(const std::string& bytes);
  // Whatever comes until it contains `end`, or until the server closes.
  std::string ReadUntil(const std::string& end);
  // Whatever comes until the server closes.
  std::string ReadAll();
  // Whether the server closed, seen by the last read (and not the deadline).
  bool closed_by_server() const { return closed_by_server_; }

 private:
  int socket_ = -1;
  bool connected_ = false;
  bool closed_by_server_ = false;
  std::string received_;
};

// One request on a connection of its own; everything the server answered.
std::string Exchange(uint16_t port, const std::string& request,
                     const std::string& address = "127.0.0.1");

}  // namespace dreamgate::web

#endif  // DREAMGATE_TESTS_WEB_RAW_CLIENT_H_
