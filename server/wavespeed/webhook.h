// WaveSpeed's webhooks: the text that is signed, the rules by which one is believed, and the little
// that is read from its body. Pure functions, any thread.
//
// The signature is HMAC-SHA256 over "{webhook-id}.{webhook-timestamp}.{raw body}". Its key is the
// secret's text after "whsec_" as it is: not base64-decoded, unlike in the Standard Webhooks
// specification, so that stock verifiers do not fit.
#ifndef DREAMGATE_SERVER_WAVESPEED_WEBHOOK_H_
#define DREAMGATE_SERVER_WAVESPEED_WEBHOOK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dreamgate::wavespeed {

// How far a webhook's timestamp may be from our clock, both ways.
inline constexpr absl::Duration kWebhookTolerance = absl::Seconds(300);

// A webhook as received.
struct SignedWebhook {
  absl::string_view id;          // webhook-id
  absl::string_view timestamp;   // webhook-timestamp: Unix seconds
  absl::string_view signatures;  // webhook-signature: "v3,<hex>", several with spaces between
  absl::string_view body;        // every byte of it
};

enum class WebhookVerdict {
  kGenuine,
  kMalformed,  // the id or the timestamp is nothing that upstream would sign
  kForged,     // no signature that counts fits any of the secrets
  kStale,      // signed by upstream, but the tolerance has passed, or has not begun
};

// Believes what one of `secrets` has signed. Takes a time that does not tell how much of a signature
// was right.
WebhookVerdict JudgeWebhook(const SignedWebhook& webhook, const std::vector<std::string>& secrets,
                            absl::Time now);

// A webhook proves only that this task exists. A GET tells the task's state.
struct Webhook {
  std::string upstream_id;  // safe in a path
  std::string raw_status;   // short text for people; may be empty
};

// Reads a bare task, or one in an envelope. InvalidArgument if it is not JSON or names no usable id.
absl::StatusOr<Webhook> ParseWebhook(absl::string_view body);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_WEBHOOK_H_
