// Private to this room: connecting to the first of a host's addresses that answers. Works on the
// loop. Not to be included elsewhere (Asio).
#ifndef DREAMGATE_SERVER_UPSTREAM_ADDRESS_RACE_H_
#define DREAMGATE_SERVER_UPSTREAM_ADDRESS_RACE_H_

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/net/loop.h"
#include "server/net/resolver.h"

namespace dreamgate::upstream {

// The next address is tried when the one before failed or has kept us waiting for the stagger.
// Owned by its handlers; ends when one wins, all failed or Cancel.
class AddressRace : public std::enable_shared_from_this<AddressRace> {
 public:
  // A socket if the status is OK; otherwise Unavailable says what became of each address. Runs on
  // the loop, at most once, perhaps within Start.
  using Done =
      absl::AnyInvocable<void(absl::Status, std::optional<boost::asio::ip::tcp::socket>) &&>;

  // `loop` outlives the race.
  AddressRace(net::Loop& loop, absl::Duration stagger, Done done)
      : loop_(loop), stagger_(stagger), done_(std::move(done)) {}

  // Once.
  void Start(const net::Addresses& addresses, uint16_t port);

  // `done` will not run; all sockets close.
  void Cancel();

 private:
  void TryNext();
  void OnConnected(boost::asio::ip::tcp::socket& socket,
                   const boost::asio::ip::tcp::endpoint& endpoint,
                   const boost::system::error_code& error);
  void Finish(absl::Status status, std::optional<boost::asio::ip::tcp::socket> socket);

  net::Loop& loop_;
  const absl::Duration stagger_;
  Done done_;  // empty: over
  std::vector<boost::asio::ip::tcp::endpoint> endpoints_;
  size_t next_ = 0;
  int running_ = 0;
  std::vector<std::shared_ptr<boost::asio::ip::tcp::socket>> sockets_;
  std::unique_ptr<net::LoopTimer> stagger_timer_;
  std::string problems_;
};

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_SERVER_UPSTREAM_ADDRESS_RACE_H_
