#include "client/cli/download.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <memory>
#include <utility>

#include "client/cli/output_files.h"
#include "client/cli/part_file.h"
#include "client/cli/url.h"

namespace dreamgate::client {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using beast::error_code;

std::optional<uint64_t> ParseNumber(beast::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

// "bytes 5-9/10"; the total may be "*".
struct ContentRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

std::optional<ContentRange> ParseContentRange(beast::string_view text) {
  constexpr beast::string_view kUnit = "bytes ";
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (text.substr(0, kUnit.size()) != kUnit || dash == beast::string_view::npos ||
      slash == beast::string_view::npos || slash < dash) {
    return std::nullopt;
  }
  const std::optional<uint64_t> first = ParseNumber(text.substr(kUnit.size(), dash - kUnit.size()));
  if (!first.has_value()) return std::nullopt;
  return ContentRange{*first, ParseNumber(text.substr(slash + 1))};
}

bool IsRedirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// How one request ended.
struct Outcome {
  enum Kind { kComplete, kRedirected, kBroken, kFailed };
  Kind kind = kComplete;
  std::string text;  // the Location, or what went wrong
};

Outcome Broken(const std::string& what, const error_code& error) {
  const bool timeout = error == beast::error::timeout;
  return {Outcome::kBroken,
          what + ": " + (timeout ? "nothing arrived for too long" : error.message())};
}

class Transfer {
 public:
  Transfer(PartFile& file, const DownloadOptions& options)
      : file_(file),
        options_(options),
        tls_(asio::ssl::context::tls_client),
        on_stop_(options.stop, [this] {
          asio::post(io_, [this] {
            if (cancel_) cancel_();
          });
        }) {
    tls_.set_default_verify_paths();
    tls_.set_verify_mode(asio::ssl::verify_peer);
  }

  // Follows redirects from `url` to the file's end.
  Outcome Run(Url url) {
    for (int redirects = 0;; ++redirects) {
      Outcome outcome = url.secure ? OverTls(url) : OverTcp(url);
      if (outcome.kind != Outcome::kRedirected) return outcome;
      const std::optional<Url> next = ResolveRedirect(url, outcome.text);
      if (!next.has_value())
        return {Outcome::kFailed, "the server redirected to an address that cannot be used"};
      if (url.secure && !next->secure)
        return {Outcome::kFailed, "the server redirected from https to http"};
      if (redirects == options_.max_redirects)
        return {Outcome::kFailed, "the server redirected too often"};
      url = *next;
    }
  }

  void Pause(std::chrono::milliseconds duration) {
    asio::steady_timer timer(io_, duration);
    cancel_ = [&timer] { timer.cancel(); };
    Await([&timer](auto handler) { timer.async_wait(std::move(handler)); });
    cancel_ = nullptr;
  }

  bool stopped() const { return options_.stop.stop_requested(); }

 private:
  using TlsStream = beast::ssl_stream<beast::tcp_stream>;

  // Runs one asynchronous operation to its end: asynchronous only so that it has a timeout and can be
  // cancelled.
  template <typename Start>
  error_code Await(Start start) {
    error_code result = asio::error::operation_aborted;
    if (stopped()) return result;
    start([&result](error_code error, auto&&...) { result = error; });
    io_.restart();
    io_.run();
    return result;
  }

  Outcome Connect(beast::tcp_stream& stream, const Url& url) {
    asio::ip::tcp::resolver resolver(io_);
    asio::ip::tcp::resolver::results_type addresses;
    error_code error = Await([&](auto handler) {
      resolver.async_resolve(
          url.host, url.port,
          [&addresses, handler](error_code result,
                                asio::ip::tcp::resolver::results_type found) mutable {
            addresses = std::move(found);
            handler(result);
          });
    });
    if (error) return Broken("cannot find the host " + url.host, error);
    cancel_ = [&stream] { stream.cancel(); };
    stream.expires_after(options_.inactivity_timeout);
    error = Await([&](auto handler) { stream.async_connect(addresses, std::move(handler)); });
    if (error) return Broken("cannot connect to " + url.Authority(), error);
    return {};
  }

  Outcome OverTcp(const Url& url) {
    beast::tcp_stream stream(io_);
    Outcome outcome = Connect(stream, url);
    if (outcome.kind == Outcome::kComplete) outcome = Exchange(stream, stream, url);
    cancel_ = nullptr;
    return outcome;
  }

  Outcome OverTls(const Url& url) {
    TlsStream stream(io_, tls_);
    stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
    error_code not_a_name;
    asio::ip::make_address(url.host, not_a_name);
    if (not_a_name)
      SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());  // names only
    Outcome outcome = Connect(stream.next_layer(), url);
    if (outcome.kind == Outcome::kComplete) {
      stream.next_layer().expires_after(options_.inactivity_timeout);
      const error_code error = Await([&](auto handler) {
        stream.async_handshake(asio::ssl::stream_base::client, std::move(handler));
      });
      const long verdict = SSL_get_verify_result(stream.native_handle());
      if (error && verdict != X509_V_OK) {
        // OpenSSL has no word of its own for a refusal by the host name check.
        const bool other_host = verdict == X509_V_ERR_UNSPECIFIED;
        outcome = {Outcome::kFailed, "the certificate of " + url.host + " cannot be trusted: " +
                                         (other_host ? "it is made out to another host"
                                                     : X509_verify_cert_error_string(verdict))};
      } else if (error) {
        outcome = Broken("no TLS connection to " + url.Authority(), error);
      } else {
        outcome = Exchange(stream, stream.next_layer(), url);
      }
    }
    cancel_ = nullptr;
    return outcome;
  }

  http::request<http::empty_body> Request(const Url& url) const {
    http::request<http::empty_body> request(http::verb::get, url.target, 11);
    request.set(http::field::host, url.Authority());
    request.set(http::field::user_agent, "dreamgate/" DREAMGATE_VERSION);
    request.set(http::field::accept, "*/*");
    request.set(http::field::accept_encoding, "identity");
    request.set(http::field::connection, "close");
    if (file_.size() > 0) {
      request.set(http::field::range, "bytes=" + std::to_string(file_.size()) + "-");
      if (!validator_.empty()) request.set(http::field::if_range, validator_);
    }
    return request;
  }

  template <typename Stream>
  Outcome Exchange(Stream& stream, beast::tcp_stream& socket, const Url& url) {
    if (file_.size() > 0 && validator_.empty() && !total_.has_value()) {
      // Without a strong ETag nothing tells whether the rest belongs to the bytes that are here.
      if (std::string error = file_.Restart(); !error.empty()) return {Outcome::kFailed, error};
    }
    const http::request<http::empty_body> request = Request(url);
    socket.expires_after(options_.inactivity_timeout);
    error_code error =
        Await([&](auto handler) { http::async_write(stream, request, std::move(handler)); });
    if (error) return Broken("the request could not be sent", error);

    beast::flat_buffer buffer(256 * 1024);
    std::optional<Parser> parser;
    int interim_answers = 0;
    do {  // an interim answer (1xx) completes a parser
      if (interim_answers++ == 10)
        return {Outcome::kFailed, "the server sends nothing but interim answers"};
      parser.emplace();
      parser->body_limit(boost::none);
      socket.expires_after(options_.inactivity_timeout);
      error = Await([&](auto handler) {
        http::async_read_header(stream, buffer, *parser, std::move(handler));
      });
      if (error) return Broken("no answer from " + url.Authority(), error);
    } while (parser->get().result_int() < 200);

    const Outcome answer = Judge(parser->get());
    if (answer.kind != Outcome::kComplete) return answer;
    return ReadBody(stream, socket, buffer, *parser);
  }

  using Parser = http::response_parser<http::buffer_body>;

  // Judges the answer's header. kComplete: its body is to be appended to the file.
  Outcome Judge(const http::response<http::buffer_body>& answer) {
    const unsigned status = answer.result_int();
    if (IsRedirect(status))
      return {Outcome::kRedirected, std::string(answer[http::field::location])};
    if (status == 206 && file_.size() > 0) {
      const std::optional<ContentRange> range =
          ParseContentRange(answer[http::field::content_range]);
      const bool fits = range.has_value() && range->first == file_.size() &&
                        (!total_.has_value() || range->total == total_);
      if (fits) {
        total_ = range->total;
        return {};
      }
      return StartOver("the server sent another part than the one asked for");
    }
    if (status == 416 && file_.size() > 0)
      return StartOver("the server cannot continue the transfer");
    if (status == 408 || status == 429 || status >= 500) {
      return {Outcome::kBroken, "the server answered " + std::to_string(status)};
    }
    if (status != 200) {
      const bool gone = status == 403 || status == 404 || status == 410;
      return {Outcome::kFailed,
              "the server answered " + std::to_string(status) +
                  (gone ? "; the video may have expired (they live for about 7 days)" : "")};
    }
    if (std::string error = file_.Restart(); !error.empty()) return {Outcome::kFailed, error};
    const auto length = answer.find(http::field::content_length);
    total_ = length == answer.end() ? std::nullopt : ParseNumber(length->value());
    const std::string etag(answer[http::field::etag]);
    validator_ = etag.rfind("W/", 0) == 0 ? "" : etag;  // a weak one does not promise equal bytes
    return {};
  }

  Outcome StartOver(const std::string& why) {
    validator_.clear();
    total_.reset();
    const std::string error = file_.Restart();
    return error.empty() ? Outcome{Outcome::kBroken, why} : Outcome{Outcome::kFailed, error};
  }

  template <typename Stream>
  Outcome ReadBody(Stream& stream, beast::tcp_stream& socket, beast::flat_buffer& buffer,
                   Parser& parser) {
    std::array<char, 64 * 1024> piece;
    parser.eager(true);
    while (!parser.is_done()) {
      auto& body = parser.get().body();
      body.data = piece.data();
      body.size = piece.size();
      socket.expires_after(options_.inactivity_timeout);
      error_code error = Await(
          [&](auto handler) { http::async_read_some(stream, buffer, parser, std::move(handler)); });
      if (error == http::error::need_buffer) error = {};
      const size_t arrived = piece.size() - body.size;
      if (std::string failure = file_.Append(piece.data(), arrived); !failure.empty()) {
        return {Outcome::kFailed, failure};
      }
      if (arrived > 0 && options_.on_progress) options_.on_progress(file_.size(), total_);
      if (error)
        return Broken("the transfer broke off after " + std::to_string(file_.size()) + " bytes",
                      error);
    }
    if (total_.has_value() && *total_ != file_.size())
      return StartOver("the transfer has the wrong length");
    if (file_.size() == 0) return {Outcome::kFailed, "the server sent an empty file"};
    return {};
  }

  PartFile& file_;
  const DownloadOptions& options_;
  asio::io_context io_{1};
  asio::ssl::context tls_;
  std::function<void()> cancel_;                       // ends the operation at hand; runs in Await
  std::optional<uint64_t> total_;                      // of the whole file
  std::string validator_;                              // a strong ETag
  std::stop_callback<std::function<void()>> on_stop_;  // last: it calls into io_ until destroyed
};

}  // namespace

DownloadResult Download(const std::string& url, const std::string& file,
                        const DownloadOptions& options) {
  DownloadResult result;
  const std::optional<Url> parsed = ParseUrl(url);
  if (!parsed.has_value()) {
    result.error = "not an http or https address without credentials";
    return result;
  }
  PartFile part(options.overwrite ? FollowLinks(file) : file);
  result.error = part.Open();
  if (!result.error.empty()) return result;

  Transfer transfer(part, options);
  Outcome outcome;
  for (int retries = 0;; ++retries) {
    outcome = transfer.Run(*parsed);
    if (transfer.stopped() || outcome.kind != Outcome::kBroken || retries == options.max_retries)
      break;
    transfer.Pause(options.first_pause * (1 << std::min(retries, 10)));
  }
  if (outcome.kind == Outcome::kComplete) {
    result.error = part.Publish(options.overwrite);
    result.ok = result.error.empty();
    result.bytes = part.size();
    return result;
  }
  result.interrupted = transfer.stopped();
  result.error = result.interrupted ? "interrupted" : outcome.text;
  return result;
}

}  // namespace dreamgate::client
