// Takes the lines that gRPC and Protocol Buffers write to stderr by themselves (a failed handshake,
// a request that is not UTF-8) and logs them as debug events: callers can provoke them at will, and
// whatever matters of them is reported elsewhere. With releases that log through Abseil instead, it
// does nothing. Owned by app, one at a time, from before the server is made
// to the end of the process.
#ifndef DREAMGATE_SERVER_API_LIBRARY_LOGS_H_
#define DREAMGATE_SERVER_API_LIBRARY_LOGS_H_

#include "server/core/ports.h"

namespace dreamgate::api {

class LibraryLogs {
 public:
  // `events` outlives this.
  explicit LibraryLogs(core::Events& events);
  ~LibraryLogs();  // from now on such lines are dropped
  LibraryLogs(const LibraryLogs&) = delete;
  LibraryLogs& operator=(const LibraryLogs&) = delete;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_LIBRARY_LOGS_H_
