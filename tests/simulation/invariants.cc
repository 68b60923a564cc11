#include "tests/simulation/invariants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/errors.h"
#include "server/core/prediction.h"

namespace dreamgate::simulation {
namespace {

using core::Reason;
using core::State;

// How far two processes' clocks may be apart.
constexpr absl::Duration kClockError = absl::Seconds(10);

bool IsDefiniteNo(PostAnswer answer) {
  return answer == PostAnswer::kRejected || answer == PostAnswer::kNotSent;
}

std::string Name(const RequestKey& key) { return absl::StrCat(key.first, "/", key.second); }

std::string Describe(const absl::Status& error) {
  const auto reason = core::ReasonOf(error);
  return absl::StrCat(absl::StatusCodeToString(error.code()), " ",
                      reason ? core::ReasonName(*reason) : "", " (", error.message(), ")");
}

// Which part of two predictions differs, for people.
std::string Difference(const core::Prediction& was, const core::Prediction& is) {
  std::string text;
  const auto compare = [&text](absl::string_view what, bool same) {
    if (!same) absl::StrAppend(&text, text.empty() ? "" : ", ", what);
  };
  compare("state", was.state == is.state);
  compare("upstream_id", was.upstream_id == is.upstream_id);
  compare("upstream_status", was.upstream_status == is.upstream_status);
  compare("outputs", was.outputs == is.outputs);
  compare("failure", was.failure == is.failure);
  compare("inference_time", was.inference_time == is.inference_time);
  compare("times", was.create_time == is.create_time && was.update_time == is.update_time &&
                       was.end_time == is.end_time &&
                       was.upstream_create_time == is.upstream_create_time);
  compare("history", was.history == is.history);
  return text.empty() ? "fixed fields" : text;
}

bool AreAllIn(const std::vector<core::Output>& some, const std::vector<core::Output>& all) {
  return std::all_of(some.begin(), some.end(), [&all](const core::Output& output) {
    return std::find(all.begin(), all.end(), output) != all.end();
  });
}

bool AreSameButForRecovered(const core::Prediction& known, const core::Prediction& prediction) {
  if (prediction.recovered_outputs == known.recovered_outputs) return prediction == known;
  core::Prediction other = prediction;
  other.recovered_outputs = known.recovered_outputs;
  return other == known;
}

}  // namespace

std::string Describe(const core::Prediction& prediction) {
  return absl::StrCat(core::StateName(prediction.state), " ", prediction.sequence);
}

void Invariants::Complain(absl::string_view promise, absl::string_view what) {
  violations_.push_back(absl::StrCat(promise, ": ", what));
  trace_.Add("VIOLATION  ", violations_.back());
}

// -------------------------------------------------------------------------------- the gateway's intent

void Invariants::OnReserved(const core::Reservation& reservation) {
  const core::Prediction& prediction = reservation.prediction;
  Attempt attempt;
  attempt.request = {prediction.tenant, prediction.request_id};
  attempt.prediction = {prediction.tenant, prediction.id};
  attempt.intent = reservation.attempt;
  attempt.input = {prediction.input.prompt,
                   std::string(core::AspectRatioText(prediction.input.aspect_ratio)),
                   prediction.seed};
  attempt.key = prediction.key_fingerprint;
  tokens_of_prediction_[attempt.prediction].push_back(reservation.attempt.token);
  if (!attempts_.emplace(reservation.attempt.token, std::move(attempt)).second) {
    Complain("Tokens are drawn once", reservation.attempt.token);
  }
}

void Invariants::OnNewAttempt(const PredictionKey& prediction, const core::Attempt& attempt) {
  std::vector<std::string>& tokens = tokens_of_prediction_[prediction];
  if (tokens.empty()) {
    Complain("What is sent was asked for",
             absl::StrCat("an attempt for ", prediction.second, ", which nobody has reserved"));
    return;
  }
  if (attempts_.contains(attempt.token)) return;  // written again after a failed commit
  Attempt further = attempts_.at(tokens.front());
  further.intent = attempt;
  further.tasks = 0;
  attempts_.emplace(attempt.token, std::move(further));
  tokens.push_back(attempt.token);
  ++resends_;
}

// ------------------------------------------------------------------------------------- upstream's side

void Invariants::OnPost(int64_t number, const core::CreateTaskRequest& request,
                        const std::string& key, int resends, int64_t process) {
  posts_[number] = {.token = request.attempt_token, .process = process, .answer_time = {}};
  const auto found = attempts_.find(request.attempt_token);
  if (found == attempts_.end()) {
    Complain("What is sent was asked for",
             absl::StrCat("a POST for \"", request.prompt, "\" with a token that no attempt has"));
    return;
  }
  const Attempt& attempt = found->second;
  const core::TaskInput sent{
      request.prompt, std::string(core::AspectRatioText(request.aspect_ratio)), request.seed};
  if (sent != attempt.input) {
    Complain("What is sent was asked for",
             absl::StrCat(Name(attempt.request), ": a POST for \"", request.prompt, "\""));
  }
  if (key != attempt.key) {
    Complain("What is sent goes to the account on record",
             absl::StrCat(Name(attempt.request), ": POST ", number, " with the key of another"));
  }
  NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(attempt, number, resends, process);
  requests_[attempt.request].posts.push_back(number);
}

void Invariants::NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(const Attempt& attempt,
                                                                    int64_t number, int resends,
                                                                    int64_t process) {
  int doubtful = 0;
  for (const int64_t earlier : requests_[attempt.request].posts) {
    const Post& post = posts_[earlier];
    if (IsDefiniteNo(post.answer)) continue;
    const bool same_attempt = post.token == attempt.intent.token;
    const bool still_open = post.process == process && !post.answered;
    const bool known = post.answer == PostAnswer::kAccepted && post.answered_to == process;
    if (++doubtful <= resends && !same_attempt && !still_open && !known) continue;
    Complain(
        "Nothing is sent while an earlier POST may have created a task",
        absl::StrCat(Name(attempt.request), ": POST ", number, " although POST ", earlier,
                     post.answer == PostAnswer::kAccepted ? " was accepted" : " may have been"));
  }
}

void Invariants::OnPostAnswered(int64_t number, PostAnswer answer, int64_t process,
                                absl::Time now) {
  Post& post = posts_[number];
  post.answered = true;
  post.answer = answer;
  post.answered_to = process;
  post.answer_time = now;
}

void Invariants::OnTaskCreated(int64_t number, const ModelTask& task, int resends) {
  const Post& post = posts_[number];
  const auto found = attempts_.find(post.token);
  if (found == attempts_.end()) return;  // complained about already
  Attempt& attempt = found->second;
  Request& request = requests_[attempt.request];
  ++attempt.tasks;
  ++request.tasks;
  AtMostOneTaskPerRequestId(attempt, request, resends);
  if (IsDefiniteNo(post.answer)) {
    Complain("The model of upstream is sound", absl::StrCat(task.id, " although refused"));
  }
}

void Invariants::AtMostOneTaskPerRequestId(const Attempt& attempt, const Request& request,
                                           int resends) {
  if (attempt.tasks > 1) {
    Complain("At most one task per attempt",
             absl::StrCat(Name(attempt.request), " has been paid ", attempt.tasks,
                          " times for attempt ", attempt.intent.number));
  }
  if (request.tasks > 1 + resends) {
    Complain("At most one task per request_id",
             absl::StrCat(Name(attempt.request), " has been paid ", request.tasks, " times"));
  }
}

void Invariants::OnWebhookAnswered(const std::string& token, const std::string& upstream_id,
                                   bool forged, const absl::Status& answer) {
  const bool not_found = absl::IsNotFound(answer) && !core::ReasonOf(answer).has_value();
  if (forged) {
    if (!not_found) Complain("Webhooks need a token", Describe(answer));
    return;
  }
  if (answer.ok()) {
    called_back_.insert(upstream_id);
    return;
  }
  const auto found = attempts_.find(token);
  if (not_found && found != attempts_.end() && WasForgotten(found->second.prediction)) return;
  Complain("Webhooks for our attempts are taken",
           absl::StrCat("for ", upstream_id, ": ", Describe(answer)));
}

// ------------------------------------------------------------------------------------ the callers' side

void Invariants::OnCall(const SubmitCall& call) {
  requests_[call.request].payloads_called.insert(core::CanonicalEncoding(call.input));
}

void Invariants::OnAnswer(SubmitCall& call, const absl::StatusOr<core::SubmitAnswer>& answer,
                          absl::Time now) {
  ++call.answers;
  CompletionsAreCalledOnce(call);
  Request& request = requests_[call.request];
  if (answer.ok()) {
    if (WasForgotten({call.request.first, answer->prediction->id})) return;
    OtherPayloadsConflict(call, request, "OK");
    AnswersOfOneRequestIdAgree(call, request, *answer);
    OnShown(*answer->prediction, "an answer");
    seen_[{call.request.first, answer->prediction->id}].acknowledged = true;
    return;
  }
  ErrorsAreOfTheTable(call, request, answer.status());
  switch (core::ReasonOf(answer.status()).value_or(Reason::kInternal)) {
    case Reason::kRequestIdConflict: ConflictsHaveACause(call, request); return;
    case Reason::kUpstreamRejected:
      RememberedRejectionsStay(call, request, answer.status(), now);
      return;
    default: return;
  }
}

void Invariants::CompletionsAreCalledOnce(const SubmitCall& call) {
  if (call.answers > 1) {
    Complain("Completions are called once", absl::StrCat(Name(call.request), ": answered again"));
  }
  if (call.process_ended) {
    Complain("Completions are called once",
             absl::StrCat(Name(call.request), ": answered by a process that has ended"));
  }
}

void Invariants::AnswersOfOneRequestIdAgree(const SubmitCall& call, Request& request,
                                            const core::SubmitAnswer& answer) {
  const core::Prediction& prediction = *answer.prediction;
  if (request.remembered) {
    Complain("Remembered rejections stay",
             absl::StrCat(Name(call.request), ": OK after ", Describe(*request.remembered)));
  }
  if (!request.prediction_id.empty() && request.prediction_id != prediction.id) {
    Complain("Answers of one request_id agree",
             absl::StrCat(Name(call.request), " is another prediction now"));
  }
  if (prediction.input != call.input || prediction.request_id != call.request.second ||
      prediction.tenant != call.request.first) {
    Complain("Answers of one request_id agree",
             absl::StrCat(Name(call.request), ": the answer belongs to another call"));
  }
  if (!answer.replayed && ++request.originals > 1) {
    Complain("Answers of one request_id agree",
             absl::StrCat(Name(call.request), ": two answers claim to be the original"));
  }
  request.prediction_id = prediction.id;
  request.holder = core::CanonicalEncoding(call.input);
}

void Invariants::OtherPayloadsConflict(const SubmitCall& call, const Request& request,
                                       absl::string_view outcome) {
  if (request.holder.empty() || request.holder == core::CanonicalEncoding(call.input)) return;
  Complain(
      "Other payloads conflict",
      absl::StrCat(Name(call.request), ": another payload had the id, and this was ", outcome));
}

void Invariants::ConflictsHaveACause(const SubmitCall& call, const Request& request) {
  const std::string canonical = core::CanonicalEncoding(call.input);
  if (request.payloads_called.size() < 2) {
    Complain("Conflicts have a cause",
             absl::StrCat(Name(call.request), ": no other payload was ever submitted"));
  }
  if (request.holder == canonical) {
    Complain("Conflicts have a cause",
             absl::StrCat(Name(call.request), ": this payload has the id"));
  }
}

void Invariants::RememberedRejectionsStay(const SubmitCall& call, Request& request,
                                          const absl::Status& error, absl::Time now) {
  const std::map<std::string, std::string> metadata = core::DetailsOf(error).metadata;
  const auto http_status = metadata.find("http_status");
  const bool remembered = http_status != metadata.end() &&
                          (http_status->second == "400" || http_status->second == "422");
  if (!remembered) {
    if (request.remembered) {
      Complain("Remembered rejections stay",
               absl::StrCat(Name(call.request), ": ", Describe(error), " after ",
                            Describe(*request.remembered)));
    }
    return;
  }
  OtherPayloadsConflict(call, request, "rejected");
  if (request.remembered && *request.remembered != error) {
    Complain("Remembered rejections stay", absl::StrCat(Name(call.request), ": ", Describe(error),
                                                        " was ", Describe(*request.remembered)));
  }
  if (!request.remembered) request.remembered_time = now;
  request.remembered = error;
  request.holder = core::CanonicalEncoding(call.input);
}

// Once a request_id is settled, only trouble of the gateway itself may keep its answer back.
void Invariants::ErrorsAreOfTheTable(const SubmitCall& call, const Request& request,
                                     const absl::Status& error) {
  const auto reason = core::ReasonOf(error);
  if (!reason.has_value()) {
    if (!absl::IsCancelled(error) || !call.cancelled) {
      Complain("Errors are those of the table",
               absl::StrCat(Name(call.request), ": ", Describe(error)));
    }
    return;
  }
  bool allowed = false;
  switch (*reason) {
    case Reason::kRequestIdConflict:
    case Reason::kLedgerUnavailable:
    case Reason::kDraining: return;
    case Reason::kUpstreamRejected: allowed = request.prediction_id.empty(); break;
    case Reason::kUpstreamCredentialsRejected:
    case Reason::kUpstreamBalanceExhausted:
    case Reason::kUpstreamModelUnavailable:
    case Reason::kUpstreamRateLimited:
    case Reason::kUpstreamMisconfigured:
    case Reason::kUpstreamUnreachable:
    case Reason::kTenantLimitReached:
    case Reason::kTooManyRequests:
      allowed = request.prediction_id.empty() && !request.remembered;
      break;
    default: break;
  }
  if (allowed) return;
  Complain(request.holder.empty() ? "Errors are those of the table"
                                  : "A settled request_id stays settled",
           absl::StrCat(Name(call.request), ": ", Describe(error)));
}

void Invariants::OnShown(const core::Prediction& prediction, absl::string_view where) {
  const PredictionKey key(prediction.tenant, prediction.id);
  if (WasForgotten(key)) return;
  WhatWasShownIsNeverTakenBack(seen_[key], prediction, where);
}

// Recovered outputs are no part of a transition. They may only become more.
void Invariants::WhatWasShownIsNeverTakenBack(Seen& seen, const core::Prediction& prediction,
                                              absl::string_view where) {
  const std::vector<core::Output>& recovered = prediction.recovered_outputs;
  const std::vector<core::Output>& more =
      recovered.size() > seen.recovered.size() ? recovered : seen.recovered;
  if (!AreAllIn(recovered, more) || !AreAllIn(seen.recovered, more)) {
    Complain("What was shown is never withdrawn",
             absl::StrCat(prediction.request_id, ": ", where, " shows other recovered outputs"));
  }
  if (recovered.size() > seen.recovered.size()) seen.recovered = recovered;

  const auto [known, first_time] = seen.at.try_emplace(prediction.sequence, prediction);
  if (first_time) known->second.recovered_outputs.clear();
  if (first_time || AreSameButForRecovered(known->second, prediction)) return;
  Complain("What was shown is never withdrawn",
           absl::StrCat(prediction.request_id, ": ", where, " shows ", Describe(prediction),
                        ", it was shown as ", Describe(known->second), " before; they differ in ",
                        Difference(known->second, prediction)));
}

ShownSoFar Invariants::ShownOf(const PredictionKey& key) const {
  const auto found = seen_.find(key);
  if (found == seen_.end() || found->second.at.empty()) return {};
  return {found->second.at.rbegin()->first, found->second.recovered.size()};
}

void Invariants::OnGot(const PredictionKey& key, const ShownSoFar& least,
                       const absl::StatusOr<std::shared_ptr<const core::Prediction>>& got) {
  if (WasForgotten(key)) return;
  if (!got.ok()) {
    if (core::ReasonOf(got.status()) == Reason::kLedgerUnavailable) return;
    Complain("An acknowledged prediction can be read for ever after",
             absl::StrCat("Get: ", Describe(got.status())));
    return;
  }
  OnShown(**got, "a Get");
  if ((*got)->sequence < least.sequence) {
    Complain("Nothing moves backwards",
             absl::StrCat((*got)->request_id, ": a Get shows ", Describe(**got), ", but sequence ",
                          least.sequence, " had been shown before it began"));
  }
  if ((*got)->recovered_outputs.size() < least.recovered) {
    Complain("Nothing moves backwards",
             absl::StrCat((*got)->request_id, ": a Get shows fewer recovered outputs than before"));
  }
  if ((*got)->id != key.second) Complain("Get answers what was asked", (*got)->id);
}

std::set<std::string> Invariants::VisibleOf(const std::string& tenant) const {
  std::set<std::string> visible;
  for (const auto& [key, seen] : seen_) {
    if (key.first == tenant && !seen.at.empty() && core::IsVisible(seen.at.rbegin()->second)) {
      visible.insert(key.second);
    }
  }
  return visible;
}

void Invariants::OnListed(const std::string& tenant, const std::set<std::string>& visible,
                          const absl::StatusOr<core::ListPage>& page) {
  if (!page.ok()) {
    if (core::ReasonOf(page.status()) == Reason::kLedgerUnavailable) return;
    Complain("Lists show what is acknowledged", Describe(page.status()));
    return;
  }
  std::set<std::string> missing = visible;
  for (const auto& [forgotten_tenant, id] : forgotten_) missing.erase(id);
  for (const auto& prediction : page->predictions) {
    missing.erase(prediction->id);
    if (prediction->tenant != tenant || !core::IsVisible(*prediction)) {
      Complain("Lists show only what may be shown",
               absl::StrCat(prediction->request_id, " ", Describe(*prediction)));
    }
    OnShown(*prediction, "a list");
  }
  if (!missing.empty() && !page->more) {
    Complain("Lists show what is acknowledged", absl::StrCat(missing.size(), " are missing"));
  }
}

void Invariants::OnStreamViolation(const std::string& who, const std::string& what) {
  Complain("Watch guarantees", absl::StrCat(who, ": ", what));
}

// ------------------------------------------------------------------------------------ the disk's side

void Invariants::OnFoundOnDisk(const PredictionKey& key,
                               const absl::StatusOr<core::StoredPrediction>& stored) {
  const auto found = seen_.find(key);
  const Seen* seen = found == seen_.end() || found->second.at.empty() ? nullptr : &found->second;
  if (!stored.ok()) {
    if (seen == nullptr) return;  // its reservation may not have become durable
    Complain("What was shown is durable",
             absl::StrCat(seen->at.rbegin()->second.request_id, " was shown as ",
                          Describe(seen->at.rbegin()->second),
                          ", on disk is nothing: ", Describe(stored.status())));
    return;
  }
  SequencesRiseByOneAlongLegalEdges(*stored);
  core::Prediction prediction = stored->initial;
  for (const core::Transition& transition : stored->transitions) {
    prediction = core::Apply(std::move(prediction), transition);
    if (seen == nullptr) continue;
    const auto shown = seen->at.find(prediction.sequence);
    if (shown != seen->at.end() && !AreSameButForRecovered(shown->second, prediction)) {
      Complain("What was shown is durable",
               absl::StrCat(prediction.request_id, " was shown as ", Describe(shown->second),
                            ", on disk is ", Describe(prediction), "; they differ in ",
                            Difference(shown->second, prediction)));
    }
  }
  if (seen != nullptr && prediction.sequence < seen->at.rbegin()->first) {
    Complain(
        "What was shown is durable",
        absl::StrCat(prediction.request_id, " was shown as ", Describe(seen->at.rbegin()->second),
                     ", on disk it is only ", Describe(prediction)));
  }
  if (seen != nullptr && !AreAllIn(seen->recovered, prediction.recovered_outputs)) {
    Complain("What was shown is durable",
             absl::StrCat(prediction.request_id, ": recovered outputs are gone"));
  }
  disk_.insert_or_assign(key, OnDisk{*stored, std::move(prediction)});
}

void Invariants::OnCommitted(const core::Prediction& prediction) {
  if (prediction.end_time) {
    end_times_[{prediction.tenant, prediction.id}] = *prediction.end_time;
  }
}

void Invariants::OnForgotten(const PredictionKey& key, absl::Time now, absl::Duration retention) {
  const auto tokens = tokens_of_prediction_.find(key);
  const auto seen = seen_.find(key);
  if (seen != seen_.end() && !seen->second.at.empty()) {
    const core::Prediction& last = seen->second.at.rbegin()->second;
    // Nobody need have seen its end.
    const auto ended = end_times_.find(key);
    const absl::Time over = ended != end_times_.end() ? ended->second : last.update_time;
    if (over > now - retention + kClockError) {
      Complain("Only what has been over for long is forgotten",
               absl::StrCat(last.request_id, " was ", Describe(last)));
    }
    seen_.erase(seen);
  }
  forgotten_.insert(key);
  disk_.erase(key);
  if (tokens == tokens_of_prediction_.end()) return;
  // From here on the request_id may pay again.
  Request& request = requests_[attempts_.at(tokens->second.front()).request];
  if (!request.prediction_id.empty() && request.prediction_id != key.second) return;
  Request fresh;
  fresh.payloads_called = std::move(request.payloads_called);
  fresh.remembered = std::move(request.remembered);
  fresh.remembered_time = request.remembered_time;
  if (fresh.remembered) fresh.holder = std::move(request.holder);
  request = std::move(fresh);
}

void Invariants::OnRejectionsForgotten(absl::Time time) {
  for (auto& [key, request] : requests_) {
    if (!request.remembered || request.remembered_time > time + kClockError) continue;
    request.remembered.reset();
    request.holder.clear();
  }
}

void Invariants::SequencesRiseByOneAlongLegalEdges(const core::StoredPrediction& stored) {
  int64_t sequence = 0;
  State state = State::kQueued;
  for (const core::Transition& transition : stored.transitions) {
    if (transition.sequence != sequence + 1 ||
        (sequence > 0 && !core::IsLegalTransition(state, transition.state))) {
      Complain("Sequences rise by one along legal edges",
               absl::StrCat(stored.initial.request_id, ": ", core::StateName(state), " ", sequence,
                            " is followed by ", core::StateName(transition.state), " ",
                            transition.sequence));
    }
    sequence = transition.sequence;
    state = transition.state;
  }
}

std::vector<PredictionKey> Invariants::Known() const {
  std::vector<PredictionKey> known;
  for (const auto& [key, seen] : seen_) known.push_back(key);
  return known;
}

std::vector<PredictionKey> Invariants::Reserved() const {
  std::vector<PredictionKey> reserved;
  for (const auto& [key, tokens] : tokens_of_prediction_) {
    if (!WasForgotten(key)) reserved.push_back(key);
  }
  return reserved;
}

int64_t Invariants::transitions_shown() const {
  int64_t count = 0;
  for (const auto& [key, seen] : seen_) count += static_cast<int64_t>(seen.at.size());
  return count;
}

}  // namespace dreamgate::simulation
