// The only file with Beast and TLS templates.
#include "tests/simulator/http_server.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "boost/asio/basic_socket_acceptor.hpp"
#include "boost/asio/basic_stream_socket.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/ssl/context.hpp"
#include "boost/asio/ssl/stream.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/write.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/http/parser.hpp"
#include "boost/beast/http/read.hpp"
#include "boost/beast/http/string_body.hpp"
#include "tests/simulator/backend.h"
#include "tests/simulator/message.h"

namespace dreamgate::simulator {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using Acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;
using TlsStream = asio::ssl::stream<Socket>;

constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
constexpr std::size_t kMaxBodyBytes = 4 * 1024 * 1024;
constexpr std::chrono::seconds kTlsShutdownTimeout{1};

class AnyConnection {
 public:
  virtual ~AnyConnection() = default;
  virtual void Drop(bool reset) = 0;
  // FIN now, or after the answer that is being written; a request still waited upon is spared.
  virtual void CloseIfIdle() = 0;
};

// Shared, because connections that wait in the io_context outlive the server.
using Registry = std::unordered_set<AnyConnection*>;

template <class Stream>
class Connection : public AnyConnection, public std::enable_shared_from_this<Connection<Stream>> {
 public:
  template <class... Arguments>
  Connection(Backend& backend, std::shared_ptr<Registry> registry, uint64_t number, int close_after,
             Socket socket, Arguments&... arguments)
      : backend_(backend),
        registry_(std::move(registry)),
        number_(number),
        answers_left_(close_after),
        stream_(std::move(socket), arguments...),
        timer_(stream_.get_executor()),
        buffer_(kMaxHeaderBytes + kMaxBodyBytes) {
    registry_->insert(this);
  }
  ~Connection() override { registry_->erase(this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code error) {
                                if (!error) self->ReadHeaders();
                              });
    } else {
      ReadHeaders();
    }
  }

  void Drop(bool reset) override {
    error_code ignored;
    auto& socket = stream_.lowest_layer();
    if (reset) {
      socket.set_option(asio::socket_base::linger(true, 0), ignored);
    } else {
      socket.shutdown(asio::socket_base::shutdown_both, ignored);
    }
    socket.close(ignored);
  }

  void CloseIfIdle() override {
    if (idle_) Drop(/*reset=*/false);
    close_after_answer_ = writing_;
  }

 private:
  void ReadHeaders() {
    idle_ = buffer_.size() == 0;
    writing_ = false;
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = this->shared_from_this()](error_code error, std::size_t) {
                              self->OnHeaders(error);
                            });
  }

  void OnHeaders(error_code error) {
    idle_ = false;
    if (error) return OnUnreadable(error);
    request_ = Request();
    const auto& message = parser_->get();
    request_.connection = number_;
    request_.method = std::string(message.method_string());
    request_.target = std::string(message.target());
    request_.keep_alive = message.keep_alive();
    for (const auto& field : message) {
      request_.headers.emplace_back(absl::AsciiStrToLower(std::string(field.name_string())),
                                    std::string(field.value()));
    }
    if (!backend_.AcceptsHeaders(request_)) return Drop(/*reset=*/true);
    if (parser_->is_done()) return OnRequest();
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](error_code body_error, std::size_t) {
                       if (body_error) return self->OnUnreadable(body_error);
                       self->OnRequest();
                     });
  }

  void OnUnreadable(error_code error) {
    const bool of_http = error.category() == http::make_error_code(http::error{}).category();
    if (!of_http || error == http::error::end_of_stream || error == http::error::partial_message) {
      return Drop(/*reset=*/false);
    }
    plan_ = WirePlan();
    plan_.bytes = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    plan_.end = WirePlan::End::kClose;
    Write();
  }

  void OnRequest() {
    request_.body = std::move(parser_->get().body());
    plan_ = backend_.Handle(request_);
    if (plan_.delay <= absl::ZeroDuration()) return Write();
    After(plan_.delay, [self = this->shared_from_this()] { self->Write(); });
  }

  template <class Action>
  void After(absl::Duration delay, Action action) {
    timer_.expires_after(absl::ToChronoNanoseconds(delay));
    timer_.async_wait([action = std::move(action)](error_code error) {
      if (!error) action();
    });
  }

  void Write() {
    writing_ = true;
    written_ = 0;
    if (plan_.piece > 0) return WritePiece();
    if (plan_.bytes.empty()) return Finish();
    std::array<asio::const_buffer, 2> buffers{asio::buffer(plan_.bytes), asio::const_buffer()};
    if (plan_.file) {
      buffers[1] = asio::buffer(plan_.file->data() + plan_.file_offset, plan_.file_length);
    }
    asio::async_write(stream_, buffers,
                      [self = this->shared_from_this()](error_code error, std::size_t) {
                        if (!error) self->Finish();
                      });
  }

  void WritePiece() {
    const std::size_t size = std::min(plan_.piece, plan_.bytes.size() - written_);
    if (size == 0) return Finish();
    asio::async_write(stream_, asio::buffer(plan_.bytes.data() + written_, size),
                      [self = this->shared_from_this()](error_code error, std::size_t count) {
                        if (error) return;
                        self->written_ += count;
                        self->After(self->plan_.interval, [self] { self->WritePiece(); });
                      });
  }

  void Finish() {
    switch (plan_.end) {
      case WirePlan::End::kKeepAlive:
        if (close_after_answer_ || (answers_left_ > 0 && --answers_left_ == 0)) {
          return Drop(/*reset=*/false);
        }
        return ReadHeaders();
      case WirePlan::End::kClose: return Close();
      case WirePlan::End::kDrop: return Drop(/*reset=*/false);
      case WirePlan::End::kReset: return Drop(/*reset=*/true);
      case WirePlan::End::kHang: return Hang();
    }
  }

  void Close() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      timer_.expires_after(kTlsShutdownTimeout);
      timer_.async_wait([self = this->shared_from_this()](error_code error) {
        if (!error) self->Drop(/*reset=*/false);
      });
      stream_.async_shutdown([self = this->shared_from_this()](error_code) {
        self->timer_.cancel();
        self->Drop(/*reset=*/false);
      });
    } else {
      Drop(/*reset=*/false);
    }
  }

  // Reads and forgets until the peer gives up.
  void Hang() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(1024),
                            [self = this->shared_from_this()](error_code error, std::size_t) {
                              if (!error) self->Hang();
                            });
  }

  Backend& backend_;
  const std::shared_ptr<Registry> registry_;
  const uint64_t number_;
  int answers_left_;  // 0: no limit
  Stream stream_;
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>,
                             asio::io_context::executor_type>
      timer_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  Request request_;
  WirePlan plan_;
  std::size_t written_ = 0;
  bool idle_ = false;     // between requests
  bool writing_ = false;  // an answer is on its way out
  bool close_after_answer_ = false;
};

