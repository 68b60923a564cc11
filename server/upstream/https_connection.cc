#include "server/upstream/https_connection.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/net/loop_asio.h"
#include "server/net/tls_asio.h"
#include "server/net/url.h"
#include "server/upstream/address_race.h"

namespace dreamgate::upstream {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// More interim (1xx) answers than anybody sends.
constexpr int kMostInterimAnswers = 32;

class Connection : public HttpsConnection, public std::enable_shared_from_this<Connection> {
 public:
  Connection(net::Loop& loop, net::Resolver& resolver, const ConnectionOptions& options)
      : loop_(loop), resolver_(resolver), options_(options), socket_(net::AsioContext(loop)) {}

  void Open(Opened done) override {
    opened_ = std::move(done);
    deadline_ = loop_.After(options_.connect_timeout, [this] {
      FailOpen(absl::StrCat("no connection to ", Origin(), " within ",
                            absl::FormatDuration(options_.connect_timeout)));
    });
    resolver_.Resolve(options_.host,
                      [self = shared_from_this()](absl::StatusOr<net::Addresses> addresses) {
                        if (!self->opened_) return;  // timed out or shut meanwhile
                        if (!addresses.ok()) {
                          return self->FailOpen(absl::StrCat("no address for ", self->options_.host,
                                                             ": ", addresses.status().message()));
                        }
                        self->Connect(*addresses);
                      });
  }

  void Exchange(std::string request, absl::Duration timeout, size_t body_limit,
                Exchanged done) override {
    exchanged_ = std::move(done);
    request_ = std::move(request);
    body_limit_ = body_limit;
    written_ = false;
    response_started_ = false;
    interim_answers_ = 0;
    deadline_ = loop_.After(timeout, [this, timeout] {
      timed_out_ = true;
      FailExchange(absl::StrCat("no complete answer within ", absl::FormatDuration(timeout)));
    });
    const auto on_written = [self = shared_from_this()](const error_code& error, size_t) {
      // A peer may refuse early: it answers and closes while we still write. Its answer counts, so
      // the read goes on and reports what there is.
      if (error) self->write_problem_ = error.message();
      self->written_ = !error;
      DREAMGATE_FAILPOINT("upstream.written");
    };
    if (tls_.has_value()) {
      asio::async_write(*tls_, asio::buffer(request_), on_written);
    } else {
      asio::async_write(socket_, asio::buffer(request_), on_written);
    }
    DREAMGATE_FAILPOINT("upstream.write_started");
    ReadAnswer();
  }

  void WatchIdle(absl::Duration timeout, absl::AnyInvocable<void() &&> gone) override {
    gone_ = std::move(gone);
    deadline_ = loop_.After(timeout, [this] { FinishIdle(); });
    // Nothing legitimate arrives between two exchanges, so "readable" is reason enough to let go.
    // No byte is consumed, so the wait can be cancelled and the stream used again, TLS included.
    const uint64_t watch = ++idle_watch_;
    socket_.async_wait(tcp::socket::wait_read,
                       [self = shared_from_this(), watch](const error_code&) {
                         if (watch == self->idle_watch_) self->FinishIdle();
                       });
  }

  bool TakeFromIdle() override {
    ++idle_watch_;
    gone_ = nullptr;
    deadline_.reset();
    error_code ignored;
    socket_.cancel(ignored);
    return QuietAndOpen();
  }

  void Shut() override {
    ++idle_watch_;
    gone_ = nullptr;
    deadline_.reset();
    Close();
    if (opened_) FailOpen("the connection was shut");
    if (exchanged_) FailExchange("the connection was shut");
  }

 private:
  using Parser = http::response_parser<http::string_body>;

  std::string Origin() const { return absl::StrCat(options_.host, ":", options_.port); }

  // ---- opening

