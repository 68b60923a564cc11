// How a simulated WaveSpeed account behaves. Plain values, copied at start; no thread owns them.
#ifndef DREAMGATE_TESTS_SIMULATOR_OPTIONS_H_
#define DREAMGATE_TESTS_SIMULATOR_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "tests/simulator/task_store.h"

namespace dreamgate::simulator {

// Whether history items carry the task's `input`; kWhenAsked: if the question says `include_inputs`.
enum class HistoryInput { kAlways, kNever, kWhenAsked };

// The fate of each webhook delivery. The default is a correct, prompt, single one.
struct WebhookBehavior {
  bool silent = false;              // never delivered
  int copies = 1;                   // how often each delivery is sent, at once
  absl::Duration delay = {};        // waits this long after the terminal status
  bool hold_until_next = false;     // sent only after the next task's delivery went out (reordered)
  bool forged = false;              // signed with another key
  bool several_signatures = false;  // a foreign signature stands before the right one
  absl::Duration timestamp_offset = {};  // added to webhook-timestamp, which is signed as sent
  int redeliveries = 3;                  // after an answer other than 2xx, or none
  absl::Duration redelivery_backoff = absl::Milliseconds(100);  // doubled each time
};

struct Options {
  uint16_t port = 0;  // 0: any free one, on 127.0.0.1
  // Host in base_url() and in the URLs the API hands out; must reach 127.0.0.1.
  std::string host = "127.0.0.1";
  // Both or neither: PEM files; the server then speaks TLS only.
  std::string tls_certificate_file = {};
  std::string tls_private_key_file = {};

  std::string api_key = "simulator-key";
  std::string model = "bytedance/dreamina-v3.0-pro/text-to-video";
  Schedule schedule = {};
  double balance_usd = 100.0;

  std::string video_file = {};      // served at /outputs/<id>.mp4; empty: a small built-in stand-in
  std::string outputs_origin = {};  // origin of output URLs; empty: base_url()

  std::string webhook_secret = "whsec_simulator-webhook-secret";
  WebhookBehavior webhook = {};
  // Origin (http://host:port) that receives every webhook instead of the registered URL's own; the
  // path is kept. Lets a task register the https URL that the API demands. Empty: no rewriting, and
  // then only http URLs are delivered.
  std::string webhook_origin = {};

  HistoryInput history_input = HistoryInput::kAlways;
  absl::Duration history_lag = {};  // a task appears in history this long after its creation

  absl::Duration clock_offset =
      {};  // of Date, created_at and webhook-timestamp, against this machine
  // Closes a connection unannounced after so many answers; 0: never.
  int close_after_requests = 0;
  // Newest requests kept by Log(); counters are exact regardless.
  std::size_t log_limit = 100'000;
  bool verbose = false;  // one line a request on stdout
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_OPTIONS_H_
