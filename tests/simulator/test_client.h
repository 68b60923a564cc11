// A small blocking HTTP client for the simulator's own tests. It sees what a careful client would hide:
// interim answers, resets, truncation. One thread at a time.
#ifndef DREAMGATE_TESTS_SIMULATOR_TEST_CLIENT_H_
#define DREAMGATE_TESTS_SIMULATOR_TEST_CLIENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "boost/json/value.hpp"

namespace dreamgate::simulator {

struct Reply {
  enum class End { kComplete, kClosed, kReset, kTimeout };
  End end = End::kTimeout;            // kClosed: also after a whole body that only closing ends
  int status = 0;                     // 0: no whole headers came
  std::vector<int> interim_statuses;  // 1xx
  std::map<std::string, std::string> headers;  // of the final answer, names in lower case
  std::string body;                            // as on the wire: chunks are not taken apart

  boost::json::value Json() const;
};

class TestClient {
 public:
  // Connects at once; with `tls` without verifying the peer.
  explicit TestClient(uint16_t port, bool tls = false);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // With the usual key and, for a body, content type, unless `headers` gives others; a header set to ""
  // is not sent. Waits `timeout_ms` for every further byte.
  Reply Send(const std::string& method, const std::string& target, const std::string& body = "",
             std::map<std::string, std::string> headers = {}, int timeout_ms = 10'000);
  Reply Get(const std::string& target) { return Send("GET", target); }
  Reply Post(const std::string& target, const std::string& body) {
    return Send("POST", target, body);
  }
  // Waits for the peer to end the connection, unasked.
  Reply::End WaitForEnd();
  void Write(const std::string& bytes);
  Reply Read(bool head = false, int timeout_ms = 10'000);

 private:
  struct Tls;
  // False: the connection ended or time ran out; says how in `end_`.
  bool ReadMore(int timeout_ms);

  int socket_ = -1;
  std::unique_ptr<Tls> tls_;
  std::string input_;
  bool reset_on_write_ = false;  // the kernel reports a reset once only
  Reply::End end_ = Reply::End::kTimeout;
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_TEST_CLIENT_H_
