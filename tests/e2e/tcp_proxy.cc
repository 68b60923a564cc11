#include "tests/e2e/tcp_proxy.h"

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "boost/asio/buffer.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/write.hpp"

namespace dreamgate::e2e {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

tcp::endpoint Loopback(int port) {
  return {asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)};
}

// A client's connection and the server's that belongs to it; keeps itself alive while bytes move.
class Link : public std::enable_shared_from_this<Link> {
 public:
  explicit Link(tcp::socket client) : client_(std::move(client)), server_(client_.get_executor()) {}

  void Start(const tcp::endpoint& target) {
    server_.async_connect(target, [self = shared_from_this()](error_code error) {
      if (error) return self->Close();
      error_code ignored;
      self->client_.set_option(tcp::no_delay(true), ignored);
      self->server_.set_option(tcp::no_delay(true), ignored);
      self->Move(self->client_, self->server_, self->up_);
      self->Move(self->server_, self->client_, self->down_);
    });
  }

  void Reset() {
    error_code ignored;
    client_.set_option(asio::socket_base::linger(true, 0), ignored);
    server_.set_option(asio::socket_base::linger(true, 0), ignored);
    Close();
  }

  void Close() {
    error_code ignored;
    client_.close(ignored);
    server_.close(ignored);
  }

 private:
  using Buffer = std::array<char, 32 * 1024>;

  void Move(tcp::socket& from, tcp::socket& to, Buffer& buffer) {
    from.async_read_some(asio::buffer(buffer), [self = shared_from_this(), &from, &to, &buffer](
                                                   error_code error, std::size_t size) {
      if (error) return self->Close();
      asio::async_write(to, asio::buffer(buffer, size),
                        [self, &from, &to, &buffer](error_code write_error, std::size_t) {
                          if (write_error) return self->Close();
                          self->Move(from, to, buffer);
                        });
    });
  }

  tcp::socket client_;
  tcp::socket server_;
  Buffer up_;
  Buffer down_;
};

}  // namespace

class TcpProxy::Core {
 public:
  Core() : acceptor_(context_, Loopback(0)) {
    Accept();
    thread_ = std::thread([this] { context_.run(); });
  }
  ~Core() {
    context_.stop();
    thread_.join();
  }

  int port() const { return acceptor_.local_endpoint().port(); }
  void SetTarget(int port) { target_ = port; }
  size_t cuts() const { return cuts_; }

  void Cut(int percent, uint64_t seed) {
    asio::post(context_, [this, percent, seed] {
      std::mt19937_64 random(seed);
      for (auto link = links_.begin(); link != links_.end();) {
        const std::shared_ptr<Link> open = link->lock();
        if (open != nullptr && static_cast<int>(random() % 100) < percent) {
          random() % 2 == 0 ? open->Reset() : open->Close();
          ++cuts_;
        }
        link = open == nullptr ? links_.erase(link) : std::next(link);
      }
    });
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket client) {
      if (!error && target_ != 0) {
        const auto link = std::make_shared<Link>(std::move(client));
        links_.insert(link);
        link->Start(Loopback(target_));
      }
      Accept();
    });
  }

  asio::io_context context_;
  tcp::acceptor acceptor_;
  std::set<std::weak_ptr<Link>, std::owner_less<>> links_;
  std::atomic<int> target_ = 0;
  std::atomic<size_t> cuts_ = 0;
  std::thread thread_;
};

TcpProxy::TcpProxy() : core_(std::make_unique<Core>()), port_(core_->port()) {}

TcpProxy::~TcpProxy() = default;

void TcpProxy::SetTarget(int port) { core_->SetTarget(port); }

void TcpProxy::Cut(int percent, uint64_t seed) { core_->Cut(percent, seed); }

size_t TcpProxy::cuts() const { return core_->cuts(); }

}  // namespace dreamgate::e2e
