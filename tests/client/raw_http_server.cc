#include "tests/client/raw_http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace dreamgate::client {
namespace {

// A connection, in clear or under TLS.
class Connection {
 public:
  Connection(int socket, SSL_CTX* tls) : socket_(socket) {
    if (tls == nullptr) return;
    ssl_ = SSL_new(tls);
    SSL_set_fd(ssl_, socket_);
    open_ = SSL_accept(ssl_) == 1;
  }
  ~Connection() {
    if (ssl_ != nullptr) {
      if (open_) SSL_shutdown(ssl_);
      SSL_free(ssl_);
    }
    close(socket_);
  }

  // Up to and with the blank line; shorter if the peer closes before.
  std::string ReadHead() {
    std::string head;
    char byte = 0;
    while (open_ && head.find("\r\n\r\n") == std::string::npos && ReadByte(byte)) head += byte;
    return head;
  }

  void Write(const std::string& bytes) {
    size_t sent = 0;
    while (open_ && sent < bytes.size()) {
      const auto left = bytes.size() - sent;
      const auto count = ssl_ != nullptr
                             ? SSL_write(ssl_, bytes.data() + sent, static_cast<int>(left))
                             : send(socket_, bytes.data() + sent, left, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<size_t>(count);
    }
  }

  void WaitForClose() {
    char byte = 0;
    while (open_ && ReadByte(byte)) continue;
  }

 private:
  bool ReadByte(char& byte) {
    return (ssl_ != nullptr ? SSL_read(ssl_, &byte, 1) : recv(socket_, &byte, 1, 0)) == 1;
  }

  const int socket_;
  SSL* ssl_ = nullptr;
  bool open_ = true;
};

}  // namespace

struct TestCertificate::Pair {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
};

TestCertificate::TestCertificate() : pair_(std::make_unique<Pair>()) {
  X509* certificate = pair_->certificate;
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, pair_->key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(certificate, names, -1);
  X509_EXTENSION_free(names);
  X509_sign(certificate, pair_->key, EVP_sha256());
  SSL_CTX_use_certificate(pair_->context, certificate);
  SSL_CTX_use_PrivateKey(pair_->context, pair_->key);

  std::string path = "/tmp/dreamgate-certificate-XXXXXX";
  const int descriptor = mkstemp(path.data());
  std::FILE* file = fdopen(descriptor, "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  file_ = path;
}

TestCertificate::~TestCertificate() {
  unlink(file_.c_str());
  SSL_CTX_free(pair_->context);
  X509_free(pair_->certificate);
  EVP_PKEY_free(pair_->key);
}

RawHttpServer::RawHttpServer(const TestCertificate* certificate) : certificate_(certificate) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
  listen(listener_, 16);
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

RawHttpServer::~RawHttpServer() {
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  for (std::thread& connection : connections_) connection.join();
}

std::string RawHttpServer::Url(const std::string& path, const std::string& host) const {
  return (certificate_ != nullptr ? "https://" : "http://") + host + ":" + std::to_string(port_) +
         path;
}

void RawHttpServer::Then(Script script) {
  const std::lock_guard lock(mutex_);
  steps_.push_back({std::move(script)});
}

void RawHttpServer::Then(std::string answer) {
  Then([answer = std::move(answer)](const std::string&) { return answer; });
}

void RawHttpServer::ThenHold(std::string answer) {
  const std::lock_guard lock(mutex_);
  steps_.push_back({[answer = std::move(answer)](const std::string&) { return answer; }, true});
}

std::vector<std::string> RawHttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void RawHttpServer::Accept() {
  while (true) {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) return;
    connections_.emplace_back([this, connection] { Serve(connection); });
  }
}

void RawHttpServer::Serve(int socket) {
  Connection connection(socket, certificate_ != nullptr ? certificate_->pair_->context : nullptr);
  const std::string request = connection.ReadHead();
  if (request.empty()) return;
  const Step step = NextStep(request);
  connection.Write(step.script(request));
  if (step.hold) connection.WaitForClose();
}

RawHttpServer::Step RawHttpServer::NextStep(const std::string& request) {
  const std::lock_guard lock(mutex_);
  requests_.push_back(request);
  if (steps_.empty())
    return {
        [](const std::string&) { return "HTTP/1.1 501 No Script\r\nContent-Length: 0\r\n\r\n"; }};
  Step step = steps_.front();
  if (steps_.size() > 1) steps_.pop_front();
  return step;
}

std::string OkAnswer(const std::string& body, const std::string& headers) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers +
         "\r\n" + body;
}

std::string RedirectTo(const std::string& location) {
  return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + "\r\n\r\n";
}

}  // namespace dreamgate::client
