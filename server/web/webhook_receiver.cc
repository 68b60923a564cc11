#include "server/web/webhook_receiver.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/core/errors.h"
#include "server/net/monotonic_clock.h"
#include "server/net/tls_asio.h"
#include "server/web/acceptor.h"
#include "server/web/webhook_request.h"

namespace dreamgate::web {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// A task with its outputs takes a few kilobytes.
constexpr uint64_t kBodyLimit = 256 * 1024;
constexpr uint32_t kHeaderLimit = 8 * 1024;
// Bounds chunk extensions, which count neither as header nor as body.
constexpr size_t kBufferLimit = 16 * 1024;
constexpr size_t kDiscardLimit = 2 * kBodyLimit;
constexpr absl::Duration kRetryAfter = absl::Seconds(5);
// Strangers decide how often something is refused, but not how much is logged.
constexpr absl::Duration kLogInterval = absl::Minutes(1);

const WebhookRefusal kUnavailableNow = {webhook_outcome::kUnavailable, 503,
                                        "cannot be recorded now: deliver it again"};

const WebhookRefusal kTooManyConnections = {webhook_outcome::kBusy, 503, "too many connections"};

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

// Whether an operator should be told: a wrong secret, a wrong clock, a ledger in trouble.
bool IsWorthAWarning(absl::string_view outcome) {
  return outcome == webhook_outcome::kForged || outcome == webhook_outcome::kStale ||
         outcome == webhook_outcome::kUnavailable;
}

WebhookRefusal Unreadable(const ErrorCode& error) {
  if (error == http::error::body_limit) {
    return {webhook_outcome::kOversize, 413, "the body is too large"};
  }
  if (error == http::error::header_limit) {
    return {webhook_outcome::kOversize, 431, "the header is too large"};
  }
  return {webhook_outcome::kMalformed, 400, "not an HTTP request"};
}

std::string AnswerText(int status, absl::string_view text, bool keep_alive) {
  std::string answer = absl::StrCat(
      "HTTP/1.1 ", status, " ",
      View(http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)))),
      "\r\nConnection: ", keep_alive ? "keep-alive" : "close", "\r\nCache-Control: no-store\r\n");
  if (status == 405) absl::StrAppend(&answer, "Allow: POST\r\n");
  if (status == 503) {
    absl::StrAppend(&answer, "Retry-After: ", absl::ToInt64Seconds(kRetryAfter), "\r\n");
  }
  if (status == 204) return absl::StrCat(answer, "\r\n");
  return absl::StrCat(answer, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ",
                      text.size() + 1, "\r\n\r\n", text, "\n");
}

}  // namespace

// Everything that lives on the loop. Handlers share it, so it outlives the WebhookReceiver if the loop
// is stopped with connections open.
struct WebhookReceiver::Listener : std::enable_shared_from_this<WebhookReceiver::Listener> {
  class Connection;

  Listener(net::Loop& on_loop, WebhookOptions with_options,
           std::unique_ptr<WebhookSecrets> with_secrets, core::Clock& with_clock,
           core::Events& with_events, OnWebhook with_webhook)
      : loop(on_loop),
        options(std::move(with_options)),
        secrets(std::move(with_secrets)),
        clock(with_clock),
        events(with_events),
        on_webhook(std::move(with_webhook)) {}

  void ServeOnLoop();
  void CloseOnLoop();
  std::shared_ptr<net::TlsContext> CurrentTls();  // if TLS is spoken
  void Report(const WebhookRefusal& refusal);

  net::Loop& loop;
  const WebhookOptions options;
  const std::unique_ptr<WebhookSecrets> secrets;
  core::Clock& clock;
  core::Events& events;
  OnWebhook on_webhook;
  std::shared_ptr<Acceptor> acceptor;
  bool closed = false;
  std::set<Connection*> connections;
  std::map<absl::string_view, absl::Time> last_warnings;  // by outcome, monotonic
};

