// A prediction and its times as people read them. Pure.
#ifndef DREAMGATE_CLIENT_CLI_PREDICTION_TEXT_H_
#define DREAMGATE_CLIENT_CLI_PREDICTION_TEXT_H_

#include <string>

#include "absl/time/time.h"
#include "dreamgate/v1/prediction.pb.h"

namespace dreamgate::client {

absl::Time ToTime(const google::protobuf::Timestamp& time);
absl::Duration ToDuration(const google::protobuf::Duration& duration);

// "2026-11-30 18:03:11", in the local zone.
std::string TimeText(const google::protobuf::Timestamp& time);

// The line of `watch` for the transition at `prediction`'s sequence.
std::string TransitionText(const v1::Prediction& prediction);

// The answer of `get`: a line for each field.
std::string DescribePrediction(const v1::Prediction& prediction);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_PREDICTION_TEXT_H_
