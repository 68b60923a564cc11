#include "server/ledger/store.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/ledger/ledger_file.h"
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
      core::ErrorDetails{.retry_after = absl::Seconds(5),
                         .quota_subject = {},
                         .resource_type = {},
                         .resource_name = {},
                         .metadata = {}});
}

const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

bool IsOk(const Result& result) {
  return std::visit([](const auto& answer) { return answer.ok(); }, result);
}

// The error `status` as a result of `operation`.
Result Refused(const Operation& operation, const absl::Status& status) {
  absl::Status error = AsAnswer(status);
  switch (operation.index()) {
    case 0: return Result(std::in_place_index<0>, std::move(error));
    case 1: return Result(std::in_place_index<1>, std::move(error));
    case 2: return Result(std::in_place_index<2>, std::move(error));
    case 3: return Result(std::in_place_index<3>, std::move(error));
    case 4: return Result(std::in_place_index<4>, std::move(error));
    default: return Result(std::in_place_index<5>, std::move(error));
  }
}

}  // namespace

bool IsWrite(const Operation& operation) {
  return !std::holds_alternative<LoadRequest>(operation) &&
         !std::holds_alternative<core::ListQuery>(operation);
}

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
  absl::StatusOr<std::unique_ptr<Records>> records = Records::Prepare(*database_);
  if (!records.ok()) return records.status();
  records_ = *std::move(records);
  if (absl::Status status = records_->RaiseOwnerEpoch(); !status.ok()) return status;
  const absl::StatusOr<int64_t> epoch = records_->OwnerEpoch();
  if (!epoch.ok()) return epoch.status();
  owner_epoch_ = *epoch;
  return absl::OkStatus();
}

void Store::Abandon() {
  cache_->Clear();
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
  absl::StatusOr<std::unique_ptr<Records>> records = Records::Prepare(*database_);
  if (!records.ok()) return records.status();
  records_ = *std::move(records);
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

BatchResult Store::Apply(absl::Span<const Operation> batch) {
  absl::Status status = EnsureOpen();
  if (status.ok()) {
    BatchResult done;
    status = RunTransaction(batch, done.results);
    if (status.ok()) return done;
    Abandon();
  }
  return AnswerInTrouble(batch, status);
}

absl::Status Store::RunTransaction(absl::Span<const Operation> batch,
                                   std::vector<Result>& results) {
  results.reserve(batch.size());
  if (absl::Status status = records_->Begin(); !status.ok()) return status;
  for (const Operation& operation : batch) {
    results.push_back(IsWrite(operation) ? RunUnderSavepoint(operation) : RunOperation(operation));
    if (database_->failed()) return database_->failure();
  }
  return records_->Commit();
}

Result Store::RunUnderSavepoint(const Operation& operation) {
  // A failed savepoint shows in Database::failed() and fails the batch.
  records_->SetSavepoint().IgnoreError();
  if (database_->failed()) return Refused(operation, database_->failure());
  Result result = RunOperation(operation);
  if (database_->failed()) return result;
  if (!IsOk(result)) {
    records_->RollbackToSavepoint().IgnoreError();
    cache_->Clear();
  }
  records_->ReleaseSavepoint().IgnoreError();
  return result;
}

Result Store::RunOperation(const Operation& operation) {
  Operations operations(*records_, *cache_, owner_epoch_, options_.lease);
  return std::visit(
      [&](const auto& request) -> Result {
        auto answer = operations.Run(request);
        if (!answer.ok()) return Refused(operation, StatusOf(answer));
        return Result(std::in_place_type<decltype(answer)>, std::move(answer));
      },
      operation);
}

BatchResult Store::AnswerInTrouble(absl::Span<const Operation> batch, const absl::Status& trouble) {
  BatchResult answer;
  answer.commit = trouble;
  answer.results.reserve(batch.size());
  for (const Operation& operation : batch) {
    absl::Status status = IsWrite(operation) ? trouble : EnsureOpen();
    answer.results.push_back(status.ok() ? RunOperation(operation) : Refused(operation, status));
  }
  return answer;
}

// ------------------------------------------------------------------------------- single operations

absl::StatusOr<core::StoredPrediction> Store::Load(std::string tenant, std::string prediction_id) {
  const Operation operation =
      LoadRequest{.tenant = std::move(tenant), .prediction_id = std::move(prediction_id)};
  return std::get<3>(std::move(Apply({&operation, 1}).results[0]));
}

absl::StatusOr<core::ListPage> Store::List(core::ListQuery query) {
  const Operation operation = std::move(query);
  return std::get<4>(std::move(Apply({&operation, 1}).results[0]));
}

absl::StatusOr<std::vector<core::Unfinished>> Store::TakeOverUnfinished(absl::Time now) {
  const Operation operation = TakeOverRequest{.now = now};
  return std::get<5>(std::move(Apply({&operation, 1}).results[0]));
}

// -------------------------------------------------------------------------------- pruning and backup

absl::StatusOr<int> Store::PruneTerminalBefore(absl::Time time, int max_rows) {
  if (absl::Status status = EnsureOpen(); !status.ok()) return AsAnswer(status);
  int deleted = 0;
  const absl::Status status = [&]() -> absl::Status {
    if (absl::Status begun = records_->Begin(); !begun.ok()) return begun;
    const absl::StatusOr<std::vector<PredictionKey>> keys =
        records_->FindEndedBefore(time, max_rows);
    if (!keys.ok()) return keys.status();
    for (const PredictionKey& key : *keys) {
      if (absl::Status gone = records_->Delete(key); !gone.ok()) return gone;
      cache_->Erase(key.tenant, key.prediction_id);
      ++deleted;
    }
    return records_->Commit();
  }();
  if (!status.ok()) {
    Abandon();
    return AsAnswer(status);
  }
  return deleted;
}

absl::Status Store::Backup(const std::string& path) {
  if (absl::Status status = EnsureOpen(); !status.ok()) return AsAnswer(status);
  if (absl::Status status = CreatePrivateFile(path); !status.ok()) return status;
  const absl::Status status = database_->BackupTo(path);
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

}  // namespace dreamgate::ledger
