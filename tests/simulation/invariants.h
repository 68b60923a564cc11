// What the gateway promises, checked on everything the outside world sees of it: POSTs and tasks on
// one side, answers, Gets, lists and watch streams on the other, across all crashes; and on what the
// ledger holds at the end. Knows nothing of how the gateway works. Owned by Simulation; each promise is
// one function whose message names it. What is judged at the end is in invariants_at_the_end.cc.
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
#include "absl/time/time.h"
#include "server/core/gateway.h"
#include "server/core/options.h"
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

// How much of a prediction has been shown.
struct ShownSoFar {
  int64_t sequence = 0;  // the highest; 0: none
  size_t recovered = 0;  // outputs
};

// All that the ledger holds at the very end, and what the world was like.
struct TheEnd {
  absl::Time now;
  absl::Time healed;
  core::Options options;
  std::vector<absl::Time> process_starts;
  std::vector<core::Prediction> listed;  // visible, as they are now
  core::AttemptReview review;            // of all attempts and all of upstream's tasks
  std::vector<core::Orphan> orphans;     // that have not ended
};

class Invariants {
 public:
  explicit Invariants(Trace& trace) : trace_(trace) {}

  // The gateway's intent: told before the POST may leave.
  void OnReserved(const core::Reservation& reservation);
  void OnNewAttempt(const PredictionKey& prediction, const core::Attempt& attempt);

  // Upstream's side. `key`: the fingerprint of the one that it is sent with; `resends`: how often an
  // attempt may follow another one (the operator's option); `process`: the number of the one that
  // sends or receives.
  void OnPost(int64_t number, const core::CreateTaskRequest& request, const std::string& key,
              int resends, int64_t process);
  void OnPostAnswered(int64_t number, PostAnswer answer, int64_t process, absl::Time now);
  void OnTaskCreated(int64_t post, const ModelTask& task, int resends);
  void OnWebhookAnswered(const std::string& token, const std::string& upstream_id, bool forged,
                         const absl::Status& answer);

  // The callers' side.
  void OnCall(const SubmitCall& call);
  void OnAnswer(SubmitCall& call, const absl::StatusOr<core::SubmitAnswer>& answer, absl::Time now);
  // Whoever saw it and wherever: an answer, a Get, a list, an update on a stream.
  void OnShown(const core::Prediction& prediction, absl::string_view where);
  ShownSoFar ShownOf(const PredictionKey& key) const;
  // `least`: ShownOf when the Get began.
  void OnGot(const PredictionKey& key, const ShownSoFar& least,
             const absl::StatusOr<std::shared_ptr<const core::Prediction>>& got);
  // `visible`: what had been shown beyond SUBMITTING when the list began.
  void OnListed(const std::string& tenant, const std::set<std::string>& visible,
                const absl::StatusOr<core::ListPage>& page);
  std::set<std::string> VisibleOf(const std::string& tenant) const;
  void OnStreamViolation(const std::string& who, const std::string& what);

  // The disk's side: what a fresh process finds under `key`.
  void OnFoundOnDisk(const PredictionKey& key,
                     const absl::StatusOr<core::StoredPrediction>& stored);
  void OnCommitted(const core::Prediction& prediction);
  // The ledger has forgotten something that was reserved. Its request_id is free.
  void OnForgotten(const PredictionKey& key, absl::Time now, absl::Duration retention);
  // The ledger has forgotten rejections of before `time`.
  void OnRejectionsForgotten(absl::Time time);
  bool WasForgotten(const PredictionKey& key) const { return forgotten_.contains(key); }
  // All that was ever reserved and has not been forgotten.
  std::vector<PredictionKey> Reserved() const;

  // At the very end; after OnFoundOnDisk for everything reserved.
  void OnEnd(const TheEnd& end, const ModelUpstream& upstream);

  // All predictions that anybody has seen.
  std::vector<PredictionKey> Known() const;
  void Complain(absl::string_view promise, absl::string_view what);
  const std::vector<std::string>& violations() const { return violations_; }
  int64_t transitions_shown() const;

  // Found out at the end.
  int64_t videos_lost_sight_of() const { return videos_lost_sight_of_; }
  int64_t orphans() const { return orphans_; }
  int64_t absences() const { return absences_; }
  int64_t resends() const { return resends_; }

