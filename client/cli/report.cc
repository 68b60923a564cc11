#include "client/cli/report.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "client/cli/format.h"
#include "dreamgate/client/error_info.h"

namespace dreamgate::client {
namespace {

std::string WithoutPrefix(const std::string& name, const std::string& prefix) {
  return name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
}

struct Advice {
  const char* reason;
  const char* next;
};

constexpr std::array kAdvice = {
    Advice{"CREDENTIALS_MISSING", "give a token with --token-file or DREAMGATE_TOKEN"},
    Advice{"CREDENTIALS_INVALID", "give a valid token with --token-file or DREAMGATE_TOKEN"},
    Advice{"REQUEST_ID_CONFLICT",
           "leave --request-id out for a new video, or repeat the original arguments"},
    Advice{"PREDICTION_NOT_FOUND", "check the id with 'dreamgate list'"},
    Advice{"UPSTREAM_REJECTED", "change the request as the message says and submit it again"},
    Advice{"UPSTREAM_CREDENTIALS_REJECTED",
           "the server's operator must renew its upstream API key"},
    Advice{"UPSTREAM_BALANCE_EXHAUSTED", "the server's operator must top up the upstream account"},
    Advice{"UPSTREAM_MODEL_UNAVAILABLE",
           "the server's operator must check the configured upstream model"},
    Advice{"UPSTREAM_MISCONFIGURED",
           "the server's operator must check the configured upstream address"},
    Advice{"UPSTREAM_RATE_LIMITED", "try again later with the same --request-id"},
    Advice{"UPSTREAM_UNREACHABLE",
           "nothing was submitted; try again later with the same --request-id"},
    Advice{"TENANT_LIMIT_REACHED",
           "wait until running videos are done, or ask the operator for a higher limit"},
    // Any command may end so. Upstream may have refused a submission that ends so.
    Advice{"LEDGER_UNAVAILABLE",
           "try again later; a submission with the same --request-id never pays twice"},
};

std::string NextStep(const grpc::Status& status, const ErrorInfo& info, const std::string& server) {
  const auto advice = std::find_if(kAdvice.begin(), kAdvice.end(), [&info](const Advice& entry) {
    return info.reason == entry.reason;
  });
  if (advice != kAdvice.end()) return advice->next;
  if (info.reason.empty() && ExitCodeOf(status) == kExitUnreachable) {
    return "check that a server listens at " + server +
           " (--server, DREAMGATE_SERVER), or try a longer --timeout";
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return "check that " + server + " is a dreamgate server and not older than this command";
  }
  return "";
}

}  // namespace

std::string StateText(v1::PredictionState state) {
  return WithoutPrefix(v1::PredictionState_Name(state), "PREDICTION_STATE_");
}

std::string AspectRatioText(v1::AspectRatio ratio) {
  std::string text = WithoutPrefix(v1::AspectRatio_Name(ratio), "ASPECT_RATIO_");
  std::replace(text.begin(), text.end(), '_', ':');
  return text;
}

v1::AspectRatio ParseAspectRatio(const std::string& text) {
  std::string name = "ASPECT_RATIO_" + text;
  std::replace(name.begin(), name.end(), ':', '_');
  v1::AspectRatio ratio = v1::ASPECT_RATIO_UNSPECIFIED;
  return v1::AspectRatio_Parse(name, &ratio) ? ratio : v1::ASPECT_RATIO_UNSPECIFIED;
}

bool IsTerminal(v1::PredictionState state) {
  return state == v1::PREDICTION_STATE_COMPLETED || state == v1::PREDICTION_STATE_FAILED ||
         state == v1::PREDICTION_STATE_CANCELLED || state == v1::PREDICTION_STATE_TIMED_OUT ||
         state == v1::PREDICTION_STATE_DELETED;
}

ExitCode ExitCodeOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return kExitOk;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED: return kExitUnreachable;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::ABORTED: return kExitRefused;
    default: return kExitUnexpected;
  }
}

std::string ExplainError(const grpc::Status& status, const std::string& server) {
  const ErrorInfo info = Decode(status);
  const bool connection = info.reason.empty() && ExitCodeOf(status) == kExitUnreachable;
  std::string text = "error: ";
  if (connection) text += "no answer from " + server + ": ";
  text += Printable(status.error_message());
  if (!info.reason.empty()) text += " (" + Printable(info.reason) + ")";

  std::vector<std::pair<std::string, std::string>> violations;
  for (const FieldViolation& violation : info.field_violations) {
    violations.emplace_back(Printable(violation.field), Printable(violation.description));
  }
  if (!violations.empty()) text += "\n" + FormatPairs(violations, "  ");
  const std::string next = NextStep(status, info, server);
  if (!next.empty()) text += "\nnext: " + next;
  return text;
}

std::string ExplainFailure(const v1::Prediction& prediction) {
  std::string text = "error: the prediction is " + StateText(prediction.state());
  if (!prediction.has_error()) return text;
  const v1::PredictionError& error = prediction.error();
  text += ": " + WithoutPrefix(v1::FailureCode_Name(error.failure_code()), "FAILURE_CODE_");
  if (error.upstream_code() != 0)
    text += " (upstream code " + std::to_string(error.upstream_code()) + ")";
  if (!error.message().empty()) text += ": " + Printable(error.message());
  text += error.resubmission_may_help()
              ? "\nnext: submit again without --request-id; it is paid for anew and may succeed"
              : "\nnext: submitting the same again will not help";
  if (error.failure_code() == v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN) {
    text += "; look into the upstream account's history before paying again";
  }
  return text;
}

ExitCode ExitCodeOf(const v1::Prediction& prediction) {
  return prediction.state() == v1::PREDICTION_STATE_COMPLETED ? kExitOk : kExitNoVideo;
}

}  // namespace dreamgate::client