class BeastServer : public HttpServer {
 public:
  BeastServer(asio::io_context& context, const Options& options)
      : acceptor_(context), close_after_(options.close_after_requests) {
    if (!options.tls_certificate_file.empty()) {
      tls_.emplace(asio::ssl::context::tls_server);
      tls_->use_certificate_chain_file(options.tls_certificate_file);
      tls_->use_private_key_file(options.tls_private_key_file, asio::ssl::context::pem);
    }
    const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), options.port);
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(asio::socket_base::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(4096);
  }

  uint16_t port() const override { return acceptor_.local_endpoint().port(); }

  void Serve(Backend& backend) override {
    backend_ = &backend;
    Accept();
  }

  void CloseIdleConnections() override {
    for (AnyConnection* connection : *registry_) connection->CloseIfIdle();
  }

  void ResetConnections() override {
    for (AnyConnection* connection : *registry_) connection->Drop(/*reset=*/true);
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, Socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (!error) Take(std::move(socket));
      Accept();
    });
  }

  void Take(Socket socket) {
    ++accepted_;
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    if (!backend_->AcceptsConnection()) {
      // Closed by hand: Asio's destructor takes the linger option back, and a FIN would go out.
      socket.set_option(asio::socket_base::linger(true, 0), ignored);
      socket.close(ignored);
    } else if (tls_) {
      std::make_shared<Connection<TlsStream>>(*backend_, registry_, accepted_, close_after_,
                                              std::move(socket), *tls_)
          ->Start();
    } else {
      std::make_shared<Connection<Socket>>(*backend_, registry_, accepted_, close_after_,
                                           std::move(socket))
          ->Start();
    }
  }

  const std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
  std::optional<asio::ssl::context> tls_;
  Acceptor acceptor_;
  const int close_after_;
  uint64_t accepted_ = 0;
  Backend* backend_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(asio::io_context& context,
                                                               const Options& options) {
  try {
    return std::make_unique<BeastServer>(context, options);
  } catch (const std::exception& problem) {
    return absl::UnavailableError(problem.what());
  }
}

}  // namespace dreamgate::simulator
