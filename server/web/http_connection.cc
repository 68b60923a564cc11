#include "server/web/http_connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/net/tls_asio.h"

namespace dreamgate::web {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr uint32_t kHeaderLimit = 8 * 1024;
// Bounds chunk extensions, which count neither as header nor as body.
constexpr size_t kBufferLimit = 16 * 1024;
constexpr size_t kStreamPiece = 64 * 1024;
constexpr size_t kDiscardLimit = 512 * 1024;

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

// One client: read a request, have it answered, again while it wants to. An error ends the connection,
// so that guessing costs a new one each time. Owned by whoever works for it: the operation of its socket
// that is under way, or the HttpReply.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::shared_ptr<HttpConnections> all, tcp::socket socket)
      : all_(std::move(all)), socket_(std::move(socket)), list_(&all_->waiting_) {
    place_ = list_->insert(list_->end(), this);
    ErrorCode error;
    const tcp::endpoint peer = socket_.remote_endpoint(error);
    if (!error) peer_ = peer.address().to_string();
    context_ = all_->service_->Tls();
    if (context_ != nullptr) tls_.emplace(socket_, context_->context);
  }
  ~HttpConnection() { LeaveList(); }

  void StartOnLoop() {
    if (!tls_.has_value()) return BeginRequest();
    ArmDeadline(all_->options_.timeout);
    tls_->async_handshake(ssl::stream_base::server,
                          [self = shared_from_this()](const ErrorCode& error) {
                            if (self->over()) return;
                            error ? self->CloseOnLoop() : self->BeginRequest();
                          });
  }

  void RefuseOnLoop() {
    if (!tls_.has_value()) return Refuse(HttpRefusal::kBusy, 503, "too many connections");
    ShedOnLoop();  // a handshake is more than is worth spending on it
  }

  void ShedOnLoop() {
    all_->service_->OnRefused(HttpRefusal::kBusy);
    CloseOnLoop();
  }

  void CloseOnLoop() {
    LeaveList();
    deadline_.reset();
    stream_.reset();
    ErrorCode ignored;
    socket_.close(ignored);
  }

  bool awaits_answer() const { return awaits_answer_ && !over(); }

  void AnswerOnLoop(HttpResponse response) {
    if (!awaits_answer()) return;
    awaits_answer_ = false;
    keep_alive_ = keep_alive_ && response.status < 400;
    Send(std::move(response));
  }

 private:
  using Next = void (HttpConnection::*)();

  bool over() const { return list_ == nullptr; }  // the socket is closed

  void LeaveList() {
    if (auto* list = std::exchange(list_, nullptr)) list->erase(place_);
  }

  void MoveTo(HttpConnections::List& list) {
    if (list_ == &list) return;
    list.splice(list.end(), *list_, place_);
    list_ = &list;
  }

  // One deadline for all that is awaited until the next one: bytes that drip do not move it.
  void ArmDeadline(absl::Duration timeout) {
    deadline_ = all_->loop_.After(timeout, [this] { OnDeadline(); });
  }

  void OnDeadline() {
    if (awaits_answer_)
      return Refuse(HttpRefusal::kUnanswered, 503, "no answer in time: try again");
    ReportIfIncomplete();
    CloseOnLoop();
  }

  void BeginRequest() {
    MoveTo(all_->waiting_);
    parser_.emplace();
    parser_->header_limit(kHeaderLimit);
    parser_->body_limit(all_->options_.max_body);
    head_ = false;
    ArmDeadline(all_->options_.timeout);
    Parse();
  }

  // Feeds the parser with what there is, a header or a piece of the body at a time.
  void Parse() {
    while (buffer_.size() > 0) {
      ErrorCode error;
      const bool was_header = !parser_->is_header_done();
      buffer_.consume(parser_->put(buffer_.data(), error));
      if (error == http::error::need_more) break;
      if (error) return RefuseUnreadable(error);
      if (was_header && parser_->is_header_done()) {
        parser_->eager(true);
        return OnHeader();
      }
      if (parser_->is_done()) return OnRequest();
    }
    Read();
  }