// One client: read a request, judge it, have it recorded, answer, again while it wants to. A refusal
// ends the connection, so that guessing costs a new one each time.
class WebhookReceiver::Listener::Connection
    : public std::enable_shared_from_this<WebhookReceiver::Listener::Connection> {
 public:
  Connection(std::shared_ptr<Listener> listener, tcp::socket socket)
      : listener_(std::move(listener)), socket_(std::move(socket)) {
    listener_->connections.insert(this);
    if (listener_->options.tls != nullptr) {
      context_ = listener_->CurrentTls();
      tls_.emplace(socket_, context_->context);
    }
  }
  ~Connection() { listener_->connections.erase(this); }

  void StartOnLoop() {
    if (!tls_.has_value()) return BeginRequest();
    ArmDeadline();
    tls_->async_handshake(ssl::stream_base::server,
                          [self = shared_from_this()](const ErrorCode& error) {
                            if (!error && !self->over_) self->BeginRequest();
                          });
  }

  void RefuseOnLoop() {
    if (!tls_.has_value()) return Refuse(kTooManyConnections);
    listener_->Report(kTooManyConnections);  // a handshake is more than is worth spending on it
    CloseOnLoop();
  }

  void CloseOnLoop() {
    over_ = true;
    deadline_.reset();
    ErrorCode ignored;
    socket_.close(ignored);
  }

 private:
  using Next = void (Connection::*)();

  // One deadline for all that is awaited until the next one: bytes that drip do not move it.
  void ArmDeadline() {
    deadline_ = listener_->loop.After(listener_->options.timeout, [this] { OnDeadline(); });
  }

  void OnDeadline() {
    // A ledger that takes so long is in trouble. Should it still record this, the redelivery will find
    // nothing left to do.
    if (std::exchange(recording_, false)) return Refuse(kUnavailableNow);
    ReportIfIncomplete();
    CloseOnLoop();
  }

  void BeginRequest() {
    parser_.emplace();
    parser_->header_limit(kHeaderLimit);
    parser_->body_limit(kBodyLimit);
    reading_ = true;
    ArmDeadline();
    Parse();
  }

  // Feeds the parser with what there is, a header or a piece of the body at a time.
  void Parse() {
    while (buffer_.size() > 0) {
      ErrorCode error;
      const bool was_header = !parser_->is_header_done();
      buffer_.consume(parser_->put(buffer_.data(), error));
      if (error == http::error::need_more) break;
      if (error) return Refuse(Unreadable(error));
      if (was_header && parser_->is_header_done()) {
        parser_->eager(true);
        return OnHeader();
      }
      if (parser_->is_done()) return OnRequest();
    }
    ReadOnLoop();
  }

  void ReadOnLoop() {
    const size_t room = kBufferLimit - buffer_.size();
    if (room == 0) return Refuse(Unreadable(http::error::header_limit));
    const auto on_read = [self = shared_from_this()](const ErrorCode& error, size_t bytes) {
      self->OnRead(error, bytes);
    };
    if (tls_.has_value()) {
      tls_->async_read_some(buffer_.prepare(room), on_read);
    } else {
      socket_.async_read_some(buffer_.prepare(room), on_read);
    }
  }

  void OnRead(const ErrorCode& error, size_t bytes) {
    if (over_) return;
    if (error) {
      ReportIfIncomplete();
      return CloseOnLoop();
    }
    buffer_.commit(bytes);
    Parse();
  }

  WebhookHead Head() const {
    const auto& request = parser_->get();
    WebhookHead head;
    head.method = View(request.method_string());
    head.target = View(request.target());
    for (const auto& field : request) {
      head.headers.emplace_back(absl::AsciiStrToLower(View(field.name_string())),
                                View(field.value()));
    }
    return head;
  }

  void OnHeader() {
    if (const auto refusal = JudgeWebhookHead(Head(), listener_->options.path)) {
      return Refuse(*refusal);
    }
    const auto& request = parser_->get();
    if (!parser_->is_done() && request.count(http::field::expect) > 0 && request.version() >= 11) {
      return Send("HTTP/1.1 100 Continue\r\n\r\n", &Connection::Parse);
    }
    parser_->is_done() ? OnRequest() : Parse();
  }

  void OnRequest() {
    reading_ = false;
    const WebhookContext context{listener_->options.path, listener_->secrets->Current(),
                                 listener_->clock.Now()};
    auto verdict = JudgeWebhook(Head(), parser_->get().body(), context);
    if (const auto* refusal = std::get_if<WebhookRefusal>(&verdict)) return Refuse(*refusal);
    auto& evidence = std::get<WebhookEvidence>(verdict);
    listener_->events.Log(core::LogLevel::kDebug, "upstream called back",
                          {{"upstream_id", evidence.upstream_id}, {"status", evidence.raw_status}});
    recording_ = true;
    ArmDeadline();
    listener_->on_webhook(
        std::move(evidence.attempt_token), std::move(evidence.upstream_id),
        [self = shared_from_this()](const absl::Status& recorded) { self->OnRecorded(recorded); });
  }

  void OnRecorded(const absl::Status& recorded) {
    if (over_ || !std::exchange(recording_, false)) return;
    if (absl::IsNotFound(recorded)) {
      return Refuse({webhook_outcome::kUnknown, 404, "no submission waits for this"});
    }
    if (!recorded.ok()) return Refuse(kUnavailableNow);
    listener_->events.WebhookReceived(webhook_outcome::kAccepted);
    const bool keep_alive =
        parser_->keep_alive() && ++requests_ < listener_->options.max_requests_per_connection;
    ArmDeadline();
    Send(AnswerText(204, "", keep_alive),
         keep_alive ? &Connection::BeginRequest : &Connection::Leave);
  }

  void Refuse(const WebhookRefusal& refusal) {
    reading_ = false;
    listener_->Report(refusal);
    ArmDeadline();
    Send(AnswerText(refusal.http_status, refusal.text, /*keep_alive=*/false), &Connection::Leave);
  }

  void ReportIfIncomplete() {
    if (!reading_ || (buffer_.size() == 0 && !parser_->got_some())) return;  // idle
    listener_->Report({webhook_outcome::kIncomplete, 408, "too slow"});
  }

  void Send(std::string bytes, Next next) {
    outgoing_ = std::move(bytes);
    const auto on_written = [self = shared_from_this(), next](const ErrorCode& error, size_t) {
      if (self->over_) return;
      error ? self->CloseOnLoop() : (self.get()->*next)();
    };
    if (tls_.has_value()) {
      asio::async_write(*tls_, asio::buffer(outgoing_), on_written);
    } else {
      asio::async_write(socket_, asio::buffer(outgoing_), on_written);
    }
  }

  // Says that nothing more comes, then reads away what the client still sends: closing on unread
  // bytes would reset the connection and could take the answer with it.
  void Leave() {
    if (!tls_.has_value()) return Linger();
    tls_->async_shutdown([self = shared_from_this()](const ErrorCode&) { self->Linger(); });
  }

  void Linger() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    Discard();
  }

  void Discard() {
    if (over_) return;
    if (discarded_ > kDiscardLimit) return CloseOnLoop();
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(kBufferLimit),
                            [self = shared_from_this()](const ErrorCode& error, size_t bytes) {
                              if (error) return self->CloseOnLoop();
                              self->discarded_ += bytes;
                              self->Discard();
                            });
  }

  const std::shared_ptr<Listener> listener_;
  tcp::socket socket_;
  std::shared_ptr<net::TlsContext> context_;  // what a renewed certificate takes the place of
  std::optional<ssl::stream<tcp::socket&>> tls_;
  beast::flat_buffer buffer_{kBufferLimit};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string outgoing_;
  std::unique_ptr<net::LoopTimer> deadline_;
  bool over_ = false;       // the socket is closed
  bool reading_ = false;    // a request, or waiting for its first byte
  bool recording_ = false;  // the core has it
  int requests_ = 0;
  size_t discarded_ = 0;
};

