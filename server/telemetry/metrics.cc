#include "server/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::telemetry {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using Buckets = Histogram::BucketBoundaries;

// Upper bounds in seconds. Local work takes parts of a millisecond, upstream seconds to minutes.
const Buckets& RequestBuckets() {
  static const Buckets buckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                  0.5,   1,      2.5,   5,    10,    30,   60,  300};
  return buckets;
}
const Buckets& LocalBuckets() {
  static const Buckets buckets = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                  0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5};
  return buckets;
}
const Buckets& BatchBuckets() {
  static const Buckets buckets = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  return buckets;
}

constexpr const char* kStatusCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};
constexpr const char* kOutcomes[] = {"accepted",   "replayed", "rejected",
                                     "unresolved", "not_sent", "refused"};
constexpr const char* kEvidence[] = {"answer", "webhook", "history", "absence", "none"};
constexpr const char* kWebhookOutcomes[] = {"accepted",    "forged",     "stale",
                                            "malformed",   "oversize",   "unknown",
                                            "unavailable", "incomplete", "busy"};
constexpr const char* kDropReasons[] = {"illegal", "repeated", "conflict", "unbound"};

// One counter per value of one label. The values are known beforehand, so all of them are shown from
// the start and found without a lock; anything else is counted as "other".
class CounterByValue {
 public:
  template <size_t N>
  CounterByValue(Family<Counter>& family, const char* label, const char* const (&values)[N]) {
    for (const char* value : values) {
      counters_.emplace_back(value, &family.Add({{label, value}}));
    }
    other_ = &family.Add({{label, "other"}});
  }

  Counter& operator[](absl::string_view value) {
    for (auto& [name, counter] : counters_) {
      if (name == value) return *counter;
    }
    return *other_;
  }

 private:
  std::vector<std::pair<absl::string_view, Counter*>> counters_;  // views of literals
  Counter* other_ = nullptr;
};

// Metrics whose label values are only met while running, for example HTTP statuses. The number is
// capped, because each one is kept for ever: what comes later is counted under "other".
template <typename Metric>
class MetricByLabels {
 public:
  using Make = absl::AnyInvocable<Metric&(const Labels&)>;

  MetricByLabels(std::vector<std::string> names, Make make)
      : names_(std::move(names)), make_(std::move(make)) {}

  template <typename... Values>
  Metric& For(const Values&... values) {
    std::string key;
    (absl::StrAppend(&key, values, "\n"), ...);
    const std::lock_guard lock(mutex_);
    auto found = metrics_.find(key);
    if (found != metrics_.end()) return *found->second;
    if (metrics_.size() >= kMost) return Other();
    Labels labels;
    size_t index = 0;
    ((labels[names_[index++]] = std::string(values)), ...);
    return *(metrics_[key] = &make_(labels));
  }

 private:
  static constexpr size_t kMost = 512;

  Metric& Other() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (other_ == nullptr) {
      Labels labels;
      for (const std::string& name : names_) labels[name] = "other";
      other_ = &make_(labels);
    }
    return *other_;
  }

  const std::vector<std::string> names_;
  std::mutex mutex_;  // ThreadSanitizer sees these, and not Abseil's
  Make make_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Metric*> metrics_ ABSL_GUARDED_BY(mutex_);
  Metric* other_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// One counter per (state, source), found by index.
class TransitionCounters {
 public:
  explicit TransitionCounters(Family<Counter>& family) {
    for (int state = 1; state <= kStates; ++state) {
      for (int source = 1; source <= kSources; ++source) {
        counters_[Index(state, source)] =
            &family.Add({{"state", std::string(core::StateName(static_cast<core::State>(state)))},
                         {"source", std::string(core::TransitionSourceName(
                                        static_cast<core::TransitionSource>(source)))}});
      }
    }
  }

  void Increment(core::State state, core::TransitionSource source) {
    counters_[Index(static_cast<int>(state), static_cast<int>(source))]->Increment();
  }

 private:
  static constexpr int kStates = static_cast<int>(core::State::kDeleted);
  static constexpr int kSources = static_cast<int>(core::TransitionSource::kReconciliation);

  static size_t Index(int state, int source) {
    return static_cast<size_t>((state - 1) * kSources + (source - 1));
  }

  std::array<Counter*, kStates * kSources> counters_;
};

double CpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// 0 where the system does not say.
double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  file >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenDescriptors() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return 0;
  return static_cast<double>(std::distance(begin(entries), end(entries)));
}

}  // namespace

struct Metrics::Series {
  prometheus::Registry registry;

