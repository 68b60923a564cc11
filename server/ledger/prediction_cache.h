// The folded predictions used last, so that a proposal need not read and fold its past again. Owned by
// `Store`, private to this room. Dropped whenever the file is reopened.
#ifndef DREAMGATE_SERVER_LEDGER_PREDICTION_CACHE_H_
#define DREAMGATE_SERVER_LEDGER_PREDICTION_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/core/prediction.h"

namespace dreamgate::ledger {

// A prediction as its row stands.
struct CurrentRow {
  std::shared_ptr<const core::Prediction> prediction;
  bool rejected = false;
  int64_t owner_epoch = 0;  // 0: nobody's
};

class PredictionCache {
 public:
  explicit PredictionCache(size_t capacity) : capacity_(capacity) {}

  // Null if it is not cached. Valid until the next call.
  const CurrentRow* Find(const std::string& tenant, const std::string& prediction_id) {
    const auto found = index_.find(Key(tenant, prediction_id));
    if (found == index_.end()) return nullptr;
    rows_.splice(rows_.begin(), rows_, found->second);
    return &*found->second;
  }

  void Put(CurrentRow row) {
    Key key(row.prediction->tenant, row.prediction->id);
    Erase(key.first, key.second);
    rows_.push_front(std::move(row));
    index_[std::move(key)] = rows_.begin();
    if (rows_.size() > capacity_) {
      const Key oldest(rows_.back().prediction->tenant, rows_.back().prediction->id);
      Erase(oldest.first, oldest.second);
    }
  }

  void Erase(const std::string& tenant, const std::string& prediction_id) {
    const auto found = index_.find(Key(tenant, prediction_id));
    if (found == index_.end()) return;
    rows_.erase(found->second);
    index_.erase(found);
  }

  void Clear() {
    index_.clear();
    rows_.clear();
  }

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, prediction id

  const size_t capacity_;
  std::list<CurrentRow> rows_;  // most recently used first
  absl::flat_hash_map<Key, std::list<CurrentRow>::iterator> index_;
};

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_SERVER_LEDGER_PREDICTION_CACHE_H_
