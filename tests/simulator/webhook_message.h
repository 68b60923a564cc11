// A webhook delivery as values, and WaveSpeed's signature over it. Free of state.
#ifndef DREAMGATE_TESTS_SIMULATOR_WEBHOOK_MESSAGE_H_
#define DREAMGATE_TESTS_SIMULATOR_WEBHOOK_MESSAGE_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "tests/simulator/message.h"
#include "tests/simulator/options.h"

namespace dreamgate::simulator {

struct WebhookMessage {
  std::string task_id;
  std::string url;  // where it goes, after rewriting
  Headers headers;  // webhook-id, webhook-timestamp, webhook-signature
  std::string body;
  WebhookBehavior behavior;
};

// One POST of one message.
struct WebhookAttempt {
  std::string task_id;
  std::string url;
  int number = 0;   // 0 the first, then redeliveries
  int status = 0;   // answered; 0: none
  absl::Time time;  // when the answer or the failure came
};

struct HttpUrl {
  std::string host;
  std::string port;
  std::string target;  // begins with a slash
};

// "v3," and the lower-case hex HMAC-SHA256 of "{id}.{timestamp}.{body}" under the secret's text after
// "whsec_".
std::string WebhookSignature(const std::string& secret, const std::string& id, int64_t timestamp,
                             const std::string& body);

WebhookMessage MakeWebhookMessage(const std::string& task_id, const std::string& registered_url,
                                  const std::string& body, const Options& options, absl::Time now);

// Only http://host[:port]/path; an empty host otherwise.
HttpUrl ParseHttpUrl(const std::string& url);
// The url's path and query at another origin.
std::string AtOrigin(const std::string& url, const std::string& origin);

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_WEBHOOK_MESSAGE_H_
