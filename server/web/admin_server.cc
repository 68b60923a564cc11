#include "server/web/admin_server.h"

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/web/acceptor.h"

namespace dreamgate::web {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// What a scraper or a browser sends is well below these. The buffer is what bounds chunk extensions,
// which count neither as header nor as body.
constexpr uint32_t kHeaderLimit = 8 * 1024;
constexpr uint64_t kBodyLimit = 1024;
constexpr size_t kBufferLimit = 16 * 1024;
// A backup goes out in pieces of this size, so that it costs as much memory whatever its own.
constexpr size_t kBackupPiece = 64 * 1024;

struct Page {
  http::status status = http::status::ok;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string allow;  // not empty: the Allow header of a 405
};

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

Page TextPage(http::status status, absl::string_view line) {
  return {status, "text/plain; charset=utf-8", absl::StrCat(line, "\n"), ""};
}

bool WantsHtml(absl::string_view accept) {
  return absl::StrContains(absl::AsciiStrToLower(accept), "text/html");
}

Page RenderPage(AdminPages& pages, absl::string_view path, absl::string_view accept) {
  if (path == "/livez") return TextPage(http::status::ok, "ok");
  if (path == "/readyz") {
    const Readiness readiness = pages.readiness();
    return TextPage(readiness.ready ? http::status::ok : http::status::service_unavailable,
                    readiness.reason);
  }
  if (path == "/metrics") {
    return {http::status::ok, "text/plain; version=0.0.4; charset=utf-8", pages.metrics(), ""};
  }
  if (path == "/statusz") {
    const StatusReport report = pages.status();
    if (WantsHtml(accept)) {
      return {http::status::ok, "text/html; charset=utf-8", RenderStatusHtml(report), ""};
    }
    return {http::status::ok, "application/json", RenderStatusJson(report), ""};
  }
  return TextPage(http::status::not_found,
                  "not found; there are /livez, /readyz, /metrics, /statusz and POST /backup");
}

bool IsPage(absl::string_view path) {
  return path == "/livez" || path == "/readyz" || path == "/metrics" || path == "/statusz";
}

// One header only: of two, nobody knows which one others believe.
std::string OnlyHeader(const http::request<http::string_body>& request, http::field name) {
  return request.count(name) == 1 ? std::string(request[name]) : std::string();
}

BackupRequester RequesterOf(const http::request<http::string_body>& request,
                            const std::string& peer) {
  BackupRequester requester;
  requester.peer = peer;
  requester.host = OnlyHeader(request, http::field::host);
  for (const auto& header : request) {
    const std::string name = absl::AsciiStrToLower(View(header.name_string()));
    if (name == "origin" || absl::StartsWith(name, "sec-fetch-")) requester.browser = true;
    if (name == "via" || name == "forwarded" || absl::StartsWith(name, "x-forwarded-")) {
      requester.forwarded = true;
    }
  }
  return requester;
}

// The copy that is being made or sent, and the piece of it that is on its way.
struct Backup {
  std::optional<BackupCopy> copy;
  std::vector<char> piece = std::vector<char>(kBackupPiece);
  uint64_t left = 0;
};

// What to tell a client whose request could not be read; nullopt if it has left or was too slow.
std::optional<Page> ReadErrorPage(const ErrorCode& error) {
  if (error == http::error::header_limit) {
    return TextPage(http::status::request_header_fields_too_large, "request header too large");
  }
  if (error == http::error::body_limit) {
    return TextPage(http::status::payload_too_large, "no request body is expected here");
  }
  if (error == http::error::end_of_stream || error == http::error::partial_message) {
    return std::nullopt;
  }
  if (error.category() == http::make_error_code(http::error::bad_method).category()) {
    return TextPage(http::status::bad_request, absl::StrCat("bad request: ", error.message()));
  }
  return std::nullopt;
}

}  // namespace

// Everything that lives on the loop. Handlers share it, so it outlives the AdminServer if the loop is
// stopped with connections open.
struct AdminServer::Listener : std::enable_shared_from_this<AdminServer::Listener> {
  class Connection;

  Listener(net::Loop& on_loop, AdminOptions with_options, AdminPages with_pages)
      : loop(on_loop), options(std::move(with_options)), pages(std::move(with_pages)) {}

  void ServeOnLoop();
  void CloseOnLoop();

  net::Loop& loop;
  const AdminOptions options;
  AdminPages pages;
  std::shared_ptr<Acceptor> acceptor;
  bool closed = false;
  std::set<Connection*> connections;
  std::weak_ptr<Backup> backup;  // owned by the connection that asked for it, or what works for it
};

