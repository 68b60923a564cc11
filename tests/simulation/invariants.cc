#include "tests/simulation/invariants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/errors.h"
#include "server/core/prediction.h"

namespace dreamgate::simulation {
namespace {

using core::Reason;
using core::State;

bool IsDefiniteNo(Heard heard) { return heard == Heard::kRejected || heard == Heard::kNotSent; }

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
  compare("recovered_outputs", was.recovered_outputs == is.recovered_outputs);
  compare("failure", was.failure == is.failure);
  compare("inference_time", was.inference_time == is.inference_time);
  compare("times", was.create_time == is.create_time && was.update_time == is.update_time &&
                       was.end_time == is.end_time &&
                       was.upstream_create_time == is.upstream_create_time);
  compare("history", was.history == is.history);
  return text.empty() ? "fixed fields" : text;
}

}  // namespace

std::string Describe(const core::Prediction& prediction) {
  return absl::StrCat(core::StateName(prediction.state), " ", prediction.sequence);
}

void Invariants::Complain(absl::string_view promise, absl::string_view what) {
  violations_.push_back(absl::StrCat(promise, ": ", what));
  trace_.Add("VIOLATION  ", violations_.back());
}

void Invariants::Introduce(const RequestKey& request, const core::VideoInput& input) {
  request_of_prompt_[input.prompt] = request;
}

const RequestKey* Invariants::RequestOfPrompt(const std::string& prompt) const {
  const auto found = request_of_prompt_.find(prompt);
  return found == request_of_prompt_.end() ? nullptr : &found->second;
}

// ------------------------------------------------------------------------------------- upstream's side

void Invariants::OnPost(int64_t number, const core::CreateTaskRequest& request) {
  const RequestKey* key = RequestOfPrompt(request.prompt);
  if (key == nullptr) {
    Complain("What is sent was asked for", absl::StrCat("a POST for \"", request.prompt, "\""));
    return;
  }
  request_of_post_[number] = *key;
  Request& asked = requests_[*key];
  NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(*key, asked, number);
  asked.posts[number] = Heard::kUnknown;
}

void Invariants::NothingIsSentWhileAnEarlierPostMayHaveCreatedATask(const RequestKey& key,
                                                                    const Request& request,
                                                                    int64_t number) {
  for (const auto& [earlier, heard] : request.posts) {
    if (IsDefiniteNo(heard)) continue;
    Complain("Nothing is sent while an earlier POST may have created a task",
             absl::StrCat(Name(key), ": POST ", number, " although POST ", earlier,
                          heard == Heard::kAccepted ? " was accepted" : " may have been accepted"));
  }
}

void Invariants::OnPostAnswered(int64_t number, Heard heard, int) {
  requests_[request_of_post_[number]].posts[number] = heard;
}

void Invariants::OnTaskCreated(int64_t post, const ModelTask& task) {
  const RequestKey& key = request_of_post_[post];
  Request& request = requests_[key];
  ++request.tasks;
  AtMostOneTaskPerRequestId(key, request);
  if (IsDefiniteNo(request.posts[post])) {
    Complain("The model of upstream is sound", absl::StrCat(task.id, " although refused"));
  }
}

void Invariants::AtMostOneTaskPerRequestId(const RequestKey& key, const Request& request) {
  if (request.tasks <= 1) return;
  Complain("At most one task per request_id",
           absl::StrCat(Name(key), " has been paid ", request.tasks, " times"));
}

// ------------------------------------------------------------------------------------ the callers' side

void Invariants::OnCall(const SubmitCall& call) {
  requests_[call.request].payloads_called.insert(core::CanonicalEncoding(call.input));
}

