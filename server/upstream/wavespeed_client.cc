#include "server/upstream/wavespeed_client.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/net/monotonic_clock.h"
#include "server/net/tls.h"
#include "server/wavespeed/answer.h"
#include "server/wavespeed/history.h"
#include "server/wavespeed/request.h"

namespace dreamgate::upstream {

namespace {

// Shorter prompts are words that any message may contain.
constexpr size_t kPromptWorthHiding = 32;

// Bytes of a page of history: 100 tasks with their prompts, in which a character may take 12.
constexpr size_t kHistoryLimit = size_t{16} << 20;

int HttpStatusOf(const HttpResult& result) {
  const auto* answer = std::get_if<wavespeed::HttpAnswer>(&result);
  return answer == nullptr ? 0 : answer->status;
}

core::CreateOutcome JudgeCreate(const HttpResult& result, const wavespeed::AnswerContext& context) {
  if (const auto* failure = std::get_if<HttpFailure>(&result)) {
    if (failure->sent) return core::CreateUnknown{failure->problem};
    return core::CreateNotSent{failure->problem};
  }
  return wavespeed::ReadCreateAnswer(std::get<wavespeed::HttpAnswer>(result), context);
}

core::PollOutcome JudgePoll(const HttpResult& result, const std::string& task_id,
                            const wavespeed::AnswerContext& context) {
  if (const auto* failure = std::get_if<HttpFailure>(&result)) {
    return core::PollFailed{core::PollProblem::kTransient, 0, failure->problem, std::nullopt};
  }
  return wavespeed::ReadPollAnswer(std::get<wavespeed::HttpAnswer>(result), task_id, context);
}

core::HistoryOutcome JudgeHistory(const HttpResult& result, int page,
                                  const wavespeed::AnswerContext& context) {
  if (const auto* failure = std::get_if<HttpFailure>(&result)) {
    return core::HistoryFailed{0, failure->problem, std::nullopt};
  }
  return wavespeed::ReadHistoryAnswer(std::get<wavespeed::HttpAnswer>(result), page, context);
}

// Whether upstream took offence at the member that not every version of its API knows.
bool RefusesInputs(const HttpResult& result, const core::HistoryOutcome& outcome) {
  const auto* answer = std::get_if<wavespeed::HttpAnswer>(&result);
  const auto* failed = std::get_if<core::HistoryFailed>(&outcome);
  return answer != nullptr && failed != nullptr &&
         (failed->http_status == 400 || failed->http_status == 422) &&
         absl::StrContains(answer->body, "include_inputs");
}

bool IsHeaderText(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c));
  });
}

}  // namespace

struct WaveSpeedClient::Shared {
  Shared(core::Events& the_events, std::unique_ptr<ApiKey> the_key, WaveSpeedOptions the_options,
         net::Url the_base)
      : events(the_events),
        key(std::move(the_key)),
        options(std::move(the_options)),
        base(std::move(the_base)) {}

  core::Events& events;
  const std::unique_ptr<ApiKey> key;
  const WaveSpeedOptions options;
  const net::Url base;
  UpstreamHealth health;            // times and message only
  bool inputs_are_refused = false;  // history answers only where `include_inputs` is left out

  std::string RequestText(const char* method, const std::string& target,
                          const std::string& body) const {
    // Nothing in here can break a line: the key, the target and the agent were checked.
    std::string text =
        absl::StrCat(method, " ", base.path, target, " HTTP/1.1\r\nHost: ", base.Authority(),
                     "\r\nUser-Agent: ", options.user_agent, "\r\nAccept: application/json",
                     "\r\nAuthorization: Bearer ", key->Current(), "\r\n");
    if (!body.empty()) {
      absl::StrAppend(&text, "Content-Type: application/json\r\nContent-Length: ", body.size(),
                      "\r\n");
    }
    absl::StrAppend(&text, "\r\n", body);
    return text;
  }

  wavespeed::AnswerContext Context(const std::string& key_used, const std::string& prompt) const {
    wavespeed::AnswerContext context;
    context.now = absl::Now();
    context.secrets.push_back(key_used);
    if (prompt.size() >= kPromptWorthHiding) context.secrets.push_back(prompt);
    return context;
  }

  void NoteSuccess() { health.last_success = absl::Now(); }
  void NoteFailure(const std::string& message) {
    health.last_failure = absl::Now();
    health.last_failure_message = message;
  }

