// From a request to a durable, paid-for-at-most-once prediction: reserve the intent, send one POST,
// record what became of it, and only then answer the caller. Owned by Gateway, loop only.
//
// The rule that keeps money safe: a POST leaves only after its reservation (and, from QUEUED, the
// SUBMITTING transition) is committed, and nothing is sent twice unless upstream's client vouches
// that no byte of the first try left.
//
// Every POST whose outcome is unknown may be billed. So while upstream fails all of them, a circuit
// lets only probes through, and every other submission is withdrawn before it is sent.
#ifndef DREAMGATE_SERVER_CORE_SUBMISSION_SUBMITTER_H_
#define DREAMGATE_SERVER_CORE_SUBMISSION_SUBMITTER_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "server/core/durable.h"
#include "server/core/ids.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/submission/posting.h"
#include "server/core/submission/submission.h"
#include "server/core/submission/submit_circuit.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

class Submitter {
 public:
  // Borrows all three.
  Submitter(const Ports& ports, const Options& options, Tracker& tracker);
  ~Submitter();

  void Submit(SubmitRequest request, SubmitDone done);

  // Brings what an earlier process left behind to a state that is known to be true.
  void Recover(const Unfinished& left_behind);

  // Sends the POST of a further attempt, which the ledger knows of already: `prediction` is
  // SUBMITTING with it. Callers know the prediction, so whatever becomes of the POST becomes its
  // state.
  void SendAgain(std::shared_ptr<const Prediction> prediction, Attempt attempt);

  // True while a POST for this prediction may still be answered.
  bool OnTheWire(const PredictionKey& key) const;

  // POSTs whose outcome is not known yet, late ones included.
  int64_t posts_in_flight() const;
  CircuitBreaker::State circuit() const { return circuit_.state(); }

  // For its submissions. One is reserved as QUEUED and waits for LeaveQueue, or waits no longer.
  void Enqueue(const std::shared_ptr<Submission>& submission);
  void Dequeue(const std::shared_ptr<Submission>& submission) { queue_.remove(submission); }
  // Its intent is durable: the first attempt begins.
  void Post(const std::shared_ptr<Submission>& submission,
            std::shared_ptr<const Prediction> prediction, Attempt attempt);
  // The request_id is the ledger's from here on. Comes before the answers, because a caller may
  // come back from inside its completion.
  void OnLanded(const Submission& submission);
  void FreeSlot();
  // Answers a call that gets nothing of its own.
  void Refuse(SubmitDone done, absl::Status error);

 private:
  using RequestKey = std::pair<std::string, std::string>;  // tenant, request_id

  void StartPosting(std::shared_ptr<const Prediction> prediction, Attempt attempt, absl::Time begun,
                    std::shared_ptr<Posting::Owner> owner);
  void FillSlots();

  const Ports& ports_;
  const Options& options_;
  Tracker& tracker_;
  SubmitCircuit circuit_;
  Durable withdrawals_;
  const SubmissionParts parts_;
  IdGenerator ids_;
  std::map<RequestKey, std::shared_ptr<Submission>> submissions_;  // that have not landed
  std::map<PredictionKey, std::shared_ptr<Posting>> postings_;     // that are not over
  std::list<std::shared_ptr<Submission>> queue_;                   // QUEUED, first in first out
  int64_t slots_used_ = 0;  // of options_.max_submits_in_flight
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_SUBMITTER_H_
