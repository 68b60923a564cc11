// What /statusz shows, as a JSON document and as a page for people. Pure functions over plain values;
// no secret belongs into a StatusReport, and no prompt is shown.
#ifndef DREAMGATE_SERVER_WEB_STATUS_PAGE_H_
#define DREAMGATE_SERVER_WEB_STATUS_PAGE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/core/gateway.h"

namespace dreamgate::web {

// Shown in this order.
using NamedValues = std::vector<std::pair<std::string, std::string>>;

struct StatusReport {
  absl::Time now;
  absl::Time start_time;
  bool ready = false;
  std::string ready_reason;
  NamedValues build;          // version, revision, compiler
  NamedValues configuration;  // without secrets
  NamedValues upstream;       // its health as this process sees it
  core::GatewayStatus gateway;
};

std::string RenderStatusJson(const StatusReport& report);
std::string RenderStatusHtml(const StatusReport& report);

}  // namespace dreamgate::web

#endif  // DREAMGATE_SERVER_WEB_STATUS_PAGE_H_
