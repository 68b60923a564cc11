#include "tests/simulation/webhooks.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/errors.h"

namespace dreamgate::simulation {

void Webhooks::OnTaskCreated(const ModelTask& task) {
  Chance& chance = world_.chance;
  if (percent_ <= 0 || !chance.Percent(percent_)) return;
  // Most call when the task has ended; some say at once that it exists, before the POST is answered.
  absl::Duration delay = absl::ZeroDuration();
  if (chance.Percent(75) && task.end_time < absl::InfiniteFuture()) {
    delay = task.end_time - world_.time.Now();
  }
  delay += chance.Percent(80) ? chance.Spread(absl::Milliseconds(1), absl::Seconds(30))
                              : chance.Spread(absl::Seconds(30), absl::Hours(2));
  const Callback callback{.token = task.input.attempt_token, .upstream_id = task.id};
  CallLater(callback, delay);
  if (chance.Percent(25)) {
    CallLater(callback, delay + chance.Spread(absl::Milliseconds(1), absl::Hours(1)));
  }
}

void Webhooks::AddForgery(absl::Duration delay) {
  CallLater({.token = absl::StrCat("forged-", world_.chance.Between(0, 1'000'000)),
             .upstream_id = "task-0001",
             .forged = true},
            delay);
}

void Webhooks::CallLater(Callback callback, absl::Duration delay) {
  world_.agenda.Later(
      delay, [this, callback = std::move(callback)]() mutable { Call(std::move(callback)); });
}

void Webhooks::Call(Callback callback) {
  --callback.tries_left;
  if (world_.gateway == nullptr) {
    CallAgain(std::move(callback));
    return;
  }
  const int64_t number = ++calls_;
  world_.trace.Add("callback ", number, " for ", callback.upstream_id,
                   callback.forged ? ", forged" : "");
  open_[number] = callback;
  world_.gateway->OnCallback(callback.token, callback.upstream_id,
                             [this, number](absl::Status answer) {
                               const auto call = open_.extract(number);
                               world_.trace.Add("callback ", number, " is answered: ", [&answer] {
                                 return answer.ToString(absl::StatusToStringMode::kWithNoExtraData);
                               });
                               if (call.empty()) {
                                 world_.invariants.Complain("Completions are called once",
                                                            "a callback was answered again");
                                 return;
                               }
                               OnAnswer(call.mapped(), answer);
                             });
}

void Webhooks::CallAgain(Callback callback) {
  if (callback.tries_left == 0) return;
  CallLater(std::move(callback), world_.chance.Spread(absl::Seconds(1), absl::Minutes(5)));
}

void Webhooks::OnAnswer(const Callback& callback, const absl::Status& answer) {
  if (core::ReasonOf(answer) == core::Reason::kLedgerUnavailable) {
    CallAgain(callback);
    return;
  }
  world_.invariants.OnCallbackAnswered(callback.token, callback.upstream_id, callback.forged,
                                       answer);
}

void Webhooks::OnProcessEnd() {
  for (auto& [number, callback] : std::exchange(open_, {})) CallAgain(std::move(callback));
}

void Webhooks::OnEnd() {
  if (open_.empty()) return;
  world_.invariants.Complain("Completions are called once",
                             absl::StrCat(open_.size(), " callbacks were never answered"));
}

}  // namespace dreamgate::simulation
