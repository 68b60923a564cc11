// Checks the watch guarantees of the contract on whole updates, as streams show them. Every test that
// watches feeds it: one validator for each stream, or for a watcher that resumes at its last position,
// entered by one thread at a time; and what all streams of a world have shown, which any thread may enter.
#ifndef DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_
#define DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/core/prediction.h"

namespace dreamgate::fakes {

// One update as a stream showed it.
struct SeenUpdate {
  std::string prediction_id;
  int64_t sequence = 0;
  core::State state = core::State::kQueued;
  std::map<int64_t, core::State> history;  // by sequence
  // All of it as text, but for recovered_outputs: these may change without a transition.
  std::string content;
};

SeenUpdate Seen(const core::Prediction& update);

// The updates that all streams of a world have shown.
class ShownUpdates {
 public:
  // 0: nothing yet.
  int64_t LastSequence(const std::string& prediction_id) const;
  // Notes the update. Returns as what it was shown first: the update itself, or another one.
  SeenUpdate FirstShown(const SeenUpdate& update);
  // The transitions that were shown and that the history of `now` does not have; a line each.
  std::vector<std::string> MissingFrom(const SeenUpdate& now) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::map<int64_t, SeenUpdate>> shown_;  // by prediction and sequence
};

class WatchValidator {
 public:
  // `after_sequence` as it was asked for; unset: from the current state on.
  explicit WatchValidator(std::optional<int64_t> after_sequence = std::nullopt)
      : position_(after_sequence) {}

  // Holds the stream against all others. Called before it begins; `shown` outlives the validator.
  void CompareWith(ShownUpdates& shown, const std::string& prediction_id);

  void OnUpdate(const SeenUpdate& update);
  // `ok`: the stream ended with OK. After another end the watcher may resume after its last update.
  void OnEnd(bool ok);

  // The position to resume after.
  std::optional<int64_t> last_sequence() const;
  const std::vector<SeenUpdate>& seen() const { return seen_; }
  // The violations, one line each, which begins with the guarantee; empty: all guarantees held.
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  // The guarantees. Each is asked about an update before it is added to those seen.
  void Unique(const SeenUpdate& update);
  void Ordered(const SeenUpdate& update);
  void Reliable(const SeenUpdate& update);
  void Resumable(const SeenUpdate& update);
  void Durable(const SeenUpdate& update);
  void Legal(const SeenUpdate& update);
  void TerminalOnce(const SeenUpdate& update);
  // ... and about the end.
  void OkMeansTerminal();
  void ResumableAtTheEnd();

  void Violate(absl::string_view guarantee, absl::string_view how);
  bool TerminalSeen() const;

  std::optional<int64_t> position_;  // after which the present stream began
  bool begun_ = false;               // the present stream has shown an update
  bool ended_ok_ = false;
  std::vector<SeenUpdate> seen_;
  std::vector<std::string> violations_;

  ShownUpdates* shown_ = nullptr;
  std::string prediction_id_;
  int64_t shown_before_ = 0;  // the last sequence that any stream had shown before this one began
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_WATCH_VALIDATOR_H_
