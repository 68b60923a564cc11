#include "server/upstream/address_race.h"

#include <boost/asio/ip/address.hpp>

#include "absl/strings/str_cat.h"
#include "server/net/loop_asio.h"

namespace dreamgate::upstream {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

void AddressRace::Start(const net::Addresses& addresses, uint16_t port) {
  for (const std::string& text : addresses) {
    error_code error;
    const asio::ip::address address = asio::ip::make_address(text, error);
    if (!error) endpoints_.emplace_back(address, port);
  }
  if (endpoints_.empty()) return Finish(absl::UnavailableError("no usable address"), {});
  TryNext();
}

void AddressRace::Cancel() {
  done_ = nullptr;
  stagger_timer_.reset();
  sockets_.clear();
}

void AddressRace::TryNext() {
  if (next_ == endpoints_.size()) return;
  const tcp::endpoint endpoint = endpoints_[next_++];
  auto socket = std::make_shared<tcp::socket>(net::AsioContext(loop_));
  sockets_.push_back(socket);
  ++running_;
  socket->async_connect(endpoint,
                        [self = shared_from_this(), socket, endpoint](const error_code& error) {
                          self->OnConnected(*socket, endpoint, error);
                        });
  if (next_ < endpoints_.size()) {
    stagger_timer_ = loop_.After(stagger_, [this] { TryNext(); });
  }
}

void AddressRace::OnConnected(tcp::socket& socket, const tcp::endpoint& endpoint,
                              const error_code& error) {
  if (!done_) return;
  --running_;
  if (!error) return Finish(absl::OkStatus(), std::move(socket));
  absl::StrAppend(&problems_, problems_.empty() ? "" : "; ", endpoint.address().to_string(), ": ",
                  error.message());
  if (next_ < endpoints_.size()) return TryNext();
  if (running_ == 0) Finish(absl::UnavailableError(problems_), {});
}

void AddressRace::Finish(absl::Status status, std::optional<tcp::socket> socket) {
  Done done = std::move(done_);
  Cancel();
  std::move(done)(std::move(status), std::move(socket));
}

}  // namespace dreamgate::upstream
