// Counts what the core says has happened.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_EVENTS_H_
#define DREAMGATE_TESTS_FAKES_FAKE_EVENTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/core/ports.h"

namespace dreamgate::fakes {

class FakeEvents final : public core::Events {
 public:
  void Log(core::LogLevel level, absl::string_view message, const core::LogFields&) override {
    if (level == core::LogLevel::kError) errors.emplace_back(message);
  }
  void SubmissionFinished(absl::string_view outcome, absl::Duration) override {
    ++submissions[std::string(outcome)];
  }
  void ObservationDropped(absl::string_view why) override { ++dropped[std::string(why)]; }
  void PredictionsInFlight(int64_t count) override { predictions_in_flight = count; }
  void CircuitChanged(absl::string_view call, bool open) override {
    circuit_open[std::string(call)] = open;
    if (open) ++circuit_openings[std::string(call)];
  }
  void OrphanRecorded() override { ++orphans; }
  void Reconciled(absl::string_view evidence) override { ++reconciled[std::string(evidence)]; }
  void PredictionsUnresolved(int64_t count) override { predictions_unresolved = count; }

  std::vector<std::string> errors;  // messages logged as errors
  std::map<std::string, int> submissions;
  std::map<std::string, int> dropped;
  std::map<std::string, int> reconciled;
  std::map<std::string, bool> circuit_open;
  std::map<std::string, int> circuit_openings;
  int64_t predictions_in_flight = 0;
  int64_t predictions_unresolved = 0;
  int orphans = 0;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_EVENTS_H_