void Invariants::OnAnswer(SubmitCall& call, const absl::StatusOr<core::SubmitAnswer>& answer) {
  ++call.answers;
  CompletionsAreCalledOnce(call);
  Request& request = requests_[call.request];
  if (answer.ok()) {
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
      RememberedRejectionsStay(call, request, answer.status());
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
                                          const absl::Status& error) {
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
  Seen& seen = seen_[{prediction.tenant, prediction.id}];
  WhatWasShownIsNeverTakenBack(seen, prediction, where);
}

void Invariants::WhatWasShownIsNeverTakenBack(Seen& seen, const core::Prediction& prediction,
                                              absl::string_view where) {
  const auto [known, first_time] = seen.at.try_emplace(prediction.sequence, prediction);
  if (first_time || known->second == prediction) return;
  Complain("What was shown is never taken back",
           absl::StrCat(prediction.request_id, ": ", where, " shows ", Describe(prediction),
                        ", it was shown as ", Describe(known->second), " before; they differ in ",
                        Difference(known->second, prediction)));
}

int64_t Invariants::ShownSequence(const PredictionKey& key) const {
  const auto found = seen_.find(key);
  return found == seen_.end() || found->second.at.empty() ? 0 : found->second.at.rbegin()->first;
}

void Invariants::OnGot(const PredictionKey& key, int64_t least,
                       const absl::StatusOr<std::shared_ptr<const core::Prediction>>& got) {
  if (!got.ok()) {
    if (core::ReasonOf(got.status()) == Reason::kLedgerUnavailable) return;
    Complain("An acknowledged prediction can be read for ever after",
             absl::StrCat("Get: ", Describe(got.status())));
    return;
  }
  OnShown(**got, "a Get");
  if ((*got)->sequence < least) {
    Complain("Nothing moves backwards",
             absl::StrCat((*got)->request_id, ": a Get shows ", Describe(**got), ", but sequence ",
                          least, " had been shown before it began"));
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
  const Seen& seen = seen_[key];
  const std::string& name = seen.at.rbegin()->second.request_id;
  if (!stored.ok()) {
    Complain("What was shown is durable",
             absl::StrCat(name, " was shown as ", Describe(seen.at.rbegin()->second),
                          ", on disk is nothing: ", Describe(stored.status())));
    return;
  }
  SequencesRiseByOneAlongLegalEdges(*stored);
  core::Prediction prediction = stored->initial;
  for (const core::Transition& transition : stored->transitions) {
    prediction = core::Apply(std::move(prediction), transition);
    const auto shown = seen.at.find(prediction.sequence);
    if (shown != seen.at.end() && shown->second != prediction) {
      Complain("What was shown is durable",
               absl::StrCat(name, " was shown as ", Describe(shown->second), ", on disk is ",
                            Describe(prediction), "; they differ in ",
                            Difference(shown->second, prediction)));
    }
  }
  if (prediction.sequence < seen.at.rbegin()->first) {
    Complain("What was shown is durable",
             absl::StrCat(name, " was shown as ", Describe(seen.at.rbegin()->second),
                          ", on disk it is only ", Describe(prediction)));
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

// ---------------------------------------------------------------------------------------- at the end

std::vector<PredictionKey> Invariants::Known() const {
  std::vector<PredictionKey> known;
  for (const auto& [key, seen] : seen_) known.push_back(key);
  return known;
}

int64_t Invariants::transitions_shown() const {
  int64_t count = 0;
  for (const auto& [key, seen] : seen_) count += static_cast<int64_t>(seen.at.size());
  return count;
}

void Invariants::OnEnd(const std::vector<core::Prediction>& disk, const ModelUpstream& upstream) {
  for (const core::Prediction& last : disk) {
    if (!core::IsTerminal(last.state)) {
      Complain("Everything ends", absl::StrCat(last.request_id, " is still ", Describe(last)));
    }
    PredictionsTellTheTruthAboutTheirTasks(last, upstream);
    if (last.failure && last.failure->code == core::FailureCode::kSubmitOutcomeUnknown &&
        requests_[{last.tenant, last.request_id}].tasks > 0) {
      ++videos_lost_sight_of_;
    }
  }
}

void Invariants::PredictionsTellTheTruthAboutTheirTasks(const core::Prediction& prediction,
                                                        const ModelUpstream& upstream) {
  const auto complain = [&](absl::string_view what) {
    Complain("Predictions tell the truth about their tasks",
             absl::StrCat(prediction.request_id, " ", Describe(prediction), ": ", what));
  };
  if (prediction.upstream_id.empty()) {
    const bool not_created =
        prediction.failure && prediction.failure->code == core::FailureCode::kSubmitNotCreated;
    if (not_created && requests_[{prediction.tenant, prediction.request_id}].tasks > 0) {
      complain("there is a task");
    }
    if (!prediction.failure) complain("it ended without a task and without a failure");
    return;
  }
  const ModelTask* task = upstream.FindTask(prediction.upstream_id);
  if (task == nullptr) return complain("there is no such task");
  if (task->input.prompt != prediction.input.prompt || task->input.seed != prediction.seed) {
    return complain("the task is somebody else's");
  }
  if (prediction.failure) {
    if (prediction.failure->code == core::FailureCode::kUpstreamExpired) return;
    if (prediction.failure->code == core::FailureCode::kUpstreamNotFound) {
      if (task->forgotten_time == absl::InfiniteFuture()) complain("upstream knows it still");
      return;
    }
  }
  if (prediction.state != task->end.state || prediction.outputs != task->end.outputs ||
      prediction.failure != task->end.failure) {
    complain(absl::StrCat("the task ended as ", core::StateName(task->end.state)));
  }
}

}  // namespace dreamgate::simulation
