// Every request the simulator read, and exact counters. No lock: the Backend owns it and guards it.
#ifndef DREAMGATE_TESTS_SIMULATOR_REQUEST_LOG_H_
#define DREAMGATE_TESTS_SIMULATOR_REQUEST_LOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/simulator/message.h"

namespace dreamgate::simulator {

struct LoggedRequest {
  std::string method;
  std::string target;
  Headers headers;  // names in lower case
  std::string body;
  std::string authorization;
  absl::Time time;          // when it was read
  uint64_t connection = 0;  // equal for requests on one connection
  int status = 0;           // answered, or about to be; 0: none
  bool faulted = false;
};

class RequestLog {
 public:
  explicit RequestLog(std::size_t limit) : limit_(limit) {}

  void Add(LoggedRequest request);
  std::vector<LoggedRequest> Entries() const { return {entries_.begin(), entries_.end()}; }

  // An empty method counts all. The prefix is of the path, without the query.
  std::size_t Count(const std::string& method, const std::string& path_prefix) const;
  // By "METHOD path", ids replaced by {id}.
  const std::map<std::string, std::size_t>& by_route() const { return by_route_; }

 private:
  const std::size_t limit_;
  std::deque<LoggedRequest> entries_;
  std::map<std::string, std::map<std::string, std::size_t>> counts_;  // method, then path
  std::map<std::string, std::size_t> by_route_;
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_REQUEST_LOG_H_
