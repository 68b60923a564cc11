#include "server/ledger/store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/failpoint.h"
#include "server/ledger/ledger_file.h"
#include "server/ledger/online_copy.h"
#include "server/ledger/operations.h"
#include "server/ledger/prediction_cache.h"
#include "server/ledger/records.h"
#include "server/ledger/sqlite.h"

namespace dreamgate::ledger {
namespace {

// The error as the port gives it. Errors that carry a reason, and "not found", are answers already.
absl::Status AsAnswer(const absl::Status& status) {
  if (status.ok() || absl::IsNotFound(status) || core::ReasonOf(status).has_value()) return status;
  if (absl::IsInternal(status)) {
    return core::MakeError(core::Reason::kInternal,
                           absl::StrCat("the ledger refused the operation: ", status.message()));
  }
  return core::MakeError(
      core::Reason::kLedgerUnavailable,
      absl::StrCat("the ledger is unavailable, try again later: ", status.message()),
      core::ErrorDetails{.retry_after = absl::Seconds(5)});
}

bool IsOk(const core::LedgerCall& call) {
  return std::visit([](const auto& any) { return any.answer.ok(); }, call);
}

}  // namespace

// ----------------------------------------------------------------------------------- open and reopen

Store::Store(StoreOptions options)
    : options_(std::move(options)),
      cache_(std::make_unique<PredictionCache>(options_.cached_predictions)) {}

Store::~Store() = default;

absl::StatusOr<std::unique_ptr<Store>> Store::Open(StoreOptions options) {
  std::unique_ptr<Store> store(new Store(std::move(options)));
  absl::StatusOr<std::unique_ptr<Database>> database = OpenLedgerFile(store->options_);
  if (!database.ok()) return database.status();
  store->database_ = *std::move(database);
  if (const absl::Status status = store->StartEpoch(); !status.ok()) {
    const absl::string_view path = store->options_.path;
    if (store->database_->corrupt() || absl::IsDataLoss(status)) {
      return absl::DataLossError(
          absl::StrCat("ledger ", path, " is damaged, restore a backup: ", status.message()));
    }
    return absl::UnavailableError(
        absl::StrCat("ledger ", path, " cannot be opened: ", status.message()));
  }
  return store;
}

absl::Status Store::StartEpoch() {
  records_ = std::make_unique<Records>(*database_);
  if (absl::Status status = records_->RaiseOwnerEpoch(); !status.ok()) return status;
  DREAMGATE_FAILPOINT("ledger.epoch_raised");
  const absl::StatusOr<int64_t> epoch = records_->OwnerEpoch();
  if (!epoch.ok()) return epoch.status();
  owner_epoch_ = *epoch;
  return absl::OkStatus();
}

void Store::Abandon() {
  cache_->Clear();
  copy_.reset();
  records_.reset();
  if (database_ == nullptr) return;
  if (database_->failed() && !database_->failed_before_commit()) log_in_doubt_ = true;
  // A checkpoint now would work on a file that has just failed.
  database_->SkipCheckpointOnClose();
  database_.reset();
}

absl::Status Store::EnsureOpen() {
  if (database_ != nullptr && !database_->failed()) return absl::OkStatus();
  Abandon();
  absl::Status status = Reopen();
  if (!status.ok()) Abandon();
  return status;
}

absl::Status Store::Reopen() {
  absl::StatusOr<std::unique_ptr<Database>> database = ReopenLedgerFile(options_);
  if (!database.ok()) return database.status();
  database_ = *std::move(database);
  records_ = std::make_unique<Records>(*database_);
  const absl::StatusOr<int64_t> epoch = records_->OwnerEpoch();
  if (!epoch.ok()) return epoch.status();
  // The lock was free while the file was closed.
  if (*epoch != owner_epoch_) return absl::UnavailableError("another process has taken it over");
  if (!log_in_doubt_) return absl::OkStatus();
  absl::Status status = database_->RewriteLog();
  if (status.ok()) log_in_doubt_ = false;
  return status;
}

// ------------------------------------------------------------------------------------------- batches

BatchResult Store::Apply(Calls batch) {
  BatchResult done{.commit = RunBatch(batch), .damage = {}};
  if (database_ != nullptr) done.damage = database_->TakeDamage();
  return done;
}

absl::Status Store::RunBatch(Calls batch) {
  absl::Status status = EnsureOpen();
  if (status.ok()) {
    status = RunTransaction(batch);
    if (status.ok()) return status;
    Abandon();
  }
  AnswerInTrouble(batch, status);
  return status;
}

absl::Status Store::RunTransaction(Calls batch) {
  DREAMGATE_FAILPOINT("ledger.before_begin");
  if (absl::Status status = records_->Begin(); !status.ok()) return status;
  // Savepoints cost a copy of each page that is changed, and hardly ever is one needed.
  if (!RunWithoutSavepoints(batch) && !database_->failed()) {
    if (absl::Status status = records_->Rollback(); !status.ok()) return status;
    cache_->Clear();
    database_->TakeDamage();  // it will be met again
    if (absl::Status status = records_->Begin(); !status.ok()) return status;
    RunUnderSavepoints(batch);
  }
  if (database_->failed()) return database_->failure();
  DREAMGATE_FAILPOINT("ledger.before_commit");
  return records_->Commit();
}

bool Store::RunWithoutSavepoints(Calls batch) {
  for (const auto& call : batch) {
    const int64_t changes_before = database_->total_changes();
    RunCall(*call);
    if (!IsOk(*call) && database_->total_changes() != changes_before) return false;
    if (database_->failed()) return false;
  }
  return true;
}

void Store::RunUnderSavepoints(Calls batch) {
  for (const auto& call : batch) {
    if (database_->failed()) return;
    if (core::IsWrite(*call)) {
      RunUnderSavepoint(*call);
    } else {
      RunCall(*call);
    }
  }
}

void Store::RunUnderSavepoint(core::LedgerCall& call) {
  // A failed savepoint shows in Database::failed() and fails the batch.
  records_->SetSavepoint().IgnoreError();
  if (database_->failed()) return;
  RunCall(call);
  if (database_->failed()) return;
  if (!IsOk(call)) {
    records_->RollbackToSavepoint().IgnoreError();
    cache_->Clear();
  }
  records_->ReleaseSavepoint().IgnoreError();
}

void Store::RunCall(core::LedgerCall& call) {
  Operations operations(*database_, *records_, *cache_, owner_epoch_);
  std::visit(
      [&](auto& any) {
        any.answer = operations.Run(any.request);
        if (any.answer.ok()) return;
        database_->NoteDamage(any.answer.status());
        any.answer = AsAnswer(any.answer.status());
      },
      call);
}

void Store::AnswerInTrouble(Calls batch, const absl::Status& trouble) {
  for (const auto& call : batch) {
    const absl::Status status = core::IsWrite(*call) ? trouble : EnsureOpen();
    if (status.ok()) {
      RunCall(*call);
    } else {
      core::AnswerWithError(*call, AsAnswer(status));
    }
  }
}

// -------------------------------------------------------------------------------------------- backup

absl::Status Store::BeginBackup(const std::string& path) {
  copy_.reset();
  if (absl::Status status = EnsureOpen(); !status.ok()) return AsAnswer(status);
  absl::StatusOr<std::unique_ptr<OnlineCopy>> copy = OnlineCopy::Begin(*database_, path);
  if (!copy.ok()) return copy.status();
  copy_ = *std::move(copy);
  return absl::OkStatus();
}

absl::StatusOr<bool> Store::StepBackup(int pages) {
  if (copy_ == nullptr) {
    return AsAnswer(absl::UnavailableError("it had to be reopened while it was being copied"));
  }
  absl::StatusOr<bool> finished = copy_->Step(pages);
  if (!finished.ok() || *finished) copy_.reset();
  return finished;
}

void Store::AbandonBackup() { copy_.reset(); }

}  // namespace dreamgate::ledger