 private:
  struct Post {
    std::string token;
    int64_t process = 0;
    bool answered = false;
    int64_t answered_to = 0;  // process
    absl::Time answer_time;
    PostAnswer answer = PostAnswer::kUnknown;
  };
  // One attempt, found by its token.
  struct Attempt {
    RequestKey request;
    PredictionKey prediction;
    core::Attempt intent;
    core::TaskInput input;
    std::string key;  // fingerprint
    int tasks = 0;
  };
  struct Request {
    std::set<std::string> payloads_called;  // canonical encodings
    std::vector<int64_t> posts;
    int tasks = 0;
    std::string holder;         // canonical encoding of the payload that has the id for ever
    std::string prediction_id;  // if it was answered OK
    int originals = 0;          // OK answers that were not replays
    std::optional<absl::Status> remembered;
    absl::Time remembered_time;
  };
  struct Seen {
    std::map<int64_t, core::Prediction> at;  // by sequence, without recovered outputs
    std::vector<core::Output> recovered;     // the most that was shown
    bool acknowledged = false;
  };
  // What the ledger held of a prediction when it was last read.
  struct OnDisk {
    core::StoredPrediction stored;
    core::Prediction now;
  };

  // The promises.
  void NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(const Attempt& attempt, int64_t number,
                                                          int resends, int64_t process);
  void AtMostOneTaskPerRequestId(const Attempt& attempt, const Request& request, int resends);
  void CompletionsAreCalledOnce(const SubmitCall& call);
  void AnswersOfOneRequestIdAgree(const SubmitCall& call, Request& request,
                                  const core::SubmitAnswer& answer);
  void OtherPayloadsConflict(const SubmitCall& call, const Request& request,
                             absl::string_view outcome);
  void ConflictsHaveACause(const SubmitCall& call, const Request& request);
  void RememberedRejectionsStay(const SubmitCall& call, Request& request, const absl::Status& error,
                                absl::Time now);
  void ErrorsAreOfTheTable(const SubmitCall& call, const Request& request,
                           const absl::Status& error);
  void WhatWasShownIsNeverTakenBack(Seen& seen, const core::Prediction& prediction,
                                    absl::string_view where);
  void SequencesRiseByOneAlongLegalEdges(const core::StoredPrediction& stored);
  void PredictionsTellTheTruthAboutTheirTasks(const core::Prediction& prediction,
                                              const ModelUpstream& upstream);
  void UnresolvedEndsInTime(const core::StoredPrediction& stored, const TheEnd& end);
  void AbsenceIsTrueAsFarAsHistoryShowed(const core::StoredPrediction& stored, const TheEnd& end,
                                         const ModelUpstream& upstream);
  void NoTwoShareATask(const TheEnd& end);
  void EveryTaskIsAccountedFor(const TheEnd& end, const ModelUpstream& upstream);
  void OrphansGiveTheirVideos(const ModelTask& task, const OnDisk& holder, const TheEnd& end);
  void VideosOutOfSightAreOwnedUpTo(const ModelTask& task, const Attempt& attempt,
                                    const TheEnd& end);
  void EvidenceOfHistoryIsUsed(const TheEnd& end, const ModelUpstream& upstream);
  void AmbiguousEvidenceBindsNothing(const core::StoredPrediction& stored, const TheEnd& end,
                                     const ModelUpstream& upstream);

  const Attempt* AttemptOf(const ModelTask& task) const;
  std::string LatestTokenBefore(absl::Time time, const core::Prediction& prediction) const;

  Trace& trace_;
  std::map<std::string, Attempt> attempts_;  // by token
  std::map<PredictionKey, std::vector<std::string>> tokens_of_prediction_;
  std::map<RequestKey, Request> requests_;
  std::map<int64_t, Post> posts_;
  std::set<std::string> called_back_;  // upstream ids of which webhooks were answered OK
  std::map<PredictionKey, Seen> seen_;
  std::map<PredictionKey, OnDisk> disk_;  // only what the end needs
  std::map<PredictionKey, absl::Time> end_times_;
  std::set<PredictionKey> forgotten_;
  std::vector<std::string> violations_;
  int64_t videos_lost_sight_of_ = 0;
  int64_t orphans_ = 0;
  int64_t absences_ = 0;
  int64_t resends_ = 0;
};

// For traces: "PROCESSING 4".
std::string Describe(const core::Prediction& prediction);

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_INVARIANTS_H_
