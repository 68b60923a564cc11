// The settings of an operator about the core's behaviour. Plain values, filled by app/config.
#ifndef DREAMGATE_SERVER_CORE_OPTIONS_H_
#define DREAMGATE_SERVER_CORE_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace dreamgate::core {

// How long after its attempt began a task may have been created. The socket of a POST is not read
// for longer.
constexpr absl::Duration kLatestCreation = absl::Minutes(15);

struct Options {
  std::string model = "bytedance/dreamina-v3.0-pro/text-to-video";

  // After this long without an answer to the POST, the caller is told UNRESOLVED.
  absl::Duration submit_soft_timeout = absl::Seconds(30);
  // An UNRESOLVED prediction without any evidence by then FAILS with SUBMIT_OUTCOME_UNKNOWN.
  absl::Duration unresolved_timeout = absl::Minutes(15);
  // How long upstream's history must show consistently that an attempt created no task before that
  // is believed. Below a minute a history that lags may be mistaken for absence.
  absl::Duration absence_settle_time = absl::Minutes(2);
  // How often a prediction may be sent again after such evidence. 0, never, is what keeps a
  // request_id from ever paying twice: more than that trusts upstream's history.
  int resend_after_absence = 0;
  // Predictions, and the memory of their request_ids, are kept this long after their end. Longer
  // than upstream's retention.
  absl::Duration request_id_retention = absl::Hours(30 * 24);

  // POSTs in flight at once; further submissions wait their turn as QUEUED.
  int max_submits_in_flight = 64;
  // Predictions in flight per tenant; 0 means no limit.
  int64_t max_in_flight_per_tenant = 0;

  // Bounds of the time between two polls of one prediction.
  absl::Duration poll_min_interval = absl::Seconds(2);
  absl::Duration poll_max_interval = absl::Minutes(10);
  // Polls that one video may cost on average, while somebody watches.
  double gets_per_video = 20;
  // Polls of all predictions together; 0: no limit but upstream's own.
  double max_gets_per_second = 0;
  // Polls under way at once; so many connections to upstream are left by what is submitted.
  int most_gets_under_way = 48;
  // Every task is registered for a webhook at its end.
  bool webhooks_expected = false;
  // While upstream refuses the key, one GET this often asks whether it is accepted again.
  absl::Duration probe_interval = absl::Seconds(30);
  // How long upstream keeps a task. What is not terminal by then FAILS with UPSTREAM_EXPIRED.
  absl::Duration upstream_retention = absl::Hours(7 * 24);

  absl::Duration heartbeat_default = absl::Seconds(15);
  absl::Duration heartbeat_min = absl::Seconds(5);
  absl::Duration heartbeat_max = absl::Seconds(25);
  // The time that a leaving server asks its watchers to wait.
  absl::Duration reconnect_delay = absl::Milliseconds(500);
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_OPTIONS_H_
