// A watch that survives: every transition of one prediction, each exactly once and in order, until the
// terminal one, across broken connections, draining servers and dead streams. Made by VideoClient,
// owned by the caller. One thread at a time calls Next(); Cancel() may be called from any thread.
#ifndef DREAMGATE_CLIENT_WATCH_H_
#define DREAMGATE_CLIENT_WATCH_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <variant>

#include "dreamgate/client/retry_policy.h"
#include "dreamgate/v1/video_service.pb.h"

namespace dreamgate::client {

struct WatchOptions {
  // Unset: begin with the current state. n: every transition after n; 0 replays all.
  std::optional<int64_t> after_sequence{};

  // How often the server shall give a sign of life; it clamps this to 5 .. 25 s. Unset: 15 s.
  std::optional<std::chrono::nanoseconds> heartbeat_interval{};

  // A stream silent for 2.5 heartbeat intervals and this is dead and is resumed.
  std::chrono::nanoseconds heartbeat_slack = std::chrono::seconds(5);

  // Ends the watch with DEADLINE_EXCEEDED this long after it began. Unset: never.
  std::optional<std::chrono::nanoseconds> timeout{};

  // Ends the watch with the last error when nothing was received for this long. Unset: resumes for ever.
  std::optional<std::chrono::nanoseconds> give_up_after{};

  // Ends the watch with DATA_LOSS after so many streams in a row that broke the contract (skipped a
  // sequence, or ended with OK before the terminal state).
  int max_contract_breaches = 10;

  BackoffPolicy backoff{};

  // Same as Cancel().
  std::stop_token stop{};
};

// The stream was lost, or the server asked for it. The next call of Next() waits and resumes.
struct Resumption {
  grpc::Status cause{};                     // OK: the server is leaving and asked to come back
  std::chrono::nanoseconds delay{};         // before the next attempt
  std::optional<int64_t> after_sequence{};  // where it will resume
  bool rewound = false;                     // the server knows less than was seen (restored from a
                                            // backup): sequences start again lower
};

// A transition, a sign of life, or news about the connection.
using WatchEvent = std::variant<v1::Prediction, v1::Heartbeat, Resumption>;

class Watch {
 public:
  class Core;  // internal
  explicit Watch(std::unique_ptr<Core> core);
  ~Watch();  // cancels; the video goes on
  Watch(Watch&&) noexcept;

  // Blocks until the next event. Unset: the watch is over, see status().
  std::optional<WatchEvent> Next();

  // Blocks until the next transition, skipping everything else.
  std::optional<v1::Prediction> NextUpdate();

  // Makes Next() return unset with CANCELLED soon. From any thread, also before or after Next().
  void Cancel();

  // Once Next() has returned unset. OK: the terminal state has been reached.
  const grpc::Status& status() const;

  // The sequence of the last update, or after_sequence before the first. Where to resume later.
  std::optional<int64_t> last_sequence() const;

 private:
  std::unique_ptr<Core> core_;
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_WATCH_H_
