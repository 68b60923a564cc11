// A server that does to the wire exactly what a test says, byte by byte: each connection is handed
// to a script on a thread of its own. Plain or TLS, on 127.0.0.1. For what the simulator, which
// speaks correct HTTP, cannot do. Owned by the test.
#ifndef DREAMGATE_TESTS_NET_RAW_SERVER_H_
#define DREAMGATE_TESTS_NET_RAW_SERVER_H_

#include <openssl/ssl.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"

namespace dreamgate::net_test {

class RawServer;

// One accepted connection, as its script sees it.
class RawPeer {
 public:
  int number() const { return number_; }  // 0 for the server's first connection

  // The next whole request (header, and body by Content-Length); empty once the client has closed.
  std::string ReadRequest();
  // Reads one byte or more; false once the client has closed.
  bool ReadSome();
  // False if the client is gone.
  bool Write(absl::string_view bytes);
  // 200 with this JSON body and a Content-Length.
  bool Answer(absl::string_view body);
  // Ends the connection: orderly (FIN), or with RST and what was unread or unsent lost.
  void Close();
  void Reset();
  // Blocks until the client closes or the server is destroyed.
  void WaitForEnd();

 private:
  friend class RawServer;
  RawPeer(RawServer& server, int socket, int number)
      : server_(server), socket_(socket), number_(number) {}
  long Read(char* buffer, size_t size);

  RawServer& server_;
  const int socket_;
  const int number_;
  SSL* tls_ = nullptr;
  std::string buffered_;
};

class RawServer {
 public:
  using Script = std::function<void(RawPeer&)>;

  struct Tls {
    std::string chain_file, key_file;  // PEM
  };

  // When the script returns, the connection is closed. `address` is an IPv4 loopback address.
  explicit RawServer(Script script, Tls tls = {}, const char* address = "127.0.0.1");
  ~RawServer();  // ends all connections and joins their threads

  uint16_t port() const { return port_; }
  std::string Url() const;  // http(s)://127.0.0.1:port

  int Connections() const;
  std::vector<std::string> Requests() const;  // whole texts, in the order read
  // Requests whose text begins so.
  int Count(absl::string_view prefix) const;
  // Waits until so many were seen. False after a generous deadline.
  bool WaitForConnections(int count) const;
  bool WaitForRequests(int count) const;
  // Waits until so many connections were ended by the client.
  bool WaitForClientCloses(int count) const;
  // The SNI of the last handshake; empty if the client sent none.
  std::string LastServerName() const;

 private:
  friend class RawPeer;
  void AcceptAll();
  void Serve(int socket, int number);
  bool WaitUntil(const std::function<bool()>& reached) const;

  const Script script_;
  SSL_CTX* tls_ = nullptr;
  int listener_ = -1;
  uint16_t port_ = 0;

  mutable std::mutex mutex_;  // guards what follows, up to threads_
  mutable std::condition_variable changed_;
  int connections_ = 0;
  int client_closes_ = 0;
  bool stopping_ = false;
  std::string last_server_name_;
  std::vector<std::string> requests_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A loopback address that neither accepts nor refuses: its queue of connections is full, so SYNs
// are dropped.
class BlackHole {
 public:
  BlackHole(const char* address, uint16_t port);
  ~BlackHole();

 private:
  std::vector<int> sockets_;
};

// A loopback port that nobody listens on.
uint16_t UnusedPort();

}  // namespace dreamgate::net_test

#endif  // DREAMGATE_TESTS_NET_RAW_SERVER_H_