  Family<Counter>& Counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Gauge>& Gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& Histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }
  MetricByLabels<Counter> CountersBy(std::vector<std::string> labels, const char* name,
                                     const char* help) {
    return {std::move(labels), [&family = Counters(name, help)](const Labels& values) -> Counter& {
              return family.Add(values);
            }};
  }
  MetricByLabels<Histogram> HistogramsBy(std::vector<std::string> labels, const char* name,
                                         const char* help) {
    return {std::move(labels),
            [&family = Histograms(name, help)](const Labels& values) -> Histogram& {
              return family.Add(values, RequestBuckets());
            }};
  }

  // Streams.
  Gauge& streams = Gauges("dreamgate_streams", "WatchPrediction streams open now.").Add({});
  Counter& streams_opened =
      Counters("dreamgate_streams_opened_total", "WatchPrediction streams opened.").Add({});
  CounterByValue streams_closed{
      Counters("dreamgate_streams_closed_total", "WatchPrediction streams ended, by status code."),
      "code", kStatusCodes};
  Histogram& delivery_time =
      Histograms("dreamgate_transition_delivery_seconds",
                 "From a transition's commit until its last watcher's write was handed over.")
          .Add({}, LocalBuckets());
  Counter& updates_delivered =
      Counters("dreamgate_updates_delivered_total", "Updates handed over, one per watcher.")
          .Add({});

  // Predictions.
  CounterByValue submissions{
      Counters("dreamgate_submissions_total", "Submissions answered, by outcome."), "outcome",
      kOutcomes};
  Histogram& submission_time = Histograms("dreamgate_submission_duration_seconds",
                                          "From a submission's arrival to its answer.")
                                   .Add({}, RequestBuckets());
  TransitionCounters transitions{
      Counters("dreamgate_transitions_total", "Transitions committed, by new state and source.")};
  CounterByValue observations_dropped{
      Counters("dreamgate_observations_dropped_total",
               "Observations of upstream that changed nothing, by reason."),
      "reason", kDropReasons};
  Gauge& in_flight =
      Gauges("dreamgate_predictions_in_flight", "Predictions that are not terminal.").Add({});
  Gauge& unresolved =
      Gauges("dreamgate_predictions_unresolved",
             "Predictions whose submission has an unknown outcome, being reconciled.")
          .Add({});
  CounterByValue reconciled{
      Counters("dreamgate_reconciled_total",
               "UNRESOLVED predictions decided, by evidence (none: given up)."),
      "evidence", kEvidence};
  Gauge& polling_paused =
      Gauges("dreamgate_polling_paused",
             "1 while upstream refuses the API key and no prediction is polled, else 0.")
          .Add({});
  Counter& orphans = Counters("dreamgate_orphans_total",
                              "Videos paid for that are bound to no live prediction: look at each.")
                         .Add({});
  Gauge& orphans_followed =
      Gauges("dreamgate_orphans_followed", "Orphans whose tasks have not ended, polled until then.")
          .Add({});

  // Upstream.
  Family<Gauge>& circuits =
      Gauges("dreamgate_upstream_circuit_open",
             "1 while upstream fails every call of a kind and few or none are sent, else 0.");
  Gauge& get_circuit = circuits.Add({{"call", "get"}});
  Gauge& post_circuit = circuits.Add({{"call", "post"}});
  MetricByLabels<Counter> upstream_requests =
      CountersBy({"operation", "status"}, "dreamgate_upstream_requests_total",
                 "Requests sent upstream, by operation and HTTP status (0: no answer).");
  MetricByLabels<Histogram> upstream_time =
      HistogramsBy({"operation"}, "dreamgate_upstream_request_duration_seconds",
                   "Time of a request upstream, by operation.");

  CounterByValue webhooks{
      Counters("dreamgate_webhooks_total",
               "Requests to the webhook receiver, by outcome (accepted, or why it was refused)."),
      "outcome", kWebhookOutcomes};

  // Ledger.
  Histogram& commit_time =
      Histograms("dreamgate_ledger_commit_seconds", "Time of one ledger transaction.")
          .Add({}, LocalBuckets());
  Histogram& batch_size =
      Histograms("dreamgate_ledger_batch_operations", "Operations in one ledger transaction.")
          .Add({}, BatchBuckets());
  Counter& commit_failures = Counters("dreamgate_ledger_commit_failures_total",
                                      "Ledger transactions that are not known to be durable.")
                                 .Add({});

  // RPCs.
  MetricByLabels<Counter> rpcs = CountersBy({"method", "code"}, "dreamgate_rpcs_total",
                                            "RPCs ended, by method and status code.");
  MetricByLabels<Histogram> rpc_time =
      HistogramsBy({"method"}, "dreamgate_rpc_duration_seconds", "Time of an RPC, by method.");

  // The process, under the names other Prometheus clients use.
  Gauge& start_time =
      Gauges("process_start_time_seconds", "Start of the process, in seconds since 1970.").Add({});
  Gauge& resident_bytes =
      Gauges("process_resident_memory_bytes", "Resident memory in bytes.").Add({});
  Gauge& open_descriptors = Gauges("process_open_fds", "Open file descriptors.").Add({});
  Counter& cpu_seconds =
      Counters("process_cpu_seconds_total", "User and system time used, in seconds.").Add({});

  std::mutex render_mutex;  // keeps two renderings from counting the same CPU time
};

