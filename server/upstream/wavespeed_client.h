// core's Upstream port over WaveSpeed's REST API. Owned by app, entered on the loop only. It
// carries each request to one origin only, never follows a redirect, and never sends the paid POST
// twice.
#ifndef DREAMGATE_SERVER_UPSTREAM_WAVESPEED_CLIENT_H_
#define DREAMGATE_SERVER_UPSTREAM_WAVESPEED_CLIENT_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/core/ports.h"
#include "server/net/loop.h"
#include "server/net/resolver.h"
#include "server/net/url.h"
#include "server/upstream/api_key.h"
#include "server/upstream/https_client.h"

namespace dreamgate::upstream {

struct WaveSpeedOptions {
  std::string base_url = "https://api.wavespeed.ai";
  std::string model = "bytedance/dreamina-v3.0-pro/text-to-video";
  std::string ca_file = {};  // PEM; empty: the system's authorities
  // Public https URL; "/" and the attempt's token follow. Empty: no webhooks.
  std::string webhook_url = {};
  std::string user_agent = "dreamgate/0.1";
  absl::Duration connect_timeout = absl::Seconds(5);  // resolving and all addresses together
  absl::Duration tls_timeout = absl::Seconds(5);
  absl::Duration get_timeout = absl::Seconds(30);
  absl::Duration list_timeout = absl::Seconds(30);  // a page of history
  // How long the socket of a POST is read; a late answer is the best evidence there is.
  absl::Duration late_answer_timeout = absl::Minutes(5);
  absl::Duration queue_timeout = absl::Seconds(10);  // waiting for a free connection
  absl::Duration idle_timeout = absl::Seconds(30);
  // A connection idle for this long or longer does not carry a POST.
  absl::Duration post_reuse_window = absl::Seconds(1);
  int max_connections = 96;
};

// Facts for the status page.
struct UpstreamHealth {
  std::optional<absl::Time> last_success;  // a task accepted or seen, or history read
  std::optional<absl::Time> last_failure;
  std::string last_failure_message;
  int open_connections = 0;
  int idle_connections = 0;
  int requests_in_flight = 0;
  int requests_waiting = 0;
};

class WaveSpeedClient : public core::Upstream {
 public:
  // `loop`, `resolver` and `events` outlive the client. InvalidArgument names the bad option.
  static absl::StatusOr<std::unique_ptr<WaveSpeedClient>> Create(net::Loop& loop,
                                                                 net::Resolver& resolver,
                                                                 core::Events& events,
                                                                 std::unique_ptr<ApiKey> key,
                                                                 const WaveSpeedOptions& options);
  // On the loop after Close, or anywhere once the loop has stopped.
  ~WaveSpeedClient() override;

  void CreateTask(const core::CreateTaskRequest& request,
                  core::Completion<core::CreateOutcome> done) override;
  void GetTask(const std::string& upstream_id, core::Completion<core::PollOutcome> done) override;
  // Asks for the tasks' inputs, too, until upstream has refused that once; then the same page is
  // asked for again without, as are all later ones.
  void ListTasks(const core::HistoryQuery& query,
                 core::Completion<core::HistoryOutcome> done) override;
  std::string KeyFingerprint() const override;

  // Closes every connection: POSTs not yet begun end as CreateNotSent, others as CreateUnknown.
  // `done` runs on the loop after all completions.
  void Close(absl::AnyInvocable<void() &&> done);

  UpstreamHealth Health() const;

 private:
  // The state that makes requests and judges answers; shared with the completions, which may outlive
  // the client.
  struct Shared;

  WaveSpeedClient(net::Loop& loop, net::Resolver& resolver, core::Events& events,
                  std::unique_ptr<ApiKey> key, const WaveSpeedOptions& options, net::Url base,
                  HttpsClientOptions client_options);
  // One question for a page; `https` is gone once the client is.
  static void AskForPage(const std::shared_ptr<Shared>& shared,
                         const std::weak_ptr<HttpsClient>& https, const core::HistoryQuery& query,
                         bool include_inputs, core::Completion<core::HistoryOutcome> done);

  net::Loop& loop_;
  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<HttpsClient> https_;  // owned; shared for being referred to weakly
};

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_WAVESPEED_CLIENT_H_
