#include "server/api/library_logs.h"

#include <google/protobuf/stubs/common.h>
#include <grpcpp/version_info.h>

#include <mutex>
#include <string>

#include "absl/strings/string_view.h"

#define DREAMGATE_GRPC_LOGS_BY_ITSELF (GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR < 65)
#define DREAMGATE_PROTOBUF_LOGS_BY_ITSELF (GOOGLE_PROTOBUF_VERSION < 4022000)

#if DREAMGATE_GRPC_LOGS_BY_ITSELF
#include <grpc/support/log.h>
#endif
#if DREAMGATE_PROTOBUF_LOGS_BY_ITSELF
#include <google/protobuf/stubs/logging.h>
#endif

namespace dreamgate::api {
namespace {

// The libraries' handlers are plain functions of the process, hence this state.
std::mutex mutex;
core::Events* receiver = nullptr;

[[maybe_unused]] void Forward(absl::string_view library, const std::string& line) noexcept {
  const std::lock_guard<std::mutex> lock(mutex);
  if (receiver == nullptr) return;
  receiver->Log(core::LogLevel::kDebug, "library log",
                {{"library", std::string(library)}, {"line", line}});
}

void SetReceiver(core::Events* events) {
  const std::lock_guard<std::mutex> lock(mutex);
  receiver = events;
}

}  // namespace

LibraryLogs::LibraryLogs(core::Events& events) {
  SetReceiver(&events);
#if DREAMGATE_GRPC_LOGS_BY_ITSELF
  gpr_set_log_function([](gpr_log_func_args* line) { Forward("grpc", line->message); });
#endif
#if DREAMGATE_PROTOBUF_LOGS_BY_ITSELF
  google::protobuf::SetLogHandler([](google::protobuf::LogLevel, const char*, int,
                                     const std::string& line) { Forward("protobuf", line); });
#endif
}

LibraryLogs::~LibraryLogs() { SetReceiver(nullptr); }

}  // namespace dreamgate::api
