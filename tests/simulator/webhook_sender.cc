#include "tests/simulator/webhook_sender.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "boost/asio/buffer.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/address.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/read_until.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/write.hpp"
#include "tests/simulator/backend.h"

namespace dreamgate::simulator {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::chrono::seconds kAttemptTimeout{10};
constexpr std::size_t kMaxAnswerBytes = 64 * 1024;

// One message on its way, through all its redeliveries; keeps itself alive.
class Delivery : public std::enable_shared_from_this<Delivery> {
 public:
  using Done = std::function<void()>;

  // `first_attempt_done` runs once.
  Delivery(asio::io_context& context, Backend& backend, WebhookMessage message,
           Done first_attempt_done)
      : backend_(backend),
        message_(std::move(message)),
        first_attempt_done_(std::move(first_attempt_done)),
        socket_(context),
        timer_(context) {
    const HttpUrl url = ParseHttpUrl(message_.url);
    error_code error;
    const auto address =
        asio::ip::make_address(url.host == "localhost" ? "127.0.0.1" : url.host, error);
    uint32_t port = 0;
    reachable_ = !error && address.is_loopback() && absl::SimpleAtoi(url.port, &port);
    if (!reachable_) return;
    endpoint_ = {address, static_cast<uint16_t>(port)};
    bytes_ =
        absl::StrCat("POST ", url.target, " HTTP/1.1\r\nHost: ", url.host, ":", url.port,
                     "\r\nContent-Type: application/json\r\nContent-Length: ", message_.body.size(),
                     "\r\nConnection: close\r\n");
    for (const auto& [name, value] : message_.headers) {
      absl::StrAppend(&bytes_, name, ": ", value, "\r\n");
    }
    absl::StrAppend(&bytes_, "\r\n", message_.body);
  }

  void Attempt() {
    answer_.clear();
    over_ = false;
    if (!reachable_) return Over(0);
    timer_.expires_after(kAttemptTimeout);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->Over(0);
    });
    socket_.async_connect(endpoint_, [self = shared_from_this()](error_code error) {
      if (error) return self->Over(0);
      self->Write();
    });
  }

 private:
  void Write() {
    asio::async_write(socket_, asio::buffer(bytes_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->Over(0);
                        self->ReadStatus();
                      });
  }

  void ReadStatus() {
    asio::async_read_until(socket_, asio::dynamic_buffer(answer_, kMaxAnswerBytes), "\r\n",
                           [self = shared_from_this()](error_code error, std::size_t) {
                             int status = 0;
                             const bool read =
                                 !error && self->answer_.size() >= 12 &&
                                 absl::SimpleAtoi(self->answer_.substr(9, 3), &status);
                             self->Over(read ? status : 0);
                           });
  }

  // The attempt's end; a timeout and the closing it causes both come here.
  void Over(int status) {
    if (std::exchange(over_, true)) return;
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
    backend_.AddWebhookAttempt({message_.task_id, message_.url, number_, status, absl::Now()});
    if (first_attempt_done_) std::exchange(first_attempt_done_, nullptr)();
    if ((status >= 200 && status < 300) || !reachable_) return;
    if (number_ >= message_.behavior.redeliveries) return;
    timer_.expires_after(
        absl::ToChronoNanoseconds(message_.behavior.redelivery_backoff * (1 << number_)));
    ++number_;
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->Attempt();
    });
  }

  Backend& backend_;
  const WebhookMessage message_;
  Done first_attempt_done_;
  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  asio::ip::tcp::endpoint endpoint_;
  bool reachable_ = false;
  std::string bytes_;
  std::string answer_;
  int number_ = 0;
  bool over_ = false;
};

}  // namespace

void WebhookSender::Schedule(const std::string& task_id, absl::Duration wait) {
  // A little late rather than early: the task must be terminal by then.
  auto timer = std::make_shared<asio::steady_timer>(
      context_, absl::ToChronoNanoseconds(wait) + std::chrono::microseconds(1));
  timer->async_wait([this, task_id, timer](error_code error) {
    if (!error) Due(task_id);
  });
}

void WebhookSender::Due(const std::string& task_id) {
  auto message = backend_->TakeWebhook(task_id);
  if (!message) return;
  if (message->behavior.hold_until_next && !held_) {
    held_ = *std::move(message);
    return;
  }
  Send(*message);
}

void WebhookSender::Send(const WebhookMessage& message) {
  std::function<void()> release;
  if (held_) {
    release = [this, held = *std::exchange(held_, std::nullopt)] { Send(held); };
  }
  for (int copy = 0; copy < message.behavior.copies; ++copy) {
    std::make_shared<Delivery>(context_, *backend_, message, std::exchange(release, nullptr))
        ->Attempt();
  }
}

}  // namespace dreamgate::simulator
