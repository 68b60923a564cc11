// Names for requests. Draw one and write it down before submitting: whoever submits with it again,
// even after a crash, never pays twice. Safe from any thread.
#ifndef DREAMGATE_CLIENT_REQUEST_ID_H_
#define DREAMGATE_CLIENT_REQUEST_ID_H_

#include <string>

namespace dreamgate::client {

// A random UUID (version 4) from the system's entropy, in lower case.
std::string DrawRequestId();

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_REQUEST_ID_H_
