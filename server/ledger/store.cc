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

template <size_t... kIndex>
Result ErrorAt(size_t index, const absl::Status& error, std::index_sequence<kIndex...>) {
  Result result;
  ((index == kIndex ? static_cast<void>(result.emplace<kIndex>(error)) : static_cast<void>(0)),
   ...);
  return result;
}

// The error `status` as a result of `operation`.
Result Refused(const Operation& operation, const absl::Status& status) {
  static_assert(std::variant_size_v<Operation> == std::variant_size_v<Result>);
  return ErrorAt(operation.index(), AsAnswer(status),
                 std::make_index_sequence<std::variant_size_v<Result>>());
}

template <typename... Requests>
bool IsOneOf(const Operation& operation) {
  return (std::holds_alternative<Requests>(operation) || ...);
}

}  // namespace

bool IsWrite(const Operation& operation) {
  return !IsOneOf<LoadRequest, core::ListQuery, core::AttemptReviewQuery, FindAttemptRequest,
                  ListOrphansRequest, LoadLearnedRequest>(operation);
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

BatchResult Store::Apply(absl::Span<const Operation> batch) {
  BatchResult done = RunBatch(batch);
  if (database_ != nullptr) done.damage = database_->TakeDamage();
  return done;
}

BatchResult Store::RunBatch(absl::Span<const Operation> batch) {
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
  DREAMGATE_FAILPOINT("ledger.before_begin");
  if (absl::Status status = records_->Begin(); !status.ok()) return status;
  for (const Operation& operation : batch) {
    results.push_back(IsWrite(operation) ? RunUnderSavepoint(operation) : RunOperation(operation));
    if (database_->failed()) return database_->failure();
  }
  DREAMGATE_FAILPOINT("ledger.before_commit");
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
  Operations operations(*database_, *records_, *cache_, owner_epoch_, options_.lease);
  return std::visit(
      [&](const auto& request) -> Result {
        auto answer = operations.Run(request);
        if (!answer.ok()) {
          database_->NoteDamage(StatusOf(answer));
          return Refused(operation, StatusOf(answer));
        }
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