  void Connect(const net::Addresses& addresses) {
    race_ = std::make_shared<AddressRace>(
        loop_, options_.address_stagger,
        [self = shared_from_this()](absl::Status status, std::optional<tcp::socket> socket) {
          self->race_.reset();
          if (!self->opened_) return;
          if (!status.ok()) {
            return self->FailOpen(
                absl::StrCat("cannot connect to ", self->Origin(), ": ", status.message()));
          }
          self->OnConnected(*std::move(socket));
        });
    const std::shared_ptr<AddressRace> race = race_;  // Start may end it
    race->Start(addresses, options_.port);
  }

  void OnConnected(tcp::socket socket) {
    socket_ = std::move(socket);
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);  // answers may take minutes
    if (options_.tls == nullptr) return FinishOpen();
    ShakeHands();
  }

  void ShakeHands() {
    deadline_ = loop_.After(options_.tls_timeout, [this] {
      FailOpen(absl::StrCat("no TLS handshake with ", Origin(), " within ",
                            absl::FormatDuration(options_.tls_timeout)));
    });
    tls_.emplace(socket_, options_.tls->context);
    SSL* session = tls_->native_handle();
    if (!net::IsIpLiteral(options_.host) &&
        SSL_set_tlsext_host_name(session, options_.host.c_str()) != 1) {
      return FailOpen("the host name cannot be used for SNI");
    }
    error_code error;
    tls_->set_verify_callback(ssl::host_name_verification(options_.host), error);
    if (error) return FailOpen(error.message());
    tls_->async_handshake(ssl::stream_base::client,
                          [self = shared_from_this()](const error_code& problem) {
                            if (!self->opened_) return;
                            if (!problem) return self->FinishOpen();
                            self->FailOpen(absl::StrCat("TLS handshake with ", self->Origin(),
                                                        " failed: ", self->TlsProblem(problem)));
                          });
  }

  // OpenSSL's error says "certificate verify failed"; why is kept in the session.
  std::string TlsProblem(const error_code& error) {
    const long verdict = SSL_get_verify_result(tls_->native_handle());
    if (verdict == X509_V_OK) return error.message();
    return absl::StrCat(error.message(), " (", X509_verify_cert_error_string(verdict), ")");
  }

  void FinishOpen() {
    deadline_.reset();
    Opened done = std::move(opened_);
    opened_ = nullptr;
    loop_.Post([done = std::move(done)]() mutable { std::move(done)(absl::OkStatus()); });
  }

  void FailOpen(const std::string& problem) {
    if (!opened_) return;
    deadline_.reset();
    Close();
    Opened done = std::move(opened_);
    opened_ = nullptr;
    loop_.Post([done = std::move(done), problem]() mutable {
      std::move(done)(absl::UnavailableError(problem));
    });
  }

  // ---- one exchange

  void ReadAnswer() {
    parser_.emplace();
    parser_->body_limit(body_limit_);
    parser_->header_limit(static_cast<uint32_t>(options_.buffer_limit));
    const auto on_read = [self = shared_from_this()](const error_code& error, size_t) {
      self->OnAnswer(error);
    };
    if (tls_.has_value()) {
      http::async_read(*tls_, buffer_, *parser_, on_read);
    } else {
      http::async_read(socket_, buffer_, *parser_, on_read);
    }
  }

  void OnAnswer(const error_code& error) {
    if (!exchanged_) return;
    response_started_ = response_started_ || parser_->got_some() || buffer_.size() > 0;
    if (error) return FailExchange(ReadProblem(error));
    const int status = static_cast<int>(parser_->get().result_int());
    if (status < 200) {
      // An interim answer; the real one follows. 101 would mean a protocol that nobody asked for.
      if (status == 101) return FailExchange("upstream switched protocols unasked");
      if (++interim_answers_ > kMostInterimAnswers) {
        return FailExchange("upstream sends interim answers without end");
      }
      return ReadAnswer();
    }

    auto& response = parser_->get();
    ExchangeResult result;
    result.response_started = true;
    result.reusable = parser_->keep_alive() && !parser_->need_eof() && parser_->is_done() &&
                      buffer_.size() == 0 && written_ &&
                      (!tls_.has_value() || SSL_has_pending(tls_->native_handle()) == 0);
    DREAMGATE_FAILPOINT("upstream.answer_read");
    wavespeed::HttpAnswer answer;
    answer.status = status;
    const auto content_type = response[http::field::content_type];
    answer.content_type.assign(content_type.data(), content_type.size());
    const auto retry_after = response[http::field::retry_after];
    answer.retry_after.assign(retry_after.data(), retry_after.size());
    const auto date = response[http::field::date];
    answer.date.assign(date.data(), date.size());
    answer.body = std::move(response.body());
    result.answer = std::move(answer);
    FinishExchange(std::move(result));
  }

