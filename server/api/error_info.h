// google.rpc.ErrorInfo on the wire. Written by hand because the error_details.proto of Debian 12 is
// older than this message, and a second definition would clash with newer ones. Pure; any thread.
#ifndef DREAMGATE_SERVER_API_ERROR_INFO_H_
#define DREAMGATE_SERVER_API_ERROR_INFO_H_

#include <map>
#include <string>

#include "google/protobuf/any.pb.h"

namespace dreamgate::api {

struct ErrorInfo {
  std::string reason;
  std::string domain;
  std::map<std::string, std::string> metadata;
};

// All texts must be valid UTF-8.
google::protobuf::Any PackErrorInfo(const ErrorInfo& info);

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_ERROR_INFO_H_
