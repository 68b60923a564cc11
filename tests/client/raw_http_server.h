// An HTTP or HTTPS server that sends exactly the bytes a test says, one script a connection. Sockets
// and OpenSSL only, so that it can break every rule. Serves on threads of its own.
#ifndef DREAMGATE_TESTS_CLIENT_RAW_HTTP_SERVER_H_
#define DREAMGATE_TESTS_CLIENT_RAW_HTTP_SERVER_H_

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dreamgate::client {

// A key and a self-signed certificate for the name "localhost".
class TestCertificate {
 public:
  TestCertificate();
  ~TestCertificate();
  const std::string& file() const { return file_; }  // PEM, for SSL_CERT_FILE

 private:
  friend class RawHttpServer;
  struct Pair;
  std::unique_ptr<Pair> pair_;
  std::string file_;
};

class RawHttpServer {
 public:
  // Given the request's head, the bytes to answer; then the connection is closed.
  using Script = std::function<std::string(const std::string& request)>;

  explicit RawHttpServer(const TestCertificate* certificate = nullptr);  // with one: HTTPS
  ~RawHttpServer();

  int port() const { return port_; }
  std::string Url(const std::string& path, const std::string& host = "127.0.0.1") const;

  // Scripts run in order; the last one goes on for ever.
  void Then(Script script);
  void Then(std::string answer);

  // Answers a request and then holds the connection until the peer has closed it.
  void ThenHold(std::string answer);

  std::vector<std::string> requests() const;

 private:
  struct Step {
    Script script;
    bool hold = false;
  };

  void Accept();
  void Serve(int socket);
  Step NextStep(const std::string& request);

  const TestCertificate* certificate_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::deque<Step> steps_;
  std::vector<std::string> requests_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

// "HTTP/1.1 200 OK" with `body`, its length and further `headers` (each ends with \r\n).
std::string OkAnswer(const std::string& body, const std::string& headers = "");
std::string RedirectTo(const std::string& location);

}  // namespace dreamgate::client

#endif  // DREAMGATE_TESTS_CLIENT_RAW_HTTP_SERVER_H_