Metrics::Metrics(EventLog& log, const BuildInfo& build, absl::Time start_time)
    : log_(log), series_(std::make_unique<Series>()) {
  series_->Gauges("dreamgate_build_info", "Always 1; the labels say what is running.")
      .Add({{"version", build.version}, {"revision", build.revision}, {"compiler", build.compiler}})
      .Set(1);
  series_->start_time.Set(absl::ToDoubleSeconds(start_time - absl::UnixEpoch()));
}

Metrics::~Metrics() = default;

std::string Metrics::RenderText() {
  const std::lock_guard lock(series_->render_mutex);
  series_->resident_bytes.Set(ResidentBytes());
  series_->open_descriptors.Set(OpenDescriptors());
  series_->cpu_seconds.Increment(std::max(0.0, CpuSeconds() - series_->cpu_seconds.Value()));
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, series_->registry.Collect());
  return text.str();
}

void Metrics::Log(core::LogLevel level, absl::string_view message, const core::LogFields& fields) {
  log_.Write(level, message, fields);
}

void Metrics::SubmissionFinished(absl::string_view outcome, absl::Duration took) {
  series_->submissions[outcome].Increment();
  series_->submission_time.Observe(absl::ToDoubleSeconds(took));
}

void Metrics::UpstreamRequest(absl::string_view operation, int http_status, absl::Duration took) {
  series_->upstream_requests.For(operation, absl::string_view(absl::StrCat(http_status)))
      .Increment();
  series_->upstream_time.For(operation).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::TransitionCommitted(core::State state, core::TransitionSource source) {
  series_->transitions.Increment(state, source);
}

void Metrics::ObservationDropped(absl::string_view why) {
  series_->observations_dropped[why].Increment();
}

void Metrics::LedgerCommit(absl::Duration took, int operations, bool ok) {
  series_->commit_time.Observe(absl::ToDoubleSeconds(took));
  series_->batch_size.Observe(operations);
  if (!ok) series_->commit_failures.Increment();
}

void Metrics::PredictionsInFlight(int64_t count) {
  series_->in_flight.Set(static_cast<double>(count));
}

void Metrics::StreamOpened() {
  series_->streams_opened.Increment();
  series_->streams.Increment();
}

void Metrics::StreamClosed(absl::string_view status_code) {
  series_->streams.Decrement();
  series_->streams_closed[status_code].Increment();
}

void Metrics::TransitionDelivered(absl::Duration took, int64_t watchers) {
  series_->delivery_time.Observe(absl::ToDoubleSeconds(took));
  series_->updates_delivered.Increment(static_cast<double>(watchers));
}

void Metrics::RpcFinished(absl::string_view method, absl::string_view status_code,
                          absl::Duration took) {
  series_->rpcs.For(method, status_code).Increment();
  series_->rpc_time.For(method).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::OrphanRecorded() { series_->orphans.Increment(); }

void Metrics::Reconciled(absl::string_view evidence) { series_->reconciled[evidence].Increment(); }

void Metrics::PredictionsUnresolved(int64_t count) {
  series_->unresolved.Set(static_cast<double>(count));
}

void Metrics::PollingPaused(bool paused) { series_->polling_paused.Set(paused ? 1 : 0); }

void Metrics::CircuitChanged(absl::string_view call, bool open) {
  (call == "get" ? series_->get_circuit : series_->post_circuit).Set(open ? 1 : 0);
}

void Metrics::OrphansFollowed(int64_t count) {
  series_->orphans_followed.Set(static_cast<double>(count));
}

void Metrics::WebhookReceived(absl::string_view outcome) { series_->webhooks[outcome].Increment(); }

}  // namespace dreamgate::telemetry