// One client: read a request, answer it, again while it wants to.
class AdminServer::Listener::Connection
    : public std::enable_shared_from_this<AdminServer::Listener::Connection> {
 public:
  Connection(std::shared_ptr<Listener> listener, tcp::socket socket)
      : listener_(std::move(listener)), stream_(std::move(socket)) {
    listener_->connections.insert(this);
  }
  ~Connection() { listener_->connections.erase(this); }

  void ReadOnLoop() {
    parser_.emplace();
    parser_->header_limit(kHeaderLimit);
    parser_->body_limit(kBodyLimit);
    ArmTimeout();
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](const ErrorCode& error, size_t) { self->OnHeader(error); });
  }

  void RefuseOnLoop() {
    ArmTimeout();
    Write(TextPage(http::status::service_unavailable, "too many connections"), 11,
          /*head=*/false, /*keep_alive=*/false);
  }

  void CloseOnLoop() { stream_.close(); }

 private:
  void ArmTimeout() {
    stream_.expires_after(absl::ToChronoNanoseconds(listener_->options.timeout));
  }

  void OnHeader(const ErrorCode& error) {
    if (listener_->closed) return;
    if (error) return RefuseUnreadable(error);
    const auto& request = parser_->get();
    // Beast itself takes an encoding it does not know, with an empty body.
    if (request.count(http::field::transfer_encoding) > 0 && !request.chunked()) {
      return Write(TextPage(http::status::not_implemented, "unsupported Transfer-Encoding"),
                   request.version(), /*head=*/false, /*keep_alive=*/false);
    }
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](const ErrorCode& body_error, size_t) {
                       self->OnRequest(body_error);
                     });
  }

  void OnRequest(const ErrorCode& error) {
    if (listener_->closed) return;
    if (error) return RefuseUnreadable(error);
    const auto& request = parser_->get();
    const absl::string_view target = View(request.target());
    const absl::string_view path = target.substr(0, target.find('?'));
    const bool head = request.method() == http::verb::head;
    if (path == "/backup" && listener_->pages.backup) return OnBackupRequest(request, head);
    Page page;
    if (!head && request.method() != http::verb::get && IsPage(path)) {
      page = TextPage(http::status::method_not_allowed, "only GET and HEAD are allowed here");
      page.allow = "GET, HEAD";
    } else {
      page = RenderPage(listener_->pages, path, View(request[http::field::accept]));
    }
    Write(std::move(page), request.version(), head, request.keep_alive());
  }

  void OnBackupRequest(const http::request<http::string_body>& request, bool head) {
    const auto refuse = [&](Page page) {
      Write(std::move(page), request.version(), head, request.keep_alive());
    };
    if (request.method() != http::verb::post) {
      Page page = TextPage(http::status::method_not_allowed, "only POST is allowed here");
      page.allow = "POST";
      return refuse(std::move(page));
    }
    ErrorCode error;
    const tcp::endpoint peer = stream_.socket().remote_endpoint(error);
    const std::string address = error ? std::string() : peer.address().to_string();
    if (auto why = WhyNoBackup(RequesterOf(request, address)); why.has_value()) {
      return refuse(TextPage(http::status::forbidden, *why));
    }
    // A second copy would take the disk space and the time of the first once more.
    if (!listener_->backup.expired()) {
      return refuse(TextPage(http::status::conflict,
                             "another backup is being made: ask again when it has ended"));
    }
    auto backup = std::make_shared<Backup>();
    listener_->backup = backup;
    stream_.expires_never();
    listener_->pages.backup(
        [self = shared_from_this(), backup, version = request.version(),
         keep_alive = request.keep_alive()](absl::StatusOr<BackupCopy> copy) mutable {
          if (self->listener_->closed) return;
          if (!copy.ok()) {
            backup.reset();
            return self->Write(TextPage(http::status::service_unavailable, copy.status().message()),
                               version,
                               /*head=*/false, keep_alive);
          }
          backup->copy = *std::move(copy);
          backup->left = backup->copy->size();
          self->SendBackup(std::move(backup), version, keep_alive);
        });
  }

  void SendBackup(std::shared_ptr<Backup> backup, unsigned version, bool keep_alive) {
    Describe({http::status::ok, "application/octet-stream", "", ""}, version, keep_alive);
    response_.set(http::field::content_disposition, "attachment; filename=\"dreamgate-backup.db\"");
    response_.content_length(backup->left);
    ArmTimeout();
    serializer_.emplace(response_);
    http::async_write_header(stream_, *serializer_,
                             [self = shared_from_this(), backup = std::move(backup), keep_alive](
                                 const ErrorCode& error, size_t) mutable {
                               if (!error) self->SendPiece(std::move(backup), keep_alive);
                             });
  }

  // Whatever ends this before its time leaves a body shorter than announced, which clients notice.
  void SendPiece(std::shared_ptr<Backup> backup, bool keep_alive) {
    if (listener_->closed) return;
    if (backup->left == 0) {
      backup.reset();
      return GoOn(keep_alive);
    }
    const absl::StatusOr<size_t> count = backup->copy->Read(absl::MakeSpan(backup->piece));
    if (!count.ok() || *count == 0 || *count > backup->left) return stream_.close();
    backup->left -= *count;
    ArmTimeout();  // anew for each piece: a long backup is no slow client
    const auto piece = asio::buffer(backup->piece.data(), *count);
    asio::async_write(stream_, piece,
                      [self = shared_from_this(), backup = std::move(backup), keep_alive](
                          const ErrorCode& error, size_t) mutable {
                        if (!error) self->SendPiece(std::move(backup), keep_alive);
                      });
  }

  void RefuseUnreadable(const ErrorCode& error) {
    std::optional<Page> page = ReadErrorPage(error);
    if (page.has_value()) Write(*std::move(page), 11, /*head=*/false, /*keep_alive=*/false);
  }

  // Everything of an answer but its body and length.
  void Describe(const Page& page, unsigned version, bool keep_alive) {
    response_ = {};
    response_.version(version);
    response_.result(page.status);
    response_.set(http::field::content_type, page.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    response_.set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
    if (!page.allow.empty()) response_.set(http::field::allow, page.allow);
    response_.keep_alive(keep_alive);
  }

  void Write(Page page, unsigned version, bool head, bool keep_alive) {
    Describe(page, version, keep_alive);
    response_.content_length(page.body.size());
    if (!head) response_.body() = std::move(page.body);
    ArmTimeout();
    serializer_.emplace(response_);
    http::async_write(stream_, *serializer_,
                      [self = shared_from_this(), keep_alive](const ErrorCode& error, size_t) {
                        if (!self->listener_->closed && !error) self->GoOn(keep_alive);
                      });
  }

  void GoOn(bool keep_alive) { keep_alive ? ReadOnLoop() : LingerOnLoop(); }

  // Says that nothing more comes, then reads away what the client still sends: closing on unread
  // bytes would reset the connection and could take the answer with it.
  void LingerOnLoop() {
    ErrorCode ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    Discard();
  }

  void Discard() {
    if (discarded_ > kBufferLimit * 16) return;
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(kBufferLimit),
                            [self = shared_from_this()](const ErrorCode& error, size_t bytes) {
                              if (self->listener_->closed || error) return;
                              self->discarded_ += bytes;
                              self->Discard();
                            });
  }

  const std::shared_ptr<Listener> listener_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kBufferLimit};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  size_t discarded_ = 0;
};

