#include "server/net/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/net/monotonic_clock.h"
#include "server/net/url.h"

namespace dreamgate::net {

namespace {

struct CacheEntry {
  Addresses addresses;  // the last good answer, possibly stale
  absl::Status status;  // of the last lookup
  absl::Time expires = absl::InfinitePast();
  std::vector<Resolver::Done> waiting;  // not empty: a lookup is under way
};

absl::StatusOr<Addresses> AnswerOf(const CacheEntry& entry) {
  if (!entry.addresses.empty()) return entry.addresses;
  return entry.status;
}

}  // namespace

// Shared with the lookup thread and with what it posts, either of which may outlive the Resolver.
struct Resolver::State {
  explicit State(Loop& the_loop, ResolverOptions the_options)
      : loop(the_loop), options(std::move(the_options)) {}

  Loop& loop;  // on the lookup thread: only under `mutex` and only while not `stopping`
  ResolverOptions options;
  std::map<std::string, CacheEntry> cache;  // the loop's

  std::mutex mutex;  // guards the next three
  std::deque<std::string> questions;
  bool stopping = false;
  bool looking_up = false;
  std::condition_variable something_to_do;
  std::thread thread;

  void OnAnswer(const std::string& host, absl::StatusOr<Addresses> answer);
  static void RunLookups(const std::shared_ptr<State>& state);
};

void Resolver::State::RunLookups(const std::shared_ptr<State>& state) {
  while (true) {
    std::string host;
    {
      std::unique_lock<std::mutex> lock(state->mutex);
      state->looking_up = false;
      state->something_to_do.wait(
          lock, [&state] { return state->stopping || !state->questions.empty(); });
      if (state->stopping) return;
      host = std::move(state->questions.front());
      state->questions.pop_front();
      state->looking_up = true;
    }
    absl::StatusOr<Addresses> answer = state->options.look_up(host);
    if (answer.ok() && answer->empty()) {
      answer = absl::UnavailableError(absl::StrCat("\"", host, "\" has no address"));
    }
    const std::lock_guard<std::mutex> lock(state->mutex);
    if (state->stopping) return;
    state->loop.Post([state, host, answer = std::move(answer)]() mutable {
      state->OnAnswer(host, std::move(answer));
    });
  }
}

void Resolver::State::OnAnswer(const std::string& host, absl::StatusOr<Addresses> answer) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (stopping) return;
  }
  CacheEntry& entry = cache[host];
  entry.status = answer.status();
  entry.expires = options.now() + (answer.ok() ? options.ttl : options.negative_ttl);
  if (answer.ok()) entry.addresses = InterleaveFamilies(*answer);
  const absl::StatusOr<Addresses> result = AnswerOf(entry);
  std::vector<Done> waiting;
  waiting.swap(entry.waiting);
  for (Done& done : waiting) std::move(done)(result);
}

Resolver::Resolver(Loop& loop, ResolverOptions options)
    : state_(std::make_shared<State>(loop, std::move(options))) {
  if (!state_->options.now) state_->options.now = MonotonicNow;
  state_->thread = std::thread([state = state_] { State::RunLookups(state); });
}

Resolver::~Resolver() {
  bool hanging = false;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping = true;
    hanging = state_->looking_up;
    state_->something_to_do.notify_all();
  }
  state_->cache.clear();
  if (hanging) {
    state_->thread.detach();
  } else {
    state_->thread.join();
  }
}

void Resolver::Resolve(const std::string& host, Done done) {
  if (IsIpLiteral(host)) {
    state_->loop.Post(
        [done = std::move(done), host]() mutable { std::move(done)(Addresses{host}); });
    return;
  }
  CacheEntry& entry = state_->cache[host];
  if (entry.waiting.empty() && state_->options.now() < entry.expires) {
    state_->loop.Post([done = std::move(done), answer = AnswerOf(entry)]() mutable {
      std::move(done)(std::move(answer));
    });
    return;
  }
  entry.waiting.push_back(std::move(done));
  if (entry.waiting.size() > 1) return;
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->questions.push_back(host);
  state_->something_to_do.notify_all();
}

Addresses InterleaveFamilies(const Addresses& addresses) {
  if (addresses.empty()) return {};
  Addresses first;
  Addresses second;
  const auto is_v6 = [](const std::string& address) { return absl::StrContains(address, ':'); };
  for (const std::string& address : addresses) {
    (is_v6(address) == is_v6(addresses.front()) ? first : second).push_back(address);
  }
  Addresses result;
  for (size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) result.push_back(first[i]);
    if (i < second.size()) result.push_back(second[i]);
  }
  return result;
}

absl::StatusOr<Addresses> LookUpWithSystem(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve \"", host, "\": ", gai_strerror(error)));
  }
  Addresses addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.emplace_back(text);
    }
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace dreamgate::net
