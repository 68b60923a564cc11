// What the gateway promises, checked on everything the outside world sees of it: POSTs and tasks on
// one side, answers, Gets, lists and watch streams on the other, across all crashes. Knows nothing of
// how the gateway works. Owned by Simulation; each promise is one function whose message names it.
#ifndef DREAMGATE_TESTS_SIMULATION_INVARIANTS_H_
#define DREAMGATE_TESTS_SIMULATION_INVARIANTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/gateway.h"
#include "server/core/ports.h"
#include "tests/simulation/model_upstream.h"
#include "tests/simulation/trace.h"

namespace dreamgate::simulation {

// Tenant and request_id.
using RequestKey = std::pair<std::string, std::string>;
// Tenant and prediction id.
using PredictionKey = std::pair<std::string, std::string>;

// One call of Submit.
struct SubmitCall {
  RequestKey request;
  core::VideoInput input;
  int answers = 0;
  bool cancelled = false;      // its caller has gone away
  bool process_ended = false;  // nobody owes it an answer any more
};

class Invariants {
 public:
  explicit Invariants(Trace& trace) : trace_(trace) {}

  // Every prompt belongs to one request_id.
  void Introduce(const RequestKey& request, const core::VideoInput& input);

  // Upstream's side.
  void OnPost(int64_t number, const core::CreateTaskRequest& request);
  void OnPostAnswered(int64_t number, Heard heard, int http_status);
  void OnTaskCreated(int64_t post, const ModelTask& task);

  // The callers' side.
  void OnCall(const SubmitCall& call);
  void OnAnswer(SubmitCall& call, const absl::StatusOr<core::SubmitAnswer>& answer);
  // Whoever saw it and wherever: an answer, a Get, a list, an update on a stream.
  void OnShown(const core::Prediction& prediction, absl::string_view where);
  // The highest sequence shown of it so far; 0: none.
  int64_t ShownSequence(const PredictionKey& key) const;
  // `least`: ShownSequence when the Get began.
  void OnGot(const PredictionKey& key, int64_t least,
             const absl::StatusOr<std::shared_ptr<const core::Prediction>>& got);
  // `visible`: what had been shown beyond SUBMITTING when the list began.
  void OnListed(const std::string& tenant, const std::set<std::string>& visible,
                const absl::StatusOr<core::ListPage>& page);
  std::set<std::string> VisibleOf(const std::string& tenant) const;
  void OnStreamViolation(const std::string& who, const std::string& what);

  // The disk's side: what a fresh process finds under `key`.
  void OnFoundOnDisk(const PredictionKey& key,
                     const absl::StatusOr<core::StoredPrediction>& stored);

  // At the very end: `disk` holds all there is.
  void OnEnd(const std::vector<core::Prediction>& disk, const ModelUpstream& upstream);

  // All predictions that anybody has seen.
  std::vector<PredictionKey> Known() const;
  void Complain(absl::string_view promise, absl::string_view what);
  const std::vector<std::string>& violations() const { return violations_; }
  // Videos paid for that ended as SUBMIT_OUTCOME_UNKNOWN.
  int64_t videos_lost_sight_of() const { return videos_lost_sight_of_; }
  int64_t transitions_shown() const;

 private:
  struct Request {
    std::set<std::string> payloads_called;  // canonical encodings
    std::map<int64_t, Heard> posts;
    int tasks = 0;
    std::string holder;         // canonical encoding of the payload that has the id for ever
    std::string prediction_id;  // if it was answered OK
    int originals = 0;          // OK answers that were not replays
    std::optional<absl::Status> remembered;
  };
  struct Seen {
    std::map<int64_t, core::Prediction> at;  // by sequence
    bool acknowledged = false;
  };

  // The promises.
  void NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(const RequestKey& key,
                                                          const Request& request, int64_t number);
  void AtMostOneTaskPerRequestId(const RequestKey& key, const Request& request);
  void CompletionsAreCalledOnce(const SubmitCall& call);
  void AnswersOfOneRequestIdAgree(const SubmitCall& call, Request& request,
                                  const core::SubmitAnswer& answer);
  void OtherPayloadsConflict(const SubmitCall& call, const Request& request,
                             absl::string_view outcome);
  void ConflictsHaveACause(const SubmitCall& call, const Request& request);
  void RememberedRejectionsStay(const SubmitCall& call, Request& request,
                                const absl::Status& error);
  void ErrorsAreOfTheTable(const SubmitCall& call, const Request& request,
                           const absl::Status& error);
  void WhatWasShownIsNeverTakenBack(Seen& seen, const core::Prediction& prediction,
                                    absl::string_view where);
  void SequencesRiseByOneAlongLegalEdges(const core::StoredPrediction& stored);
  void PredictionsTellTheTruthAboutTheirTasks(const core::Prediction& prediction,
                                              const ModelUpstream& upstream);

  const RequestKey* RequestOfPrompt(const std::string& prompt) const;

  Trace& trace_;
  std::map<std::string, RequestKey> request_of_prompt_;
  std::map<RequestKey, Request> requests_;
  std::map<int64_t, RequestKey> request_of_post_;
  std::map<PredictionKey, Seen> seen_;
  std::vector<std::string> violations_;
  int64_t videos_lost_sight_of_ = 0;
};

// For traces: "PROCESSING 4".
std::string Describe(const core::Prediction& prediction);

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_INVARIANTS_H_