void WebhookReceiver::Listener::ServeOnLoop() {
  acceptor->ServeOnLoop([weak = weak_from_this()](tcp::socket socket) {
    const std::shared_ptr<Listener> self = weak.lock();
    if (self == nullptr || self->closed) return;
    const auto open = static_cast<int>(self->connections.size());
    // Some connections above the limit may wait for their refusal to be written, but not many.
    if (open >= 2 * self->options.max_connections) return self->Report(kTooManyConnections);
    auto connection = std::make_shared<Connection>(self, std::move(socket));
    open < self->options.max_connections ? connection->StartOnLoop() : connection->RefuseOnLoop();
  });
}

void WebhookReceiver::Listener::CloseOnLoop() {
  closed = true;
  acceptor->CloseOnLoop();
  for (Connection* connection : connections) connection->CloseOnLoop();
}

std::shared_ptr<net::TlsContext> WebhookReceiver::Listener::CurrentTls() {
  if (const absl::Status status = options.tls->Refresh(); !status.ok()) {
    events.Log(core::LogLevel::kWarning, "the webhook certificate stays as it was",
               {{"error", std::string(status.message())}});
  }
  return options.tls->context();
}

void WebhookReceiver::Listener::Report(const WebhookRefusal& refusal) {
  events.WebhookReceived(refusal.outcome);
  if (!IsWorthAWarning(refusal.outcome)) return;
  const absl::Time now = net::MonotonicNow();
  const auto [last, first] = last_warnings.try_emplace(refusal.outcome, now);
  if (!first && now - last->second < kLogInterval) return;
  last->second = now;
  events.Log(core::LogLevel::kWarning, "a webhook was refused",
             {{"outcome", std::string(refusal.outcome)}, {"reason", std::string(refusal.text)}});
}

absl::StatusOr<std::unique_ptr<WebhookReceiver>> WebhookReceiver::Start(
    net::Loop& loop, WebhookOptions options, std::unique_ptr<WebhookSecrets> secrets,
    core::Clock& clock, core::Events& events, OnWebhook on_webhook) {
  absl::StatusOr<std::shared_ptr<Acceptor>> acceptor =
      Acceptor::Bind(loop, options.host, options.port);
  if (!acceptor.ok()) return acceptor.status();
  auto listener = std::make_shared<Listener>(loop, std::move(options), std::move(secrets), clock,
                                             events, std::move(on_webhook));
  listener->acceptor = *std::move(acceptor);
  loop.Post([listener] { listener->ServeOnLoop(); });
  return std::unique_ptr<WebhookReceiver>(new WebhookReceiver(loop, std::move(listener)));
}

WebhookReceiver::WebhookReceiver(net::Loop& loop, std::shared_ptr<Listener> listener)
    : loop_(loop), listener_(std::move(listener)) {}

WebhookReceiver::~WebhookReceiver() {
  RunOnLoopAndWait(loop_, [listener = listener_] { listener->CloseOnLoop(); });
}

uint16_t WebhookReceiver::port() const { return listener_->acceptor->port(); }

}  // namespace dreamgate::web
