// Where upstream calls back: a listener of its own for POST {path of the public URL}/{attempt token},
// over plain HTTP/1.1 behind an ingress, or over TLS. Reachable by strangers, so it caps what a client
// can make it hold and do, and nothing of a request reaches the core before its signature is verified.
// Owned by app; works on the loop. This header is free of Beast.
#ifndef DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_
#define DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/loop.h"
#include "server/net/tls.h"
#include "server/web/webhook_secrets.h"

namespace dreamgate::web {

struct WebhookOptions {
  std::string host = "127.0.0.1";       // an IP literal without brackets, or "localhost"
  uint16_t port = 0;                    // 0: any free one
  std::string path;                     // of the public URL, without a slash at its end
  std::shared_ptr<net::ServerTls> tls;  // null: plain HTTP
  // For a handshake, for a whole request from the end of the one before, for it to be recorded, and
  // for its answer.
  absl::Duration timeout = absl::Seconds(10);
  int max_connections = 128;  // more are answered 503, or closed where TLS would have to be spoken
  int max_requests_per_connection = 1000;  // closed after so many
};

class WebhookReceiver {
 public:
  // core::Gateway::OnWebhook, called on the loop for each genuine webhook.
  using OnWebhook = absl::AnyInvocable<void(std::string attempt_token, std::string upstream_id,
                                            core::Completion<absl::Status> done)>;

  // Binds and listens before it returns; serves once the loop runs. Unavailable if the address cannot
  // be bound, InvalidArgument if it is none. `loop`, `clock` and `events` are borrowed.
  static absl::StatusOr<std::unique_ptr<WebhookReceiver>> Start(
      net::Loop& loop, WebhookOptions options, std::unique_ptr<WebhookSecrets> secrets,
      core::Clock& clock, core::Events& events, OnWebhook on_webhook);

  // Closes the listener and every connection, and waits until the loop has done so; `on_webhook` is
  // not called after that. What is being recorded then goes unanswered, so upstream calls again.
  // Not to be called on the loop; the loop must run or have been stopped.
  ~WebhookReceiver();
  WebhookReceiver(const WebhookReceiver&) = delete;
  WebhookReceiver& operator=(const WebhookReceiver&) = delete;

  uint16_t port() const;  // as bound

 private:
  struct Listener;
  WebhookReceiver(net::Loop& loop, std::shared_ptr<Listener> listener);

  net::Loop& loop_;
  std::shared_ptr<Listener> listener_;
};

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_WEBHOOK_RECEIVER_H_
