// Names one of upstream's tasks for the poller: a prediction's own, or an orphan that was made for
// it. Sorts by tenant and the prediction's time of creation.
#ifndef DREAMGATE_SERVER_CORE_POLLING_TASK_KEY_H_
#define DREAMGATE_SERVER_CORE_POLLING_TASK_KEY_H_

#include <compare>
#include <string>
#include <utility>

#include "server/core/prediction.h"

namespace dreamgate::core {

struct TaskKey {
  PredictionKey prediction;
  std::string upstream_id;

  friend auto operator<=>(const TaskKey&, const TaskKey&) = default;
  template <typename H>
  friend H AbslHashValue(H hash, const TaskKey& key) {
    return H::combine(std::move(hash), key.prediction, key.upstream_id);
  }
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_POLLING_TASK_KEY_H_
