// How the server leaves: readiness goes first, then watchers and callers move on, then what is in
// flight is settled, and the ledger closes last.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/api/grpc_server.h"
#include "server/api/watch_delivery.h"
#include "server/app/app.h"
#include "server/app/ledger_backup.h"
#include "server/core/failpoint.h"
#include "server/core/gateway.h"
#include "server/ledger/ledger_thread.h"
#include "server/upstream/wavespeed_client.h"
#include "server/web/admin_server.h"
#include "server/web/webhook_receiver.h"

namespace dreamgate::app {
namespace {

// How often shutdown asks whether a POST is still in flight.
constexpr absl::Duration kSubmissionCheck = absl::Milliseconds(20);
// Many times the time that a healthy disk needs. After it, shutdown goes on without the ledger.
constexpr absl::Duration kSettleTimeout = absl::Seconds(5);

}  // namespace

bool App::RunOnLoop(absl::AnyInvocable<void(Done done) &&> work, absl::Duration most) {
  auto finished = std::make_shared<absl::Notification>();  // `done` may come after we gave up
  loop_.Post([work = std::move(work), finished]() mutable {
    std::move(work)([finished] { finished->Notify(); });
  });
  return finished->WaitForNotificationWithTimeout(most);
}

void App::Shutdown(absl::AnyInvocable<void(absl::Duration grace)> wait) {
  if (std::exchange(stopped_, true)) return;
  log_.Write(core::LogLevel::kInfo, "leaving",
             {{"grace", absl::FormatDuration(config_.shutdown_grace)}});
  phase_ = Phase::kLeaving;
  grpc_server_->SetServing(false);
  wait(config_.shutdown_grace);

  // Only the server's Shutdown sends GOAWAY. The drain goes beside it: earlier, clients would come
  // back to this server.
  const absl::Time deadline = absl::Now() + config_.shutdown_timeout;
  grpc_server_->BeginDrain();
  loop_.Post([this] { gateway_->Drain(); });
  DREAMGATE_FAILPOINT("shutdown.drain_begun");
  grpc_server_->Shutdown(deadline);
  // Closing the pool earlier would turn answers on their way into UNRESOLVED.
  WaitForSubmissions(deadline);

  DREAMGATE_FAILPOINT("shutdown.before_closing");
  admin_server_.reset();
  webhook_receiver_.reset();
  CloseUpstream();
  SettleLedger();
  ledger_->Stop();
  DREAMGATE_FAILPOINT("shutdown.ledger_stopped");
  delivery_->Stop();
  loop_.Stop();
  log_.Write(core::LogLevel::kInfo, "stopped");
}

void App::WaitForSubmissions(absl::Time deadline) {
  int64_t in_flight = 0;
  do {
    auto count = std::make_shared<int64_t>(0);
    RunOnLoop([this, count](Done done) {
      *count = gateway_->submissions_in_flight();
      std::move(done)();
    });
    in_flight = *count;
    if (in_flight > 0 && absl::Now() < deadline) absl::SleepFor(kSubmissionCheck);
  } while (in_flight > 0 && absl::Now() < deadline);
  if (in_flight > 0) {
    log_.Write(core::LogLevel::kWarning, "submissions without an answer are left to the next start",
               {{"count", absl::StrCat(in_flight)}});
  }
}

void App::CloseUpstream() {
  RunOnLoop([this](Done done) { upstream_->Close(std::move(done)); }, kSettleTimeout);
}

// The last answers may wait for a write that is under way. So this goes through the ledger's queue
// twice: the first time ends after that write's completion, the second after the write that follows.
void App::SettleLedger() {
  for (int round = 0; round < 2; ++round) {
    RunOnLoop(
        [this](Done done) {
          ledger_->Call(
              core::LoadRequest(),
              [done = std::move(done)](const absl::StatusOr<core::StoredPrediction>&) mutable {
                std::move(done)();
              });
        },
        kSettleTimeout);
  }
}

}  // namespace dreamgate::app
