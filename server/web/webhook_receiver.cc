#include "server/web/webhook_receiver.h"

#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/net/monotonic_clock.h"
#include "server/web/webhook_request.h"

namespace dreamgate::web {
namespace {

// A task with its outputs takes a few kilobytes.
constexpr size_t kBodyLimit = 256 * 1024;
// Strangers decide how often something is refused, but not how much is logged.
constexpr absl::Duration kLogInterval = absl::Minutes(1);

absl::string_view OutcomeOf(HttpRefusal why) {
  switch (why) {
    case HttpRefusal::kMalformed: return webhook_outcome::kMalformed;
    case HttpRefusal::kOversize: return webhook_outcome::kOversize;
    case HttpRefusal::kIncomplete: return webhook_outcome::kIncomplete;
    case HttpRefusal::kUnanswered: return webhook_outcome::kUnavailable;
    case HttpRefusal::kBusy: return webhook_outcome::kBusy;
  }
  return {};
}

// Whether an operator should be told: a wrong secret, a wrong clock, a ledger in trouble.
bool IsWorthAWarning(absl::string_view outcome) {
  return outcome == webhook_outcome::kForged || outcome == webhook_outcome::kStale ||
         outcome == webhook_outcome::kUnavailable;
}

class WebhookService : public HttpService {
 public:
  WebhookService(std::string path, std::shared_ptr<net::ServerTls> tls,
                 std::unique_ptr<WebhookSecrets> secrets, core::Clock& clock, core::Events& events,
                 OnWebhook on_webhook)
      : path_(std::move(path)),
        tls_(std::move(tls)),
        secrets_(std::move(secrets)),
        clock_(clock),
        events_(events),
        on_webhook_(std::move(on_webhook)) {}

  std::optional<HttpResponse> RefuseByHeader(const HttpRequest& head) override {
    const auto refusal = JudgeWebhookHead(head, path_);
    if (!refusal.has_value()) return std::nullopt;
    return Refuse(*refusal);
  }

  void Handle(HttpRequest request, HttpReply reply) override {
    auto verdict = JudgeWebhook(request, {path_, secrets_->Current(), clock_.Now()});
    if (const auto* refusal = std::get_if<WebhookRefusal>(&verdict)) {
      return std::move(reply).Send(Refuse(*refusal));
    }
    auto& evidence = std::get<WebhookEvidence>(verdict);
    events_.Log(core::LogLevel::kDebug, "upstream called back",
                {{"upstream_id", evidence.upstream_id}, {"status", evidence.raw_status}});
    on_webhook_(std::move(evidence.attempt_token), std::move(evidence.upstream_id),
                [this, reply = std::move(reply)](const absl::Status& recorded) mutable {
                  // What is recorded too late is delivered again, and finds nothing left to do.
                  if (reply.waiting()) std::move(reply).Send(AnswerTo(recorded));
                });
  }

  void OnRefused(HttpRefusal why) override { Count(OutcomeOf(why), "not recorded in time"); }

  std::shared_ptr<net::TlsContext> Tls() override {
    if (tls_ == nullptr) return nullptr;
    if (const absl::Status status = tls_->Refresh(); !status.ok()) {
      events_.Log(core::LogLevel::kWarning, "the webhook certificate stays as it was",
                  {{"error", std::string(status.message())}});
    }
    return tls_->context();
  }

 private:
  HttpResponse AnswerTo(const absl::Status& recorded) {
    if (absl::IsNotFound(recorded)) {
      return Refuse({webhook_outcome::kUnknown, 404, "no submission waits for this"});
    }
    if (!recorded.ok()) {
      return Refuse(
          {webhook_outcome::kUnavailable, 503, "cannot be recorded now: deliver it again"});
    }
    Count(webhook_outcome::kAccepted, "");
    return {.status = 204};
  }

  HttpResponse Refuse(const WebhookRefusal& refusal) {
    Count(refusal.outcome, refusal.text);
    HttpResponse response = TextResponse(refusal.http_status, refusal.text);
    if (refusal.http_status == 405) response.headers = {{"Allow", "POST"}};
    return response;
  }

  void Count(absl::string_view outcome, absl::string_view reason) {
    events_.WebhookReceived(outcome);
    if (!IsWorthAWarning(outcome)) return;
    const absl::Time now = net::MonotonicNow();
    const auto [last, first] = last_warnings_.try_emplace(outcome, now);
    if (!first && now - last->second < kLogInterval) return;
    last->second = now;
    events_.Log(core::LogLevel::kWarning, "a webhook was refused",
                {{"outcome", std::string(outcome)}, {"reason", std::string(reason)}});
  }

  const std::string path_;
  const std::shared_ptr<net::ServerTls> tls_;
  const std::unique_ptr<WebhookSecrets> secrets_;
  core::Clock& clock_;
  core::Events& events_;
  OnWebhook on_webhook_;
  std::map<absl::string_view, absl::Time> last_warnings_;  // by outcome, monotonic
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> StartWebhookReceiver(
    net::Loop& loop, WebhookOptions options, std::unique_ptr<WebhookSecrets> secrets,
    core::Clock& clock, core::Events& events, OnWebhook on_webhook) {
  // A ledger that takes longer is in trouble.
  options.answer_timeout = options.timeout;
  options.max_body = kBodyLimit;
  auto service =
      std::make_unique<WebhookService>(std::move(options.path), std::move(options.tls),
                                       std::move(secrets), clock, events, std::move(on_webhook));
  return HttpServer::Start(loop, std::move(options), std::move(service));
}

}  // namespace dreamgate::web
