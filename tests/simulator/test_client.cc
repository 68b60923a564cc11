#include "tests/simulator/test_client.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"

namespace dreamgate::simulator {

struct TestClient::Tls {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL* session = SSL_new(context);
  ~Tls() {
    SSL_free(session);
    SSL_CTX_free(context);
  }
};

boost::json::value Reply::Json() const {
  boost::system::error_code error;
  return boost::json::parse(body, error);
}

TestClient::TestClient(uint16_t port, bool tls) {
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return;
  if (!tls) return;
  tls_ = std::make_unique<Tls>();
  SSL_set_fd(tls_->session, socket_);
  SSL_connect(tls_->session);
}

TestClient::~TestClient() {
  tls_.reset();
  ::close(socket_);
}

void TestClient::Write(const std::string& bytes) {
  if (tls_) {
    SSL_write(tls_->session, bytes.data(), static_cast<int>(bytes.size()));
  } else {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == ECONNRESET || errno == EPIPE)) reset_on_write_ = true;
  }
}

bool TestClient::ReadMore(int timeout_ms) {
  char bytes[16 * 1024];
  pollfd waiting{socket_, POLLIN, 0};
  if (!(tls_ && SSL_pending(tls_->session) > 0) && ::poll(&waiting, 1, timeout_ms) <= 0) {
    end_ = Reply::End::kTimeout;
    return false;
  }
  const ssize_t count = tls_ ? SSL_read(tls_->session, bytes, sizeof(bytes))
                             : ::recv(socket_, bytes, sizeof(bytes), 0);
  if (count > 0) {
    input_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }
  const bool reset = reset_on_write_ || (count < 0 && errno == ECONNRESET);
  end_ = reset ? Reply::End::kReset : Reply::End::kClosed;
  return false;
}

Reply TestClient::Read(bool head, int timeout_ms) {
  Reply reply;
  while (true) {
    std::size_t end = 0;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
      if (!ReadMore(timeout_ms)) {
        reply.end = end_;
        reply.body = input_;
        return reply;
      }
    }
    reply.status = std::atoi(input_.c_str() + 9);
    std::size_t at = input_.find("\r\n");
    while (at < end) {
      const std::size_t next = input_.find("\r\n", at + 2);
      const std::string line = input_.substr(at + 2, next - at - 2);
      const std::size_t colon = line.find(':');
      reply.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
          std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
      at = next;
    }
    input_.erase(0, end + 4);
    if (reply.status >= 200) break;
    reply.interim_statuses.push_back(reply.status);
    reply.headers.clear();
  }
  const bool sized = reply.headers.count("content-length") != 0;
  const bool chunked = reply.headers.count("transfer-encoding") != 0;
  const std::size_t length =
      sized && !head ? static_cast<std::size_t>(std::atoll(reply.headers["content-length"].c_str()))
                     : 0;
  const auto complete = [&] {
    if (chunked) return absl::EndsWith(input_, "\r\n0\r\n\r\n");
    return (sized || head) && input_.size() >= length;
  };
  while (!complete()) {
    if (!ReadMore(timeout_ms)) {
      reply.end = end_;
      reply.body = std::exchange(input_, "");
      return reply;
    }
  }
  reply.end = Reply::End::kComplete;
  reply.body = chunked ? input_ : input_.substr(0, length);
  input_.erase(0, reply.body.size());
  return reply;
}

Reply TestClient::Send(const std::string& method, const std::string& target,
                       const std::string& body, std::map<std::string, std::string> headers,
                       int timeout_ms) {
  headers.emplace("Authorization", "Bearer simulator-key");
  if (!body.empty()) headers.emplace("Content-Type", "application/json");
  std::string bytes = absl::StrCat(method, " ", target, " HTTP/1.1\r\nHost: 127.0.0.1\r\n");
  for (const auto& [name, value] : headers) {
    if (!value.empty()) absl::StrAppend(&bytes, name, ": ", value, "\r\n");
  }
  absl::StrAppend(&bytes, "Content-Length: ", body.size(), "\r\n\r\n", body);
  Write(bytes);
  return Read(method == "HEAD", timeout_ms);
}

Reply::End TestClient::WaitForEnd() {
  while (ReadMore(10'000)) {}
  return end_;
}

}  // namespace dreamgate::simulator
