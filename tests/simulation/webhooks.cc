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
  const Webhook webhook{.token = task.input.attempt_token, .upstream_id = task.id};
  CallLater(webhook, delay);
  if (chance.Percent(25)) {
    CallLater(webhook, delay + chance.Spread(absl::Milliseconds(1), absl::Hours(1)));
  }
}

void Webhooks::AddForgery(absl::Duration delay) {
  CallLater({.token = absl::StrCat("forged-", world_.chance.Between(0, 1'000'000)),
             .upstream_id = "task-0001",
             .forged = true},
            delay);
}

void Webhooks::CallLater(Webhook webhook, absl::Duration delay) {
  world_.agenda.Later(delay,
                      [this, webhook = std::move(webhook)]() mutable { Call(std::move(webhook)); });
}

void Webhooks::Call(Webhook webhook) {
  --webhook.tries_left;
  if (world_.gateway == nullptr) {
    CallAgain(std::move(webhook));
    return;
  }
  const int64_t number = ++calls_;
  world_.trace.Add("webhook ", number, " for ", webhook.upstream_id,
                   webhook.forged ? ", forged" : "");
  open_[number] = webhook;
  world_.gateway->OnWebhook(
      webhook.token, webhook.upstream_id, [this, number](absl::Status answer) {
        const auto call = open_.extract(number);
        world_.trace.Add("webhook ", number, " is answered: ", [&answer] {
          return answer.ToString(absl::StatusToStringMode::kWithNoExtraData);
        });
        if (call.empty()) {
          world_.invariants.Complain("Completions are called once", "a webhook was answered again");
          return;
        }
        OnAnswer(call.mapped(), answer);
      });
}

void Webhooks::CallAgain(Webhook webhook) {
  if (webhook.tries_left == 0) return;
  CallLater(std::move(webhook), world_.chance.Spread(absl::Seconds(1), absl::Minutes(5)));
}

void Webhooks::OnAnswer(const Webhook& webhook, const absl::Status& answer) {
  if (core::ReasonOf(answer) == core::Reason::kLedgerUnavailable) {
    CallAgain(webhook);
    return;
  }
  world_.invariants.OnWebhookAnswered(webhook.token, webhook.upstream_id, webhook.forged, answer);
}

void Webhooks::OnProcessEnd() {
  for (auto& [number, webhook] : std::exchange(open_, {})) CallAgain(std::move(webhook));
}

void Webhooks::OnEnd() {
  if (open_.empty()) return;
  world_.invariants.Complain("Completions are called once",
                             absl::StrCat(open_.size(), " webhooks were never answered"));
}

}  // namespace dreamgate::simulation
