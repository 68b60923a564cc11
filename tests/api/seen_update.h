// An update of the wire as the watch validator takes it.
#ifndef DREAMGATE_TESTS_API_SEEN_UPDATE_H_
#define DREAMGATE_TESTS_API_SEEN_UPDATE_H_

#include "dreamgate/v1/prediction.pb.h"
#include "tests/fakes/watch_validator.h"

namespace dreamgate::api {

inline fakes::SeenUpdate Seen(const v1::Prediction& update) {
  fakes::SeenUpdate seen;
  seen.prediction_id = update.id();
  seen.sequence = update.sequence();
  seen.state = static_cast<core::State>(update.state());
  for (const v1::HistoryEntry& entry : update.history()) {
    seen.history[entry.sequence()] = static_cast<core::State>(entry.state());
  }
  v1::Prediction content = update;
  content.clear_recovered_outputs();
  seen.content = content.ShortDebugString();  // sorts the labels
  return seen;
}

}  // namespace dreamgate::api

#endif  // DREAMGATE_TESTS_API_SEEN_UPDATE_H_
