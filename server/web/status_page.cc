#include "server/web/status_page.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace dreamgate::web {
namespace {

namespace json = boost::json;

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

json::object ToJson(const NamedValues& values) {
  json::object object;
  for (const auto& [name, value] : values) object[name] = value;
  return object;
}

json::value ToJson(const std::optional<absl::Time>& time) {
  if (!time.has_value()) return nullptr;
  return json::value(TimeText(*time));
}

json::object ToJson(const core::InFlight& entry) {
  const core::Prediction& prediction = *entry.prediction;
  json::object object;
  object["id"] = prediction.id;
  object["tenant"] = prediction.tenant;
  object["state"] = std::string(core::StateName(prediction.state));
  object["sequence"] = prediction.sequence;
  object["upstream_id"] = prediction.upstream_id;
  object["upstream_status"] = prediction.upstream_status;
  object["create_time"] = TimeText(prediction.create_time);
  object["update_time"] = TimeText(prediction.update_time);
  object["last_observed"] = ToJson(entry.last_observed);
  object["next_poll"] = ToJson(entry.next_poll);
  object["watchers"] = entry.watchers;
  return object;
}

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

absl::string_view CircuitName(core::CircuitBreaker::State state) {
  switch (state) {
    case core::CircuitBreaker::State::kClosed: return "closed";
    case core::CircuitBreaker::State::kOpen: return "open";
    case core::CircuitBreaker::State::kHalfOpen: return "half-open";
  }
  return "";
}

// Whole seconds: nobody reads the rest.
std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

std::string Ago(const std::optional<absl::Time>& time, absl::Time now) {
  if (!time.has_value()) return "never";
  return absl::StrCat(Rounded(now - *time), " ago");
}

std::string Until(const std::optional<absl::Time>& time, absl::Time now) {
  if (!time.has_value()) return "-";
  if (*time <= now) return "now";
  return absl::StrCat("in ", Rounded(*time - now));
}

std::string Table(absl::string_view title, const NamedValues& values) {
  std::string html = absl::StrCat("<h2>", title, "</h2>\n<table>\n");
  for (const auto& [name, value] : values) {
    absl::StrAppend(&html, "<tr><th>", Escaped(name), "</th><td>", Escaped(value), "</td></tr>\n");
  }
  return absl::StrCat(html, "</table>\n");
}

std::string InFlightTable(const StatusReport& report) {
  std::string html =
      absl::StrCat("<h2>Predictions in flight: ", report.gateway.predictions_in_flight, "</h2>\n");
  if (report.gateway.oldest.empty()) return html;
  absl::StrAppend(&html,
                  "<p>The oldest:</p>\n<table>\n<tr><th>id</th><th>tenant</th><th>state</th>"
                  "<th>upstream id</th><th>upstream status</th><th>created</th>"
                  "<th>last seen upstream</th><th>next poll</th><th>watchers</th></tr>\n");
  for (const core::InFlight& entry : report.gateway.oldest) {
    const core::Prediction& prediction = *entry.prediction;
    absl::StrAppend(&html, "<tr>");
    for (const std::string& cell :
         {prediction.id, prediction.tenant, std::string(core::StateName(prediction.state)),
          prediction.upstream_id, prediction.upstream_status,
          Ago(prediction.create_time, report.now), Ago(entry.last_observed, report.now),
          Until(entry.next_poll, report.now), absl::StrCat(entry.watchers)}) {
      absl::StrAppend(&html, "<td>", Escaped(cell), "</td>");
    }
    absl::StrAppend(&html, "</tr>\n");
  }
  return absl::StrCat(html, "</table>\n");
}

constexpr absl::string_view kHead =
    "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>dreamgate</title>\n"
    "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;font-weight:normal}"
    "th{background:#f4f4f4}</style></head>\n<body>\n<h1>dreamgate</h1>\n";

}  // namespace

std::string RenderStatusJson(const StatusReport& report) {
  json::object gateway;
  gateway["predictions_in_flight"] = report.gateway.predictions_in_flight;
  gateway["predictions_unresolved"] = report.gateway.predictions_unresolved;
  gateway["orphans"] = report.gateway.orphans;
  gateway["watchers"] = report.gateway.watchers;
  gateway["polling_paused"] = report.gateway.polling_paused;
  gateway["circuit"] = {{"get", std::string(CircuitName(report.gateway.get_circuit))},
                        {"post", std::string(CircuitName(report.gateway.post_circuit))}};
  gateway["draining"] = report.gateway.draining;
  json::array oldest;
  for (const core::InFlight& entry : report.gateway.oldest) oldest.push_back(ToJson(entry));
  gateway["oldest"] = std::move(oldest);

  json::object document;
  document["build"] = ToJson(report.build);
  document["now"] = TimeText(report.now);
  document["start_time"] = TimeText(report.start_time);
  document["uptime_seconds"] = absl::ToInt64Seconds(report.now - report.start_time);
  document["ready"] = report.ready;
  document["ready_reason"] = report.ready_reason;
  document["gateway"] = std::move(gateway);
  document["upstream"] = ToJson(report.upstream);
  document["configuration"] = ToJson(report.configuration);
  return json::serialize(document) + "\n";
}

std::string RenderStatusHtml(const StatusReport& report) {
  const auto yes_no = [](bool yes) { return std::string(yes ? "yes" : "no"); };
  NamedValues now = report.build;
  now.insert(now.end(),
             {{"started", TimeText(report.start_time)},
              {"up for", Rounded(report.now - report.start_time)},
              {"ready", report.ready ? "yes" : "no: " + report.ready_reason},
              {"draining", yes_no(report.gateway.draining)},
              {"polling paused", yes_no(report.gateway.polling_paused)},
              {"circuit of polls", std::string(CircuitName(report.gateway.get_circuit))},
              {"circuit of submissions", std::string(CircuitName(report.gateway.post_circuit))},
              {"watchers", absl::StrCat(report.gateway.watchers)},
              {"unresolved predictions", absl::StrCat(report.gateway.predictions_unresolved)},
              {"orphans polled", absl::StrCat(report.gateway.orphans)}});
  return absl::StrCat(kHead, Table("Now", now), Table("Upstream", report.upstream),
                      InFlightTable(report), Table("Configuration", report.configuration),
                      "</body>\n</html>\n");
}

}  // namespace dreamgate::web
