// Forgets predictions, and with them the request_ids they hold, when they have been over for longer
// than the operator wants them kept. In small steps, so that no caller waits behind it. Owned by
// Gateway, loop only.
#ifndef DREAMGATE_SERVER_CORE_RETENTION_H_
#define DREAMGATE_SERVER_CORE_RETENTION_H_

#include <memory>

#include "absl/time/time.h"
#include "server/core/lifeline.h"
#include "server/core/options.h"
#include "server/core/ports.h"

namespace dreamgate::core {

class Retention {
 public:
  Retention(const Ports& ports, const Options& options) : ports_(ports), options_(options) {}

  void Start();

 private:
  void PruneAfter(absl::Duration delay);

  const Ports& ports_;
  const Options& options_;
  std::unique_ptr<Timers::Timer> timer_;
  Lifeline lifeline_;
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_RETENTION_H_
