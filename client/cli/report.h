// Errors and failed videos as people read them, and as exit codes. Pure.
#ifndef DREAMGATE_CLIENT_CLI_REPORT_H_
#define DREAMGATE_CLIENT_CLI_REPORT_H_

#include <grpcpp/support/status.h>

#include <string>

#include "client/cli/exit_code.h"
#include "dreamgate/v1/prediction.pb.h"

namespace dreamgate::client {

// "PROCESSING" for PREDICTION_STATE_PROCESSING.
std::string StateText(v1::PredictionState state);

// "16:9" for ASPECT_RATIO_16_9, and back; unspecified for text that is none.
std::string AspectRatioText(v1::AspectRatio ratio);
v1::AspectRatio ParseAspectRatio(const std::string& text);

bool IsTerminal(v1::PredictionState state);

// Of a call that ended with `status`, not interrupted.
ExitCode ExitCodeOf(const grpc::Status& status);

// Says what went wrong, every field violation, and what to do next. `server`: the value of --server.
std::string ExplainError(const grpc::Status& status, const std::string& server);

// Says why a terminal `prediction` has no video, and what to do next.
std::string ExplainFailure(const v1::Prediction& prediction);

// Of a terminal prediction: its outcome.
ExitCode ExitCodeOf(const v1::Prediction& prediction);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_REPORT_H_
