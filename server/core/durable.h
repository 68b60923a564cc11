// The one way in which the core insists on an answer of the ledger: a request is repeated, with
// backoff, for as long as the ledger is in trouble. Owned by whoever asks, and dies with it: what
// waits to be repeated is then forgotten. Loop only.
#ifndef DREAMGATE_SERVER_CORE_DURABLE_H_
#define DREAMGATE_SERVER_CORE_DURABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/core/errors.h"
#include "server/core/lifeline.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// The request is not known to be durable, or cannot be answered now.
inline bool IsLedgerTrouble(const absl::Status& status) {
  return ReasonOf(status) == Reason::kLedgerUnavailable;
}

class Durable {
 public:
  explicit Durable(const Ports& ports) : ports_(ports) {}

  // Calls the ledger with what `next` makes, again and again until `tried` says that it is over:
  // `tried` is given every answer, and answers whether to try again. `next` is asked before every
  // try, so that it can follow what has happened meanwhile; nullopt ends the matter.
  template <typename Request>
  void Repeat(absl::AnyInvocable<std::optional<Request>()> next,
              absl::AnyInvocable<bool(AnswerTo<Request>)> tried) {
    Try(std::make_unique<Matter<Request>>(Matter<Request>{std::move(next), std::move(tried)}));
  }
  // The same request each time, until the ledger has answered it. `tried` is given every answer.
  template <typename Request>
  void Call(Request request, absl::AnyInvocable<void(AnswerTo<Request>)> tried) {
    Repeat<Request>([request = std::move(request)] { return std::optional(request); },
                    [tried = std::move(tried)](AnswerTo<Request> answer) mutable {
                      const bool again = IsLedgerTrouble(answer.status());
                      tried(std::move(answer));
                      return again;
                    });
  }

  // How many wait to be tried again.
  size_t waiting() const { return waiting_.size(); }

 private:
  template <typename Request>
  struct Matter {
    absl::AnyInvocable<std::optional<Request>()> next;
    absl::AnyInvocable<bool(AnswerTo<Request>)> tried;
    int failures = 0;
  };

  template <typename Request>
  void Try(std::unique_ptr<Matter<Request>> matter) {
    std::optional<Request> request = matter->next();
    if (!request) return;
    ports_.ledger.Call(
        *std::move(request),
        lifeline_.Guard([this, matter = std::move(matter)](AnswerTo<Request> answer) mutable {
          if (!matter->tried(std::move(answer))) return;
          const int failures = matter->failures++;
          Wait(failures,
               [this, matter = std::move(matter)]() mutable { Try<Request>(std::move(matter)); });
        }));
  }
  // Runs `again` after a backoff.
  void Wait(int failures, absl::AnyInvocable<void() &&> again);

  const Ports ports_;
  uint64_t waits_ = 0;
  std::map<uint64_t, std::unique_ptr<Timers::Timer>> waiting_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_DURABLE_H_
