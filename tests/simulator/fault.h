// Faults on the way to WaveSpeed: the requests that a fault meets, and its effect on them. FaultTable has
// no lock: the Backend owns it and guards it.
#ifndef DREAMGATE_TESTS_SIMULATOR_FAULT_H_
#define DREAMGATE_TESTS_SIMULATOR_FAULT_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/simulator/message.h"

namespace dreamgate::simulator {

// In JSON the name without its k, in snake case: "reset_after_request".
enum class FaultAction {
  kLatency,        // processed on arrival, answered after `delay`
  kResetOnAccept,  // RST as soon as a connection is accepted; matches connections, not requests
  kResetBeforeRequest,  // RST when only the headers were read; nothing is processed
  kResetAfterRequest,   // RST when the request was read, and processed if `create_task`
  kCloseMidBody,        // headers and half of the body, then FIN
  kSlowBytes,           // `bytes` at a time (default 1), `interval` apart
  kNotJson,             // `status` (default 200) with an HTML page
  kWrongContentType,    // the right body as `content_type` (default text/html)
  kHugeBody,            // the right body followed by `bytes` spaces: still JSON
  kRedirect,            // `status` (default 302) to `location`
  kStatus,              // `status` with `body`, `headers`; an empty body: a WaveSpeed error body
  kRateLimited,         // 429; `retry_after` verbatim unless empty
  kUnknownStatus,       // the right answer, but data.status is `text`
  kEnvelopeError,       // HTTP 200, envelope code `code` (default 500), message `text`, data null
  kNoId,                // HTTP 200, success, but no data.id
  kHang,                // never answers, keeps the connection open
  kInterimResponses,    // `count` times 100 and 103 before the right answer
  kHugeChunkExtension,  // the right body as one chunk whose extension has `bytes` bytes
  kCloseDelimited,      // the right body without a length, ended by an orderly close
  kRawResponse,         // `body` is everything that is sent, then an orderly close
};

struct Fault {
  // The requests it meets: all of these must hold; empty matches everything.
  std::string method = {};
  std::string path_prefix = {};    // of the target
  std::string task_id = {};        // somewhere in the target
  std::string body_contains = {};  // for example a prompt; never true for kResetBeforeRequest
  int skip = 0;                    // lets this many matching ones pass first
  int times = 1;                   // then strikes this often; -1: for ever
  double probability = 1.0;        // of striking each matching one
  uint64_t seed = 1;               // of that chance

  FaultAction action = FaultAction::kStatus;
  // Whether the request takes effect (a submit creates, and bills, a task) before its answer is lost
  // or replaced. Actions described as "the right body" or "answer" always process it.
  bool create_task = false;
  absl::Duration delay = {};  // before the answer, with any action
  int status = 0;             // 0: the action's default
  int code = 0;
  int count = 1;
  std::size_t bytes = 0;
  absl::Duration interval = absl::Milliseconds(1);
  std::string body = {};
  std::string content_type = {};
  std::string location = {};
  std::string retry_after = {};  // seconds or an HTTP date
  std::string text = {};
  Headers headers = {};

  // Whether the API handles the request at all.
  bool Processes() const;
};

// At which moment of a connection a fault strikes.
enum class FaultMoment { kAccept, kHeaders, kRequest };

class FaultTable {
 public:
  // Returns a number by which Hits() knows it.
  int Add(Fault fault);
  // Hit counts survive.
  void Clear();
  // The first fault that strikes now, if any. Counts as one hit.
  std::optional<Fault> Strike(FaultMoment moment, const Request& request);
  int Hits(int number) const;

 private:
  struct Entry {
    int number;
    Fault fault;
    std::mt19937_64 random;
  };
  std::list<Entry> entries_;
  std::vector<int> hits_;  // by number
};

// `answer` is what the API said, or would say by default if it did not process the request.
WirePlan FaultyPlan(const Fault& fault, Answer answer, const Request& request, absl::Time now);
// The status the peer sees, 0 for none.
int SeenStatus(const Fault& fault, const Answer& answer);

// A JSON object with the fields of Fault by their names; durations like "250ms"; headers an object.
// Unknown fields are refused.
absl::StatusOr<Fault> FaultFromJson(const std::string& text);
std::vector<std::string> FaultActionNames();  // as JSON names them

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_FAULT_H_