  void Read() {
    const size_t room = kBufferLimit - buffer_.size();
    if (room == 0) return RefuseUnreadable(http::error::header_limit);
    const auto on_read = [self = shared_from_this()](const ErrorCode& error, size_t bytes) {
      if (self->over()) return;
      if (error) {
        self->ReportIfIncomplete();
        return self->CloseOnLoop();
      }
      self->buffer_.commit(bytes);
      self->Parse();
    };
    if (tls_.has_value()) {
      tls_->async_read_some(buffer_.prepare(room), on_read);
    } else {
      socket_.async_read_some(buffer_.prepare(room), on_read);
    }
  }

  HttpRequest Head() const {
    const auto& message = parser_->get();
    HttpRequest request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    for (const auto& field : message) {
      request.headers.emplace_back(absl::AsciiStrToLower(View(field.name_string())), field.value());
    }
    request.peer = peer_;
    return request;
  }

  void OnHeader() {
    const HttpRequest head = Head();
    head_ = head.method == "HEAD";
    // Beast itself takes an encoding that it does not know, with an empty body.
    if (!head.HasAtMost("transfer-encoding", "chunked")) {
      return Refuse(HttpRefusal::kMalformed, 501, "unsupported Transfer-Encoding");
    }
    if (!head.HasAtMost("expect", "100-continue")) {
      return Refuse(HttpRefusal::kMalformed, 417, "unsupported Expect");
    }
    if (auto refusal = all_->service_->RefuseByHeader(head)) return Dismiss(*std::move(refusal));
    if (parser_->is_done()) return OnRequest();
    if (head.CountOf("expect") == 0 || parser_->get().version() < 11) return Parse();
    outgoing_ = "HTTP/1.1 100 Continue\r\n\r\n";
    Write(&HttpConnection::Parse);
  }

  void OnRequest() {
    MoveTo(all_->answering_);
    keep_alive_ = parser_->keep_alive() && ++requests_ < all_->options_.max_requests_per_connection;
    awaits_answer_ = true;
    ArmDeadline(all_->options_.answer_timeout);
    HttpRequest request = Head();  // anew: a trailer may have added to it
    request.body = std::move(parser_->get().body());
    all_->service_->Handle(std::move(request), HttpReply(shared_from_this()));
  }

  void RefuseUnreadable(const ErrorCode& error) {
    if (error == http::error::body_limit) {
      return Refuse(HttpRefusal::kOversize, 413, "the body is too large");
    }
    if (error == http::error::header_limit) {
      return Refuse(HttpRefusal::kOversize, 431, "the header is too large");
    }
    Refuse(HttpRefusal::kMalformed, 400, "not an HTTP request");
  }

  void ReportIfIncomplete() {
    const bool reading = list_ == &all_->waiting_ && parser_.has_value();
    if (!reading || (buffer_.size() == 0 && !parser_->got_some())) return;  // idle
    all_->service_->OnRefused(HttpRefusal::kIncomplete);
  }

  void Refuse(HttpRefusal why, int status, absl::string_view text) {
    all_->service_->OnRefused(why);
    Dismiss(TextResponse(status, text));
  }

  void Dismiss(HttpResponse response) {
    keep_alive_ = false;
    awaits_answer_ = false;
    MoveToLeaving();
    Send(std::move(response));
  }

  void MoveToLeaving() {
    MoveTo(all_->leaving_);
    const size_t most = std::max<size_t>(all_->options_.max_connections, 1);
    if (all_->leaving_.size() > most) all_->leaving_.front()->CloseOnLoop();
  }

  void Send(HttpResponse response) {
    outgoing_ = HeadText(response, keep_alive_);
    if (!head_) {
      outgoing_ += response.body;
      stream_ = std::move(response.stream);
    }
    ArmDeadline(all_->options_.timeout);
    Write(stream_.has_value() ? &HttpConnection::SendPiece : &HttpConnection::Finish);
  }

