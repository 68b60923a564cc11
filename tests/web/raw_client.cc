#include "tests/web/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace dreamgate::web {
namespace {
constexpr timeval kDeadline = {30, 0};
}  // namespace

RawClient::RawClient(uint16_t port, const std::string& literal)
    : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, literal.c_str(), &address.sin_addr);
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &kDeadline, sizeof kDeadline);
  connected_ = connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

RawClient::~RawClient() { close(socket_); }

bool RawClient::Send(const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t count = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

std::string RawClient::ReadUntil(const std::string& end) {
  char chunk[4096];
  while (end.empty() || received_.find(end) == std::string::npos) {
    const ssize_t count = recv(socket_, chunk, sizeof chunk, 0);
    if (count <= 0) {
      closed_by_server_ = count == 0 || errno == ECONNRESET;
      break;
    }
    received_.append(chunk, static_cast<size_t>(count));
  }
  return std::exchange(received_, "");
}

std::string RawClient::ReadAll() { return ReadUntil(""); }

std::string Exchange(uint16_t port, const std::string& request, const std::string& address) {
  RawClient client(port, address);
  if (!client.Send(request)) return "not sent";
  return client.ReadAll();
}

}  // namespace dreamgate::web
