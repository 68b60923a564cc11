// Checks the watch guarantees of the contract on the sequences and states one stream showed. Every
// test that watches feeds it.
#ifndef DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_
#define DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/core/prediction.h"

namespace dreamgate::fakes {

struct SeenUpdate {
  int64_t sequence = 0;
  core::State state = core::State::kQueued;
};

class WatchValidator {
 public:
  // `after_sequence` as it was asked for; unset: from the current state on.
  explicit WatchValidator(std::optional<int64_t> after_sequence = std::nullopt)
      : last_sequence_(after_sequence) {}

  void OnUpdate(int64_t sequence, core::State state);
  // `ok`: the stream ended with OK.
  void OnEnd(bool ok);

  std::optional<int64_t> last_sequence() const { return last_sequence_; }
  const std::vector<SeenUpdate>& seen() const { return seen_; }
  // What was violated, one line each; empty: all guarantees held.
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  std::optional<int64_t> last_sequence_;
  std::vector<SeenUpdate> seen_;
  bool terminal_seen_ = false;
  bool ended_ok_ = false;
  std::vector<std::string> violations_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_