  void Note(const core::CreateOutcome& outcome) {
    if (std::holds_alternative<core::CreateAccepted>(outcome)) return NoteSuccess();
    if (const auto* rejected = std::get_if<core::CreateRejected>(&outcome)) {
      if (rejected->reason == core::Reason::kUpstreamCredentialsRejected) key->Reread();
      // A refused prompt says nothing about upstream's health.
      if (rejected->reason != core::Reason::kUpstreamRejected) NoteFailure(rejected->message);
    } else if (const auto* unsent = std::get_if<core::CreateNotSent>(&outcome)) {
      NoteFailure(unsent->message);
    } else {
      NoteFailure(std::get<core::CreateUnknown>(outcome).message);
    }
  }

  void Note(const core::PollOutcome& outcome) {
    if (std::holds_alternative<core::PollObserved>(outcome)) return NoteSuccess();
    const auto& failed = std::get<core::PollFailed>(outcome);
    if (failed.problem == core::PollProblem::kCredentialsRejected) key->Reread();
    // An unknown task says nothing about upstream's health.
    if (failed.problem != core::PollProblem::kNotFound) NoteFailure(failed.message);
  }

  void Note(const core::HistoryOutcome& outcome) {
    if (std::holds_alternative<core::HistoryPage>(outcome)) return NoteSuccess();
    const auto& failed = std::get<core::HistoryFailed>(outcome);
    if (failed.http_status == 401 || failed.http_status == 403) key->Reread();
    NoteFailure(failed.message);
  }
};

absl::StatusOr<std::unique_ptr<WaveSpeedClient>> WaveSpeedClient::Create(
    net::Loop& loop, net::Resolver& resolver, core::Events& events, std::unique_ptr<ApiKey> key,
    const WaveSpeedOptions& options) {
  absl::StatusOr<net::Url> base = net::ParseUrl(options.base_url);
  if (!base.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("upstream base URL: ", base.status().message()));
  }
  if (!base->query.empty()) {
    return absl::InvalidArgumentError("upstream base URL: it must not contain a query");
  }
  while (absl::EndsWith(base->path, "/")) base->path.pop_back();
  if (!wavespeed::IsSafeModelPath(options.model)) {
    return absl::InvalidArgumentError(
        "upstream model: it must be words of letters, digits and -._~ separated by \"/\"");
  }
  if (!IsHeaderText(options.user_agent)) {
    return absl::InvalidArgumentError("user agent: it must be printable ASCII");
  }
  if (!options.webhook_url.empty()) {
    const absl::StatusOr<net::Url> webhook = net::ParseUrl(options.webhook_url);
    if (!webhook.ok() || !webhook->https || !webhook->query.empty()) {
      return absl::InvalidArgumentError(
          "webhook URL: it must be an https URL without a query, because upstream calls no other");
    }
  }

  HttpsClientOptions client;
  client.connection.host = base->host;
  client.connection.port = base->port;
  client.connection.connect_timeout = options.connect_timeout;
  client.connection.tls_timeout = options.tls_timeout;
  client.max_connections = options.max_connections;
  client.idle_timeout = options.idle_timeout;
  client.fresh_window = options.post_reuse_window;
  client.queue_timeout = options.queue_timeout;
  if (base->https) {
    absl::StatusOr<std::shared_ptr<net::TlsContext>> tls = net::MakeClientTls(options.ca_file);
    if (!tls.ok()) return tls.status();
    client.connection.tls = *std::move(tls);
  }
  return std::unique_ptr<WaveSpeedClient>(new WaveSpeedClient(
      loop, resolver, events, std::move(key), options, *std::move(base), std::move(client)));
}

WaveSpeedClient::WaveSpeedClient(net::Loop& loop, net::Resolver& resolver, core::Events& events,
                                 std::unique_ptr<ApiKey> key, const WaveSpeedOptions& options,
                                 net::Url base, HttpsClientOptions client_options)
    : loop_(loop),
      shared_(std::make_shared<Shared>(events, std::move(key), options, std::move(base))),
      https_(std::make_shared<HttpsClient>(loop, resolver, std::move(client_options))) {}

WaveSpeedClient::~WaveSpeedClient() = default;

