// Between the contract's messages and the core's values. The numbers of the enums are equal by
// design (asserted in the .cc). Pure functions; any thread.
#ifndef DREAMGATE_SERVER_API_CONVERTERS_H_
#define DREAMGATE_SERVER_API_CONVERTERS_H_

#include <optional>

#include "absl/time/time.h"
#include "dreamgate/v1/prediction.pb.h"
#include "server/core/ports.h"
#include "server/core/prediction.h"

namespace dreamgate::api {

v1::Prediction ToProto(const core::Prediction& prediction);
v1::Heartbeat ToProto(const core::Heartbeat& heartbeat);
google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);  // infinite ones become the largest

// Unspecified means 16:9; nullopt: a value unknown to this server.
std::optional<core::AspectRatio> AspectRatioFromProto(int number);
// nullopt: unspecified, or a value unknown to this server.
std::optional<core::State> StateFromProto(int number);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_CONVERTERS_H_
