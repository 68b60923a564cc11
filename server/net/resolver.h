// Names to addresses. getaddrinfo blocks and cannot be cancelled, so it runs on a thread of its
// own; everything else (cache, joining of equal questions) happens on the loop. Owned by app,
// shared by all clients; destroyed on the loop, or by the thread that stopped the loop.
#ifndef DREAMGATE_SERVER_NET_RESOLVER_H_
#define DREAMGATE_SERVER_NET_RESOLVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/loop.h"

namespace dreamgate::net {

// Numeric addresses, to be tried in this order: families alternate, the system's favourite first.
using Addresses = std::vector<std::string>;

// Asks the operating system. Blocks. Unavailable if the name has no address.
absl::StatusOr<Addresses> LookUpWithSystem(const std::string& host);

struct ResolverOptions {
  absl::Duration ttl = absl::Seconds(30);          // how long an answer is good
  absl::Duration negative_ttl = absl::Seconds(1);  // how long a failure is believed
  // Called on the resolver's thread, one question at a time.
  absl::AnyInvocable<absl::StatusOr<Addresses>(const std::string&)> look_up = LookUpWithSystem;
  // A monotonic clock; the loop's thread asks it.
  absl::AnyInvocable<absl::Time()> now;
};

class Resolver {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Addresses>) &&>;

  Resolver(Loop& loop, ResolverOptions options);
  // Waits for nothing: a lookup that hangs is left behind and its answer dropped. No completion
  // runs afterwards.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // On the loop. `done` runs on the loop, later, exactly once. Equal questions share one lookup.
  // When a lookup fails and an older answer is known, that one is given (stale beats nothing).
  void Resolve(const std::string& host, Done done);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Keeps the first address first and alternates IPv6 and IPv4 from there.
Addresses InterleaveFamilies(const Addresses& addresses);

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_RESOLVER_H_