void AdminServer::Listener::ServeOnLoop() {
  acceptor->ServeOnLoop([weak = weak_from_this()](tcp::socket socket) {
    const std::shared_ptr<Listener> self = weak.lock();
    if (self == nullptr || self->closed) return;
    const auto open = static_cast<int>(self->connections.size());
    // Some connections above the limit may wait for their refusal to be written, but not many.
    if (open >= 2 * self->options.max_connections) return;
    auto connection = std::make_shared<Connection>(self, std::move(socket));
    open < self->options.max_connections ? connection->ReadOnLoop() : connection->RefuseOnLoop();
  });
}

void AdminServer::Listener::CloseOnLoop() {
  closed = true;
  acceptor->CloseOnLoop();
  for (Connection* connection : connections) connection->CloseOnLoop();
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(net::Loop& loop,
                                                                AdminOptions options,
                                                                AdminPages pages) {
  absl::StatusOr<std::shared_ptr<Acceptor>> acceptor =
      Acceptor::Bind(loop, options.host, options.port);
  if (!acceptor.ok()) return acceptor.status();
  auto listener = std::make_shared<Listener>(loop, std::move(options), std::move(pages));
  listener->acceptor = *std::move(acceptor);
  loop.Post([listener] { listener->ServeOnLoop(); });
  return std::unique_ptr<AdminServer>(new AdminServer(loop, std::move(listener)));
}

AdminServer::AdminServer(net::Loop& loop, std::shared_ptr<Listener> listener)
    : loop_(loop), listener_(std::move(listener)) {}

AdminServer::~AdminServer() {
  RunOnLoopAndWait(loop_, [listener = listener_] { listener->CloseOnLoop(); });
}

uint16_t AdminServer::port() const { return listener_->acceptor->port(); }

}  // namespace dreamgate::web
