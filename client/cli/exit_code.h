// The exit codes of the dreamgate command. They are part of its interface: never renumber.
#ifndef DREAMGATE_CLIENT_CLI_EXIT_CODE_H_
#define DREAMGATE_CLIENT_CLI_EXIT_CODE_H_

namespace dreamgate::client {

//   0  completed, or the answer was printed
//   1  internal or unexpected
//   2  bad arguments
//   3  the server cannot be reached, or stayed unavailable for --timeout
//   4  the server refused the request (invalid, not found, conflict, precondition, credentials, limits)
//   5  there is no video: FAILED, CANCELLED, TIMED_OUT or DELETED
//   6  the video could not be downloaded or stored
// 130  interrupted
enum ExitCode : int {
  kExitOk = 0,
  kExitUnexpected = 1,
  kExitBadArguments = 2,
  kExitUnreachable = 3,
  kExitRefused = 4,
  kExitNoVideo = 5,
  kExitDownloadFailed = 6,
  kExitInterrupted = 130,
};

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_EXIT_CODE_H_
