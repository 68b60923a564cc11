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
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/durable.h"
#include "server/core/ids.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"
#include "server/core/submission/submit_circuit.h"
#include "server/core/tracking/tracker.h"

namespace dreamgate::core {

struct SubmitRequest {
  std::string tenant;
  std::string request_id;  // not empty
  VideoInput input;        // validated
  // Asked once, just before the POST: true if the caller no longer wants it. May be empty.
  absl::AnyInvocable<bool()> cancelled;
  // When the caller stops listening. While upstream cannot be reached, the caller is told before.
  absl::Time deadline = absl::InfiniteFuture();
};

struct SubmitAnswer {
  std::shared_ptr<const Prediction> prediction;
  bool replayed = false;
};

class Submitter {
 public:
  Submitter(const Ports& ports, const Options& options, Tracker& tracker);
  ~Submitter();

  void Submit(SubmitRequest request, Completion<absl::StatusOr<SubmitAnswer>> done);

  // Brings what an earlier process left behind to a state that is known to be true.
  void Recover(const Unfinished& left_behind);

  // Sends the POST of a further attempt, which the ledger knows of already:
  // `prediction` is SUBMITTING with it. Callers know the prediction, so whatever
  // becomes of the POST becomes its state.
  void SendAgain(std::shared_ptr<const Prediction> prediction, Attempt attempt);

  // True while a POST for this prediction may still be answered.
  bool OnTheWire(const PredictionKey& key) const { return on_the_wire_.contains(key); }

  // POSTs whose outcome is not known yet, late ones included.
  int64_t posts_in_flight() const { return posts_in_flight_; }
  CircuitBreaker::State circuit() const { return circuit_.state(); }

 private:
  // One request_id on its way, from the first call to the answer.
  struct Flight;
  using FlightKey = std::pair<std::string, std::string>;  // tenant, request_id

  void Reserve(const std::shared_ptr<Flight>& flight);
  void OnReserved(const std::shared_ptr<Flight>& flight, absl::StatusOr<ReserveResult> result);
  void Begin(const std::shared_ptr<Flight>& flight);
  void LeaveQueue(const std::shared_ptr<Flight>& flight);
  void Send(const std::shared_ptr<Flight>& flight);
  void OnSoftTimeout(const std::shared_ptr<Flight>& flight);
  void OnOutcome(const std::shared_ptr<Flight>& flight, CreateOutcome outcome);
  void OnRejected(const std::shared_ptr<Flight>& flight, const CreateRejected& rejected);
  void OnNotSent(const std::shared_ptr<Flight>& flight, const CreateNotSent& not_sent);
  void StopWaiting(const std::shared_ptr<Flight>& flight);
  void OnKeyChanged(const std::shared_ptr<Flight>& flight);

  // Gives it back unsent because upstream's circuit is open.
  void TurnAway(const std::shared_ptr<Flight>& flight);

  // Those who had to wait for what becomes of `flight` begin anew.
  void SubmitSuccessors(Flight& flight);
  // Answers a call that gets no flight of its own.
  void Refuse(Completion<absl::StatusOr<SubmitAnswer>> done, absl::Status error);
  // Records a state and answers with what was committed. `unless_bound`: not
  // if a task has been found.
  void Record(const std::shared_ptr<Flight>& flight, Transition transition, AttemptOutcome outcome,
              bool unless_bound = false);
  void RecordUnresolved(const std::shared_ptr<Flight>& flight, TransitionSource source,
                        absl::string_view problem);
  // The end of a prediction that callers know.
  void RecordFailed(const std::shared_ptr<Flight>& flight, Failure failure, AttemptOutcome outcome);
  // The same, and its POST never left.
  void RecordNotCreated(const std::shared_ptr<Flight>& flight, absl::string_view problem);
  AttemptOutcome OutcomeOf(const Flight& flight, AttemptResult result,
                           absl::string_view message) const;
  // Withdraws the prediction, answers with `error`, and remembers the rejection or frees the
  // request_id, which stays taken until that is durable.
  void Withdraw(const std::shared_ptr<Flight>& flight, AttemptOutcome outcome,
                std::optional<Rejection> remember, absl::Status error);
  // Withdraws what has not been sent. `why` goes on record.
  void WithdrawUnsent(const std::shared_ptr<Flight>& flight, absl::string_view why,
                      absl::Status error);

  void AnswerCallers(const std::shared_ptr<Flight>& flight,
                     absl::StatusOr<std::shared_ptr<const Prediction>> result);
  // The request_id is the ledger's from here on. Comes before the answers, because a caller may
  // come back from inside its completion.
  void Land(const std::shared_ptr<Flight>& flight);
  // A slot is taken until the flight has landed and its POST is off the wire.
  void FreeSlot(Flight& flight);
  void FillSlots();

  const Ports& ports_;
  const Options& options_;
  Tracker& tracker_;
  IdGenerator ids_;
  std::map<FlightKey, std::shared_ptr<Flight>> flights_;
  std::list<std::shared_ptr<Flight>> queue_;   // QUEUED, first in first out
  std::set<std::shared_ptr<Flight>> waiting_;  // to try again because nothing was sent
  int64_t slots_used_ = 0;                     // of options_.max_submits_in_flight
  int64_t posts_in_flight_ = 0;
  std::set<PredictionKey> on_the_wire_;
  SubmitCircuit circuit_;
  Durable withdrawals_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_SUBMISSION_SUBMITTER_H_
