#include "tests/net/raw_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::net_test {

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "test server: " << what << "\n";
  std::abort();
}

sockaddr_in Endpoint(const char* address, uint16_t port) {
  sockaddr_in endpoint{};
  endpoint.sin_family = AF_INET;
  endpoint.sin_port = htons(port);
  Require(inet_pton(AF_INET, address, &endpoint.sin_addr) == 1, "bad address");
  return endpoint;
}

int Listen(const char* address, uint16_t port, int backlog) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const sockaddr_in endpoint = Endpoint(address, port);
  Require(bind(socket, reinterpret_cast<const sockaddr*>(&endpoint), sizeof(endpoint)) == 0,
          "bind");
  Require(listen(socket, backlog) == 0, "listen");
  return socket;
}

uint16_t PortOf(int socket) {
  sockaddr_in endpoint{};
  socklen_t size = sizeof(endpoint);
  Require(getsockname(socket, reinterpret_cast<sockaddr*>(&endpoint), &size) == 0, "getsockname");
  return ntohs(endpoint.sin_port);
}

size_t ContentLength(absl::string_view header) {
  const std::string lower = absl::AsciiStrToLower(header);
  const size_t at = lower.find("content-length:");
  if (at == std::string::npos) return 0;
  const size_t end = lower.find("\r\n", at);
  size_t length = 0;
  Require(absl::SimpleAtoi(lower.substr(at + 15, end - at - 15), &length), "Content-Length");
  return length;
}

}  // namespace

long RawPeer::Read(char* buffer, size_t size) {
  if (tls_ != nullptr) return SSL_read(tls_, buffer, static_cast<int>(size));
  return recv(socket_, buffer, size, 0);
}

bool RawPeer::ReadSome() {
  char buffer[16384];
  const long got = Read(buffer, sizeof(buffer));
  if (got > 0) {
    buffered_.append(buffer, static_cast<size_t>(got));
    return true;
  }
  const std::lock_guard<std::mutex> lock(server_.mutex_);
  if (!server_.stopping_) ++server_.client_closes_;
  server_.changed_.notify_all();
  return false;
}

std::string RawPeer::ReadRequest() {
  while (true) {
    const size_t header = buffered_.find("\r\n\r\n");
    if (header != std::string::npos) {
      const size_t size = header + 4 + ContentLength(buffered_.substr(0, header + 2));
      if (buffered_.size() >= size) {
        std::string request = buffered_.substr(0, size);
        buffered_.erase(0, size);
        const std::lock_guard<std::mutex> lock(server_.mutex_);
        server_.requests_.push_back(request);
        server_.changed_.notify_all();
        return request;
      }
    }
    if (!ReadSome()) return "";
  }
}

bool RawPeer::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const long wrote = tls_ != nullptr
                           ? SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()))
                           : send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (wrote <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

bool RawPeer::Answer(absl::string_view body) {
  return Write(absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ",
                            body.size(), "\r\n\r\n", body));
}

void RawPeer::Close() {
  if (tls_ != nullptr) SSL_shutdown(tls_);
  shutdown(socket_, SHUT_WR);
}

void RawPeer::Reset() {
  const linger abort{1, 0};
  setsockopt(socket_, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
  // Disconnecting an established socket sends RST now; the descriptor is closed with the script.
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  connect(socket_, &unspecified, sizeof(unspecified));
}

void RawPeer::WaitForEnd() {
  while (ReadSome()) {}
}

RawServer::RawServer(Script script, Tls tls, const char* address) : script_(std::move(script)) {
  if (!tls.chain_file.empty()) {
    tls_ = SSL_CTX_new(TLS_server_method());
    Require(SSL_CTX_use_certificate_chain_file(tls_, tls.chain_file.c_str()) == 1, "certificate");
    Require(SSL_CTX_use_PrivateKey_file(tls_, tls.key_file.c_str(), SSL_FILETYPE_PEM) == 1, "key");
  }
  listener_ = Listen(address, 0, 128);
  port_ = PortOf(listener_);
  acceptor_ = std::thread([this] { AcceptAll(); });
}

RawServer::~RawServer() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (int socket : sockets_) shutdown(socket, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);  // wakes accept
  acceptor_.join();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
  for (int socket : sockets_) close(socket);
  close(listener_);
  if (tls_ != nullptr) SSL_CTX_free(tls_);
}

void RawServer::AcceptAll() {
  while (true) {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) {
      close(socket);
      return;
    }
    sockets_.push_back(socket);
    const int number = connections_++;
    changed_.notify_all();
    threads_.emplace_back([this, socket, number] { Serve(socket, number); });
  }
}

void RawServer::Serve(int socket, int number) {
  // OpenSSL writes alerts without MSG_NOSIGNAL.
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);

  RawPeer peer(*this, socket, number);
  bool ready = true;
  if (tls_ != nullptr) {
    peer.tls_ = SSL_new(tls_);
    SSL_set_fd(peer.tls_, socket);
    ready = SSL_accept(peer.tls_) == 1;
    const char* name = SSL_get_servername(peer.tls_, TLSEXT_NAMETYPE_host_name);
    const std::lock_guard<std::mutex> lock(mutex_);
    last_server_name_ = name == nullptr ? "" : name;
  }
  if (ready) script_(peer);
  ERR_clear_error();
  if (peer.tls_ != nullptr) SSL_free(peer.tls_);
  // FIN now; the descriptor itself lives until the destructor, so that its number is not reused.
  shutdown(socket, SHUT_RDWR);
}

std::string RawServer::Url() const {
  return absl::StrCat(tls_ == nullptr ? "http" : "https", "://127.0.0.1:", port_);
}

int RawServer::Connections() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return connections_;
}

std::vector<std::string> RawServer::Requests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

int RawServer::Count(absl::string_view prefix) const {
  int count = 0;
  for (const std::string& request : Requests()) count += absl::StartsWith(request, prefix) ? 1 : 0;
  return count;
}

bool RawServer::WaitUntil(const std::function<bool()>& reached) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(60), reached);
}

bool RawServer::WaitForConnections(int count) const {
  return WaitUntil([this, count] { return connections_ >= count; });
}

bool RawServer::WaitForRequests(int count) const {
  return WaitUntil([this, count] { return static_cast<int>(requests_.size()) >= count; });
}

bool RawServer::WaitForClientCloses(int count) const {
  return WaitUntil([this, count] { return client_closes_ >= count; });
}

std::string RawServer::LastServerName() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_server_name_;
}

BlackHole::BlackHole(const char* address, uint16_t port) {
  sockets_.push_back(Listen(address, port, 0));
  // A queue of length 0 holds one connection; the second fills the room for half-open ones. From
  // then on the kernel drops SYNs: the first attempt that hangs proves it.
  const sockaddr_in endpoint = Endpoint(address, port);
  for (int attempt = 0; attempt < 16; ++attempt) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockets_.push_back(socket);
    const int result =
        connect(socket, reinterpret_cast<const sockaddr*>(&endpoint), sizeof(endpoint));
    Require(result == 0 || errno == EINPROGRESS, "connect");
    pollfd writable{socket, POLLOUT, 0};
    if (poll(&writable, 1, 100) == 0) return;
  }
  Require(false, "the queue of connections never fills");
}

BlackHole::~BlackHole() {
  for (int socket : sockets_) close(socket);
}

uint16_t UnusedPort() {
  const int socket = Listen("127.0.0.1", 0, 1);
  const uint16_t port = PortOf(socket);
  close(socket);
  return port;
}

}  // namespace dreamgate::net_test
