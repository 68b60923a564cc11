// Where upstream calls back: a listener of its own for POST {path of the public URL}/{attempt token},
// over plain HTTP/1.1 behind an ingress, or over TLS. Reachable by strangers: nothing of a request
// reaches the core before its signature is verified.
#ifndef DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_
#define DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/ports.h"
#include "server/net/loop.h"
#include "server/net/tls.h"
#include "server/web/http_server.h"
#include "server/web/webhook_secrets.h"

namespace dreamgate::web {

// `answer_timeout` and `max_body` are the receiver's own.
struct WebhookOptions : HttpOptions {
  std::string path;                     // of the public URL, without a slash at its end
  std::shared_ptr<net::ServerTls> tls;  // null: plain HTTP
};

// core::Gateway::OnWebhook, called on the loop for each genuine webhook.
using OnWebhook = absl::AnyInvocable<void(std::string attempt_token, std::string upstream_id,
                                          core::Completion<absl::Status> done)>;

// As HttpServer::Start; `on_webhook` is not called once the server is gone. What is being recorded then
// goes unanswered, so upstream calls again. `clock` and `events` are borrowed.
absl::StatusOr<std::unique_ptr<HttpServer>> StartWebhookReceiver(
    net::Loop& loop, WebhookOptions options, std::unique_ptr<WebhookSecrets> secrets,
    core::Clock& clock, core::Events& events, OnWebhook on_webhook);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_