  std::string ReadProblem(const error_code& error) const {
    if (error == http::error::end_of_stream || error == asio::error::eof ||
        error == ssl::error::stream_truncated) {
      if (!write_problem_.empty()) return absl::StrCat("writing failed: ", write_problem_);
      return "upstream closed the connection before its answer";
    }
    if (error == http::error::partial_message) return "upstream's answer ended in the middle";
    if (error == http::error::body_limit) return "upstream's answer is too large";
    if (error == http::error::buffer_overflow || error == http::error::header_limit) {
      return "upstream's answer has an oversized header";
    }
    return absl::StrCat("reading upstream's answer failed: ", error.message());
  }

  void FailExchange(std::string problem) {
    if (!exchanged_) return;
    Close();
    ExchangeResult result;
    result.problem = std::move(problem);
    result.response_started =
        response_started_ || (parser_.has_value() && parser_->got_some()) || buffer_.size() > 0;
    result.timed_out = timed_out_;
    FinishExchange(std::move(result));
  }

  void FinishExchange(ExchangeResult result) {
    deadline_.reset();
    Exchanged done = std::move(exchanged_);
    exchanged_ = nullptr;
    loop_.Post([done = std::move(done), result = std::move(result)]() mutable {
      std::move(done)(std::move(result));
    });
  }

  // ---- idle

  void FinishIdle() {
    if (!gone_) return;
    ++idle_watch_;
    deadline_.reset();
    absl::AnyInvocable<void()&&> gone = std::move(gone_);
    gone_ = nullptr;
    std::move(gone)();
  }

  // Whether the peer has neither closed nor sent anything, as far as our kernel knows.
  bool QuietAndOpen() {
    char byte;
    const ssize_t got = recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  void Close() {
    if (race_ != nullptr) {
      race_->Cancel();
      race_.reset();
    }
    error_code ignored;
    socket_.close(ignored);  // pending operations end with operation_aborted
  }

  net::Loop& loop_;
  net::Resolver& resolver_;
  const ConnectionOptions options_;

  tcp::socket socket_;
  std::optional<ssl::stream<tcp::socket&>> tls_;  // over socket_
  std::shared_ptr<AddressRace> race_;             // while connecting
  std::unique_ptr<net::LoopTimer> deadline_;      // of whatever is under way

  Opened opened_;                       // set while opening
  Exchanged exchanged_;                 // set while exchanging
  absl::AnyInvocable<void() &&> gone_;  // set while idle
  uint64_t idle_watch_ = 0;             // tells a wait that was cancelled from the present one

  std::string request_;
  size_t body_limit_ = 0;
  bool written_ = false;  // all of request_
  std::string write_problem_;
  boost::beast::flat_buffer buffer_{options_.buffer_limit};
  std::optional<Parser> parser_;
  bool response_started_ = false;
  bool timed_out_ = false;
  int interim_answers_ = 0;
};

}  // namespace

std::shared_ptr<HttpsConnection> MakeHttpsConnection(net::Loop& loop, net::Resolver& resolver,
                                                     const ConnectionOptions& options) {
  return std::make_shared<Connection>(loop, resolver, options);
}

}  // namespace dreamgate::upstream