void WaveSpeedClient::CreateTask(const core::CreateTaskRequest& request,
                                 core::Completion<core::CreateOutcome> done) {
  const WaveSpeedOptions& options = shared_->options;
  std::string webhook = options.webhook_url;
  if (!webhook.empty()) {
    absl::StrAppend(&webhook, absl::EndsWith(webhook, "/") ? "" : "/", request.attempt_token);
  }
  HttpRequest post;
  post.text = shared_->RequestText("POST", wavespeed::CreateTarget(options.model, webhook),
                                   wavespeed::CreateBody(request));
  post.idempotent = false;
  post.timeout = options.late_answer_timeout;
  https_->Send(std::move(post), [shared = shared_, start = net::MonotonicNow(),
                                 key = shared_->key->Current(), prompt = request.prompt,
                                 done = std::move(done)](HttpResult result) mutable {
    core::CreateOutcome outcome = JudgeCreate(result, shared->Context(key, prompt));
    shared->events.UpstreamRequest("create", HttpStatusOf(result), net::MonotonicNow() - start);
    shared->Note(outcome);
    std::move(done)(std::move(outcome));
  });
}

void WaveSpeedClient::GetTask(const std::string& upstream_id,
                              core::Completion<core::PollOutcome> done) {
  if (!wavespeed::IsSafeTaskId(upstream_id)) {
    loop_.Post([done = std::move(done)]() mutable {
      std::move(done)(core::PollFailed{core::PollProblem::kRefused, 0,
                                       "the upstream id is not safe in a URL", std::nullopt});
    });
    return;
  }
  HttpRequest get;
  get.text = shared_->RequestText("GET", wavespeed::ResultTarget(upstream_id), "");
  get.idempotent = true;
  get.timeout = shared_->options.get_timeout;
  https_->Send(
      std::move(get), [shared = shared_, start = net::MonotonicNow(), key = shared_->key->Current(),
                       upstream_id, done = std::move(done)](HttpResult result) mutable {
        core::PollOutcome outcome = JudgePoll(result, upstream_id, shared->Context(key, ""));
        shared->events.UpstreamRequest("get", HttpStatusOf(result), net::MonotonicNow() - start);
        shared->Note(outcome);
        std::move(done)(std::move(outcome));
      });
}

void WaveSpeedClient::ListTasks(const core::HistoryQuery& query,
                                core::Completion<core::HistoryOutcome> done) {
  AskForPage(shared_, https_, query, !shared_->inputs_are_refused, std::move(done));
}

void WaveSpeedClient::AskForPage(const std::shared_ptr<Shared>& shared,
                                 const std::weak_ptr<HttpsClient>& https,
                                 const core::HistoryQuery& query, bool include_inputs,
                                 core::Completion<core::HistoryOutcome> done) {
  const std::shared_ptr<HttpsClient> client = https.lock();
  if (client == nullptr) {
    return std::move(done)(core::HistoryFailed{0, "the client is closed", std::nullopt});
  }
  HttpRequest post;
  post.text =
      shared->RequestText("POST", wavespeed::HistoryTarget(),
                          wavespeed::HistoryBody(query, shared->options.model, include_inputs));
  post.idempotent = true;  // it only reads
  post.timeout = shared->options.list_timeout;
  post.body_limit = kHistoryLimit;
  client->Send(std::move(post), [shared, https, query, include_inputs, start = net::MonotonicNow(),
                                 key = shared->key->Current(),
                                 done = std::move(done)](HttpResult result) mutable {
    core::HistoryOutcome outcome = JudgeHistory(result, query.page, shared->Context(key, ""));
    shared->events.UpstreamRequest("list", HttpStatusOf(result), net::MonotonicNow() - start);
    if (include_inputs && RefusesInputs(result, outcome)) {
      return AskForPage(shared, https, query, /*include_inputs=*/false, std::move(done));
    }
    // Remembered only where leaving it out was the cure.
    if (!include_inputs && std::holds_alternative<core::HistoryPage>(outcome)) {
      shared->inputs_are_refused = true;
    }
    shared->Note(outcome);
    std::move(done)(std::move(outcome));
  });
}

std::string WaveSpeedClient::KeyFingerprint() const { return shared_->key->Fingerprint(); }

void WaveSpeedClient::Close(absl::AnyInvocable<void() &&> done) { https_->Close(std::move(done)); }

UpstreamHealth WaveSpeedClient::Health() const {
  UpstreamHealth health = shared_->health;
  const PoolCounts counts = https_->Counts();
  health.open_connections = counts.open;
  health.idle_connections = counts.idle;
  health.requests_in_flight = counts.in_flight;
  health.requests_waiting = counts.waiting;
  return health;
}

}  // namespace dreamgate::upstream
