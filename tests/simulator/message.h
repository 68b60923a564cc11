// One HTTP exchange as plain values: the request as it was read, the answer as the API means it, and
// the exact bytes and timing with which it goes out. No sockets, so faults are made by editing values.
#ifndef DREAMGATE_TESTS_SIMULATOR_MESSAGE_H_
#define DREAMGATE_TESTS_SIMULATOR_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace dreamgate::simulator {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  uint64_t connection = 0;  // counts accepted connections from 1
  std::string method;
  std::string target;  // path and query as sent
  Headers headers;     // names in lower case, in the order sent
  std::string body;
  bool keep_alive = true;

  std::string Path() const;                           // target without the query
  std::string Query(const std::string& name) const;   // URL-decoded; empty: absent
  const std::string& Header(const char* name) const;  // by lower-case name; empty: absent
};

struct Answer {
  int status = 200;
  std::string content_type = "application/json";  // empty: no such header
  Headers headers;
  std::string body;
  // When set, this part of it is sent instead of `body`, without a copy.
  std::shared_ptr<const std::string> file;
  std::size_t file_offset = 0;
  std::size_t file_length = 0;
};

// The connection's plan for one request.
struct WirePlan {
  enum class End {
    kKeepAlive,
    kClose,  // orderly, with close_notify under TLS
    kDrop,   // FIN without close_notify
    kReset,  // RST
    kHang,   // stays open, silent, until the peer goes away
  };
  absl::Duration delay;  // before the first byte
  std::string bytes;
  std::shared_ptr<const std::string> file;  // follows `bytes`
  std::size_t file_offset = 0;
  std::size_t file_length = 0;
  std::size_t piece = 0;    // bytes written at a time; 0: all at once
  absl::Duration interval;  // between pieces
  End end = End::kKeepAlive;
};

// Ready for the wire, with Content-Length and Date. A HEAD request gets no body.
WirePlan PlainPlan(const Answer& answer, const Request& request, const std::string& date);
// Status line and headers up to and with the empty line. `framing` is a whole header line or empty.
std::string Head(const Answer& answer, const std::string& framing, const std::string& date,
                 bool keep_alive);

// An IMF-fixdate, as in the Date header.
std::string HttpDate(absl::Time time);
const char* ReasonPhrase(int status);
std::string PercentDecode(const std::string& text);

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_MESSAGE_H_
