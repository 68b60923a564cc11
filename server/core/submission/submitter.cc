#include "server/core/submission/submitter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/core/invariant.h"
#include "server/core/submission/submit_answers.h"

namespace dreamgate::core {
namespace {

// Reservations that ledger trouble has left to be withdrawn. With so many, nothing new is begun.
constexpr size_t kMostToWithdraw = 1000;

}  // namespace

Submitter::Submitter(const Ports& ports, const Options& options, Tracker& tracker)
    : ports_(ports),
      options_(options),
      tracker_(tracker),
      circuit_(ports.events, ports.random),
      withdrawals_(ports),
      parts_{ports_, options_, tracker_, withdrawals_, circuit_} {}

Submitter::~Submitter() {
  // Calls under way elsewhere keep them, but nothing may wake them any more.
  for (auto& [key, submission] : submissions_) submission->Abandon();
}

void Submitter::Submit(SubmitRequest request, SubmitDone done) {
  const RequestKey key(request.tenant, request.request_id);
  std::string canonical = CanonicalEncoding(request.input);
  if (const auto found = submissions_.find(key); found != submissions_.end()) {
    found->second->Join(std::move(request), std::move(canonical), std::move(done));
    return;
  }
  if (withdrawals_.waiting() >= kMostToWithdraw) {
    Refuse(std::move(done), LedgerInTrouble());
    return;
  }
  const auto submission = std::make_shared<Submission>(parts_, *this, std::move(request),
                                                       std::move(canonical), std::move(done));
  submissions_.emplace(key, submission);
  const bool has_slot = queue_.empty() && slots_used_ < options_.max_submits_in_flight;
  if (has_slot) ++slots_used_;
  submission->Reserve(ids_.Next(ports_.clock.Now(), ports_.random), has_slot);
}

void Submitter::Refuse(SubmitDone done, absl::Status error) {
  ports_.events.SubmissionFinished("refused", absl::ZeroDuration());
  ports_.executor.Post([done = std::move(done), error = std::move(error)]() mutable {
    std::move(done)(std::move(error));
  });
}

void Submitter::OnLanded(const Submission& submission) {
  const auto found = submissions_.find({submission.tenant(), submission.request_id()});
  if (found != submissions_.end() && found->second.get() == &submission) submissions_.erase(found);
}

// ------------------------------------------------------------------------------------------- slots

void Submitter::Enqueue(const std::shared_ptr<Submission>& submission) {
  queue_.push_back(submission);
  FillSlots();
}

void Submitter::FreeSlot() {
  DREAMGATE_INVARIANT(slots_used_ > 0, "a slot that is freed was taken");
  --slots_used_;
  FillSlots();
}

void Submitter::FillSlots() {
  while (!queue_.empty() && slots_used_ < options_.max_submits_in_flight) {
    const std::shared_ptr<Submission> submission = std::move(queue_.front());
    queue_.pop_front();
    ++slots_used_;
    submission->LeaveQueue();
  }
  DREAMGATE_INVARIANT(slots_used_ <= options_.max_submits_in_flight, "slots are within the limit");
}

// ---------------------------------------------------------------------------------------- postings

void Submitter::Post(const std::shared_ptr<Submission>& submission,
                     std::shared_ptr<const Prediction> prediction, Attempt attempt) {
  const absl::Time begun = attempt.start_time;
  StartPosting(std::move(prediction), std::move(attempt), begun, submission);
}

void Submitter::SendAgain(std::shared_ptr<const Prediction> prediction, Attempt attempt) {
  ports_.events.Log(LogLevel::kWarning, "sending a submission again after evidence of absence",
                    {{"prediction", prediction->id}, {"attempt", absl::StrCat(attempt.number)}});
  StartPosting(std::move(prediction), std::move(attempt), ports_.clock.Now(), nullptr);
}

void Submitter::StartPosting(std::shared_ptr<const Prediction> prediction, Attempt attempt,
                             absl::Time begun, std::shared_ptr<Posting::Owner> owner) {
  const PredictionKey key = KeyOf(*prediction);
  const auto posting =
      std::make_shared<Posting>(parts_, std::move(prediction), std::move(attempt), begun,
                                std::move(owner), [this, key] { postings_.erase(key); });
  const bool alone = postings_.emplace(key, posting).second;
  DREAMGATE_INVARIANT(alone, "a prediction has one attempt under way at most");
  posting->Start();
}

bool Submitter::OnTheWire(const PredictionKey& key) const {
  const auto found = postings_.find(key);
  return found != postings_.end() && found->second->on_the_wire();
}

int64_t Submitter::posts_in_flight() const {
  return std::count_if(postings_.begin(), postings_.end(),
                       [](const auto& posting) { return posting.second->on_the_wire(); });
}

// ---------------------------------------------------------------------------------------- recovery

void Submitter::Recover(const Unfinished& left_behind) {
  const Prediction& prediction = *left_behind.prediction;
  const Recovery recovery = RecoveryOf(prediction.state);
  AttemptOutcome outcome{
      left_behind.last_attempt.number,       AttemptResult::kNotSent, ports_.clock.Now(), "", 0,
      "the process ended before it was sent"};
  if (recovery == Recovery::kWithdraw) {
    RejectRequest request;
    request.tenant = prediction.tenant;
    request.prediction_id = prediction.id;
    request.attempt_outcome = std::move(outcome);
    withdrawals_.Call(std::move(request), [](const absl::StatusOr<Done>&) {});
    return;
  }
  tracker_.Adopt(left_behind.prediction);
  DREAMGATE_FAILPOINT("recover.one_recovered");
  if (recovery != Recovery::kReconcile || prediction.state == State::kUnresolved) return;
  // Nothing takes it back any more, and the earlier process may have told its caller OK.
  tracker_.MarkAcknowledged(KeyOf(prediction));
  outcome.result = AttemptResult::kUnknown;
  outcome.message = "the process ended before the answer arrived";
  Observation observation;
  observation.transition.state = State::kUnresolved;
  observation.transition.source = TransitionSource::kGateway;
  observation.attempt_outcome = std::move(outcome);
  tracker_.Record(KeyOf(prediction), std::move(observation));
}

}  // namespace dreamgate::core