  void SendPiece() {
    if (stream_->size == 0) {
      stream_.reset();
      return Finish();
    }
    outgoing_.resize(kStreamPiece);
    const absl::StatusOr<size_t> count = stream_->read(absl::MakeSpan(outgoing_));
    if (!count.ok() || *count == 0 || *count > stream_->size) return CloseOnLoop();
    stream_->size -= *count;
    outgoing_.resize(*count);
    ArmDeadline(all_->options_.timeout);  // anew for each piece: a long stream is no slow client
    Write(&HttpConnection::SendPiece);
  }

  void Write(Next next) {
    const auto on_written = [self = shared_from_this(), next](const ErrorCode& error, size_t) {
      if (self->over()) return;
      error ? self->CloseOnLoop() : (self.get()->*next)();
    };
    if (tls_.has_value()) {
      asio::async_write(*tls_, asio::buffer(outgoing_), on_written);
    } else {
      asio::async_write(socket_, asio::buffer(outgoing_), on_written);
    }
  }

  // Of a connection that ends, says that nothing more comes, then reads away what the client still
  // sends: closing on unread bytes would reset it and could take the answer with it.
  void Finish() {
    if (keep_alive_) return BeginRequest();
    MoveToLeaving();
    parser_.reset();
    if (!tls_.has_value()) return Linger();
    tls_->async_shutdown([self = shared_from_this()](const ErrorCode&) { self->Linger(); });
  }

  void Linger() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    Discard();
  }

  void Discard() {
    if (over()) return;
    if (discarded_ > kDiscardLimit) return CloseOnLoop();
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(kBufferLimit),
                            [self = shared_from_this()](const ErrorCode& error, size_t bytes) {
                              if (error) return self->CloseOnLoop();
                              self->discarded_ += bytes;
                              self->Discard();
                            });
  }

  const std::shared_ptr<HttpConnections> all_;
  tcp::socket socket_;
  std::string peer_;
  std::shared_ptr<net::TlsContext> context_;  // what a renewed certificate takes the place of
  std::optional<ssl::stream<tcp::socket&>> tls_;
  beast::flat_buffer buffer_{kBufferLimit};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string outgoing_;
  std::optional<HttpStream> stream_;  // what is still to be sent after `outgoing_`
  std::unique_ptr<net::LoopTimer> deadline_;
  HttpConnections::List* list_;  // null: closed
  HttpConnections::List::iterator place_;
  bool head_ = false;           // the request is a HEAD: no body goes out
  bool keep_alive_ = false;     // after the answer
  bool awaits_answer_ = false;  // the service has the request
  int requests_ = 0;
  size_t discarded_ = 0;
};

bool HttpReply::waiting() const { return connection_->awaits_answer(); }

void HttpReply::Send(HttpResponse response) && {
  std::exchange(connection_, nullptr)->AnswerOnLoop(std::move(response));
}

HttpConnections::HttpConnections(net::Loop& loop, HttpOptions options,
                                 std::unique_ptr<HttpService> service)
    : loop_(loop), options_(std::move(options)), service_(std::move(service)) {}

void HttpConnections::AddOnLoop(tcp::socket socket) {
  const auto is_full = [this] {
    return waiting_.size() + answering_.size() >= options_.max_connections;
  };
  if (is_full() && !waiting_.empty()) waiting_.front()->ShedOnLoop();
  const bool refused = is_full();
  auto connection = std::make_shared<HttpConnection>(shared_from_this(), std::move(socket));
  refused ? connection->RefuseOnLoop() : connection->StartOnLoop();
}

void HttpConnections::CloseOnLoop() {
  for (List* list : {&waiting_, &answering_, &leaving_}) {
    while (!list->empty()) list->front()->CloseOnLoop();
  }
}

}  // namespace dreamgate::web
